"""doctor: a line for each thing, whether it is as it should be, and what to do."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from flaggate import Gate
from flaggate.cli.doctor import of_machine
from flaggate.cli.doctor.finding import Finding
from flaggate.cli.doctor.of_store import BUSY_SECONDS, clocks, of_store
from flaggate.errors import BusyError, StoreError
from flaggate.runtime.kept_notices import Kept, Pending
from flaggate.runtime.notice_words import Message
from flaggate.runtime.ticker import NOTICES
from flaggate.stores import open_store
from flaggate.stores.base import Lease, Presence, Store, Write
from flaggate.stores.memory import MemoryStore
from flaggate.web.wsgi import FlaggateMiddleware
from tests.cli.conftest import Terminal
from tests.runtime.scenes import ROOT, UnreliableStore, bring
from tests.web.city_files import city_file

FLAG = "new-invoicing"
EVERY = 15.0


@pytest.fixture
def store(applied: Terminal) -> Iterator[Store]:
    """The terminal's, with the seed plan."""
    found = open_store(os.environ["FLAGGATE_STORE"])
    yield found
    found.close()


def found(terminal: Terminal, *args: str, code: int = 0) -> dict[str, Finding]:
    """What was found, by subject."""
    said = terminal.json("doctor", *args, code=code)
    assert said["is_ok"] is (code == 0)
    return {each["subject"]: Finding(**each) for each in said["findings"]}


def present(who: str, revision: int) -> Presence:
    return Presence(f"{abs(hash(who)):032x}"[:32], who, revision, 0.1, EVERY)


def seen_by_app(store: Store) -> None:
    """Let an app of this machine read it."""
    gate = Gate.open(store, background=False)
    gate.refresh()
    gate.close()


# --- all of it ------------------------------------------------------------------------------


def test_as_it_should_be(applied: Terminal, store: Store) -> None:
    applied("start", FLAG)
    seen_by_app(store)
    store.take_lease("one", "web-1:4711", 15)
    store.say(present("web-1:4711", store.revision()))
    out = applied("doctor")
    assert [line for line in out.splitlines() if not line.startswith("ok ")] == []
    for words in (
        r"store: sqlite:\S+flags.db answers in \d+\.\d ms, \d+\.\d ms with opening it",
        r"versions: flaggate \S+, Python \d.\d+",
        r"revision: 2\n",
        r"last event: new-invoicing: .* start",
        r"looks: web-1:4711 holds the lease",
        r"processes: 1 process serves flags, the newest revision \(2\)",
        r"copy: \S+snapshot.db: revision 2, \d rows?, written \d seconds? ago; it agrees with the store",
        r"clocks: this machine's and the store's agree",
    ):
        assert re.search(words, out), words


def test_a_new_store_has_warnings_and_is_not_wrong(applied: Terminal) -> None:
    said = found(applied)
    assert {subject for subject, each in said.items() if each.state != "ok"} == {"processes", "copy"}
    assert "-> the app makes it" in applied("doctor")


def test_a_store_that_is_not_there(terminal: Terminal) -> None:
    said = found(terminal, code=1)
    assert (said["store"].state, "revision" in said, "copy" in said) == ("wrong", False, True)
    assert "there is no such file" in said["store"].words
    terminal("doctor", code=1)


def test_a_store_of_a_newer_flaggate_is_wrong(applied: Terminal, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "flags.db", isolation_level=None)) as raw:
        raw.execute("UPDATE flaggate_meta SET schema_version = 99")
    assert "its schema is version 99" in found(applied, code=1)["store"].words


def test_a_store_that_is_empty(terminal: Terminal, tmp_path: Path) -> None:
    made = open_store(f"sqlite:///{tmp_path}/flags.db")
    made.revision()
    made.close()
    said = found(terminal)
    assert said["revision"].state == "warning"
    assert said["last event"].words == "none yet"


def test_a_flag_that_nobody_can_read_is_wrong(applied: Terminal, store: Store) -> None:
    store.commit([Write("flag", "odd", 0, {})], [])
    assert re.match(r"2 flags, of which cannot be read, and are off: odd: ", found(applied, code=1)["flags"].words)


# --- who looks, who serves, whose clock -----------------------------------------------------


