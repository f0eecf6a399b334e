"""Counts on their way to the store: each arrives exactly once, whatever fails in between."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from itertools import pairwise

import pytest

from flaggate import Context, Gate
from flaggate.errors import BusyError, StoreError
from flaggate.rollout.state import Verb
from flaggate.runtime import duties as duties_module
from flaggate.runtime.snapshot import Snapshot
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore
from tests.runtime.conftest import OpenGate
from tests.runtime.scenes import UnreliableStore, bring, seen, turn, until

ON = ("banner", 0, 0, "on")
ADA = Context("ada")


@pytest.fixture
def unreliable() -> UnreliableStore:
    store = MemoryStore()
    bring(store)
    turn(store, Verb.ON, "banner")
    return UnreliableStore(store)


@pytest.fixture
def gate(open_gate: OpenGate, unreliable: UnreliableStore) -> Gate:
    made = open_gate(unreliable)
    made.refresh()
    return made


def ask(gate: Gate, times: int = 1) -> None:
    for _ in range(times):
        with gate.visit(ADA) as visit:
            visit.is_on("banner")


def test_what_waits_to_be_written_keeps_no_snapshot(gate: Gate, unreliable: UnreliableStore) -> None:
    unreliable.error = StoreError(unreliable.url, "gone")
    rows = []
    for verb in (Verb.OFF, Verb.ON) * 3:
        turn(unreliable.inner, verb, "banner")
        unreliable.error = None
        gate.pull()
        unreliable.error = StoreError(unreliable.url, "gone")
        rows.append(gate.begun().entries["banner"])
        ask(gate)
        gate.flush()
    gc.collect()  # cycles of what is gone already
    snapshots = [known for known in gc.get_objects() if type(known) is Snapshot]  # isinstance asks lazy objects
    of_here = [known for known in snapshots if any(known.entries.get("banner") is row for row in rows)]
    assert len(of_here) <= 2, "of the six: the last one, and one that is being replaced"
    unreliable.error = None
    assert seen(gate) == {ON: (3, 0), ("banner", 0, 0, "off"): (3, 0)}


# --- a store that fails ---------------------------------------------------------------------


def test_what_the_store_did_not_take_is_handed_over_again(gate: Gate, unreliable: UnreliableStore) -> None:
    ask(gate, 2)
    unreliable.error = StoreError(unreliable.url, "the disk is full")
    for _ in range(3):
        gate.flush()
        ask(gate)
    unreliable.error = None
    assert seen(gate) == {ON: (5, 0)}
    gate.flush()
    assert seen(gate) == {ON: (5, 0)}


def test_what_was_taken_but_not_confirmed_is_there_once(gate: Gate, unreliable: UnreliableStore) -> None:
    def lose_the_answer() -> None:
        raise StoreError(unreliable.url, "the connection was lost")

    ask(gate, 2)
    unreliable.after_counts = lose_the_answer
    gate.flush()
    assert [count.requests for count in unreliable.inner.counts()] == [2]
    ask(gate, 3)
    assert seen(gate) == {ON: (5, 0)}
    assert len({report.process for report in unreliable.reports}) == 1
    assert unreliable.reports[0] == unreliable.reports[1], "the same again, under the same number"
    assert [report.sequence for report in unreliable.reports] == [1, 1, 2]


def test_a_long_outage_loses_nothing_and_does_not_pile_up(gate: Gate, unreliable: UnreliableStore) -> None:
    unreliable.error = StoreError(unreliable.url, "gone")
    for _ in range(500):
        ask(gate, 2)
        gate.flush()
    unreliable.error = None
    assert seen(gate) == {ON: (1000, 0)}
    distinct = {report.sequence: report for report in unreliable.reports}
    assert sorted(distinct) == [1, 2], "what was tried first, and all that came since"
    assert [len(report.counts) for report in distinct.values()] == [1, 1]


def test_flags_that_move_while_counts_cannot_be_written(gate: Gate, unreliable: UnreliableStore) -> None:
    def no_room(*_: object) -> None:
        raise StoreError(unreliable.url, "the disk is full")

    for _ in range(3):
        unreliable.after_counts = no_room
        ask(gate)
        gate.flush()
        for verb in (Verb.KILL, Verb.UNKILL):
            turn(unreliable, verb, "banner")
            gate.pull()
            ask(gate)
    assert seen(gate) == {ON: (6, 0), ("banner", 0, 0, "off"): (3, 0)}


def test_health_says_that_counts_wait(
    gate: Gate, unreliable: UnreliableStore, caplog: pytest.LogCaptureFixture
) -> None:
    assert gate.health().problem is None
    ask(gate)
    unreliable.error = StoreError(unreliable.url, "the disk is full")
    for _ in range(3):
        gate.flush()
    words = "counts wait to be written: memory://: the disk is full"
    assert gate.health().problem == words
    assert caplog.messages == [words], "said once"
    unreliable.error = None
    gate.flush()
    assert gate.health().problem is None


def test_a_flush_that_others_keep_waiting_comes_back_less_often_until_it_got_through(
    gate: Gate, unreliable: UnreliableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("flaggate.runtime.duties.monotonic", lambda: clock[0])
    ask(gate)
    gate.flush()

    def seconds_between(rounds: int) -> list[float]:
        """Of the flushes of a keeper that comes by eight times a second."""
        found, handed_over = [clock[0]], len(unreliable.reports)
        while len(found) <= rounds:
            clock[0] += 0.125
            gate.keep()
            if len(unreliable.reports) > handed_over:
                found.append(clock[0])
                handed_over = len(unreliable.reports)
        return [end - start for start, end in pairwise(found)]

    ask(gate)
    unreliable.error = BusyError(unreliable.url, "database is locked")
    waited = seconds_between(9)
    assert waited[:3] == [2.0, 3.0, 4.5]
    assert waited[-2:] == [30.0, 30.0]
    unreliable.error = None
    seconds_between(1)
    ask(gate)
    assert seconds_between(1) == [2.0]


def test_a_busy_machine_is_not_news_until_the_counts_have_waited_for_long(
    gate: Gate, unreliable: UnreliableStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("flaggate.runtime.duties.monotonic", lambda: clock[0])
    ask(gate)
    unreliable.error = BusyError(unreliable.url, "database is locked")
    for clock[0] in (1000.0, 1002.0, 1059.9):
        gate.flush()
        assert (gate.health().problem, caplog.messages) == (None, [])
    clock[0] = 1060.0
    gate.flush()
    words = "counts wait to be written: memory://: database is locked"
    assert (gate.health().problem, caplog.messages) == (words, [words])
    unreliable.error, clock[0] = None, 1062.0
    gate.flush()
    assert gate.health().problem is None
    ask(gate)
    unreliable.error = BusyError(unreliable.url, "database is locked")
    gate.flush()
    assert gate.health().problem is None, "another wait begins"
    unreliable.error = None
    assert seen(gate) == {ON: (2, 0)}


def test_a_driver_that_raises_its_own_is_no_different(gate: Gate, unreliable: UnreliableStore) -> None:
    ask(gate)
    unreliable.error = RuntimeError("a driver's own")
    gate.flush()
    assert gate.health().problem == "counts wait to be written: a driver's own"
    unreliable.error = None
    assert seen(gate) == {ON: (1, 0)}


def test_a_store_that_hangs_keeps_nobody_else_waiting_for_long(gate: Gate, unreliable: UnreliableStore) -> None:
    ask(gate)
    unreliable.asked.clear()
    unreliable.is_open.clear()
    slow = threading.Thread(target=gate.flush)
    slow.start()
    assert unreliable.asked.wait(30)
    ask(gate)
    gate.flush()  # or this would wait for ever
    assert len(unreliable.reports) == 1
    unreliable.is_open.set()
    slow.join(30)
    assert seen(gate) == {ON: (2, 0)}


# --- when -----------------------------------------------------------------------------------


def test_the_keeper_hands_over(
    open_gate: OpenGate, unreliable: UnreliableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties_module, "FLUSH_SECONDS", 0.05)
    gate = open_gate(unreliable, background=True)
    for times in (1, 2):
        ask(gate)
        until(lambda expected=times: [count.requests for count in unreliable.counts()] == [expected], "it arrives")  # type: ignore[misc]  # bound now


def test_it_does_so_at_intervals_and_not_in_every_round(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duties_module, "FLUSH_SECONDS", 3600.0)
    ask(gate)
    gate.keep()
    assert gate.store.counts() == []
    monkeypatch.setattr(duties_module, "FLUSH_SECONDS", 0.0)
    gate.keep()
    assert len(gate.store.counts()) == 1


def test_the_interval_is_two_seconds() -> None:
    assert duties_module.FLUSH_SECONDS == 2.0


def test_who_has_nothing_to_say_says_nothing(gate: Gate, unreliable: UnreliableStore) -> None:
    gate.flush()
    with gate.visit(ADA):
        gate.is_on("nowhere")
    gate.flush()
    ask(gate)
    gate.flush()
    gate.flush()
    assert len(unreliable.reports) == 1


def test_a_refresh_hands_over(gate: Gate) -> None:
    ask(gate)
    gate.refresh()
    assert len(gate.store.counts()) == 1


def test_closing_hands_over(gate: Gate) -> None:
    ask(gate)
    gate.close()
    assert len(gate.store.counts()) == 1


def test_what_is_counted_after_closing_is_handed_over_too(gate: Gate) -> None:
    """By requests that were still on their way."""
    gate.close()
    ask(gate)
    gate.close()
    assert len(gate.store.counts()) == 1


def test_what_else_wants_to_be_looked_at_is_called_in_every_round(gate: Gate) -> None:
    rounds: list[int] = []
    gate.upkeep(lambda: rounds.append(len(rounds)))
    gate.keep()
    gate.refresh()
    assert rounds == [0, 1]


# --- threads --------------------------------------------------------------------------------


def test_visits_of_many_threads_are_counted_exactly(open_gate: OpenGate, store: SqlStore) -> None:
    """While they are handed over, and flags move."""
    bring(store)
    turn(store, Verb.START, "half")
    gate = open_gate(store, background=True)
    expected: Counter[tuple[str, bool]] = Counter()
    is_over = threading.Event()

    def requests(thread: int) -> None:
        asked: Counter[tuple[str, bool]] = Counter()
        for number in range(400):
            is_error = number % 7 == 0
            try:
                with gate.visit(Context(f"{thread}-{number}")) as visit:
                    for name in ("half", "banner")[: 1 + number % 2]:
                        visit.is_on(name)
                        asked[name, is_error] += 1
                    if is_error:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                continue
        with lock:
            expected.update(asked)

    def interfere() -> None:
        while not is_over.is_set():
            for verb in (Verb.KILL, Verb.UNKILL):
                turn(store, verb, "banner")
                gate.flush()

    lock = threading.Lock()
    threads = [threading.Thread(target=requests, args=(thread,)) for thread in range(4)]
    interfering = threading.Thread(target=interfere)
    for thread in (*threads, interfering):
        thread.start()
    for thread in threads:
        thread.join(60)
    is_over.set()
    interfering.join(60)
    found: Counter[tuple[str, bool]] = Counter()
    arms: Counter[bool] = Counter()
    gate.flush()
    for count in store.counts():
        assert sum(count.histogram.values()) == count.requests
        if count.arm in ("on", "off"):
            found[count.flag, True] += count.errors
            found[count.flag, False] += count.requests - count.errors
        arms[count.arm in ("on", "treatment")] += count.requests if count.flag == "half" else 0
    assert found == expected
    assert found["half", True] + found["half", False] == 1600
    assert arms[True] + arms[False] == 3200, "each has an arm"
