"""growthbook: its client for many users, with a payload that was given to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer, answered
from benchmarks.peers.plan import PILOT, Row


def _feature(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"defaultValue": False, "rules": [{"force": True, **rule} for rule in rules]}


def _seed() -> dict[str, Any]:
    return _feature(
        {"condition": {"account": {"$in": ["acme-de"]}}, "force": False},
        {"condition": {"staff": True}},
        {"condition": {"city": "Manchester", "country": "GB"}, "coverage": 0.5, "hashAttribute": "user"},
        {"condition": {"$or": [{"groups": {"$elemMatch": {"$eq": "beta"}}}, {"tier": "enterprise"}]}},
        {"coverage": 0.1, "hashAttribute": "user"},
    )


class GrowthBook:
    """`await client.is_on(name, UserContext(attributes=...))`."""

    name = "GrowthBook"
    distribution = "growthbook"
    imports = "from growthbook import GrowthBookClient, UserContext"
    context = "UserContext(attributes=row)"
    ask = "answered(client.is_on(flag, context))"
    all = ""
    note = "All of the plan, by its own rules; its client is async and never waits here."
    has_segments = True
    is_dice = False

    def write(self, folder: Path, flags: Sequence[str], members: Sequence[str]) -> None:
        document: dict[str, Any] = {"features": {flag: _seed() for flag in flags}}
        if members:
            document["features"][PILOT] = _feature({"condition": {"user": {"$inGroup": PILOT}}})
            document["savedGroups"] = {PILOT: members}
        (folder / "payload.json").write_text(json.dumps(document))

    def load(self, folder: Path, _rows: Sequence[Row]) -> dict[str, Any]:
        from growthbook import GrowthBookClient, Options, UserContext

        client = GrowthBookClient(Options())
        answered(client.set_payload(json.loads((folder / "payload.json").read_text())))
        return {"client": client, "UserContext": UserContext, "answered": answered}


peer: Peer = GrowthBook()
