"""What the tests of the adapters share: flags that read this and that, and the hand on their switches."""

from __future__ import annotations

from flaggate import Gate
from flaggate.rollout.state import Verb
from flaggate.stores.base import Store
from flaggate.stores.memory import MemoryStore
from tests.runtime.scenes import bring, turn

FLAGS = """
[flags.banner]
description = "Reads nothing"
owner = "owner@example.com"

[flags.team]
description = "Reads whether somebody is staff"
owner = "owner@example.com"
audience = { staff = true }

[flags.tiered]
description = "Reads the tier"
owner = "owner@example.com"
audience = { tier = "pro" }

[flags.adas]
description = "Reads the user"
owner = "owner@example.com"
audience = { user = "ada" }

[flags.local]
description = "Reads the address"
owner = "owner@example.com"
audience = { ip = "203.0.113.7" }

[flags.tried]
description = "Half of all visitors"
owner = "owner@example.com"
unit = "visitor"
stages = [
    { name = "half", share = 50, soak = "0s" },
    { name = "everyone" },
]
guards = [{ metric = "errors", limit = "1%" }]
"""


class Switchboard:
    """A gate on a store of its own, with all these flags, and the right to turn them."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = MemoryStore() if store is None else store
        bring(self.store, FLAGS)
        self.gate = Gate.open(self.store, background=False)

    def on(self, *names: str) -> Gate:
        """Turn switches on. Returns the gate."""
        for name in names:
            turn(self.store, Verb.ON, name)
        self.gate.refresh()
        return self.gate

    def off(self, name: str) -> None:
        """Turn a switch off."""
        turn(self.store, Verb.OFF, name)
        self.gate.refresh()

    def start(self, name: str) -> Gate:
        """Start a rollout. Returns the gate."""
        turn(self.store, Verb.START, name)
        self.gate.refresh()
        return self.gate

    def counted(self, name: str) -> dict[str, tuple[int, int]]:
        """Requests and errors of a flag so far, by arm."""
        self.gate.flush()
        return {count.arm: (count.requests, count.errors) for count in self.store.counts(name)}