def test_a_rollout_at_which_nobody_looks_is_wrong(applied: Terminal) -> None:
    applied("start", FLAG)
    said = found(applied, code=1)["looks"]
    assert (said.state, said.todo) == ("wrong", "start the app, or flaggate run")
    assert said.words.endswith(f"no guard is judged of {FLAG}")


def test_a_process_that_is_late_is_named(applied: Terminal, store: Store) -> None:
    store.say(present("web-2:9", 0))
    said = found(applied)["processes"]
    assert said.state == "warning"
    assert "web-2:9 serves revision 0" in said.words


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("said_at", "words"),
    [
        ([], "nothing to compare"),
        ([NOW - 1], "agree"),
        ([NOW - 44], "agree"),
        ([NOW + 1], "agree"),
        ([NOW + 60, NOW + 50], "at least 60 s behind the store's"),
        ([NOW - 100, NOW - 120], "at least 75 s ahead of the store's"),
    ],
)
def test_how_far_clocks_are_apart(said_at: list[float], words: str) -> None:
    presences = [Presence("p", "web-1:1", 1, 0.0, EVERY, at) for at in said_at]
    assert words in clocks(presences, None, NOW).words


def test_a_lease_tells_of_clocks_too() -> None:
    assert clocks([], Lease("one", "web-1:1", NOW - 60, 15), NOW).state == "warning"


@pytest.mark.parametrize(("waiting", "state"), [(False, "ok"), (True, "warning")])
def test_whether_people_are_told(applied: Terminal, store: Store, waiting: bool, state: str) -> None:
    newest = store.history(limit=1)[-1].id
    kept = Kept(upto=newest)
    if waiting:
        message = Message("1", ("owner@example.com",), "new-invoicing: rolled back", "", "failure", datetime.now(UTC))
        kept.pending["1"] = Pending(message, tries=2, why="it refused")
    assert store.take_lease("one", "web-1:1", 15)
    store.save_progress({NOTICES: kept.to_json()}, holder="one")
    assert found(applied)["notices"].state == state


# --- a store that is busy, slow or fails ----------------------------------------------------


def test_a_busy_store_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = MemoryStore()
    bring(inner)
    store: Any = UnreliableStore(inner)
    store.error = BusyError(store.url, "busy")
    threading.Timer(0.3, lambda: setattr(store, "error", None)).start()
    assert {each.state for each in of_store(store)} == {"ok", "warning"}
    assert [each.subject for each in of_store(store)][:2] == ["store", "schema"]


def test_a_store_that_stays_busy_is_a_warning() -> None:
    store: Any = UnreliableStore(MemoryStore())
    store.error = BusyError(store.url, "busy")
    begun = time.monotonic()
    (said,) = of_store(store)
    assert (said.subject, said.state) == ("store", "warning")
    assert time.monotonic() - begun >= BUSY_SECONDS


def test_a_store_that_is_slow_is_a_warning() -> None:
    class Slow(MemoryStore):
        def revision(self) -> int:
            time.sleep(0.3)
            return super().revision()

    assert next(iter(of_store(Slow()))).state == "warning"


# --- this machine ---------------------------------------------------------------------------


def test_the_copy_is_behind_of_another_store_or_damaged(applied: Terminal, store: Store, tmp_path: Path) -> None:
    seen_by_app(store)
    applied("start", FLAG)
    applied("kill", FLAG)
    assert "the store is at 3" in found(applied)["copy"].words
    other = open_store(f"sqlite:///{tmp_path}/other.db")
    bring(other)
    gate = Gate.open(other, directory=tmp_path / "flags.db.flaggate", background=False)
    gate.refresh()
    gate.close()
    assert "it is of another store" in found(applied)["copy"].words
    (tmp_path / "flags.db.flaggate" / "snapshot.db").write_text("garbage")
    assert "cannot be read" in found(applied)["copy"].words


def test_the_copy_while_the_store_is_gone(applied: Terminal, store: Store, tmp_path: Path) -> None:
    seen_by_app(store)
    store.close()
    (tmp_path / "flags.db").unlink()
    assert "the store cannot be asked" in found(applied, code=1)["copy"].words


