"""What a process keeps on its disk: the copy that a restart in an outage starts from, and the off file."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flaggate import Context, Gate
from flaggate.errors import FlaggateError, StoreError
from flaggate.rollout.state import Verb
from flaggate.runtime.disk import DiskCopy
from flaggate.stores.base import Changes, Store
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore
from tests.runtime.conftest import OpenGate
from tests.runtime.scenes import FLAGS, UnreliableStore, bring, put, turn, until

ADA = Context("ada")


@pytest.fixture
def kept(store: SqlStore, open_gate: OpenGate) -> Path:
    """The copy on disk of a store with a switch that is on and a rollout that is killed."""
    bring(store)
    turn(store, Verb.ON, "banner")
    turn(store, Verb.START, "half")
    turn(store, Verb.KILL, "half")
    open_gate(store).refresh()
    store.close()
    assert store.directory is not None
    return Path(store.directory) / "snapshot.db"


def restarted(store: SqlStore, open_gate: OpenGate, *, create: bool = True) -> Gate:
    """A gate as another process would open it."""
    return open_gate(SqlStore(store.url, create=create))


def lose(store: SqlStore) -> Path:
    """Take the database file away."""
    path = Path(store.url.removeprefix("sqlite:///"))
    store.close()
    for name in path.parent.glob("flags.db*"):
        if name.is_file():
            name.rename(name.with_name("away-" + name.name))
    return path


# --- the copy -------------------------------------------------------------------------------


@pytest.mark.parametrize("create", [True, False])
def test_a_restart_without_the_store_starts_from_the_copy(
    store: SqlStore, open_gate: OpenGate, kept: Path, create: bool
) -> None:
    """Also where an empty store was made in place of the one that is gone: nobody decided that everything be off."""
    copy = kept.read_bytes()
    lose(store)
    gate = restarted(store, open_gate, create=create)
    assert gate.is_on("banner", ADA)
    assert gate.decide("half", ADA).reason == "killed"
    assert gate.health().problem is not None
    assert gate.health().revision == 4
    gate.refresh()
    assert gate.is_on("banner", ADA)
    assert kept.read_bytes() == copy


def test_an_empty_store_says_how_to_begin_anew(store: SqlStore, open_gate: OpenGate, kept: Path) -> None:
    lose(store)
    gate = restarted(store, open_gate)
    gate.refresh()
    assert gate.health().problem == (
        f"{store.url}: it is empty, and was at revision 4, which goes on serving;"
        f" to begin anew, remove {kept} and restart"
    )
    kept.unlink()
    anew = restarted(store, open_gate)
    assert anew.decisions() == {}
    assert anew.health().problem is None


def test_an_emptied_store_gets_no_definitions_before_somebody_decided_so(
    store: SqlStore, open_gate: OpenGate, kept: Path, tmp_path: Path
) -> None:
    file = tmp_path / "flags.toml"
    file.write_text(FLAGS)
    lose(store)
    gate = open_gate(SqlStore(store.url), definitions=file)
    assert gate.is_on("banner", ADA)
    bring(gate.store)
    gate.refresh()
    assert gate.decide("banner", ADA).reason == "off"
    assert gate.health().problem is None


def test_a_store_that_was_emptied_without_a_copy_keeps_serving(open_gate: OpenGate) -> None:
    full = MemoryStore()
    bring(full)
    turn(full, Verb.ON, "banner")
    store = UnreliableStore(full)
    gate = open_gate(store)
    assert gate.is_on("banner", ADA)
    store.inner = MemoryStore()
    gate.refresh()
    assert gate.is_on("banner", ADA)
    assert str(gate.health().problem).endswith("to begin anew, restart")


def test_an_older_store_in_its_place_is_taken(open_gate: OpenGate) -> None:
    """Restored from a backup: its revision went back."""
    new, old = MemoryStore(), MemoryStore()
    for each in (new, old):
        bring(each)
    turn(new, Verb.ON, "banner")
    store = UnreliableStore(new)
    gate = open_gate(store)
    assert gate.is_on("banner", ADA)
    store.inner = old
    gate.refresh()
    assert not gate.is_on("banner", ADA)
    assert gate.health().problem is None


def test_a_restart_with_garbage_for_a_store_starts_from_the_copy(
    store: SqlStore, open_gate: OpenGate, kept: Path
) -> None:
    path = lose(store)
    path.write_bytes(b"this is no database" * 1000)
    gate = restarted(store, open_gate)
    assert gate.is_on("banner", ADA)
    assert gate.decide("half", ADA).reason == "killed"
    assert "the database did not do it" in str(gate.health().problem)


def test_when_the_store_is_back_it_is_what_counts(store: SqlStore, open_gate: OpenGate, kept: Path) -> None:
    unreliable = UnreliableStore(store)
    unreliable.error = StoreError(store.url, "gone")
    gate = open_gate(unreliable)
    assert gate.is_on("banner", ADA)
    turn(store, Verb.OFF, "banner")
    unreliable.error = None
    gate.refresh()
    assert not gate.is_on("banner", ADA)
    assert DiskCopy(kept.parent).head() == (store.identity, 5)


def test_the_copy_follows_the_store(store: SqlStore, open_gate: OpenGate, kept: Path) -> None:
    gate = open_gate(store)
    gate.refresh()
    turn(store, Verb.KILL, "banner")
    gate.refresh()
    lose(store)
    assert restarted(store, open_gate, create=False).decide("banner", ADA).reason == "killed"


def test_the_copy_is_as_open_as_the_umask_says(kept: Path) -> None:
    """Processes of another user look for the `off` file in this folder."""
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o777 & ~mask
    assert [file.name for file in kept.parent.iterdir()] == [kept.name]


def spoil(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


SPOILT: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"this is no database" * 1000),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-4096]),
    "overwritten": lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)),
    "of something else": lambda path: spoil(path, "DROP TABLE head"),
    "another head": lambda path: spoil(path, "ALTER TABLE head DROP COLUMN store"),
    "no head": lambda path: spoil(path, "DELETE FROM head"),
    "two heads": lambda path: spoil(path, "INSERT INTO head SELECT * FROM head"),
    "no revision": lambda path: spoil(path, "UPDATE head SET revision = 'four'"),
    "of another format": lambda path: spoil(path, "UPDATE head SET format = 3"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_copy_that_cannot_be_read_is_said_and_ignored(
    store: SqlStore, open_gate: OpenGate, kept: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    SPOILT[what](kept)
    lose(store)
    gate = restarted(store, open_gate, create=False)
    assert not gate.is_on("banner", ADA)
    gate.refresh()
    about_the_copy = [message for message in caplog.messages if "there is no such file" not in message]
    assert len(about_the_copy) == 2, "the copy, and the flag of which nothing is known: each once"


@pytest.mark.parametrize("what", SPOILT)
def test_a_copy_that_cannot_be_read_is_made_anew(
    store: SqlStore, open_gate: OpenGate, kept: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    SPOILT[what](kept)
    kept.with_name("snapshot.db-journal").write_bytes(b"of what was there" * 100)
    gate = restarted(store, open_gate)
    gate.refresh()
    assert caplog.messages == []
    assert [file.name for file in kept.parent.iterdir()] == [kept.name]
    turn(store, Verb.OFF, "banner")
    gate.refresh()
    lose(store)
    assert restarted(store, open_gate, create=False).decide("banner", ADA).reason == "off"


@pytest.mark.parametrize("document", ["", "{", "[1"])
def test_a_copy_with_a_row_that_is_no_json_is_said(
    store: SqlStore, open_gate: OpenGate, kept: Path, document: str
) -> None:
    spoil(kept, f"UPDATE rows SET document = '{document}' WHERE name = 'banner'")
    with pytest.raises(FlaggateError, match="this copy cannot be read"):
        DiskCopy(kept.parent).load()


def test_a_copy_that_is_damaged_inside_is_not_believed(kept: Path) -> None:
    """An index and its table that say different things, as a disk makes them."""
    spoil(kept, "CREATE TABLE more (x)", "CREATE INDEX of_more ON more (x)", "INSERT INTO more VALUES (1)",
          "PRAGMA writable_schema = 1", "UPDATE sqlite_schema SET rootpage = 2 WHERE name = 'of_more'")  # fmt: skip
    with pytest.raises(FlaggateError, match="this copy cannot be read"):
        DiskCopy(kept.parent).load()


def test_odd_rows_in_the_copy_turn_off_only_themselves(store: SqlStore, open_gate: OpenGate, kept: Path) -> None:
    for kind, name in (("flag", "odd"), ("segment", "odder")):
        spoil(kept, f"INSERT INTO rows VALUES ('{kind}', '{name}', 1, '\"text\"')")
    lose(store)
    gate = restarted(store, open_gate, create=False)
    assert gate.is_on("banner", ADA)
    assert gate.decide("odd", ADA).reason == "fault"


def test_a_copy_that_another_one_does_not_let_go_of_is_said(
    store: SqlStore, open_gate: OpenGate, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = open_gate(store)
    gate.refresh()
    with closing(sqlite3.connect(kept, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        turn(store, Verb.KILL, "banner")
        gate.refresh()
        assert caplog.messages == []
        for _ in range(60):
            gate.refresh()
    assert caplog.messages == [f"no copy of the flags on this disk: {kept}: database is locked"]
    for _ in range(60):
        gate.refresh()
    assert DiskCopy(kept.parent).head()[1] == 5


def test_a_copy_of_something_newer_stays(store: SqlStore, kept: Path) -> None:
    """A process that fell behind does not take back a kill that another one has put on disk."""
    store.revision()
    DiskCopy(kept.parent).save(store.identity, Changes(9, ()))
    DiskCopy(kept.parent).save(store.identity, Changes(8, ()))
    assert DiskCopy(kept.parent).load() == Changes(9, ())
    DiskCopy(kept.parent / "elsewhere").save(store.identity, Changes(1, ()))
    assert DiskCopy(kept.parent / "elsewhere").load() == Changes(1, ())
    DiskCopy(kept.parent).save("another store", Changes(1, ()))
    assert DiskCopy(kept.parent).load() == Changes(1, ())


def test_a_store_that_was_set_back_in_place_takes_its_copy_along(
    store: SqlStore, open_gate: OpenGate, kept: Path, tmp_path: Path
) -> None:
    """The same file and identity at an older revision: what is decided from there on is on disk too."""
    path = store.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(tmp_path / "backup.db")) as copy:
        source.backup(copy)
    gate = open_gate(store)
    for verb in (Verb.OFF, Verb.ON, Verb.OFF, Verb.ON):
        turn(store, verb, "banner")
    gate.refresh()
    with closing(sqlite3.connect(tmp_path / "backup.db")) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
    gate.refresh()
    turn(store, Verb.KILL, "banner")
    gate.refresh()
    lose(store)
    assert restarted(store, open_gate, create=False).decide("banner", ADA).reason == "killed"


def test_a_copy_that_the_disk_did_not_take_is_written_later(
    store: SqlStore, open_gate: OpenGate, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = open_gate(store)
    gate.refresh()
    with monkeypatch.context() as full:
        full.setattr(DiskCopy, "save", _disk_full)
        turn(store, Verb.KILL, "banner")
        gate.refresh()
    for _ in range(60):
        gate.refresh()
    lose(store)
    assert restarted(store, open_gate, create=False).decide("banner", ADA).reason == "killed"


def _disk_full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("words", ["", "# only a remark"])
def test_an_off_file_without_a_name_is_said(store: SqlStore, open_gate: OpenGate, kept: Path, words: str) -> None:
    (kept.parent / "off").write_text(words)
    gate = open_gate(store)
    for _ in range(2):
        gate.refresh()
        assert "the off file names no flag: everything is off here" in str(gate.health().problem)
    assert "banner" in turned_off(gate)


def test_another_store_put_in_its_place_is_taken_over_whole(store: SqlStore, open_gate: OpenGate) -> None:
    """Also at the same revision, as a backup is that went on elsewhere."""
    put_aside = Path(store.url.removeprefix("sqlite:///")).with_name("backup.db")
    bring(store)
    turn(store, Verb.ON, "banner")
    gate = open_gate(store)
    gate.refresh()
    with (
        closing(sqlite3.connect(store.url.removeprefix("sqlite:///"))) as source,
        closing(sqlite3.connect(put_aside)) as copy,
    ):
        source.backup(copy)
    backup = SqlStore(f"sqlite:///{put_aside}")
    turn(backup, Verb.KILL, "banner")
    backup.close()
    turn(store, Verb.OFF, "banner")
    turn(store, Verb.ON, "banner")
    gate.refresh()
    assert gate.is_on("banner", ADA)
    store.close()
    put_aside.replace(store.url.removeprefix("sqlite:///"))
    gate.refresh()
    assert gate.decide("banner", ADA).reason == "killed"


@pytest.mark.parametrize("words", ["new_banner", "Banner", "banner;other", '"banner"', "banner\0"])
def test_a_word_that_is_no_name_turns_everything_off_and_is_said(
    store: SqlStore, open_gate: OpenGate, kept: Path, words: str
) -> None:
    (kept.parent / "off").write_text(words)
    gate = open_gate(store)
    assert gate.decide("banner", ADA).reason == "killed"
    assert "which is no flag's name: everything is off here" in str(gate.health().problem)


def test_remarks_and_a_byte_order_mark_are_no_names(store: SqlStore, open_gate: OpenGate, kept: Path) -> None:
    (kept.parent / "off").write_text("banner # smoke, says owner@example.com\n", encoding="utf-8-sig")
    assert turned_off(open_gate(store)) == {"banner"}


def test_a_name_that_no_flag_has_is_said(
    store: SqlStore, open_gate: OpenGate, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (kept.parent / "off").write_text("baner")
    assert turned_off(open_gate(store)) == set()
    assert "'baner' is to be off here, and there is no flag of that name" in caplog.messages


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_a_pipe_instead_of_an_off_file_turns_everything_off(store: SqlStore, open_gate: OpenGate, kept: Path) -> None:
    os.mkfifo(kept.parent / "off")
    assert "banner" in turned_off(open_gate(store))


def test_the_copy_is_written_whole_or_not_at_all(
    store: SqlStore, open_gate: OpenGate, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A place that cannot be replaced: the old content stays, and no half-written file is left beside it."""
    kept.unlink()
    (kept / "in the way").mkdir(parents=True)
    gate = open_gate(store)
    gate.refresh()
    assert gate.is_on("banner", ADA)
    assert [name.name for name in kept.parent.iterdir()] == ["snapshot.db"]
    assert [message for message in caplog.messages if message.startswith("no copy of the flags on this disk: ")]


