"""What the parts of the contract share."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from flaggate.errors import ConflictError
from flaggate.rollout.state import Event
from flaggate.stores.base import Arm, Count, Row, Store, Write

__all__ = [
    "AT",
    "a_count",
    "an_event",
    "conflict_of",
    "document_of",
    "failures_of",
    "increment",
    "succeeds_in_child",
    "verbs_of",
]

AT: Final = datetime(2026, 3, 1, 9, 30, 15, 250_000, tzinfo=UTC)
_CHILD_SECONDS: Final = 20
"""After this a child that hangs is killed, so that its test fails instead of hanging too."""


def a_count(flag: str, attempt: int = 1, stage: int = 1, arm: Arm = "on") -> Count:
    """One request."""
    return Count(flag, attempt, stage, arm, 1, 0, {"10": 1})


def an_event(name: str, verb: str = "apply") -> Event:
    return Event(name, verb, "owner@example.com", AT)


def verbs_of(events: Sequence[Event]) -> list[str]:
    return [event.verb for event in events]


def document_of(store: Store, name: str) -> Any:
    row = store.get("flag", name)
    return None if row is None else row.document


def conflict_of(store: Store, writes: Sequence[Write], events: Sequence[Event] = ()) -> ConflictError:
    try:
        store.commit(writes, events)
    except ConflictError as error:
        return error
    raise AssertionError(f"{store.url} took {writes}")


def increment(store: Store, row: Row | None) -> list[int]:
    """Count one further, if the row is as it was read. Returns the new number, if so."""
    assert row is not None
    assert row.document is not None
    number = row.document["n"] + 1
    try:
        write = Write("flag", row.name, row.version, {"n": number})
        store.commit([write], [replace(an_event(row.name), after={"n": number})])
    except ConflictError:
        return []
    return [number]


def failures_of(everyone: threading.Barrier, works: Sequence[Callable[[], None]]) -> list[BaseException]:
    """Do all of it at once, each in a thread. Returns what was raised; then nobody waits for the others any more."""
    failures: list[BaseException] = []

    def do(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
            everyone.abort()

    threads = [threading.Thread(target=do, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def succeeds_in_child(store: Store, question: Callable[[], bool]) -> bool:
    """Fork as a gate does, and answer the question in the child, in a thread of its own as a keeper would."""
    store.before_fork()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of the threads; they are the point here
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(_CHILD_SECONDS)
            store.after_fork(in_child=True)
            answers: list[bool] = []
            thread = threading.Thread(target=lambda: answers.append(question()))
            thread.start()
            thread.join()
            status = 0 if answers == [True] else 2
        finally:
            os._exit(status)  # not through the test runner's own ending
    store.after_fork(in_child=False)
    _, status = os.waitpid(pid, 0)
    return status == 0
