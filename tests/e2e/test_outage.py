"""An outage as an app's visitors see it: the store is gone, silent, restarted, full, read-only, or newer than the code.

What befalls any store is tested with each of `tests.e2e.outages.PLACES`.
"""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import sleep
from typing import Any, Final

import pytest

from flaggate import Gate
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.runtime.disk import DiskCopy
from flaggate.stores import open_store
from tests.e2e.outages import PLACES, Behind, Place, SqliteFile, Wire
from tests.e2e.servers import Server, free_port, serving
from tests.e2e.sites import signed_in
from tests.postgres_servers import postgres_server
from tests.runtime.scenes import ROOT, run, until
from tests.seed import SEED

FLAG: Final = "new-invoicing"
OWNER: Final = "release-owner@example.com"
STAFF: Final = {"Cookie": signed_in({"user": "ada", "staff": True})}
HEALTH: Final = "/nobody/flaggate/health"
WORKERS: Final = 2


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A store in which staff have the flag."""
    with PLACES[request.param](tmp_path) as made:
        begin(made)
        yield made


@pytest.fixture
def sqlite_file(tmp_path: Path) -> SqliteFile:
    """The same, for what befalls files only."""
    made = SqliteFile(tmp_path)
    begin(made)
    return made


def begin(place: Place) -> None:
    control = Control(open_store(place.url))
    control.apply(parse(SEED.read_text()), actor=OWNER)
    control.act(Verb.START, FLAG, actor=OWNER)
    control.store.close()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where the app keeps its copy, and looks for the off file."""
    return tmp_path / "kept"


@contextmanager
def app(place: Place, kept: Path, **environment: str) -> Iterator[Server]:
    """Two workers that serve it."""
    folder = Path(tempfile.mkdtemp(dir=kept.parent, prefix="served-"))
    with serving("gunicorn, two workers", place.url, folder, SITE_DIRECTORY=str(kept), **environment) as server:
        yield server


def act(place: Place, verb: Verb) -> None:
    store = open_store(place.url)
    Control(store).act(verb, FLAG, actor=OWNER, reason="for the test")
    store.close()


def asked(server: Server) -> dict[str, Any]:
    """What a request of the staff is told."""
    told: dict[str, Any] = server.ask("/nobody/x", STAFF).json()
    return told


def all_say(server: Server, reason: str) -> int:
    """Wait until every worker decides for this reason. Returns how often they were asked."""
    seen, times = dict[int, str](), 0

    def do() -> bool:
        nonlocal times
        told, times = asked(server), times + 1
        seen[told["pid"]] = told["reason"]
        return len(seen) == WORKERS and set(seen.values()) == {reason}

    until(do, f"both workers say {reason}", seconds=60)
    return times


def health(server: Server) -> tuple[int, dict[str, Any]]:
    reply = server.ask(HEALTH)
    return reply.status, json.loads(reply.body)


def seen_once(place: Place, kept: Path, reason: str) -> None:
    """Let an app read the store, and end."""
    store = open_store(place.url)
    revision = store.revision()
    store.close()
    with app(place, kept) as server:
        all_say(server, reason)
        until(lambda: _kept_revision(kept) >= revision, "a copy is kept")


def _kept_revision(kept: Path) -> int:
    """Of the copy on disk; -1 = there is none."""
    try:
        return DiskCopy(kept).head()[1]
    except (OSError, ValueError):
        return -1


# --- gone -----------------------------------------------------------------------------------


def test_gone_at_the_start_the_copy_serves_until_it_is_back(place: Place, kept: Path) -> None:
    act(place, Verb.KILL)
    seen_once(place, kept, "killed")
    act(place, Verb.UNKILL)
    seen_once(place, kept, "stage")
    place.goes()
    with app(place, kept) as server:
        all_say(server, "stage")
        assert health(server)[0] == 200
        until(lambda: health(server)[1]["problem"], "it says that something is wrong")
        place.comes_back()
        act(place, Verb.KILL)
        all_say(server, "killed")
        until(lambda: not health(server)[1]["problem"], "it is over")


def test_gone_at_the_start_and_never_seen_everything_is_off_and_it_is_said(place: Place, kept: Path) -> None:
    place.goes()
    with app(place, kept) as server:
        assert not asked(server)["is_on"]
        assert health(server)[0] == 503
        assert health(server)[1]["revision"] == 0
        assert server.ask(f"{HEALTH}?live").status == 200
        assert f"flag '{FLAG}' is off: nothing was ever seen of" in server.words()
        place.comes_back()
        all_say(server, "stage")
        until(lambda: health(server)[0] == 200, "it serves")


