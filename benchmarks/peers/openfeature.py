"""openfeature-sdk with its in-memory provider."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.peers.plan import Row, by_hand_of_row


class OpenFeature:
    """`client.get_boolean_value(name, False, context)`."""

    name = "OpenFeature, in memory"
    distribution = "openfeature-sdk"
    imports = "from openfeature import api; from openfeature.provider.in_memory_provider import InMemoryProvider"
    context = 'EvaluationContext(row["user"], row)'
    ask = "client.get_boolean_value(flag, False, context)"
    all = ""
    note = "The plan is the function by hand, which its provider calls: what remains is the API's own price. No lists."
    has_segments = False
    is_dice = False

    def write(self, folder: Path, flags: Sequence[str], _members: Sequence[str]) -> None:
        (folder / "names.txt").write_text("\n".join(flags))

    def load(self, folder: Path, _rows: Sequence[Row]) -> dict[str, Any]:
        from openfeature import api
        from openfeature.evaluation_context import EvaluationContext
        from openfeature.flag_evaluation import FlagResolutionDetails, Reason
        from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

        def resolve(flag: Any, context: Any) -> Any:
            variant = "on" if by_hand_of_row(context.attributes) else "off"
            return FlagResolutionDetails(flag.variants[variant], reason=Reason.TARGETING_MATCH, variant=variant)

        names = (folder / "names.txt").read_text().split()
        variants = {"on": True, "off": False}
        flags = {name: InMemoryFlag("off", dict(variants), context_evaluator=resolve) for name in names}
        api.set_provider_and_wait(InMemoryProvider(flags))
        return {"client": api.get_client(), "EvaluationContext": EvaluationContext}


peer: Peer = OpenFeature()
