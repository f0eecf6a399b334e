"""The definitions file of a gate: applied when it changes, and not fought over. Each `refresh` is one poll."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flaggate import Context, Gate
from flaggate.errors import DocumentError, StoreError
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.definitions import load
from flaggate.stores.record import read_flag
from flaggate.stores.sql import SqlStore
from tests.runtime.conftest import OpenGate
from tests.runtime.scenes import FLAGS, OWNER, UnreliableStore, control_of, put, turn, until

ADA, BOB = Context("ada"), Context("bob")
OTHER = FLAGS.replace('description = "A switch"', 'description = "Another text"')


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flags.toml"
    path.write_text(FLAGS)
    return path


def description(store: SqlStore, name: str = "banner") -> str | None:
    row = store.get("flag", name)
    return None if row is None or row.document is None else str(row.document["flag"]["description"])


def polls(gate: Gate, times: int = 2) -> None:
    for _ in range(times):
        gate.refresh()


def test_it_is_applied_at_the_start(store: SqlStore, open_gate: OpenGate, file: Path) -> None:
    gate = open_gate(store, definitions=file)
    assert gate.decide("banner", ADA).reason == "off"
    assert set(gate.decisions()) == {"banner", "half", "tiered"}
    (event,) = store.history("banner")
    assert (event.verb, event.actor) == ("apply", "file flags.toml")


def test_it_is_json_by_its_name(store: SqlStore, open_gate: OpenGate, tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text('{"flags": {"banner": {"description": "A switch", "owner": "owner@example.com"}}}')
    assert open_gate(store, definitions=path).decide("banner", ADA).reason == "off"


def test_it_is_applied_when_it_changes(store: SqlStore, open_gate: OpenGate, file: Path) -> None:
    gate = open_gate(store, definitions=file)
    gate.refresh()
    file.write_text(OTHER)
    polls(gate)
    assert description(store) == "Another text"
    polls(gate, 3)
    assert len(store.history("banner")) == 2


def test_a_restart_does_not_apply_it_again(store: SqlStore, open_gate: OpenGate, file: Path) -> None:
    open_gate(store, definitions=file).refresh()
    revision = store.revision()
    polls(open_gate(store, definitions=file))
    assert store.revision() == revision


def test_a_keeper_applies_it(store: SqlStore, open_gate: OpenGate, file: Path) -> None:
    gate = open_gate(store, background=True, definitions=file)
    assert not gate.is_on("banner", ADA)
    turn(store, Verb.ON, "banner")
    file.write_text(OTHER)
    until(lambda: description(store) == "Another text", "the file is applied")
    until(lambda: gate.is_on("banner", ADA), "the switch is on")


def test_the_same_reader_serves_a_terminal(file: Path, tmp_path: Path) -> None:
    loaded = load(file)
    assert set(loaded.definitions.flags) == {"banner", "half", "tiered"}
    copy = tmp_path / "a copy.toml"
    copy.write_text("\ufeff" + FLAGS, encoding="utf-8")
    assert load(copy).fingerprint == loaded.fingerprint, "by what it says, not by where it lies"
    copy.write_text(OTHER)
    assert load(copy).fingerprint != loaded.fingerprint
    with pytest.raises(DocumentError, match="it cannot be read"):
        load(tmp_path / "not there.toml")


def test_a_config_map_is_swapped(store: SqlStore, open_gate: OpenGate, tmp_path: Path) -> None:
    """Kubernetes: flags.toml -> ..data/flags.toml, and ..data -> a directory, by a rename of the symlink."""
    mount = tmp_path / "mount"
    for name, text in (("..one", FLAGS), ("..two", OTHER)):
        (mount / name).mkdir(parents=True)
        (mount / name / "flags.toml").write_text(text)
    (mount / "..data").symlink_to("..one")
    (mount / "flags.toml").symlink_to("..data/flags.toml")
    gate = open_gate(store, definitions=mount / "flags.toml")
    gate.refresh()
    assert description(store) == "A switch"
    (mount / "..data_tmp").symlink_to("..two")
    os.replace(mount / "..data_tmp", mount / "..data")
    polls(gate)
    assert description(store) == "Another text"


def test_a_members_file_changes(store: SqlStore, open_gate: OpenGate, tmp_path: Path) -> None:
    members, file = tmp_path / "friends.txt", tmp_path / "flags.toml"
    members.write_text("ada\n")
    file.write_text("""