def test_gone_while_it_serves_and_back(place: Place, kept: Path) -> None:
    with app(place, kept) as server:
        all_say(server, "stage")
        for verb, reason in ((Verb.KILL, "killed"), (Verb.UNKILL, "stage")):
            place.goes()
            until(lambda: health(server)[1]["problem"], "it is seen")
            before = asked(server)["reason"]
            assert health(server)[0] == 200
            place.comes_back()
            assert before != reason
            act(place, verb)
            all_say(server, reason)


@pytest.mark.long
def test_gone_for_long_under_load_no_request_fails_and_none_is_counted_twice(place: Place, kept: Path) -> None:
    with app(place, kept) as server:
        asks = all_say(server, "stage")
        place.goes()
        with under_load(server) as seen:
            sleep(20)
        assert set(seen) == {(200, "stage")}
        place.comes_back()
        asks += sum(seen.values())
        until(lambda: counted(place) >= asks, "all of them are counted", seconds=60)
        asks += all_say(server, "stage")
        until(lambda: counted(place) >= asks, "those that came after, too", seconds=60)
        assert counted(place) == asks
        act(place, Verb.KILL)
        all_say(server, "killed")


def counted(place: Place) -> int:
    """Requests of those who had the flag."""
    with closing(open_store(place.url)) as store:
        return sum(count.requests for count in store.counts(FLAG) if count.arm == "on")


@contextmanager
def under_load(server: Server) -> Iterator[Counter[tuple[int, str]]]:
    """Four clients that ask one after the other, and what they were told."""
    seen, is_over = Counter[tuple[int, str]](), threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            reply = server.ask("/nobody/x", STAFF)
            seen[reply.status, json.loads(reply.body)["reason"] if reply.status == 200 else ""] += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        for thread in threads:
            thread.join(60)


# --- silent ---------------------------------------------------------------------------------


@pytest.mark.long
def test_silent_while_it_serves_requests_go_on_and_the_off_file_counts(place: Place, kept: Path) -> None:
    with app(place, kept) as server:
        all_say(server, "stage")
        with place.silent():
            with under_load(server) as seen:
                sleep(3)
            assert set(seen) == {(200, "stage")}
            (kept / "off").write_text(FLAG)
            all_say(server, "killed")
        (kept / "off").unlink()
        all_say(server, "stage")


@pytest.mark.long
def test_silent_from_the_start_what_was_said_to_be_off_is_off(place: Place, kept: Path) -> None:
    """By the file and by the environment; without them the copy answers."""
    with app(place, kept) as keeps_it_open:
        all_say(keeps_it_open, "stage")
        until((kept / "snapshot.db").exists, "a copy is kept")
        with place.silent():
            with app(place, kept) as server:
                assert asked(server)["reason"] == "stage"
                assert health(server)[0] == 200
                (kept / "off").write_text("*")
                all_say(server, "killed")
            (kept / "off").unlink()
            with app(place, kept, FLAGGATE_OFF=FLAG) as server:
                assert asked(server)["reason"] == "killed"


def test_slow_requests_go_on_and_a_kill_arrives(place: Place, kept: Path) -> None:
    with app(place, kept) as server:
        all_say(server, "stage")
        with place.slow():
            with under_load(server) as seen:
                sleep(2)
            assert set(seen) == {(200, "stage")}
            act(place, Verb.KILL)
            all_say(server, "killed")


def test_a_server_dies_and_starts_again(tmp_path: Path, kept: Path) -> None:
    """With whatever it was doing; the copy on disk serves who starts meanwhile."""
    with postgres_server(port=free_port()) as database:
        place = Behind(database.new_schema(), database.port or 0)
        begin(place)
        with closing(place.wire), app(place, kept) as server:
            all_say(server, "stage")
            until((kept / "snapshot.db").exists, "a copy is kept")
            database.kill()
            until(lambda: health(server)[1]["problem"], "it is seen")
            with app(place, kept) as later:
                assert asked(later)["reason"] == "stage"
                database.start()
                act(place, Verb.KILL)
                all_say(server, "killed")
                all_say(later, "killed")


# --- a store that takes nothing -------------------------------------------------------------


