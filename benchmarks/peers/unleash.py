"""UnleashClient: its engine (Rust, in process), bootstrapped from a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.peers.plan import PILOT, Row


def _constraint(field: str, operator: str, *values: str) -> dict[str, Any]:
    return {"contextName": field, "operator": operator, "values": values}


def _strategy(flag: str, rollout: int, *constraints: dict[str, Any], segments: Sequence[int] = ()) -> dict[str, Any]:
    return {
        "name": "flexibleRollout",
        "parameters": {"rollout": str(rollout), "stickiness": "userId", "groupId": flag},
        "constraints": constraints,
        "segments": segments,
    }


def _feature(name: str, *strategies: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "type": "release", "enabled": True, "project": "default", "strategies": strategies}


def _seed(flag: str) -> dict[str, Any]:
    """On by any strategy; each of them has the denied account as a constraint."""
    denied = _constraint("account", "NOT_IN", "acme-de")
    return _feature(
        flag,
        _strategy(flag, 100, denied, _constraint("staff", "IN", "True")),
        _strategy(flag, 50, denied, _constraint("city", "IN", "Manchester"), _constraint("country", "IN", "GB")),
        _strategy(flag, 100, denied, _constraint("groups", "STR_CONTAINS", "beta")),
        _strategy(flag, 100, denied, _constraint("tier", "IN", "enterprise")),
        _strategy(flag, 10, denied),
    )


def context(row: Row) -> dict[str, Any]:
    """Properties are texts; groups are one text."""
    return {
        "userId": row["user"],
        "properties": {
            "account": row["account"],
            "staff": str(row["staff"]),
            "city": row["city"],
            "country": row["country"],
            "groups": ",".join(row["groups"]),
            "tier": row["tier"],
        },
    }


class Unleash:
    """`client.is_enabled(name, context)`."""

    name = "UnleashClient"
    distribution = "UnleashClient"
    imports = "from UnleashClient import UnleashClient"
    context = "context_of(row)"
    ask = "client.is_enabled(flag, context)"
    all = ""
    note = "All of the plan, by its own rules; groups as one text. Each call fills in the context and hands it to Rust."
    has_segments = True
    is_dice = False

    def write(self, folder: Path, flags: Sequence[str], members: Sequence[str]) -> None:
        document: dict[str, Any] = {"version": 2, "features": [_seed(flag) for flag in flags]}
        if members:
            document["features"].append(_feature(PILOT, _strategy(PILOT, 100, segments=[1])))
            document["segments"] = [{"id": 1, "name": PILOT, "constraints": [_constraint("userId", "IN", *members)]}]
        (folder / "features.json").write_text(json.dumps(document))

    def load(self, folder: Path, _rows: Sequence[Row]) -> dict[str, Any]:
        from UnleashClient import UnleashClient
        from UnleashClient.cache import FileCache

        cache = FileCache("bench", directory=str(folder))
        cache.bootstrap_from_file(folder / "features.json")
        client = UnleashClient(
            "http://127.0.0.1:9/api",
            "bench",
            cache=cache,
            disable_metrics=True,
            disable_registration=True,
            refresh_interval=3_600,
        )
        client.initialize_client(fetch_toggles=False)
        return {"client": client, "context_of": context}


peer: Peer = Unleash()
