"""Whether a change has reached the processes that serve the flags."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flaggate.flags.words import counted
from flaggate.rollout.state import Verb
from flaggate.stores.base import Presence, Store

__all__ = ["STOPS", "Reach", "await_reach", "reach_of", "reach_to_json", "reach_words", "serving_words"]

_WAIT_SECONDS: Final = 2.0
"""Beside the store's own span: in which a process is to have taken over a change."""
STOPS: Final = frozenset({Verb.KILL, Verb.ROLLBACK})
"""Of what somebody waits to hear that it has arrived."""
_LOOK_SECONDS: Final = 0.02
_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Reach:
    """Of the processes that were there, as of a moment."""

    processes: int
    late: tuple[Presence, ...]
    """Those that have not said that they serve it."""
    seconds: float | None = None
    """How long it took, or was waited for; None = nobody waited."""

    def __str__(self) -> str:
        """Reached 12 of 12 processes in 0.3 s."""
        if not self.processes:
            return "no process serves flags now, or none has said so"
        took = "" if self.seconds is None else f" {'after' if self.late else 'in'} {self.seconds:.1f} s"
        return f"reached {self.processes - len(self.late)} of {counted(self.processes, 'process', 'processes')}{took}"


def reach_of(presences: Sequence[Presence], revision: int) -> Reach:
    """How many serve that revision, or a later one."""
    return Reach(len(presences), tuple(one for one in presences if one.revision < revision))


def await_reach(store: Store, revision: int, seconds: float | None = None) -> Reach:
    """Wait until every process serves that revision.

    Args:
        seconds: But no longer than this; None = two, and the store's own span.

    Raises:
        StoreError: Nobody can tell.
    """
    begun = time.monotonic()
    seconds = _WAIT_SECONDS + store.poll_seconds if seconds is None else seconds
    while True:
        asked = time.monotonic()
        reach = reach_of(store.presences(), revision)
        now = time.monotonic()
        if not reach.late or now - begun >= seconds:
            return Reach(reach.processes, reach.late, now - begun)
        time.sleep(max(_LOOK_SECONDS, 5 * (now - asked)))  # ten thousand of them are not read all the time


def reach_words(reach: Reach, now: float) -> Iterator[str]:
    """Reached 12 of 12 processes in 0.3 s; then those that it has not, by name."""
    yield str(reach)
    yield from _late(reach.late, now)


def _late(late: Sequence[Presence], now: float) -> Iterator[str]:
    yield from (_late_words(presence, now) for presence in late[:_MOST_NAMED])
    if len(late) > _MOST_NAMED:
        yield f"and {counted(len(late) - _MOST_NAMED, 'other')}"


def _late_words(presence: Presence, now: float) -> str:
    """web-3:4711 serves revision 55, and was last heard 12 s ago."""
    heard = max(0.0, now - presence.said_at)
    return f"{presence.who} serves revision {presence.revision}, and was last heard {heard:.0f} s ago"


def serving_words(presences: Sequence[Presence], revision: int, now: float) -> Iterator[str]:
    """12 processes serve flags, all of them the newest revision (57); or who is behind."""
    if not presences:
        yield "no process serves flags now, or none has said so"
        return
    late = reach_of(presences, revision).late
    serve = f"{counted(len(presences), 'process', 'processes')} {'serves' if len(presences) == 1 else 'serve'} flags"
    if not late:
        yield f"{serve}, the newest revision ({revision})"
        return
    yield f"{serve}, {len(late)} of them not yet the newest revision ({revision})"
    yield from _late(late, now)


def reach_to_json(reach: Reach) -> dict[str, Any]:
    """In JSON's types."""
    late = [{"who": one.who, "revision": one.revision, "said_at": one.said_at} for one in reach.late]
    return {"processes": reach.processes, "reached": reach.processes - len(late), "late": late}
