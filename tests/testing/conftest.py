"""Gates on a store in memory, in a process that has no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias
from weakref import WeakSet

import pytest

from flaggate import Gate
from flaggate.runtime import process
from flaggate.stores.base import Store
from flaggate.stores.memory import MemoryStore
from tests.runtime.scenes import bring

OpenGate: TypeAlias = Callable[..., Gate]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have left knows other flags."""
    monkeypatch.setattr(process, "_watched", WeakSet())


@pytest.fixture
def open_gate() -> Iterator[OpenGate]:
    """Opens gates, without a keeper unless asked for one."""
    opened: list[Gate] = []

    def open_one(store: Store | str, *, background: bool = False, **options: object) -> Gate:
        opened.append(Gate.open(store, background=background, **options))  # type: ignore[arg-type]  # as the test has it
        return opened[-1]

    yield open_one
    for gate in opened:
        gate.close()


@pytest.fixture
def store() -> MemoryStore:
    """A store with a few flags, all of them off."""
    made = MemoryStore()
    bring(made)
    return made


@pytest.fixture
def gate(store: MemoryStore, open_gate: OpenGate) -> Gate:
    """A gate on it."""
    return open_gate(store)
