"""A process that is killed between any two steps leaves a state and events that agree."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flaggate.flags.document import parse
from flaggate.rollout.state import Event, Verb
from flaggate.stores.base import Changes, Count, Report, Store
from flaggate.stores.record import read_flag
from flaggate.stores.sql import SqlStore
from flaggate.stores.tables import SCHEMA_VERSION
from tests.runtime.control_plans import BANNER, CHECKOUT, OWNER, VIP, act, apply, control_of, everything
from tests.runtime.race_agreement import assert_state_and_events_agree
from tests.stores import version_1
from tests.stores.crashing import crashes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks what it kills")


def _prepare(path: Path, *verbs: Verb) -> tuple[Changes, list[Event]]:
    store = SqlStore(f"sqlite:///{path}")
    apply(store, CHECKOUT + BANNER + VIP)
    for verb in verbs:
        act(store, verb)
    before = everything(store)
    store.close()
    return before


def test_a_crash_during_an_act(tmp_path: Path) -> None:
    """Nothing of it or all of it; and it can be done again, or the next thing."""
    path = tmp_path / "flags.db"
    before = _prepare(path, Verb.START)
    seen = []
    for store in crashes(path, lambda store: act(store, Verb.KILL)):
        is_done = read_flag(store, "checkout").rollout.killed
        seen.append(is_done)
        assert_state_and_events_agree(store)
        if is_done:
            assert store.revision() == before[0].revision + 1
            assert [one.verb for one in store.history()[len(before[1]) :]] == ["kill"]
        else:
            assert everything(store) == before
        assert act(store, Verb.UNKILL if is_done else Verb.KILL).event is not None
        assert_state_and_events_agree(store)
    assert seen == [False] * (len(seen) - 1) + [True]
    assert len(seen) > 5


@pytest.mark.long
def test_a_crash_during_an_apply(tmp_path: Path) -> None:
    """Of several flags, a segment, a removal and the fingerprint: nothing or all."""
    path = tmp_path / "flags.db"
    before = _prepare(path)
    definitions = parse(
        CHECKOUT.replace("500", "800") + CHECKOUT.replace("checkout", "search") + VIP.replace('"vip"', '"gold"')
    )

    def apply_all(store: Store) -> object:
        return control_of(store).apply(definitions, actor=OWNER, fingerprint="new", prune=True)

    seen = []
    for store in crashes(path, apply_all):
        is_done = control_of(store).applied_fingerprint() == "new"
        seen.append(is_done)
        assert_state_and_events_agree(store)
        if is_done:
            assert store.revision() == before[0].revision + 1
            came = [(one.name, one.verb) for one in store.history()[len(before[1]) :]]
            assert came == [("vip", "apply"), ("checkout", "apply"), ("search", "apply"), ("banner", "prune")]
        else:
            assert everything(store) == before
        control_of(store).apply(definitions, actor=OWNER, fingerprint="new", prune=True)
        assert store.revision() == before[0].revision + 1
        assert_state_and_events_agree(store)
    assert seen == [False] * (len(seen) - 1) + [True]
    assert len(seen) > 10


@pytest.mark.long
def test_a_crash_while_the_file_is_made(tmp_path: Path) -> None:
    """Whoever comes next makes what is missing."""
    seen = []
    for store in crashes(tmp_path / "flags.db", lambda store: apply(store, BANNER)):
        seen.append(store.revision())
        assert_state_and_events_agree(store)
        apply(store, BANNER)
        assert store.revision() == 1
        assert_state_and_events_agree(store)
    assert seen == [0] * (len(seen) - 1) + [1]
    assert len(seen) > 10


def test_a_crash_while_counts_are_added(tmp_path: Path) -> None:
    """All of a report or nothing of it; and repeated, as by a process that was not told, it is there once."""
    path = tmp_path / "flags.db"
    before = _prepare(path)
    first = (Count("checkout", 1, 1, "on", 1, 0, {"10": 1}), Count("checkout", 1, 1, "off", 2, 1, {"10": 2}))
    second = (*first, Count("banner", 0, 0, "on", 3, 0, {"inf": 3}))
    with closing(SqlStore(f"sqlite:///{path}")) as store:
        store.add_counts(Report("p", 1, first))
        counts = [store.counts()]
    shutil.copy(path, tmp_path / "done.db")
    with closing(SqlStore(f"sqlite:///{tmp_path}/done.db")) as done:
        done.add_counts(Report("p", 2, second))
        counts.append(done.counts())
    seen = []
    for store in crashes(path, lambda store: store.add_counts(Report("p", 2, second))):
        seen.append(counts.index(store.counts()))
        assert everything(store) == before
        for sequence in (2, 1):
            store.add_counts(Report("p", sequence, second))
            assert store.counts() == counts[1]
    assert seen == sorted(seen)
    assert seen.count(1) == 1
    assert len(seen) > 8


def test_a_crash_while_an_older_file_gets_its_counts(tmp_path: Path) -> None:
    """Whoever comes next makes what is missing, and nothing is lost."""
    path = tmp_path / "flags.db"
    version_1.make(path)
    seen = []
    for store in crashes(path, lambda store: store.counts()):
        with closing(sqlite3.connect(store.url.removeprefix("sqlite:///"))) as raw:
            tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            seen.append((raw.execute("SELECT schema_version FROM flaggate_meta").fetchone()[0], len(tables)))
        assert store.counts() == []
        assert [(row.name, row.version) for row in store.changes().rows] == [("a", 3), ("gone", 2)]
    assert set(seen) == {(1, 3), (SCHEMA_VERSION, 11)}
    assert seen == sorted(seen)
    assert len(seen) > 5
