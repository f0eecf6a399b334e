"""What the store says: whether it answers, what it holds, who looks, and which processes are there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from flaggate import __version__
from flaggate.cli.doctor.finding import Finding, ok, warning, wrong
from flaggate.cli.options import program
from flaggate.cli.render import local_time
from flaggate.errors import BusyError, StoreError
from flaggate.flags.words import counted
from flaggate.rollout.event_words import event_words
from flaggate.rollout.tick import is_looked_at
from flaggate.runtime.kept_notices import kept_from_json, notices_words
from flaggate.runtime.lease_words import looks_words, tells
from flaggate.runtime.overview import Overview, overview
from flaggate.runtime.reach import reach_of, serving_words
from flaggate.runtime.snapshot import Snapshot
from flaggate.runtime.ticker import NOTICES
from flaggate.stores.base import PRESENCE_SPANS, Lease, Presence, Store

__all__ = ["BUSY_SECONDS", "clocks", "of_store"]

BUSY_SECONDS: Final = 2.0
"""For so long a store is asked again that is busy with other writers."""
_SLOW_SECONDS: Final = 0.25
_SKEW_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.05

_Answer = TypeVar("_Answer")


def of_store(store: Store, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """All of it; nothing more once it does not answer."""
    try:
        yield from _answers(store)
        seen = _patient(lambda: overview(store, datetime.now(UTC)))
        yield _flags(store)
        yield _last_event(store)
        yield _who_looks(seen)
        yield _processes(seen)
        yield clocks(seen.presences, seen.lease, now())
        yield _notices(seen)
    except BusyError as error:
        yield warning("store", f"{error}", "somebody writes all the time: look again, and if it stays so, who that is")
    except StoreError as error:
        yield wrong(
            "store", f"{error}", "the processes go on by what they know; docs/operations.md, When the store is gone"
        )


def _patient(ask: Callable[[], _Answer]) -> _Answer:
    """What was asked; again while other writers keep it from us, for two seconds. Raises StoreError."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return ask()
        except BusyError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_PAUSE_SECONDS)


def _answers(store: Store) -> Iterator[Finding]:
    """Whether it answers, and how fast, opened and open."""
    begun = time.perf_counter()
    revision = _patient(store.revision)
    opened = time.perf_counter()
    _patient(store.revision)
    seconds = time.perf_counter() - opened
    words = f"{store.url} answers in {seconds * 1000:.1f} ms, {(opened - begun) * 1000:.1f} ms with opening it"
    todo = "a kill takes as much longer: is it far away, or busy?"
    yield ok("store", words) if seconds < _SLOW_SECONDS else warning("store", words, todo)
    yield ok("schema", f"one that flaggate {__version__} reads and writes")
    if revision:
        yield ok("revision", f"{revision}")
    else:
        yield warning("revision", "0: nothing was ever written", f"{program()} apply flags.toml brings flags in")


def _flags(store: Store) -> Finding:
    snapshot = Snapshot().updated(_patient(store.changes))
    problems = snapshot.problems
    words = counted(len(snapshot.entries), "flag")
    if not problems:
        return ok("flags", words)
    what = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    return wrong("flags", f"{words}, of which cannot be read, and are off: {what}", "apply their definitions anew")


def _last_event(store: Store) -> Finding:
    events = _patient(lambda: store.history(limit=1))
    if not events:
        return ok("last event", "none yet")
    return ok("last event", f"{events[0].name}: {event_words(events[0], local_time)}")


def _who_looks(seen: Overview) -> Finding:
    running = [each for each in seen.standings() if is_looked_at(each.rollout)]
    if seen.lease is None and not running:
        return ok("looks", "nobody, and there is nothing to look at: no rollout is running, paused or watching")
    looked = max(filter(None, (each.progress.looked_at for each in running)), default=None)
    words = looks_words(seen.lease, looked, local_time, program())
    if seen.lease is None:
        names = ", ".join(each.flag.name for each in running)
        return wrong("looks", f"{words}; no guard is judged of {names}", f"start the app, or {program()} run")
    return ok("looks", words)


def _processes(seen: Overview) -> Finding:
    words = "; ".join(serving_words(seen.presences, seen.revision, seen.now.timestamp()))
    if not seen.presences:
        return warning("processes", words, "of an app that runs: which store does it open?")
    if reach_of(seen.presences, seen.revision).late:
        todo = "if it stays so: its own log, its connection to the store; restart it"
        return warning("processes", words, todo)
    return ok("processes", words)


def clocks(presences: Sequence[Presence], lease: Lease | None, now: float) -> Finding:
    """How far the store's clock may be from this machine's, by when processes were last heard.

    Args:
        now: Unix time, by this machine's clock.
    """
    heard = [(presence.said_at, PRESENCE_SPANS * presence.every_seconds) for presence in presences]
    heard += [] if lease is None else [(lease.renewed_at, lease.seconds)]
    if not heard:
        return ok("clocks", "nothing to compare: no process is there")
    # By the store's clock each was heard between now and its span ago: so the difference is within these bounds.
    most = min(now - said_at for said_at, _ in heard)
    least = max(now - said_at - span for said_at, span in heard)
    if most < -_SKEW_SECONDS:
        words = f"this machine's is at least {-most:.0f} s behind the store's"
    elif least > _SKEW_SECONDS:
        words = f"this machine's is at least {least:.0f} s ahead of the store's"
    else:
        return ok("clocks", "this machine's and the store's agree, as far as can be told")
    return warning("clocks", words, "run an NTP client on both: a lease and soaks are measured by them")


def _notices(seen: Overview) -> Finding:
    written = seen.kept.get(NOTICES)
    words = "; ".join(notices_words(written, seen.newest, is_told=tells(seen.lease)))
    kept = kept_from_json(written)
    if kept is not None and any(pending.why for pending in kept.pending.values()):
        return warning("notices", words, "does the service answer? the addresses are in the notify file")
    return ok("notices", words)
