"""The machine of `moving`, on a store in memory and on SQLite. By hand for longer: FLAGGATE_MOVING_EXAMPLES=5000."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, settings

from flaggate.stores.base import Store
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore
from tests.runtime.moving import MovingMachine

EXAMPLES: Final = int(os.environ.get("FLAGGATE_MOVING_EXAMPLES", "380"))  # with the other stores some 20,000 steps
STEPS: Final = 50


class InMemory(MovingMachine):
    def make_store(self, clock: Callable[[], float]) -> Store:
        return MemoryStore(clock=clock)


class OnSqlite(MovingMachine):
    def make_store(self, clock: Callable[[], float]) -> Store:
        self.folder = tempfile.TemporaryDirectory(prefix="flaggate-")
        return SqlStore(f"sqlite:///{Path(self.folder.name) / 'flags.db'}", clock=clock)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(
    deadline=None, max_examples=EXAMPLES, stateful_step_count=STEPS, suppress_health_check=list(HealthCheck)
)
TestOnSqlite = OnSqlite.TestCase
TestOnSqlite.settings = settings(TestInMemory.settings, max_examples=EXAMPLES // 8)
