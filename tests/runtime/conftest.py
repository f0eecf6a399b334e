"""A store in a file, and gates that are closed afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from flaggate import Gate
from flaggate.stores.base import Store
from flaggate.stores.sql import SqlStore
from tests.runtime.notice_scenes import Target

MakeTarget = Callable[[], Target]


class OpenGate(Protocol):
    def __call__(self, store: Store, *, background: bool = False, **options: Any) -> Gate: ...


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    """An SQLite file with nothing in it yet, asked often."""
    made = SqlStore(f"sqlite:///{tmp_path}/flags.db")
    made.poll_seconds = 0.01
    yield made
    made.close()


@pytest.fixture
def open_gate() -> Iterator[OpenGate]:
    """Opens gates, without a keeper unless asked for one."""
    opened: list[Gate] = []

    def open_one(store: Store, *, background: bool = False, **options: Any) -> Gate:
        opened.append(Gate.open(store, background=background, **options))
        return opened[-1]

    yield open_one
    for gate in opened:
        gate.close()


@pytest.fixture
def make_target() -> Iterator[MakeTarget]:
    """Makes services that hear messages."""
    made: list[Target] = []

    def make() -> Target:
        made.append(Target())
        return made[-1]

    yield make
    for target in made:
        target.stop()


@pytest.fixture
def target(make_target: MakeTarget) -> Target:
    """A service that hears messages."""
    return make_target()
