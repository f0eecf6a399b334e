"""The SQLite store keeps the contract, between processes too, and its errors say what is wrong."""

import os
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flaggate.errors import ConflictError, StoreError
from flaggate.rollout.state import Event
from flaggate.stores.base import Row, Store, Write
from flaggate.stores.sql import SqlStore
from flaggate.testing import StoreContract
from tests.stores.children import Pipe, fork, forked, wait
from tests.stores.slow import Slow

NOBODY_UID = 65534


class TestSqlStore(StoreContract):
    @pytest.fixture
    def store(self, path: Path) -> Iterator[Store]:
        store = SqlStore(f"sqlite:///{path}", clock=self.clock)
        yield store
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    store = _store(path)
    yield store
    store.close()


def _store(path: Path, *, create: bool = True, busy_seconds: float = 30.0) -> SqlStore:
    return SqlStore(f"sqlite:///{path}", create=create, busy_seconds=busy_seconds)


def _add(store: Store, name: str) -> int:
    return store.commit([Write("flag", name, 0, {})], [Event(name, "apply", "owner@example.com", datetime.now(UTC))])


def _names(store: Store) -> set[str]:
    return {row.name for row in store.changes().rows}


# --- the file -----------------------------------------------------------------------------------


def test_two_connections_see_each_other(store: SqlStore, path: Path) -> None:
    with closing(_store(path)) as other:
        revision = _add(store, "a")
        assert other.revision() == revision
        assert other.changes() == store.changes()
        other.commit([Write("flag", "a", 1, {"n": 2})], [])
        with pytest.raises(ConflictError):
            store.commit([Write("flag", "a", 1, {"n": 3})], [])
        assert store.get("flag", "a") == Row("flag", "a", 2, {"n": 2})


def test_processes_that_make_the_same_file_at_once_all_get_to_write(path: Path) -> None:
    """Making the tables is a race too."""
    start = Pipe()

    def write() -> None:
        start.receive(1)
        _add(_store(path), f"child-{os.getpid()}")

    pids = [fork(write) for _ in range(4)]
    start.send("....")
    codes = [wait(pid) for pid in pids]
    start.close()
    with closing(_store(path, create=False)) as store:
        assert (codes, store.revision()) == ([0] * 4, 4)
        assert _names(store) == {f"child-{pid}" for pid in pids}
        assert len(store.history()) == 4


def test_readers_do_not_wait_for_the_writer(store: SqlStore, path: Path) -> None:
    """Write-ahead logging is on, for whoever opens the file."""
    _add(store, "a")
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("UPDATE flaggate_meta SET revision = 99")
        assert store.revision() == 1
        assert _names(store) == {"a"}


def test_a_relative_path_stays_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that changes its directory later does not change its store."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path)
    with closing(SqlStore("sqlite:///deep/flags.db")) as store:
        monkeypatch.chdir("elsewhere")
        _add(store, "a")
        assert store.directory == f"{tmp_path}/deep/flags.db.flaggate"
    assert (tmp_path / "deep/flags.db").is_file()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_to_another_file_is_followed(tmp_path: Path) -> None:
    """The link is the name that people know; the off file is looked for beside it."""
    for name in ("one", "two"):
        with closing(_store(tmp_path / f"{name}.db")) as store:
            _add(store, name)
    link = tmp_path / "flags.db"
    link.symlink_to("one.db")
    with closing(_store(link)) as store:
        assert _names(store) == {"one"}
        (tmp_path / "next.db").symlink_to("two.db")
        (tmp_path / "next.db").replace(link)
        assert _names(store) == {"two"}
        assert store.directory == f"{link}.flaggate"


def test_a_folder_that_has_gone_is_no_place_for_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(StoreError, match="give an absolute path"):
        SqlStore("sqlite:///flags.db")