def test_a_store_that_is_newer_than_the_code_is_not_written_and_the_copy_serves(
    kept: Path, sqlite_file: SqliteFile
) -> None:
    place = sqlite_file
    seen_once(place, kept, "stage")
    with closing(sqlite3.connect(place.path, isolation_level=None)) as raw:
        raw.execute("UPDATE flaggate_meta SET schema_version = 99")
    with app(place, kept) as server:
        all_say(server, "stage")
        assert health(server)[0] == 200
        until(lambda: "its schema is version 99" in server.words(), "it is said")
    command = [sys.executable, "-m", "flaggate", "kill", FLAG, "--store", place.url, "--reason", "why"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 3
    assert "use the newer flaggate" in done.stderr
    assert "FLAGGATE_OFF" in done.stderr, "how to turn it off without the store"


FULL: Final = """
import logging, resource, sys
from flaggate import Context, Gate
from flaggate.errors import StoreError
from flaggate.rollout.state import Verb
logging.disable()
url, flag = sys.argv[1:]
gate = Gate.open(url, background=False)
ADA = Context("ada", staff=True)
def visit():
    with gate.visit(ADA) as visit:
        return visit.is_on(flag)
def counts():
    return sum(count.requests for count in gate.store.counts(flag) if count.arm == "on")
assert visit()
gate.refresh()
begun = counts()
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1, most))
for _ in range(5):
    assert visit()
    gate.refresh()
assert "counts wait to be written" in str(gate.health().problem), gate.health()
try:
    gate.control.act(Verb.KILL, flag, actor="owner@example.com", reason="why")
except StoreError as error:
    print("refused")
assert visit()
assert gate.health().is_serving
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
gate.refresh()
assert gate.health().problem is None, gate.health()
assert counts() == begun + 6, counts()
gate.control.act(Verb.KILL, flag, actor="owner@example.com", reason="why")
gate.refresh()
assert not visit()
gate.close()
print("over")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a process")
def test_a_full_disk_takes_no_kill_and_loses_no_count(sqlite_file: SqliteFile, tmp_path: Path) -> None:
    assert run(tmp_path, FULL, sqlite_file.url, FLAG) == "refused\nover\n"


READ_ONLY: Final = """
import logging, os, sys
from flaggate import Context, Gate
from flaggate.errors import StoreError
from flaggate.rollout.state import Verb
logging.disable()
writable, read_only, flag = sys.argv[1:]
def look(url):
    gate = Gate.open(url, background=False)
    assert gate.is_on(flag, Context("ada", staff=True)), gate.health()
    assert gate.health().is_serving
    try:
        gate.control.act(Verb.KILL, flag, actor="owner@example.com", reason="why")
        print("killed")
    except StoreError:
        print("refused")
    gate.close()
look(writable)  # and so all is imported
if not os.getuid():
    os.setuid(65534)  # root may write everywhere
look(read_only)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the rights of Unix")
def test_a_start_where_nothing_can_be_written_is_answered_from_the_copy(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="flaggate-") as name:  # another user may not enter one of pytest's
        places = [SqliteFile(Path(name) / each) for each in ("writable", "read-only")]
        for place in places:
            place.path.parent.mkdir()
            control = Control(open_store(place.url))
            control.apply(parse(SEED.read_text()), actor=OWNER)
            control.act(Verb.START, FLAG, actor=OWNER)
            gate = Gate.open(control.store, background=False)
            gate.refresh()
            gate.close()
        folder = places[1].path.parent
        everything = [Path(name), *sorted(folder.rglob("*"), reverse=True), folder]
        for each in everything:
            each.chmod(0o555 if each.is_dir() else 0o444)
        try:
            assert run(tmp_path, READ_ONLY, *(place.url for place in places), FLAG) == "killed\nrefused\n"
        finally:
            for each in reversed(everything):
                each.chmod(0o755)


# --- the wire -------------------------------------------------------------------------------


@contextmanager
def echo() -> Iterator[tuple[str, int]]:
    """A server that says what it hears."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    near, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(near,), daemon=True).start()

        def answer(near: socket.socket) -> None:
            with near:
                while part := near.recv(1000):
                    near.sendall(part)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()
        listening.shutdown(socket.SHUT_RDWR)


def test_a_wire_carries_keeps_silent_and_is_cut() -> None:
    with echo() as target, closing(Wire(target)) as wire:
        with socket.create_connection(("127.0.0.1", wire.port), timeout=30) as client:
            client.sendall(b"one")
            assert client.recv(10) == b"one"
            with wire.silent():
                client.sendall(b"two")
                client.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    client.recv(10)
                client.settimeout(30)
            assert client.recv(10) == b"two"
            wire.cut()
            assert client.recv(10) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", wire.port))
        wire.mend()
        with socket.create_connection(("127.0.0.1", wire.port), timeout=30) as client:
            wire.delay_seconds = 0.01
            client.sendall(b"three")
            assert client.recv(10) == b"three"
