"""`override` beside a store: it needs none, writes nothing, and loses nothing of what happens there meanwhile."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import pytest

from flaggate import Decision, Gate
from flaggate.errors import StoreError, UnknownFlagError
from flaggate.rollout.state import Verb
from flaggate.runtime.override import overridden
from flaggate.runtime.snapshot import Snapshot
from flaggate.stores.base import Write
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore
from flaggate.testing import override
from tests.runtime.scenes import FLAGS, FRIENDS, UnreliableStore, bring, fork, reap, seen, turn, until
from tests.testing.conftest import OpenGate


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    """A definitions file with `banner`, `half` and `tiered`."""
    path = tmp_path / "flags.toml"
    path.write_text(FLAGS, encoding="utf-8")
    return path


# --- no store -----------------------------------------------------------------------------------


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("place", ["flags.db", "no/such/folder/flags.db", "a-file/flags.db"])
def test_it_needs_no_store_and_makes_none(open_gate: OpenGate, tmp_path: Path, place: str, background: bool) -> None:
    (tmp_path / "a-file").touch()
    gate = open_gate(f"sqlite:///{tmp_path}/{place}", background=background)
    with override({"new-invoicing": True}):
        with gate.visit() as visit:
            assert visit.decide("new-invoicing") == Decision("new-invoicing", True, "override")
        assert gate.is_on("new-invoicing")
        assert gate.health().revision == 0
        gate.refresh()
        assert gate.is_on("new-invoicing")
    assert not gate.is_on("new-invoicing")
    gate.close()
    assert [path.name for path in tmp_path.rglob("*")] == ["a-file"]


def test_it_neither_makes_the_store_that_definitions_would(
    open_gate: OpenGate, definitions: Path, tmp_path: Path
) -> None:
    open_gate(f"sqlite:///{tmp_path}/flags.db", definitions=definitions)
    with override({"banner": True}):
        assert list(tmp_path.iterdir()) == [definitions]


def test_nothing_of_it_is_written_or_counted(open_gate: OpenGate, tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path}/flags.db")
    bring(store)
    gate = open_gate(store)
    gate.refresh()
    before = store.revision(), store.history(), sorted(tmp_path.rglob("*"))
    with override({"banner": True, "half": lambda context: True}):
        with gate.visit() as visit:
            assert visit["banner"]
            assert visit["half"]
        gate.refresh()
        assert not gate.meter.has_counts()
        assert seen(gate) == {}
        with gate.visit() as visit:
            assert visit["banner"]
            assert not visit["tiered"]
    assert seen(gate) == {("tiered", 0, 0, "off"): (1, 0)}, "what the store answers is counted as ever"
    assert (store.revision(), store.history(), sorted(tmp_path.rglob("*"))) == before
    copy = open_gate(UnreliableStore(store), directory=f"{tmp_path}/flags.db.flaggate")
    copy.store.error = StoreError("sqlite:///flags.db", "gone")  # type: ignore[attr-defined]  # of our own store
    assert copy.decide("banner").reason == "off", "the copy on disk has none of it"


# --- a store that changes meanwhile -------------------------------------------------------------


def test_a_keeper_that_pulls_changes_loses_nothing(open_gate: OpenGate, store: MemoryStore) -> None:
    store.poll_seconds = 0.001
    gate = open_gate(store, background=True)
    assert not gate.is_on("banner")
    with override({"banner": True}):
        for verb, name in [(Verb.ON, "tiered"), (Verb.KILL, "banner"), (Verb.ON, "tiered"), (Verb.START, "half")]:
            turn(store, verb, name)
            until(lambda: gate.health().revision == store.revision(), "the change arrives")
            assert gate.decide("banner") == Decision("banner", True, "override")
        assert gate.decide("half").reason == "no_unit", "the others change"
    assert gate.decide("banner") == Decision("banner", False, "killed"), "what arrived meanwhile is there"
    with override({"banner": True, "tiered": True}):
        turn(store, Verb.UNKILL, "banner")
        turn(store, Verb.ON, "banner")
    until(lambda: gate.decide("banner") == Decision("banner", True, "on"), "what was done meanwhile arrives")


def test_it_stands_at_once_and_is_gone_at_once_while_a_keeper_publishes(
    open_gate: OpenGate, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.poll_seconds = 0.0
    gate = open_gate(store, background=True)
    assert not gate.is_on("banner")
    for count in range(200):
        monkeypatch.setenv("FLAGGATE_OFF", f"other-{count}")  # published before the store is asked
        with override({"banner": True}):
            assert gate.is_on("banner")
            assert gate.visit().is_on("banner")
        assert not gate.is_on("banner")
        assert not gate.visit().is_on("banner")


def test_what_is_laid_over_while_a_kill_is_published_stands(
    open_gate: OpenGate, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading what a test has laid over and publishing it."""
    hanging = UnreliableStore(store)
    gate = open_gate(hanging)
    assert not gate.is_on("banner")
    hanging.asked.clear()
    hanging.is_open.clear()
    monkeypatch.setenv("FLAGGATE_OFF", "tiered")
    has_read, is_over = threading.Event(), threading.Event()

    def slow(snapshot: Snapshot) -> Snapshot:
        made = overridden(snapshot)
        if threading.current_thread() is pulling:
            has_read.set()
            is_over.wait(0.2)  # it is not over before this one has published
        return made

    monkeypatch.setattr("flaggate.runtime.gate.overridden", slow)
    pulling = threading.Thread(target=gate.pull)
    pulling.start()
    has_read.wait(30)
    with override({"banner": True}):
        is_over.set()
        until(hanging.asked.is_set, "it is published, and the store hangs")
        assert gate.is_on("banner")
        hanging.is_open.set()
        pulling.join(30)
        assert gate.is_on("banner")


