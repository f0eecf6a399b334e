"""openfeature-provider-flagd: its resolver in process, from a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.peers.plan import PILOT, Row


def _var(name: str) -> dict[str, str]:
    return {"var": name}


def _share(percent: int) -> dict[str, Any]:
    return {"fractional": [["on", percent], ["off", 100 - percent]]}


def _flag(targeting: dict[str, Any]) -> dict[str, Any]:
    variants = {"on": True, "off": False}
    return {"state": "ENABLED", "variants": variants, "defaultVariant": "off", "targeting": targeting}


def _seed() -> dict[str, Any]:
    """JSON Logic: those without a share stand first."""
    early = {"or": [{"in": ["beta", _var("groups")]}, {"==": [_var("tier"), "enterprise"]}]}
    manchester = {"and": [{"==": [_var("city"), "Manchester"]}, {"==": [_var("country"), "GB"]}]}
    denied = {"in": [_var("account"), ["acme-de"]]}
    return _flag({"if": [denied, "off", _var("staff"), "on", early, "on", manchester, _share(50), _share(10)]})


class Flagd:
    """`client.get_boolean_value(name, False, context)`."""

    name = "OpenFeature, flagd in process"
    distribution = "openfeature-provider-flagd"
    imports = "from openfeature import api; from openfeature.contrib.provider.flagd import FlagdProvider"
    context = 'EvaluationContext(row["user"], row)'
    ask = "client.get_boolean_value(flag, False, context)"
    all = ""
    note = "All of the plan, as JSON Logic, which is walked at each question."
    has_segments = True
    is_dice = False

    def write(self, folder: Path, flags: Sequence[str], members: Sequence[str]) -> None:
        document: dict[str, Any] = {"flags": {flag: _seed() for flag in flags}}
        if members:
            document["flags"][PILOT] = _flag({"if": [{"$ref": PILOT}, "on", "off"]})
            document["$evaluators"] = {PILOT: {"in": [_var("user"), members]}}
        (folder / "flags.json").write_text(json.dumps(document))

    def load(self, folder: Path, _rows: Sequence[Row]) -> dict[str, Any]:
        from openfeature import api
        from openfeature.contrib.provider.flagd import FlagdProvider
        from openfeature.contrib.provider.flagd.config import ResolverType
        from openfeature.evaluation_context import EvaluationContext

        file = str(folder / "flags.json")
        # The deadline is how often it looks at the file; a first look while it loads would load it twice.
        provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=file, deadline_ms=3_600_000)
        api.set_provider_and_wait(provider)
        return {"client": api.get_client(), "EvaluationContext": EvaluationContext}


peer: Peer = Flagd()
