"""flaggate, from a SQLite file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.peer import Peer
from benchmarks.peers.plan import FLAG, PILOT, STAGE, Row

PLAN = (Path(__file__).parents[2] / "src" / "flaggate" / "cli" / "demo" / "plan.toml").read_text()


class Flaggate:
    """This project."""

    name = "flaggate"
    distribution = "flaggate"
    imports = "from flaggate import Context, Gate"
    context = "Context(**row)"
    ask = "gate.is_on(flag, context)"
    all = "gate.decisions(context)"
    note = "All of the plan; the 2,000 flags come from a SQLite file."
    has_segments = True
    is_dice = False

    def write(self, folder: Path, flags: Sequence[str], members: Sequence[str]) -> None:
        from flaggate.flags.document import parse
        from flaggate.rollout.state import Verb
        from flaggate.runtime.control import Control
        from flaggate.stores import open_store
        from flaggate.stores.base import Write
        from flaggate.stores.memory import MemoryStore

        text = "".join(PLAN.replace(FLAG, flag) for flag in flags)
        if members:
            listed = ", ".join(f'"{member}"' for member in members)
            text += f'\n[segments.{PILOT}]\nunit = "user"\nmembers = [{listed}]\n'
            text += f'\n[flags.{PILOT}]\ndescription = "x"\nowner = "x"\naudience = {{segment = "{PILOT}"}}\n'
        control = Control(MemoryStore())
        control.apply(parse(text), actor="bench")
        for flag in flags:
            control.act(Verb.START, flag, actor="release-owner@example.com")
            for _ in range(STAGE - 1):
                control.act(Verb.ADVANCE, flag, actor="bench", reason="bench")
        if members:
            control.act(Verb.ON, PILOT, actor="bench")
        rows = control.store.changes().rows  # in one commit: ten thousand take a minute
        writes = [Write(row.kind, row.name, 0, row.document) for row in rows]
        open_store(f"sqlite:///{folder}/flags.db", create=True).commit(writes, [])

    def load(self, folder: Path, _rows: Sequence[Row]) -> dict[str, Any]:
        from flaggate import Context, Gate

        gate = Gate.open(f"sqlite:///{folder}/flags.db", background=False)
        gate.refresh()
        return {"gate": gate, "Context": Context}


peer: Peer = Flaggate()
