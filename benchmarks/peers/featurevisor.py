"""featurevisor, with a datafile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.peers.plan import PILOT, Row

EVERYONE = 100_000


def _is(attribute: str, operator: str, value: Any) -> dict[str, Any]:
    return {"attribute": attribute, "operator": operator, "value": value}


def _rule(key: str, segments: str | list[str], share: int, **more: Any) -> dict[str, Any]:
    return {"key": key, "segments": segments, "percentage": share, "allocation": []} | more


def _feature(key: str, *rules: dict[str, Any]) -> dict[str, Any]:
    return {"key": key, "bucketBy": "user", "traffic": rules}


_SEGMENTS = {
    "denied": [_is("account", "in", ["acme-de"])],
    "staff": [_is("staff", "equals", True)],
    "manchester": [_is("city", "equals", "Manchester"), _is("country", "equals", "GB")],
    "early": [{"or": [_is("groups", "includes", "beta"), _is("tier", "equals", "enterprise")]}],
}


def _seed(key: str) -> dict[str, Any]:
    """The first rule that matches decides; so those without a share stand first."""
    return _feature(
        key,
        _rule("denied", "denied", EVERYONE, enabled=False),
        _rule("internal", "staff", EVERYONE),
        _rule("early", "early", EVERYONE),
        _rule("manchester", "manchester", EVERYONE // 2),
        _rule("tenth", "*", EVERYONE // 10),
    )


class Featurevisor:
    """`f.is_enabled(name, context)`."""

    name = "Featurevisor"
    distribution = "featurevisor"
    imports = "from featurevisor import create_featurevisor"
    context = "row"
    ask = "client.is_enabled(flag, context)"
    all = ""
    note = "All of the plan, by its own rules."
    has_segments = True
    is_dice = False

    def write(self, folder: Path, flags: Sequence[str], members: Sequence[str]) -> None:
        document: dict[str, Any] = {
            "schemaVersion": "2",
            "revision": "1",
            "segments": {key: {"conditions": conditions} for key, conditions in _SEGMENTS.items()},
            "features": {flag: _seed(flag) for flag in flags},
        }
        if members:
            document["segments"][PILOT] = {"conditions": [_is("user", "in", members)]}
            document["features"][PILOT] = _feature(PILOT, _rule(PILOT, PILOT, EVERYONE))
        (folder / "datafile.json").write_text(json.dumps(document))

    def load(self, folder: Path, _rows: Sequence[Row]) -> dict[str, Any]:
        from featurevisor import create_featurevisor

        datafile = json.loads((folder / "datafile.json").read_text())
        return {"client": create_featurevisor({"datafile": datafile, "logLevel": "error"})}


peer: Peer = Featurevisor()
