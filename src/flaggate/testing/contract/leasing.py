"""Taking the lease and losing it, by a clock that the tests move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Final

from flaggate.errors import BusyError, LeaseError
from flaggate.stores.base import Store
from flaggate.testing.contract.acting import AT

__all__ = ["SECONDS", "Timed", "holder_of", "is_refused", "losses", "take"]

SECONDS: Final = 15.0


class Clock:
    """Unix time that stands still until a test moves it."""

    def __init__(self) -> None:
        self._now = AT.timestamp()

    def __call__(self) -> float:
        return self._now

    def move(self, seconds: float) -> None:
        """Go on, or back."""
        self._now += seconds


class Timed:
    """A part of the contract in which time goes by."""

    @cached_property
    def clock(self) -> Clock:
        """The Unix time of this test, which its store is to be given."""
        return Clock()


def take(store: Store, holder: str, *, seconds: float = SECONDS) -> bool:
    """Ask, and again where another writer did not end in time."""
    while True:
        try:
            return store.take_lease(holder, f"host of {holder}", seconds)
        except BusyError:
            continue


def is_refused(work: Callable[[], object]) -> bool:
    """Whether it is, for want of the lease."""
    try:
        work()
    except LeaseError:
        return True
    return False


def holder_of(store: Store) -> str | None:
    lease = store.lease()
    return None if lease is None else lease.holder


def losses(store: Store, clock: Clock) -> Iterator[str]:
    """Every way in which `one` comes not to have the lease. Gives what happened, each time."""
    store.release_lease("one")
    yield "it was released"
    take(store, "two")
    yield "another has it"
    clock.move(SECONDS)
    take(store, "one")
    clock.move(SECONDS)
    yield "its time is over"
    take(store, "one")
    clock.move(SECONDS)
    take(store, "two")
    yield "another took it after its time"