[segments.friends]
unit = "user"
members_file = "friends.txt"
[flags.friendly]
description = "A switch for our friends"
owner = "owner@example.com"
audience = { segment = "friends" }
""")
    gate = open_gate(store, definitions=file)
    gate.refresh()
    turn(store, Verb.ON, "friendly")
    gate.refresh()
    assert [gate.is_on("friendly", who) for who in (ADA, BOB)] == [True, False]
    members.write_text("ada\nbob\n")
    polls(gate)
    assert [gate.is_on("friendly", who) for who in (ADA, BOB)] == [True, True]
    members.unlink()
    polls(gate)
    assert gate.is_on("friendly", BOB)
    assert '"friends.txt" cannot be read' in str(gate.health().problem)
    members.write_text("bob\n")
    polls(gate)
    assert [gate.is_on("friendly", who) for who in (ADA, BOB)] == [False, True]
    assert gate.health().problem is None


def test_a_file_being_written_is_left_alone_until_it_stands_still(
    store: SqlStore, open_gate: OpenGate, file: Path
) -> None:
    gate = open_gate(store, definitions=file)
    gate.refresh()
    for end in range(40, len(OTHER), 200):  # some of these are whole files with fewer flags
        file.write_text(OTHER[:end])
        gate.refresh()
        assert gate.health().problem is None
        assert len(store.history()) == 3
    file.write_text(OTHER)
    polls(gate)
    assert description(store) == "Another text"
    assert len(store.history()) == 4


def test_a_file_with_mistakes_applies_nothing_and_says_every_one(
    store: SqlStore, open_gate: OpenGate, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = open_gate(store, definitions=file)
    gate.refresh()
    file.write_text(OTHER.replace("share = 50", "share = 500").replace('tier = ["pro", "team"]', "tier = 3"))
    polls(gate, 4)
    problem = str(gate.health().problem)
    assert "flags.half.stages.some.share" in problem
    assert "flags.tiered.audience.tier" in problem
    assert caplog.messages == [problem]
    assert description(store) == "A switch"
    file.write_text(OTHER)
    polls(gate)
    assert description(store) == "Another text"
    assert gate.health().problem is None


def test_a_file_that_is_put_back_is_no_problem_any_more(store: SqlStore, open_gate: OpenGate, file: Path) -> None:
    gate = open_gate(store, definitions=file)
    gate.refresh()
    file.write_text("[flags")
    polls(gate)
    assert gate.health().problem is not None
    file.write_text(FLAGS)
    polls(gate)
    assert gate.health().problem is None
    assert len(store.history("banner")) == 1


def test_a_file_with_mistakes_at_the_start(store: SqlStore, open_gate: OpenGate, file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    gate = open_gate(store, definitions=file)
    assert gate.decisions() == {}
    assert "it cannot be read" in str(gate.health().problem)
    file.write_text(FLAGS)
    polls(gate)
    assert set(gate.decisions()) == {"banner", "half", "tiered"}


REFUSED = OTHER.replace("share = 50", "share = 60")


def test_a_refused_revision_is_said_and_taken_when_mended(
    store: SqlStore, open_gate: OpenGate, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = open_gate(store, definitions=file)
    gate.refresh()
    turn(store, Verb.START, "half")
    file.write_text(REFUSED)
    polls(gate, 4)
    problem = str(gate.health().problem)
    assert problem.startswith(f"{file} is not taken: half is running at stage 1 (some)")
    assert caplog.messages == [problem]
    assert description(store) == "A switch", "all or nothing"
    file.write_text(OTHER)
    polls(gate)
    assert description(store) == "Another text"
    assert gate.health().problem is None


def test_a_refused_revision_is_taken_once_what_stood_in_its_way_was_done(
    store: SqlStore, open_gate: OpenGate, file: Path
) -> None:
    gate = open_gate(store, definitions=file)
    gate.refresh()
    turn(store, Verb.START, "half")
    file.write_text(REFUSED)
    polls(gate)
    assert "roll back first" in str(gate.health().problem)
    turn(store, Verb.ON, "tiered")
    polls(gate)
    assert "roll back first" in str(gate.health().problem)
    turn(store, Verb.ROLLBACK, "half")
    polls(gate)
    assert gate.health().problem is None
    assert description(store) == "Another text"


def test_two_gates_with_one_file_apply_it_once(
    store: SqlStore, open_gate: OpenGate, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The other one comes between this one's look and its write."""
    faster = open_gate(SqlStore(store.url), definitions=file)
    unreliable = UnreliableStore(store)
    unreliable.before_commit = faster.refresh
    slower = open_gate(unreliable, definitions=file)
    slower.refresh()
    assert unreliable.before_commit is None, "they did meet"
    polls(slower)
    assert [len(store.history(name)) for name in ("banner", "half", "tiered")] == [1, 1, 1]
    assert slower.health().problem is faster.health().problem is None
    file.write_text(OTHER)
    for gate in (slower, faster) * 3:
        gate.refresh()
    assert len(store.history("banner")) == 2
    assert slower.decisions() == faster.decisions()
    assert caplog.messages == []


