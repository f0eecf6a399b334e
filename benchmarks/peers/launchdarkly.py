"""launchdarkly-server-sdk, from a file: its TestData knows no shares."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.peers.plan import PILOT, Row

ON, OFF = 0, 1


def _clause(attribute: str, operator: str, *values: Any) -> dict[str, Any]:
    return {"attribute": attribute, "op": operator, "values": values, "negate": False}


def _share(percent: int) -> dict[str, Any]:
    """Of 100,000; the rest is off."""
    weights = {ON: percent * 1_000, OFF: (100 - percent) * 1_000}
    split = [{"variation": variation, "weight": weight} for variation, weight in weights.items()]
    return {"rollout": {"contextKind": "user", "variations": split}}


def _flag(key: str, rest: dict[str, Any], *rules: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": key,
        "version": 1,
        "on": True,
        "variations": [True, False],
        "offVariation": OFF,
        "fallthrough": rest,
        "rules": [{"id": f"rule-{number}", **rule} for number, rule in enumerate(rules)],
        "targets": [],
        "prerequisites": [],
        "salt": key,
    }


def _seed(key: str) -> dict[str, Any]:
    """The first rule that matches decides; so those without a share stand first."""
    return _flag(
        key,
        _share(10),
        {"variation": OFF, "clauses": [_clause("account", "in", "acme-de")]},
        {"variation": ON, "clauses": [_clause("staff", "in", True)]},
        {"variation": ON, "clauses": [_clause("groups", "in", "beta")]},
        {"variation": ON, "clauses": [_clause("tier", "in", "enterprise")]},
        {"clauses": [_clause("city", "in", "Manchester"), _clause("country", "in", "GB")], **_share(50)},
    )


class LaunchDarkly:
    """`client.variation(name, context, False)`."""

    name = "LaunchDarkly"
    distribution = "launchdarkly-server-sdk"
    # Where it is installed alone it reads JSON as JSON; PyYAML, which another peer brings, takes a hundred times as long.
    imports = 'import sys; sys.modules["yaml"] = None; import ldclient; from ldclient.config import Config'
    context = 'Context.from_dict({"kind": "user", "key": row["user"], **row})'
    ask = "client.variation(flag, context, False)"
    all = "client.all_flags_state(context).to_values_map()"
    note = "All of the plan, by its own rules; no events."
    has_segments = True
    is_dice = False

    def write(self, folder: Path, flags: Sequence[str], members: Sequence[str]) -> None:
        document: dict[str, Any] = {"flags": {flag: _seed(flag) for flag in flags}}
        if members:
            rule = {"variation": ON, "clauses": [_clause("", "segmentMatch", PILOT)]}
            document["flags"][PILOT] = _flag(PILOT, {"variation": OFF}, rule)
            segment = {"key": PILOT, "version": 1, "included": members, "excluded": [], "rules": [], "salt": PILOT}
            document["segments"] = {PILOT: segment}
        (folder / "flags.json").write_text(json.dumps(document))

    def load(self, folder: Path, _rows: Sequence[Row]) -> dict[str, Any]:
        from ldclient.client import LDClient
        from ldclient.config import Config
        from ldclient.context import Context
        from ldclient.integrations import Files

        source = Files.new_data_source(paths=[str(folder / "flags.json")])
        client = LDClient(Config("bench", update_processor_class=source, send_events=False))
        assert client.is_initialized()
        return {"client": client, "Context": Context}


peer: Peer = LaunchDarkly()
