"""move: everything from one store to another."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from flaggate import Context, Gate
from flaggate.cli.main import run
from flaggate.errors import CarryError, StoreError
from flaggate.runtime.carry import carry
from flaggate.stores import open_store
from flaggate.stores.base import Contents, Count, Presence, Report, Store, UnitCount, Write
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore
from tests.cli.conftest import Terminal
from tests.runtime.scenes import FRIENDS, bring, until
from tests.shared_servers import STORES, new_url


@dataclass(frozen=True)
class Pair:
    """An old store in which something of everything is, and a new one which is not there."""

    old: str
    new: str

    def move(self, terminal: Terminal, *more: str, code: int = 0) -> str:
        return terminal("move", "--from", self.old, "--to", self.new, *more, code=code)


PAIRS = [
    pytest.param(pair, marks=() if "sqlite" in pair else pytest.mark.long, id="-to-".join(pair))
    for pair in product(STORES, STORES)
]


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest, terminal: Terminal, tmp_path: Path) -> Pair:
    old, new = request.param
    pair = Pair(new_url(old, tmp_path), new_url(new, tmp_path))
    _use(terminal, pair.old)
    return pair


@pytest.fixture
def files(terminal: Terminal, tmp_path: Path) -> Pair:
    """Of two files."""
    pair = Pair(f"sqlite:///{tmp_path}/old.db", f"sqlite:///{tmp_path}/new.db")
    _use(terminal, pair.old)
    return pair


def _use(terminal: Terminal, url: str) -> None:
    """As a day of an app leaves it."""
    with closing(open_store(url)) as store:
        bring(store)
        bring(store, FRIENDS)
    for words in (["on", "banner"], ["kill", "banner", "--reason", 'it\'s "smoke"'], ["owner", "accept", "half"]):
        terminal(*words, "--store", url, "--as", "owner@example.com")
    terminal("start", "half", "--store", url, "--as", "owner@example.com")
    terminal("tick", "--store", url)
    with closing(open_store(url)) as store:
        units = [UnitCount("half", 1, 1, "treatment", "errors", f"{number:016x}", number) for number in range(3)]
        counts = Count("half", 1, 1, "on", 3, 1, {"10": 2, "inf": 1}, {"paid": 1}), Count("half", 1, 1, "off", 4, 0, {})
        store.add_counts(Report("p" * 32, 1, counts, tuple(units)))


def _contents(url: str) -> Contents:
    with closing(open_store(url, create=False)) as store:
        return store.contents()


def _here(who: str, process: str = "a") -> Presence:
    return Presence(process * 32, who, 5, 0.1, 15.0)


# --- what is carried ----------------------------------------------------------------------------


def test_everything_is_carried_and_the_old_store_is_as_it_was(terminal: Terminal, pair: Pair) -> None:
    before = _contents(pair.old)
    said = pair.move(terminal)
    assert _contents(pair.new) == before == _contents(pair.old)
    assert said.splitlines() == [
        f"carried to {pair.new}: 4 flags, 1 segment, 10 events, the counts of 1 flag and what was observed of 1 rollout",
        "read back from there: it is the same",
        f"{pair.old} is as it was, and nothing marks it: a process that goes on with it is not seen by the others",
        f"next: say {pair.new} where {pair.old} was said (FLAGGATE_STORE, --store, Gate.open), and start every process "
        "anew; then flaggate status",
    ]
    assert terminal.err == ""


def test_the_new_store_goes_on_from_there(terminal: Terminal, pair: Pair) -> None:
    (before,) = terminal.json("status", "half", "--store", pair.old).values()
    pair.move(terminal)
    (found,) = terminal.json("status", "half", "--store", pair.new).values()
    assert found | {"earliest": None} == before | {"earliest": None}  # which goes by the moment
    terminal("unkill", "banner", "--reason", "mended", "--store", pair.new)
    events = terminal.json("history", "banner", "--store", pair.new)
    assert [event["verb"] for event in events] == ["apply", "on", "kill", "unkill"]
    assert events[2]["reason"] == 'it\'s "smoke"'
    assert terminal.json("history", "banner", "--store", pair.old) == events[:-1]


def test_for_programs(terminal: Terminal, pair: Pair) -> None:
    found = terminal.json("move", "--from", pair.old, "--to", pair.new)
    assert found == {
        "from": pair.old, "to": pair.new, "revision": _contents(pair.old).revision, "flags": 4, "segments": 1,
        "events": 10, "counted": 1, "observed": 1, "in_use": [], "meanwhile": None,
    }  # fmt: skip


def test_what_was_removed_is_carried_and_not_counted(terminal: Terminal, pair: Pair) -> None:
    with closing(open_store(pair.old)) as store:
        row = store.get("flag", "tiered")
        assert row is not None
        store.commit([Write("flag", "tiered", row.version, None)], [])
    assert "3 flags, 1 segment" in pair.move(terminal)
    assert _contents(pair.new) == _contents(pair.old)


# --- what is refused ----------------------------------------------------------------------------


def test_while_processes_serve_from_it_nothing_is_moved(terminal: Terminal, pair: Pair) -> None:
    with closing(open_store(pair.old)) as store:
        store.say(_here("web-2:4712", "b"))
        store.say(_here("web-1:4711"))
        store.take_lease("c" * 32, "runner:9", 15.0)
    pair.move(terminal, code=1)
    assert terminal.err.splitlines() == [
        f"web-1:4711 serves flags from {pair.old}",
        f"web-2:4712 serves flags from {pair.old}",
        "runner:9 holds the lease and looks every 5 s there",
        f"stop them first: what they go on writing to {pair.old} would be lost, a kill too; one that was killed is named "
        "until it has said nothing for 45 s. --anyway moves all the same",
    ]
    with closing(open_store(pair.new)) as store:
        assert store.contents().revision == 0
    assert terminal.json("move", "--from", pair.old, "--to", pair.new, code=1)["kind"] == "CarryError"


def test_once_the_app_has_ended_it_moves(terminal: Terminal, pair: Pair) -> None:
    with closing(Gate.open(pair.old, background=True)) as gate, closing(open_store(pair.old)) as store:
        assert not gate.is_on("banner", Context("ada"))
        until(lambda: store.presences() and store.lease(), "it says that it is there, and looks")
        pair.move(terminal, code=1)
        assert terminal.err.startswith(f"{socket.gethostname()}:{os.getpid()} serves flags from {pair.old}\n")
    pair.move(terminal)
    with closing(Gate.open(pair.new, background=True)) as gate:
        assert not gate.is_on("banner", Context("ada"))
        assert gate.health().revision == _contents(pair.old).revision


def test_anyway_says_what_is_lost(terminal: Terminal, pair: Pair) -> None:
    with closing(open_store(pair.old)) as store:
        for number in range(12):
            store.say(_here(f"web:{number:02}", f"{number:x}"))
    pair.move(terminal, "--anyway")
    said = terminal.err.splitlines()
    assert said[0] == f"web:00 serves flags from {pair.old}"
    assert said[10:] == [
        "and so do 2 others",
        f"what they write to {pair.old} from now on is lost: what people do there, kills too, and what is counted",
    ]
    assert _contents(pair.new) == _contents(pair.old)
    with closing(open_store(pair.old)) as store:
        store.unsay("b" * 32)
    assert "and so does 1 other" in terminal.json("move", "--from", pair.old, "--to", pair.new, code=1)["error"]


def test_a_store_that_is_not_empty_takes_nothing(terminal: Terminal, pair: Pair) -> None:
    with closing(open_store(pair.new)) as store:
        bring(store)
    before = _contents(pair.new)
    pair.move(terminal, "--anyway", code=1)
    assert terminal.err == f"{pair.new}: it is not empty: only an empty store takes another one's contents\n"
    assert _contents(pair.new) == before


def test_a_second_time_it_is_not_empty_any_more(terminal: Terminal, pair: Pair) -> None:
    pair.move(terminal)
    pair.move(terminal, code=1)
    assert "it is not empty" in terminal.err


def test_of_a_store_that_is_empty_there_is_nothing_to_move(terminal: Terminal, pair: Pair, tmp_path: Path) -> None:
    pair.move(terminal)
    empty = f"sqlite:///{tmp_path}/empty.db"
    with closing(open_store(empty)) as store:
        store.revision()
    terminal("move", "--from", empty, "--to", f"sqlite:///{tmp_path}/other.db", code=1)
    assert terminal.err == f"there is nothing in {empty}: nothing was ever written to it\n"
    assert not (tmp_path / "other.db").exists()


# --- wrong input --------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["old.db", "./old.db", "link.db"])
def test_the_same_store_twice(terminal: Terminal, files: Pair, tmp_path: Path, other: str) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "old.db")
    terminal("move", "--from", files.old, "--to", f"sqlite:///{other}", code=2)
    assert terminal.err.endswith(f"Error: --from and --to name the same store: sqlite:///{other}.\n")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mongodb://app:hunter2@db/flags", "mongodb://app:***@db/flags names no store; allowed: "),
        ("sqllite:///flags.db", "did you mean sqlite:///flags.db?"),
        ("memory://", "memory:// would end with this command; allowed: "),
        ("django", "django is in a Django project's database: manage.py flaggate knows it."),
        ("django:flags", "django:flags is in a Django project's database: manage.py flaggate knows it."),
    ],
)
@pytest.mark.parametrize("option", ["--from", "--to"])
def test_a_url_that_names_no_store(terminal: Terminal, files: Pair, url: str, said: str, option: str) -> None:
    urls = {"--from": files.old, "--to": files.new} | {option: url}
    terminal("move", *(word for both in urls.items() for word in both), code=2)
    assert said in terminal.err
    assert "hunter2" not in terminal.err


def test_both_are_asked_for(terminal: Terminal, files: Pair) -> None:
    terminal("move", "--to", files.new, code=2)
    assert "Missing option '--from'" in terminal.err
    terminal("migrate", code=2)
    assert "Did you mean 'move'?" in terminal.err


def test_a_store_that_cannot_be_read(terminal: Terminal, files: Pair, tmp_path: Path) -> None:
    terminal("move", "--from", "sqlite:///nowhere.db", "--to", files.new, code=3)
    assert "there is no such file" in terminal.err
    assert not (tmp_path / "nowhere.db").exists()
    (tmp_path / "text.db").write_text("this is no database " * 100)
    terminal("move", "--from", "sqlite:///text.db", "--to", files.new, code=3)
    assert "file is not a database" in terminal.err
    with closing(sqlite3.connect(tmp_path / "old.db")) as raw:
        raw.execute("UPDATE flaggate_row SET document = '{' WHERE name = 'banner'")
        raw.commit()
    files.move(terminal, code=3)
    assert terminal.err.startswith(f"{files.old}: the database did not do it: ")
    assert not (tmp_path / "new.db").exists()


# --- what goes wrong on the way -----------------------------------------------------------------


def test_a_failure_half_way_leaves_the_new_store_empty(terminal: Terminal, files: Pair, tmp_path: Path) -> None:
    """A disk that is full after the first rows."""
    with closing(SqlStore(files.new)) as store:
        store.revision()
    with closing(sqlite3.connect(tmp_path / "new.db")) as raw:
        raw.execute("CREATE TRIGGER full BEFORE INSERT ON flaggate_unit BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
        raw.commit()
    files.move(terminal, code=3)
    assert terminal.err.startswith(f"{files.new}: the database did not do it: disk is full")
    found = _contents(files.new)
    assert (found.revision, found.rows, found.events, found.counts) == (0, (), (), ())
    with closing(sqlite3.connect(tmp_path / "new.db")) as raw:
        raw.execute("DROP TRIGGER full")
        raw.commit()
    files.move(terminal)
    assert _contents(files.new) == _contents(files.old)


class Lossy(MemoryStore):
    """Takes everything, and loses an event."""

    def fill(self, contents: Contents) -> None:
        super().fill(replace(contents, events=contents.events[1:]))


def test_what_is_not_read_back_is_said(terminal: Terminal, files: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    lossy: dict[str, Store] = {"lossy": Lossy()}
    assert run(["move", "--from", files.old, "--to", "lossy"], place=lossy.get) == 3
    said = "memory://: what is read back is not what was carried there (events): do not use it\n"
    assert capsys.readouterr().err == said


class Busy(MemoryStore):
    """Somebody writes to it just after it was read."""

    def __init__(self, meanwhile: Callable[[Store], Any]) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    def contents(self) -> Contents:
        found = super().contents()
        self._meanwhile(self)
        return found


def _writes(store: Store) -> None:
    store.commit([Write("flag", "late", 0, {})], [])


def _counts(store: Store) -> None:
    store.add_counts(Report("q" * 32, 1, (Count("half", 1, 1, "on", 1, 0, {}),)))


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (_writes, "memory:// was written to meanwhile: it is at revision 2, and 1 was carried"),
        (_counts, "processes counted into memory:// meanwhile"),
    ],
)
def test_what_comes_meanwhile_is_said(
    happens: Callable[[Store], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = Busy(happens), MemoryStore()
    new.url = "memory://new"
    bring(old)
    with pytest.raises(CarryError) as caught:
        carry(old, new)
    assert caught.value.refusals == (said, "memory://new has it not: make that anew, and move again")
    places: dict[str, Store] = {"old": Busy(happens), "new": MemoryStore()}
    bring(places["old"])
    places["new"].url = "memory://new"
    assert run(["move", "--from", "old", "--to", "new", "--anyway"], place=places.get) == 0
    assert capsys.readouterr().err == f"{said}: memory://new has it not\n"


def test_a_store_that_does_not_answer_is_no_reason_to_say_that_the_other_is_not_empty() -> None:
    class Gone(MemoryStore):
        def fill(self, contents: Contents) -> None:
            raise StoreError(self.url, "it has gone")

    old = MemoryStore()
    bring(old)
    with pytest.raises(StoreError, match="it has gone"):
        carry(old, Gone())


# --- what does not come along -------------------------------------------------------------------


def test_the_off_file_does_not_come_along(terminal: Terminal, files: Pair, tmp_path: Path) -> None:
    (tmp_path / "old.db.flaggate").mkdir(exist_ok=True)
    (tmp_path / "old.db.flaggate" / "off").write_text("banner")
    files.move(terminal)
    assert terminal.err == (
        f"{tmp_path}/old.db.flaggate/off turns flags off on this machine, and does not come along: it belongs into "
        f"{tmp_path}/new.db.flaggate\n"
    )


def test_where_the_new_store_has_no_folder_the_app_gives_one(
    files: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.db.flaggate").mkdir(exist_ok=True)
    (tmp_path / "old.db.flaggate" / "off").touch()
    places: dict[str, Store] = {"new": MemoryStore()}
    assert run(["move", "--from", files.old, "--to", "new"], place=places.get) == 0
    assert capsys.readouterr().err.endswith("it belongs into the `directory` that Gate.open is given\n")
