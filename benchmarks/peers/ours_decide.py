"""flaggate, with each decision's reason."""

from __future__ import annotations

from benchmarks.peers.ours import Flaggate
from benchmarks.peers.peer import Peer


class FlaggateDecide(Flaggate):
    """The same store, asked by `decide()`."""

    name = "flaggate, `decide()`"
    ask = "gate.decide(flag, context)"
    note = "The same; each answer has its reason and its stage."


peer: Peer = FlaggateDecide()