def test_a_store_restored_from_a_backup_is_followed(path: Path, tmp_path: Path) -> None:
    """A process that had the old file open must not answer from a file that nobody else can see."""
    with closing(_store(path)) as store:
        _add(store, "old")
        _add(store, "older")
        with closing(_store(tmp_path / "backup.db")) as backup:
            _add(backup, "restored")
        for left in tmp_path.glob("flags.db*"):
            left.unlink()
        (tmp_path / "backup.db").rename(path)
        assert store.revision() == 1
        assert _names(store) == {"restored"}
        _add(store, "new")
    with closing(_store(path, create=False)) as store:
        assert _names(store) == {"restored", "new"}


def test_a_file_that_goes_away_is_an_error_and_not_an_empty_store(path: Path, tmp_path: Path) -> None:
    """Who deletes the file by mistake turns nothing off: the gates go on with what they know."""
    with closing(_store(path)) as store:
        _add(store, "a")
        for left in tmp_path.glob("flags.db*"):
            left.unlink()
        for question in (store.revision, store.changes, store.history):
            with pytest.raises(StoreError) as caught:
                question()
            assert isinstance(caught.value.__cause__, FileNotFoundError)
        assert list(tmp_path.iterdir()) == []


# --- errors -------------------------------------------------------------------------------------


def _error_of(store: Store) -> StoreError:
    """Every question and every write runs into the same."""
    errors = []
    for question in (
        store.revision,
        store.changes,
        store.history,
        lambda: store.get("flag", "a"),
        lambda: _add(store, "a"),
    ):
        with pytest.raises(StoreError) as caught:
            question()
        assert caught.value.url == store.url
        errors.append(caught.value)
    assert len({str(error) for error in errors}) == 1
    return errors[0]


def test_without_create_a_missing_file_stays_missing(tmp_path: Path) -> None:
    error = _error_of(_store(tmp_path / "flags.db", create=False))
    assert "there is no such file; flaggate apply makes it" in error.problem
    assert list(tmp_path.iterdir()) == []


def test_a_relative_url_is_told_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = f"sqlite:///flags.db: there is no such file; flaggate apply makes it (looked for {tmp_path}/flags.db)"
    store = SqlStore("sqlite:///flags.db", create=False)
    assert str(_error_of(store)) == told
    for content, words in (("", "there is no flaggate store in this file"), ("no database " * 100, "did not do it")):
        (tmp_path / "flags.db").write_text(content)
        problem = _error_of(SqlStore("sqlite:///flags.db", create=False)).problem
        assert words in problem
        assert problem.endswith(f"({tmp_path}/flags.db)")


def test_without_create_an_empty_file_gets_no_tables(path: Path) -> None:
    path.touch()
    error = _error_of(_store(path, create=False))
    assert "no flaggate store in this file; flaggate apply makes it" in error.problem
    with closing(_store(path)) as store:
        assert store.revision() == 0


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in ("flgas", "file"):
        assert f"there is no folder {tmp_path / folder}" in _error_of(_store(tmp_path / folder / "flags.db")).problem
    assert not (tmp_path / "flgas").exists()


def test_somebody_elses_database_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    assert "there is no flaggate store in this file" in _error_of(_store(path, create=False)).problem
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    path.write_text("description = 'flags'\n" * 100)
    before = path.read_bytes()
    error = _error_of(_store(path))
    assert "file is not a database" in error.problem
    assert error.__cause__ is not None
    assert path.read_bytes() == before