def test_a_copy_that_nobody_here_can_write(applied: Terminal, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen_by_app(store)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert found(applied)["copy"].state == "warning"


def test_no_directory(tmp_path: Path) -> None:
    assert of_machine.copy_on_disk(MemoryStore(), None).state == "warning"
    assert of_machine.off_switch(None).words == "nothing is off by FLAGGATE_OFF"


def test_a_directory_of_ones_own(applied: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "off").write_text(FLAG)
    assert found(applied)["off switch"].state == "ok"
    said = found(applied, "--directory", "mine")
    assert said["off switch"].words == f"{FLAG}: off on this machine, whatever the store says"
    monkeypatch.setenv("FLAGGATE_DIRECTORY", "mine")
    assert found(applied)["off switch"].state == "warning"
    assert applied.json("status")[FLAG]["off_here"] is True
    (tmp_path / "mine" / "off").write_text("*")
    assert found(applied)["off switch"].words.startswith("everything is off")
    (tmp_path / "mine" / "off").write_text("No Name")
    assert found(applied, code=1)["off switch"].state == "wrong"


@pytest.mark.parametrize(("kind", "state"), [("GeoLite2-City", "ok"), ("GeoLite2-Country", "wrong"), (None, "wrong")])
def test_the_city_file(applied: Terminal, tmp_path: Path, kind: str | None, state: str) -> None:
    path = tmp_path / "places.mmdb"
    path.write_bytes(b"garbage" if kind is None else city_file(kind=kind))
    said = found(applied, "--geo", str(path), code=int(state == "wrong"))["city file"]
    assert said.state == state


def test_an_old_city_file_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "places.mmdb"
    path.write_bytes(city_file())
    then = time.time() + 90 * 86_400
    monkeypatch.setattr(time, "time", lambda: then)
    assert of_machine.city_file(path).state == "warning"
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    assert of_machine.city_file(path).todo == "pip install 'flaggate[geoip]'"


@pytest.mark.parametrize(
    ("written", "state"),
    [
        (None, "ok"),
        ("10.0.0.0/8, ::1", "ok"),
        ('["10.0.0.0/8"]', "ok"),
        ("0.0.0.0/0", "warning"),
        ("::/0", "warning"),
        ("ten", "wrong"),
        ("[1, ", "wrong"),
    ],
)
def test_the_proxies_that_are_trusted(written: str | None, state: str) -> None:
    assert of_machine.proxies(written).state == state


@pytest.mark.parametrize(("seconds", "words"), [(1, "1 second"), (61, "1 minute"), (7300, "2 hours"), (9e5, "10 days")])
def test_ages(seconds: float, words: str) -> None:
    assert of_machine._age(seconds) == words


def test_extras_are_those_of_the_package() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(of_machine.EXTRAS) <= set(known)


# --- an app ---------------------------------------------------------------------------------


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Its address, while it is served."""
    with make_server("127.0.0.1", 0, app, handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _page(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"Not Found"]


def test_an_app_says_whom_it_took_us_for(applied: Terminal) -> None:
    inner = MemoryStore()
    bring(inner)
    store: Any = UnreliableStore(inner)
    gate = Gate.open(store, background=False)
    with served(FlaggateMiddleware(_page, gate, health="/flaggate/health")) as url:
        said = found(applied, "--url", url)["app"]
        assert said.state == "ok"
        assert "it took this request for one of 127.0.0.1" in said.words
        store.error = StoreError(store.url, "gone")
        gate.refresh()
        assert found(applied, "--url", f"{url}/flaggate/health")["app"].state == "warning"


def test_an_app_that_never_saw_a_flag_is_wrong(applied: Terminal) -> None:
    store: Any = UnreliableStore(MemoryStore())
    store.error = StoreError(store.url, "gone")
    gate = Gate.open(store, background=False)
    with served(FlaggateMiddleware(_page, gate, health="/health")) as url:
        assert "has never seen a flag" in found(applied, "--url", f"{url}/health", code=1)["app"].words


def test_an_app_without_the_page_and_none_at_all(applied: Terminal) -> None:
    with served(_page) as url:
        assert "and no health page" in found(applied, "--url", url, code=1)["app"].words
    for wrong in (url, "flags.example.com", "http://[", "https://127.0.0.1:1"):
        assert found(applied, "--url", wrong, code=1)["app"].state == "wrong"
