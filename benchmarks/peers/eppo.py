"""eppo-server-sdk: its engine (Rust, in process), with a configuration that was given to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.peers.plan import PILOT, Row


def _one_of(attribute: str, *values: str) -> dict[str, Any]:
    return {"attribute": attribute, "operator": "ONE_OF", "value": values}


def _allocation(flag: str, variation: str, share: int, *tables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    shards = [{"salt": flag, "ranges": [{"start": 0, "end": share * 100}]}] if share < 100 else []
    return {
        "key": f"{variation}-{share}-{len(tables)}",
        "rules": [{"conditions": table} for table in tables],
        "splits": [{"variationKey": variation, "shards": shards}],
        "doLog": False,
    }


def _flag(key: str, *allocations: dict[str, Any]) -> dict[str, Any]:
    variations = {"on": {"key": "on", "value": True}, "off": {"key": "off", "value": False}}
    return {
        "key": key,
        "enabled": True,
        "variationType": "BOOLEAN",
        "variations": variations,
        "allocations": allocations,
        "totalShards": 10_000,
    }


def _seed(key: str) -> dict[str, Any]:
    return _flag(
        key,
        _allocation(key, "off", 100, [_one_of("account", "acme-de")]),
        _allocation(key, "on", 100, [_one_of("staff", "true")]),
        _allocation(key, "on", 50, [_one_of("city", "Manchester"), _one_of("country", "GB")]),
        _allocation(key, "on", 100, [_one_of("is_beta", "true")], [_one_of("tier", "enterprise")]),
        _allocation(key, "on", 10),
    )


def attributes(row: Row) -> dict[str, Any]:
    """Text, numbers and bools only, so that the group is an attribute of its own."""
    return {
        "account": row["account"],
        "staff": row["staff"],
        "city": row["city"],
        "country": row["country"],
        "is_beta": "beta" in row["groups"],
        "tier": row["tier"],
    }


class Eppo:
    """`client.get_boolean_assignment(name, user, attributes, False)`."""

    name = "Eppo"
    distribution = "eppo-server-sdk"
    imports = "import eppo_client; from eppo_client.config import Config"
    context = '(row["user"], attributes_of(row))'
    ask = "client.get_boolean_assignment(flag, *context, False)"
    all = ""
    note = "All of the plan, by its own rules; it knows no groups, so the app says whether somebody is in the beta one."
    has_segments = True
    is_dice = False

    def write(self, folder: Path, flags: Sequence[str], members: Sequence[str]) -> None:
        document: dict[str, Any] = {
            "createdAt": "2026-01-01T00:00:00.000Z",
            "format": "SERVER",
            "environment": {"name": "bench"},
            "flags": {flag: _seed(flag) for flag in flags},
        }
        if members:
            document["flags"][PILOT] = _flag(PILOT, _allocation(PILOT, "on", 100, [_one_of("id", *members)]))
        (folder / "flags.json").write_text(json.dumps(document))

    def load(self, folder: Path, _rows: Sequence[Row]) -> dict[str, Any]:
        import eppo_client
        from eppo_client.assignment_logger import AssignmentLogger
        from eppo_client.config import Config

        configuration = eppo_client.Configuration(flags_configuration=(folder / "flags.json").read_bytes())
        client = eppo_client.init(
            Config(
                api_key="bench",
                base_url="http://127.0.0.1:9/api",
                assignment_logger=AssignmentLogger(),
                initial_configuration=configuration,
                poll_interval_seconds=None,
            )
        )
        return {"client": client, "attributes_of": attributes}


peer: Peer = Eppo()
