"""What the store wrote within the app's own transaction: others see it once that commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flaggate.runtime.gate import Gate
from flaggate.runtime.process import watched

__all__ = ["Uncommitted", "is_within", "uncommitted_in"]


@dataclass(frozen=True)
class Uncommitted:
    """Called when the app's transaction is committed: this process's gates look at once, not two seconds later."""

    url: str
    """Of the store."""
    before: int
    """The committed revision."""

    def __call__(self) -> None:
        for gate in watched():
            if isinstance(gate, Gate) and gate.store.url == self.url:
                gate.pull()


def uncommitted_in(connection: Any, url: str) -> Uncommitted | None:
    """What the app's transaction wrote and has not rolled back: Django forgets what is to be called, then."""
    if not is_within(connection):
        return None
    told = (function for _, function, *_ in connection.run_on_commit)
    return next((one for one in told if isinstance(one, Uncommitted) and one.url == url), None)


def is_within(connection: Any) -> bool:
    """Whether this is inside of an app's atomic block; that of a TestCase is none, as for `atomic(durable=True)`."""
    if not connection.in_atomic_block:
        return False
    return not (connection.atomic_blocks and connection.atomic_blocks[-1]._from_testcase)