def test_it_does_not_wait_for_a_store_that_hangs(open_gate: OpenGate, store: MemoryStore) -> None:
    hanging = UnreliableStore(store)
    gate = open_gate(hanging, background=True)
    assert not gate.is_on("banner")
    hanging.asked.clear()
    hanging.is_open.clear()
    until(hanging.asked.is_set, "the keeper hangs")
    with override({"banner": True}):
        assert gate.is_on("banner")
    assert not gate.is_on("banner")
    hanging.is_open.set()


def test_without_a_keeper_a_change_is_there_after_a_refresh(open_gate: OpenGate, store: MemoryStore) -> None:
    gate = open_gate(store)
    with override({"banner": True}):
        assert gate.is_on("banner")
        turn(store, Verb.ON, "tiered")
        turn(store, Verb.KILL, "banner")
        gate.refresh()
        assert gate.is_on("banner")
        assert gate.decide("tiered").reason == "no_match"
    assert gate.decide("banner").reason == "killed"


@pytest.mark.parametrize("names", ["banner", "*"])
def test_the_word_of_a_test_stands_before_flaggate_off(
    open_gate: OpenGate, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    monkeypatch.setenv("FLAGGATE_OFF", names)
    gate = open_gate(store)
    with override({"banner": True}):
        assert gate.decide("banner") == Decision("banner", True, "override")
        assert str(gate.explain("banner")) == "override: a test says so; on"
    assert gate.decide("banner") == Decision("banner", False, "killed")


def test_where_no_thread_is_to_be_had_each_question_goes_on_looking(
    open_gate: OpenGate, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    store.poll_seconds = 0.0
    gate = open_gate(store, background=True)
    assert not gate.is_on("banner")
    with override({"tiered": True}):
        assert gate.is_on("tiered")
        turn(store, Verb.ON, "banner")
        assert gate.is_on("banner")
    turn(store, Verb.OFF, "banner")
    assert not gate.is_on("banner")
    assert not gate.is_on("tiered")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a Unix system")
def test_a_forked_child_has_it_and_its_own(open_gate: OpenGate, store: MemoryStore) -> None:
    """As a live server in a process of its own is started by some plugins."""
    gate = open_gate(store, background=True)
    assert not gate.is_on("banner")

    def child() -> None:
        with override({"tiered": True}):
            assert gate.is_on("tiered")
            assert gate.is_on("banner")
            assert gate.health().is_keeper_alive
        assert not gate.is_on("tiered")

    with override({"banner": True}):
        reap(fork(child))
    assert not gate.is_on("tiered")


# --- which flags there are ----------------------------------------------------------------------


def test_by_the_definitions_before_anything_was_applied(open_gate: OpenGate, definitions: Path) -> None:
    gate = open_gate("memory://", definitions=definitions)
    with pytest.raises(UnknownFlagError, match='no flag "baner"; did you mean "banner"'), override({"baner": True}):
        raise AssertionError("it does not begin")
    assert gate.store.revision() == 0, "to look is not to apply"
    with override({"banner": True}):
        assert gate.is_on("banner")
        assert not gate.is_on("half")
    definitions.write_text(FLAGS + FRIENDS, encoding="utf-8")
    with override({"friendly": True}):
        assert gate.is_on("friendly"), "of the file as it is now"


def test_by_the_store_as_it_is_now(open_gate: OpenGate, store: MemoryStore) -> None:
    gate = open_gate(store)
    assert not gate.is_on("banner")
    check_unknown("friendly")
    bring(store, FLAGS + FRIENDS)
    with override({"friendly": True}):
        assert gate.is_on("friendly")
    check_unknown("friends")  # a segment
    assert not gate.is_on("friendly")
    store.commit([Write("flag", "banner", 1, None)], [])
    gate.refresh()
    check_unknown("banner")


def check_unknown(name: str) -> None:
    on = override({name: True})
    with pytest.raises(UnknownFlagError, match=f'there is no flag "{name}"'):
        on.__enter__()


def test_to_look_starts_no_thread_and_leaves_the_first_question_to_the_app(
    open_gate: OpenGate, store: MemoryStore
) -> None:
    lazy, eager = open_gate(store), open_gate(store, background=True)
    with override({"banner": True}):
        assert not eager.health().is_keeper_alive
        turn(store, Verb.ON, "tiered")
    assert lazy.decide("tiered").reason == eager.decide("tiered").reason == "no_match"


def test_by_all_gates_of_the_process(open_gate: OpenGate, store: MemoryStore) -> None:
    other = MemoryStore()
    bring(other, FRIENDS)
    gates = open_gate(store), open_gate(other)
    with override({"banner": True, "friendly": True}):
        assert all(gate.is_on(name) for gate in gates for name in ("banner", "friendly"))
        with pytest.raises(UnknownFlagError):
            gates[0].is_on("friendy")
    with pytest.raises(UnknownFlagError, match='did you mean "friendly"'), override({"friendy": True}):
        raise AssertionError("it does not begin")


@pytest.mark.parametrize("what", ["a store that is not there", "an empty store", "a file with mistakes"])
def test_where_a_gate_cannot_tell_any_name_may_be_one(
    open_gate: OpenGate, store: MemoryStore, tmp_path: Path, what: str
) -> None:
    open_gate(store)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[flags.Banner]", encoding="utf-8")
    if what == "a store that is not there":
        gate = open_gate(f"sqlite:///{tmp_path}/flags.db")
    else:
        gate = open_gate("memory://", definitions=wrong if what == "a file with mistakes" else None)
    with override({"new-invoicing": True}):
        assert gate.is_on("new-invoicing")


def test_gates_that_are_only_waiting_to_be_collected_are_none(store: MemoryStore) -> None:
    def test() -> None:
        app = {"gate": Gate.open(store)}
        app["app"] = app  # type: ignore[assignment]  # as apps have it that know their extensions
        assert not app["gate"].is_on("banner")

    gc.disable()
    try:
        test()
        with override({"new-invoicing": True}):
            assert Gate.open("memory://").is_on("new-invoicing")
    finally:
        gc.enable()
