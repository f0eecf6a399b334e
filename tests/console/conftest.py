"""A store with a plan, and who owns it at the console."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from flaggate.flags.document import parse
from flaggate.runtime.control import Control
from flaggate.stores.memory import MemoryStore
from tests.console.scenes import PLAN, Visitor
from tests.runtime.guarded import Clock


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The pages say times by the server's clock; Django sets that to its own zone."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    store = MemoryStore(clock=clock.unix)
    Control(store, now=clock).apply(parse(PLAN), actor="owner@example.com")
    return store


@pytest.fixture
def owner(store: MemoryStore, clock: Clock) -> Visitor:
    return Visitor(store, clock=clock)