def test_what_somebody_else_applied_meanwhile_stays(store: SqlStore, open_gate: OpenGate, file: Path) -> None:
    gate = open_gate(store, definitions=file)
    gate.refresh()
    control_of(store).apply(parse(OTHER), actor=OWNER, fingerprint="of another file")
    polls(gate, 4)
    assert description(store) == "Another text"
    assert len(store.history("banner")) == 2


def test_a_missing_file_is_said_once_and_taken_when_it_comes(
    store: SqlStore, open_gate: OpenGate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later.toml"
    gate = open_gate(store, definitions=path)
    polls(gate, 3)
    (message,) = caplog.messages
    assert message.startswith(f"{path}: it cannot be read (")
    assert gate.health().problem == message
    path.write_text(FLAGS)
    polls(gate)
    assert gate.decide("banner", ADA).reason == "off"
    assert gate.health().problem is None


def test_a_file_that_goes_away_changes_nothing(store: SqlStore, open_gate: OpenGate, file: Path) -> None:
    gate = open_gate(store, definitions=file)
    gate.refresh()
    file.unlink()
    polls(gate, 3)
    assert "it cannot be read" in str(gate.health().problem)
    assert set(gate.decisions()) == {"banner", "half", "tiered"}
    assert len(store.history("banner")) == 1


def test_it_is_applied_once_the_store_is_back(store: SqlStore, open_gate: OpenGate, file: Path) -> None:
    unreliable = UnreliableStore(store)
    unreliable.error = StoreError(store.url, "gone")
    gate = open_gate(unreliable, definitions=file)
    assert gate.decisions() == {}
    unreliable.error = None
    gate.refresh()
    assert gate.decide("banner", ADA).reason == "off"
    file.write_text(OTHER)
    gate.refresh()
    unreliable.error = StoreError(store.url, "gone again")
    polls(gate)
    unreliable.error = None
    polls(gate)
    assert description(store) == "Another text"


def test_a_store_that_takes_no_writes_is_read_all_the_same(store: SqlStore, open_gate: OpenGate, file: Path) -> None:
    """A full disk, a read-only database: what others decide still arrives."""
    unreliable = UnreliableStore(store)
    gate = open_gate(unreliable, definitions=file)
    gate.refresh()

    def refuse() -> None:
        unreliable.before_commit = refuse
        raise StoreError(store.url, "it is read-only")

    unreliable.before_commit = refuse
    file.write_text(OTHER)
    polls(gate)
    assert gate.health().problem == f"{store.url}: it is read-only"
    turn(store, Verb.ON, "banner")
    gate.refresh()
    assert gate.is_on("banner", ADA)
    unreliable.before_commit = None
    polls(gate)
    assert description(store) == "Another text"


def test_a_stored_flag_that_nobody_can_read_stops_the_file_only(
    store: SqlStore, open_gate: OpenGate, file: Path
) -> None:
    gate = open_gate(store, definitions=file)
    gate.refresh()
    put(store, "flag", "broken", {})
    turn(store, Verb.ON, "banner")
    file.write_text(OTHER)
    polls(gate)
    assert gate.is_on("banner", ADA)
    assert read_flag(store, "banner").flag.description == "Another text", "the file does not name what is broken"
    file.write_text(OTHER.replace("flags.banner", "flags.broken"))
    polls(gate)
    assert "the stored flag broken cannot be read" in str(gate.health().problem)