def test_the_store_is_used_again_once_the_trouble_is_over(path: Path) -> None:
    path.write_text("no database " * 100)
    with closing(_store(path)) as store:
        _error_of(store)
        path.unlink()
        _add(store, "a")
        assert _names(store) == {"a"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a child that is not root")
def test_a_file_that_may_only_be_read() -> None:
    """It is read; a write says why not. In a child without root's rights, which no permission stops."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "flags.db"
        with closing(_store(path)) as store:
            _add(store, "a")
        path.chmod(0o444)
        path.parent.chmod(0o777)

        def read_and_write() -> None:
            if os.geteuid() == 0:
                os.setuid(NOBODY_UID)
            with closing(_store(path)) as store:
                assert _names(store) == {"a"}
                with pytest.raises(StoreError, match="readonly database") as caught:
                    _add(store, "b")
                assert caught.value.__cause__ is not None
                assert _names(store) == {"a"}

        assert wait(fork(read_and_write)) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a second process")
def test_a_writer_that_does_not_finish_is_waited_for_only_so_long(path: Path) -> None:
    """Then nothing was written, and the next write does it; reading goes on meanwhile."""
    with closing(_store(path)) as store:
        _add(store, "a")
    is_held = Pipe()

    def hold() -> None:
        raw = sqlite3.connect(path, isolation_level=None)
        raw.execute("BEGIN IMMEDIATE")
        is_held.send()
        threading.Event().wait()  # until it is killed

    with closing(_store(path, busy_seconds=0.05)) as store:
        with forked(hold):
            is_held.receive()
            with pytest.raises(StoreError, match="database is locked") as caught:
                _add(store, "b")
            assert not isinstance(caught.value, ConflictError)
            assert caught.value.__cause__ is not None
            assert (_names(store), store.revision()) == ({"a"}, 1)
        assert _add(store, "b") == 2
    is_held.close()


def test_what_no_database_can_keep_is_a_store_error(store: SqlStore) -> None:
    """A lone surrogate: what Python makes of a byte on the command line that is no UTF-8."""
    with pytest.raises(StoreError) as caught:
        store.get("flag", "new-\udcff")
    assert isinstance(caught.value.__cause__, UnicodeEncodeError)
    with pytest.raises(StoreError):
        store.commit([Write("flag", "a", 0, {})], [Event("a", "kill", "\udcff", datetime.now(UTC))])
    assert store.revision() == 0


def test_a_document_that_somebody_broke_is_a_store_error(store: SqlStore, path: Path) -> None:
    _add(store, "a")
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("""UPDATE flaggate_row SET document = '{"flag": '""")
        raw.commit()
    with pytest.raises(StoreError):
        store.get("flag", "a")


# --- forks --------------------------------------------------------------------------------------


def _fork_as_a_gate_does(store: Store, pipe: Pipe) -> None:
    """Called in a child: have a child of its own that uses the store, and end once it does."""
    ready = Pipe()

    def use() -> None:
        store.after_fork(in_child=True)
        store.revision()
        ready.send()
        pipe.send(str(os.getpid()))
        threading.Event().wait()  # until it is killed

    store.revision()
    store.before_fork()
    fork(use)
    store.after_fork(in_child=False)
    store.revision()
    ready.receive()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/locks")
def test_a_child_holds_locks_of_its_own_after_its_parent_has_gone(path: Path) -> None:
    """Else the next process that closes the file takes the log away under the child's hands."""
    with closing(_store(path)) as store:
        _add(store, "a")
    pipe = Pipe()
    assert wait(fork(lambda: _fork_as_a_gate_does(_store(path), pipe))) == 0
    grandchild = int(pipe.receive())
    try:
        for name in (path, Path(f"{path}-shm")):
            assert (grandchild, name.stat().st_ino) in _locks()
    finally:
        os.kill(grandchild, 9)
        pipe.close()


def _locks() -> set[tuple[int, int]]:
    """Process and inode of every lock on this machine; see proc_locks(5)."""
    fields = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return {(int(words[-4]), int(words[-3].rpartition(":")[2])) for words in fields}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
def test_a_fork_does_not_wait_for_ever_and_does_not_break_the_writer(store: SqlStore) -> None:
    """A thread that waits for another machine's lock or disk keeps the process from forking for some seconds only."""
    _add(store, "a")
    slow = Slow()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            store.commit(slow, [])
        except BaseException as error:
            failures.append(error)

    def use() -> None:
        store.after_fork(in_child=True)
        assert _names(store) == {"a"}

    thread = threading.Thread(target=write)
    thread.start()
    try:
        slow.is_asked.wait()
        store.before_fork()
        pid = fork(use)
        store.after_fork(in_child=False)
        assert wait(pid) == 0
    finally:
        slow.is_released.set()
        thread.join()
    assert failures == []
    assert _names(store) == {"a", "slow"}
