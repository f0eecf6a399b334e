"""litestar-flags, with its storage in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer, answered
from benchmarks.peers.plan import PILOT, Row


def _is(attribute: str, operator: str, value: Any) -> dict[str, Any]:
    return {"attribute": attribute, "operator": operator, "value": value}


_SEED = (
    {"name": "denied", "conditions": [_is("organization_id", "in", ["acme-de"])], "serve_enabled": False},
    {"name": "internal", "conditions": [_is("staff", "eq", True)]},
    {
        "name": "manchester",
        "conditions": [_is("city", "eq", "Manchester"), _is("country", "eq", "GB")],
        "rollout_percentage": 50,
    },
    {"name": "beta", "conditions": [_is("groups", "contains", "beta")]},
    {"name": "enterprise", "conditions": [_is("tier", "eq", "enterprise")]},
    {"name": "tenth", "conditions": [], "rollout_percentage": 10},
)
_PILOT = ({"name": PILOT, "conditions": [_is("", "in_segment", PILOT)]},)


class LitestarFlags:
    """`await client.is_enabled(name, context)`."""

    name = "litestar-flags"
    distribution = "litestar-flags"
    imports = "from litestar_flags import EvaluationContext, FeatureFlagClient, MemoryStorageBackend"
    context = "context_of(row)"
    ask = "answered(client.is_enabled(flag, context))"
    all = "{flag: found.value for flag, found in answered(client.get_all_flags(context)).items()}"
    note = "All of the plan, by its own rules; its client is async and never waits here."
    has_segments = True
    is_dice = False

    def write(self, folder: Path, flags: Sequence[str], members: Sequence[str]) -> None:
        document: dict[str, Any] = {"flags": dict.fromkeys(flags, _SEED)}
        if members:
            document["flags"][PILOT] = _PILOT
            document["members"] = members
        (folder / "flags.json").write_text(json.dumps(document))

    def load(self, folder: Path, _rows: Sequence[Row]) -> dict[str, Any]:
        from litestar_flags import EvaluationContext, FeatureFlagClient, MemoryStorageBackend
        from litestar_flags.models import FeatureFlag, FlagRule
        from litestar_flags.models.segment import Segment

        document = json.loads((folder / "flags.json").read_text())
        storage = MemoryStorageBackend()
        for key, rules in document["flags"].items():
            flag = FeatureFlag(key=key, name=key)
            flag.rules = [
                FlagRule(**({"serve_enabled": True} | rule), priority=number) for number, rule in enumerate(rules)
            ]
            answered(storage.create_flag(flag))
        if members := document.get("members"):
            answered(storage.create_segment(Segment(name=PILOT, conditions=[_is("user_id", "in", members)])))

        def context_of(row: Row) -> Any:
            return EvaluationContext(
                targeting_key=row["user"],
                user_id=row["user"],
                organization_id=row["account"],
                country=row["country"],
                attributes=row,
            )

        return {"client": FeatureFlagClient(storage), "context_of": context_of, "answered": answered}


peer: Peer = LitestarFlags()
