"""A holder of the lease that goes on writing while another takes it over: one whose clock is ahead, so that it takes
what the holder believes to have.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias

import pytest

from flaggate.errors import BusyError, LeaseError
from flaggate.rollout.state import Event
from flaggate.stores.base import Store, Write
from flaggate.testing.contract.leasing import take
from tests.stores.children import Pipe, fork, wait
from tests.stores.slow import Slow

__all__ = ["nobody_robs_who_is_writing", "nothing_comes_after_a_robbery"]

_SECONDS = 15.0
_WAIT_SECONDS = 30.0
Opened: TypeAlias = Callable[[Callable[[], float]], Store]
"""A store of its own on the same database, by that clock."""


def nothing_comes_after_a_robbery(opened: Opened, rounds: int = 3) -> None:
    """However fast the holder writes, until it is told."""
    for number in range(rounds):
        one, two = f"one-{number}", f"two-{number}"
        writes = Pipe()
        pid = fork(partial(_write_until_robbed, opened, one, writes))
        writes.receive(1)
        ahead = opened(_ahead)
        assert take(ahead, two, seconds=_SECONDS)
        before = ahead.revision(), ahead.changes(), ahead.progress()
        assert wait(pid) == 0
        assert (ahead.revision(), ahead.changes(), ahead.progress()) == before
        ahead.release_lease(two)
        ahead.close()
        writes.close()


def nobody_robs_who_is_writing(opened: Opened) -> None:
    """Of a commit that was found to be the holder's the rest is written before anybody else is."""
    holder, ahead, writes = opened(time.time), opened(_ahead), Slow()
    assert take(holder, "one", seconds=_SECONDS)
    failures: list[BaseException] = []

    def commit() -> None:
        try:
            holder.commit(writes, [], holder="one")
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        assert writes.is_asked.wait(_WAIT_SECONDS)
        with pytest.raises(BusyError):
            ahead.take_lease("two", "host of two", _SECONDS)
    finally:
        writes.is_released.set()
        thread.join()
    assert failures == []
    assert take(ahead, "two", seconds=_SECONDS)
    assert ahead.get("flag", "slow") is not None
    for store in (holder, ahead):
        store.close()


def _ahead() -> float:
    return time.time() + 3600.0


def _write_until_robbed(opened: Opened, holder: str, writes: Pipe) -> None:
    store = opened(time.time)
    assert take(store, holder, seconds=_SECONDS)
    with suppress(LeaseError):
        while True:
            with suppress(BusyError):
                _write(store, holder)
                writes.send()
    store.close()


def _write(store: Store, holder: str) -> None:
    row = store.get("flag", "a")
    document: dict[str, Any] = {"n": 0 if row is None or row.document is None else row.document["n"] + 1}
    event = Event("a", "advance", "automatic", datetime.now(UTC), after=document)
    store.commit([Write("flag", "a", 0 if row is None else row.version, document)], [event], holder=holder)
    store.save_progress({"a": document, holder: document}, holder=holder)