def test_a_directory_that_cannot_be_written_is_said_once_and_harmless(
    store: SqlStore, open_gate: OpenGate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bring(store)
    (tmp_path / "a file").touch()
    gate = open_gate(store, directory=tmp_path / "a file" / "below it")
    gate.refresh()
    turn(store, Verb.ON, "banner")
    gate.refresh()
    assert gate.is_on("banner", ADA)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("no copy of the flags on this disk: ")
    assert gate.health().problem is None


def test_a_gate_without_a_directory_keeps_no_copy(open_gate: OpenGate, tmp_path: Path) -> None:
    store = MemoryStore()
    bring(store)
    unreliable = UnreliableStore(store)
    unreliable.error = StoreError(store.url, "gone")
    gate = open_gate(unreliable)
    assert not gate.is_on("banner", ADA)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_ones_own(store: SqlStore, open_gate: OpenGate, tmp_path: Path) -> None:
    bring(store)
    open_gate(store, directory=tmp_path / "mine").refresh()
    assert (tmp_path / "mine" / "snapshot.db").exists()
    assert not (tmp_path / "flags.db.flaggate").exists()


# --- off without the store ------------------------------------------------------------------


@pytest.fixture
def off_file(kept: Path) -> Path:
    return kept.parent / "off"


def turned_off(gate: Gate) -> set[str]:
    """The flags that are off by environment or file, after the next poll."""
    gate.refresh()
    return {name for name, decision in gate.decisions(ADA).items() if decision.reason == "killed"} - {"half"}


@pytest.mark.parametrize(
    ("value", "off"),
    [("banner", {"banner"}), ("banner,tiered", {"banner", "tiered"}), (" banner ,\ttiered ", {"banner", "tiered"}),
     ("*", {"banner", "tiered"}), ("", set()), (",", set()), ("unheard-of", set())],
)  # fmt: skip
def test_the_environment_turns_off(
    store: SqlStore, open_gate: OpenGate, kept: Path, monkeypatch: pytest.MonkeyPatch, value: str, off: set[str]
) -> None:
    gate = open_gate(store)
    assert turned_off(gate) == set()
    monkeypatch.setenv("FLAGGATE_OFF", value)
    assert turned_off(gate) == off
    monkeypatch.delenv("FLAGGATE_OFF")
    assert turned_off(gate) == set()


@pytest.mark.parametrize(
    ("content", "off"),
    [("banner\n", {"banner"}), ("banner,tiered", {"banner", "tiered"}), ("banner\ntiered\n", {"banner", "tiered"}),
     ("*", {"banner", "tiered"}), ("", {"banner", "tiered"}), (" \n", {"banner", "tiered"}),
     ("\udcff", {"banner", "tiered"})],
)  # fmt: skip
def test_the_off_file_turns_off(
    store: SqlStore, open_gate: OpenGate, off_file: Path, content: str, off: set[str]
) -> None:
    gate = open_gate(store)
    assert turned_off(gate) == set()
    off_file.write_text(content, errors="surrogateescape")
    assert turned_off(gate) == off
    assert turned_off(gate) == off
    off_file.unlink()
    assert turned_off(gate) == set()


def test_an_off_file_that_changes_is_read_again(store: SqlStore, open_gate: OpenGate, off_file: Path) -> None:
    gate = open_gate(store)
    off_file.write_text("banner")
    assert turned_off(gate) == {"banner"}
    other = off_file.with_name("other")
    other.write_text("tiered")
    seen = off_file.stat()
    os.utime(other, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    os.replace(other, off_file)
    assert turned_off(gate) == {"tiered"}


def test_an_off_file_that_cannot_be_read_turns_everything_off(
    store: SqlStore, open_gate: OpenGate, off_file: Path
) -> None:
    gate = open_gate(store)
    off_file.mkdir()
    assert turned_off(gate) == {"banner", "tiered"}
    off_file.rmdir()
    assert turned_off(gate) == set()


def test_a_directory_that_cannot_be_looked_into_turns_nothing_off_and_is_said(
    store: SqlStore, open_gate: OpenGate, kept: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    gate = open_gate(store, directory=tmp_path / "loop")
    assert turned_off(gate) == set()
    assert turned_off(gate) == set()
    said = [
        message for message in caplog.messages if message.startswith("nobody can tell whether there is an off file")
    ]
    assert len(said) == 1


def test_environment_and_file_add_up(
    store: SqlStore, open_gate: OpenGate, off_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = open_gate(store)
    off_file.write_text("banner")
    monkeypatch.setenv("FLAGGATE_OFF", "tiered")
    assert turned_off(gate) == {"banner", "tiered"}


def test_a_visit_keeps_its_answers_when_the_off_file_comes(
    store: SqlStore, open_gate: OpenGate, off_file: Path
) -> None:
    gate = open_gate(store)
    with gate.visit(ADA):
        off_file.write_text("*")
        gate.refresh()
        assert gate.is_on("banner")
    assert not gate.is_on("banner")


def test_off_with_the_store_gone(store: SqlStore, open_gate: OpenGate, off_file: Path) -> None:
    lose(store)
    gate = restarted(store, open_gate, create=False)
    assert gate.is_on("banner", ADA)
    off_file.write_text("banner")
    assert turned_off(gate) == {"banner"}
    explained = gate.explain("banner", ADA)
    assert explained.decision.reason == "killed"
    assert str(explained) == "kill: yes, in this process (FLAGGATE_OFF or the off file); off"


def test_off_from_the_start_with_a_store_that_keeps_us_waiting(
    store: SqlStore, open_gate: OpenGate, off_file: Path
) -> None:
    off_file.write_text("banner")
    unreliable = UnreliableStore(store)
    unreliable.is_open.clear()
    gate = open_gate(unreliable, background=True)
    assert gate.decide("banner", ADA).reason == "killed"
    assert gate.decide("half", ADA).reason == "killed"
    unreliable.is_open.set()


def test_off_does_not_wait_for_the_store(store: SqlStore, open_gate: OpenGate, off_file: Path) -> None:
    """The round that finds the file serves it before it asks the store, which may take its time."""
    unreliable = UnreliableStore(store)
    gate = open_gate(unreliable, background=True)
    assert gate.is_on("banner", ADA)

    class Slow(UnreliableStore):
        def revision(self) -> int:
            if off_file.exists():
                self.is_open.clear()
            return super().revision()

    slow = Slow(store)
    gate._puller._store = slow
    off_file.write_text("banner")
    until(lambda: not gate.is_on("banner", ADA), "the off file counts", seconds=10)
    slow.is_open.set()


def test_off_waits_for_one_question_to_the_store_and_no_more(
    store: SqlStore, open_gate: OpenGate, off_file: Path
) -> None:
    """Each of them ends with a time-out: the pull, the counts, the look at the rollouts."""

    class TimesOut(UnreliableStore):
        answers: list[bool]
        """What the gate answered when the store was asked the next time."""

        def _pass(self) -> Store:
            if self.error is not None:
                self.answers.append(gate.is_on("banner", ADA))
                off_file.write_text("banner")  # while it waits
            return super()._pass()

    made: Any = TimesOut(store)
    made.answers = []
    gate = open_gate(made, tick_seconds=0.0)
    with gate.visit(ADA) as visit:
        assert visit.is_on("banner")
    gate.tick()
    made.error = StoreError(store.url, "it timed out")
    gate.keep()
    assert len(made.answers) > 1
    assert made.answers == [True] + [False] * (len(made.answers) - 1)


def test_a_flag_that_nobody_can_read_is_off_by_file_too(store: SqlStore, open_gate: OpenGate, off_file: Path) -> None:
    put(store, "flag", "broken", {})
    off_file.write_text("broken")
    gate = open_gate(store)
    assert turned_off(gate) == {"broken"}
