"""What only the lease's holder writes, by a process that is killed between any two steps: nothing of it or all of it."""

import os
import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from flaggate.rollout.state import Event
from flaggate.stores.base import Count, Lease, Report, Store, UnitCount, Write
from flaggate.stores.sql import SqlStore
from tests.stores.crashing import crashes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks what it kills")

LONG = 86_400.0
SAVED: dict[str, Any] = {"a": {"n": 1}, "b": {"n": 1}, "c": {"n": 1}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two flags with progress and counts, and the lease with `one`."""
    path = tmp_path / "flags.db"
    with closing(SqlStore(f"sqlite:///{path}")) as store:
        store.commit([Write("flag", "a", 0, {"n": 1}), Write("flag", "b", 0, {"n": 1})], [_event("a"), _event("b")])
        store.add_counts(Report("p", 1, (Count("b", 1, 1, "on", 1, 0, {}),)))
        assert store.take_lease("one", "host:1", LONG)
        store.save_progress(SAVED, holder="one")
    return path


def _event(name: str, verb: str = "apply") -> Event:
    return Event(name, verb, "owner@example.com", datetime.now(UTC))


def _everything(store: Store) -> tuple[Any, ...]:
    rows = {row.name: row.document for row in store.changes().rows}
    return store.revision(), rows, [event.verb for event in store.history()], store.counts(), store.progress()


def _holder(store: Store) -> str | None:
    lease = store.lease()
    return None if lease is None else lease.holder


def test_a_crash_while_progress_is_saved(path: Path) -> None:
    """Several documents, one of them removed. Who begins again, saves the same."""
    with closing(SqlStore(f"sqlite:///{path}")) as store:
        before = _everything(store)
    after = (*before[:-1], {"a": {"n": 2}, "c": {"n": 1}, "d": {"n": 2}})

    def save(store: Store) -> None:
        store.save_progress({"a": {"n": 2}, "b": None, "d": {"n": 2}}, holder="one")

    seen = []
    for store in crashes(path, save):
        seen.append((before, after).index(_everything(store)))
        assert _holder(store) == "one"
        save(store)
        assert _everything(store) == after
    _assert_once(seen)


def test_a_crash_during_a_fenced_commit(path: Path) -> None:
    """Rows, events, counts and progress go together, and the lease stays whose it was."""
    with closing(SqlStore(f"sqlite:///{path}")) as store:
        before = _everything(store)
    rows, verbs = {"a": {"n": 2}, "b": None}, ["apply", "apply", "advance", "prune"]
    after: tuple[Any, ...] = (2, rows, verbs, [], {"a": {"n": 1}, "c": {"n": 1}})

    def commit(store: Store) -> None:
        writes = [Write("flag", "a", 1, {"n": 2}), Write("flag", "b", 1, None)]
        store.commit(writes, [_event("a", "advance"), _event("b", "prune")], holder="one")

    seen = []
    for store in crashes(path, commit):
        seen.append((before, after).index(_everything(store)))
        assert _holder(store) == "one"
        if not seen[-1]:
            commit(store)
        assert _everything(store) == after
    _assert_once(seen)


def test_a_crash_while_a_report_is_added(path: Path) -> None:
    """Sums, windows, units and the report's number go together; so what is handed over again is added once."""
    at = 1_800_000_000.0
    first = Report("q", 99, (Count("a", 1, 1, "on", 1, 0, {"10": 1}),), (_unit(1, "errors"), _unit(1, "requests")))
    with closing(SqlStore(f"sqlite:///{path}", clock=lambda: at - 9 * 86_400.0)) as store:
        store.add_counts(first)
        before = _counted(store)
    counts = Count("a", 1, 1, "on", 2, 1, {"10": 2}, {"paid": 1}), Count("a", 1, 2, "off", 1, 0, {"inf": 1})
    units = _unit(1, "errors", bad=2), _unit(2, "errors"), _unit(2, "requests"), _unit(1, "requests")
    second = Report("q", 100, counts, units)  # the hundredth: what is over is forgotten, too

    def add(store: SqlStore) -> None:
        store._clock = lambda: at
        store.add_counts(second)

    prepared, seen = path.with_name("prepared.db"), []
    shutil.copy(path, prepared)
    with closing(SqlStore(f"sqlite:///{path}")) as store:
        add(store)
        after = _counted(store)
    assert (len(before[1]), len(after[1]), after[3] - before[3]) == (1, 2, 1)
    for store in crashes(prepared, lambda store: add(cast("SqlStore", store))):
        seen.append((before, after).index(_counted(store)))
        add(store)
        assert _counted(store) == after
    _assert_once(seen)


def _unit(number: int, metric: str, *, bad: int = 1) -> UnitCount:
    return UnitCount("a", 1, 1, "treatment", metric, f"{number:016x}", bad)


def _counted(store: Store) -> tuple[Any, ...]:
    return store.counts(), store.windows("a", 0), store.units("a", 1, 1), store.pulse()


def test_a_crash_while_the_lease_is_taken(tmp_path: Path) -> None:
    """After another's was over: it is nobody's or taken, and never lost for the others."""
    path = tmp_path / "flags.db"
    with closing(SqlStore(f"sqlite:///{path}", clock=lambda: 0.0)) as store:
        assert store.take_lease("old", "host:1", LONG)
    seen = []
    for store in crashes(path, lambda store: store.take_lease("one", "host:1", LONG)):
        lease = store.lease()
        seen.append(lease is not None)
        assert lease is None or lease == Lease("one", "host:1", lease.renewed_at, LONG)
        assert store.take_lease("two", "host:2", LONG) is (lease is None)
    _assert_once([int(is_taken) for is_taken in seen])


def _assert_once(seen: list[int]) -> None:
    """Not done, up to some statement, and done from then on."""
    assert seen == sorted(seen)
    assert set(seen) == {0, 1}
    assert seen.count(0) > 5
