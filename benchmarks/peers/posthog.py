"""posthog, its local evaluation, with the definitions from a cache of the app's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.peers.plan import PILOT, Row


def _is(key: str, value: Any, operator: str = "exact") -> dict[str, Any]:
    return {"key": key, "value": value, "operator": operator, "type": "person"}


def _group(share: int, *properties: dict[str, Any]) -> dict[str, Any]:
    return {"properties": properties, "rollout_percentage": share}


def _flag(number: int, key: str, *groups: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "key": key, "name": key, "active": True, "filters": {"groups": groups}}


def _seed(number: int, key: str) -> dict[str, Any]:
    """On by any group; each of them leaves out the denied account."""
    rest = _is("account", ["acme-de"], "is_not")
    return _flag(
        number,
        key,
        _group(100, rest, _is("staff", ["true"])),
        _group(50, rest, _is("city", ["Manchester"]), _is("country", ["GB"])),
        _group(100, rest, _is("is_beta", ["true"])),
        _group(100, rest, _is("tier", ["enterprise"])),
        _group(10, rest),
    )


class _Cache:
    """The definitions that a worker finds which is not the one that fetches."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def should_fetch_flag_definitions(self) -> bool:
        return False

    def get_flag_definitions(self) -> Any:
        return json.loads(self._file.read_text())

    def on_flag_definitions_received(self, data: Any) -> None:  # noqa: ARG002  # by this name
        raise AssertionError("it fetched them")

    def shutdown(self) -> None:
        pass


def properties(row: Row) -> dict[str, Any]:
    """Text and bools."""
    return {
        "account": row["account"],
        "staff": row["staff"],
        "city": row["city"],
        "country": row["country"],
        "is_beta": "beta" in row["groups"],
        "tier": row["tier"],
        "user": row["user"],
    }


class PostHog:
    """`client.evaluate_flags(user, person_properties=...).is_enabled(name)`."""

    name = "PostHog"
    distribution = "posthog"
    imports = "from posthog import Posthog"
    context = '(row["user"], properties_of(row))'
    ask = (
        "client.evaluate_flags(context[0], person_properties=context[1], only_evaluate_locally=True, flag_keys=[flag])"
        ".is_enabled(flag, send_feature_flag_events=False)"
    )
    all = (
        "{flag: found.is_enabled(flag, send_feature_flag_events=False) for found in [client.evaluate_flags("
        "context[0], person_properties=context[1], only_evaluate_locally=True)] for flag in found.keys}"
    )
    note = "All of the plan, by its own rules, evaluated locally; the app says whether somebody is in the beta group."
    has_segments = True
    is_dice = False

    def write(self, folder: Path, flags: Sequence[str], members: Sequence[str]) -> None:
        found = [_seed(number, flag) for number, flag in enumerate(flags)]
        if members:
            found.append(_flag(len(found), PILOT, _group(100, _is("user", members))))
        document = {"flags": found, "group_type_mapping": {}, "cohorts": {}, "property_matching_version": 2}
        (folder / "definitions.json").write_text(json.dumps(document))

    def load(self, folder: Path, _rows: Sequence[Row]) -> dict[str, Any]:
        from posthog import Posthog

        client = Posthog(
            "bench",
            host="http://127.0.0.1:9",
            personal_api_key="bench",
            flag_definition_cache_provider=_Cache(folder / "definitions.json"),
            send=False,
            poll_interval=3_600,
        )
        client.load_feature_flags()
        return {"client": client, "properties_of": properties}


peer: Peer = PostHog()
