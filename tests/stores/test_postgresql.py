"""The store in PostgreSQL keeps the contract, and what only it has to: servers that go, come back, and forget."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaggate import Context, Gate
from flaggate.errors import BusyError, ConflictError, StoreError
from flaggate.rollout.state import Verb
from flaggate.runtime.carry import carry
from flaggate.stores import open_store
from flaggate.stores.base import Report, Store, Write
from flaggate.stores.memory import MemoryStore
from flaggate.testing import StoreContract
from flaggate.testing.contract.acting import a_count, an_event
from tests.postgres_servers import KINDS, PostgresServer, postgres_server
from tests.runtime.scenes import bring, turn, until
from tests.shared_servers import shared_postgres
from tests.stores.cutting import Cable

psycopg = pytest.importorskip("psycopg", reason="pip install 'flaggate[postgresql]'")
from flaggate.stores import postgresql  # noqa: E402  # which imports it
from flaggate.stores.postgresql import PostgresStore  # noqa: E402

ADA, PRO = Context("ada"), Context("ada", tier="pro")


@pytest.fixture(scope="module", params=[KINDS[0], *(pytest.param(kind, marks=pytest.mark.long) for kind in KINDS[1:])])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    return shared_postgres(request.param)


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """To be killed."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def url(own_server: PostgresServer) -> str:
    return own_server.new_schema()


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(url)
    yield store
    store.close()


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def store(self, server: PostgresServer) -> Iterator[Store]:
        store = PostgresStore(server.new_schema(), clock=self.clock)
        yield store
        store.close()


# --- hearing ------------------------------------------------------------------------------------


def _heard(store: Store, seconds: float = 10.0) -> bool:
    return store.wait(seconds, threading.Event())


def test_a_commit_of_another_ends_the_wait(store: PostgresStore, url: str) -> None:
    assert _heard(store), "once it listens something may have been missed"
    assert not _heard(store, 0.05)
    other = PostgresStore(url)
    other.commit([Write("flag", "a", 0, {})], [an_event("a")])
    assert _heard(store)
    assert not _heard(store, 0.05)
    other.add_counts(Report("one", 1, (a_count("a"),)))
    assert not _heard(store, 0.3), "counts wake nobody"
    other.close()


def test_a_wait_that_is_over_ends(store: PostgresStore) -> None:
    assert _heard(store)
    is_over = threading.Event()
    threading.Timer(0.1, is_over.set).start()
    begun = time.monotonic()
    assert not store.wait(60.0, is_over)
    assert time.monotonic() - begun < 30


def test_without_notices_it_polls_and_listens_again_once_it_can(own_server: PostgresServer, url: str) -> None:
    cable = Cable(f"{own_server.place}/.s.PGSQL.5432")
    store = PostgresStore(f"{url.split('?')[0].replace('@', '@127.0.0.1:' + str(cable.port))}?{url.split('&', 1)[1]}")
    try:
        assert _heard(store)
        cable.cut()
        assert not _heard(store, 0.05)
        cable.mend()
        until(lambda: _heard(store, 0.2), "it listens again, and what was missed is asked for", seconds=20)
        assert store.revision() == 0
    finally:
        store.close()
        cable.close()


# --- servers that forget ------------------------------------------------------------------------


def test_another_run_has_another_name_once_it_wrote(own_server: PostgresServer, url: str) -> None:
    store = PostgresStore(url)
    before = store.commit([Write("flag", "a", 0, {})], [an_event("a")])
    store.changes()
    called, salt = store.identity, store.salt
    own_server.kill()
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
    with postgres_server() as server:
        url = server.new_schema()
        store = PostgresStore(url)
        bring(store)
        turn(store, Verb.ON, "banner")
        store.close()
        server.stop()
        shutil.copytree(server.place / "data", server.place / "backup", copy_function=shutil.copy2)
        server.start()
        gate = Gate(PostgresStore(url), background=False)
        turn(gate.store, Verb.KILL, "banner")
        turn(gate.store, Verb.ON, "tiered")
        gate.refresh()
        assert not gate.is_on("banner", ADA)
        assert gate.is_on("tiered", PRO)
        server.stop()
        _restore(server)
        server.start()
        store = PostgresStore(url)
        for verb in (Verb.KILL, Verb.UNKILL, Verb.KILL):
            turn(store, verb, "tiered")
        gate.refresh()
        assert gate.health().problem is None
        assert gate.is_on("banner", ADA), "the kill was lost, and the store says so"
        assert not gate.is_on("tiered", PRO)
        gate.close()
        store.close()


def _restore(server: PostgresServer) -> None:
    shutil.rmtree(server.place / "data")
    shutil.move(server.place / "backup", server.place / "data")
    if not os.getuid():
        for path in (server.place / "data", *(server.place / "data").rglob("*")):
            shutil.chown(path, "nobody")


def test_a_commit_whose_answer_was_lost_is_done_once(own_server: PostgresServer, url: str) -> None:
    cable = Cable(f"{own_server.place}/.s.PGSQL.5432")
    store = PostgresStore(f"{url.split('?')[0].replace('@', '@127.0.0.1:' + str(cable.port))}?{url.split('&', 1)[1]}")
    try:
        before = store.revision()
        cable.fatal = b"COMMIT\0"
        store.commit([Write("flag", "a", 0, {})], [an_event("a")])
        assert cable.fatal is None, "it was cut"
        assert store.revision() == before + 1
        assert len(store.history()) == 1
        cable.fatal = b"INSERT INTO flaggate_event"
        with pytest.raises(StoreError):
            store.commit([Write("flag", "b", 0, {})], [an_event("b")])
        assert store.get("flag", "b") is None
        assert len(store.history()) == 1
    finally:
        store.close()
        cable.close()


def test_a_server_that_says_nothing_is_given_up(
    own_server: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the thread that asks would stand there for ever, and follow no change of a server that is back."""
    monkeypatch.setattr(postgresql, "_SILENT_SECONDS", 0.5)
    monkeypatch.setattr(postgresql, "_CONNECT_SECONDS", 2)
    cable = Cable(f"{own_server.place}/.s.PGSQL.5432")
    store = PostgresStore(f"{url.split('?')[0].replace('@', '@127.0.0.1:' + str(cable.port))}?{url.split('&', 1)[1]}")
    answers: list[str] = []

    def ask() -> None:
        try:
            answers.append(f"revision {store.revision()}")
        except StoreError as error:
            answers.append(str(error))

    try:
        store.revision()
        cable.carries.clear()
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        until(lambda: not asking.is_alive(), "it is given up")
        assert "did not do it" in answers[0]
        cable.carries.set()
        assert store.revision() == 0
    finally:
        store.close()
        cable.close()


# --- what is refused ----------------------------------------------------------------------------


def test_nobody_answers(tmp_path: Path) -> None:
    store = PostgresStore(f"postgresql://flaggate:secret@/postgres?host={tmp_path}")
    with pytest.raises(StoreError, match="did not do it") as caught:
        store.revision()
    assert "secret" not in str(caught.value)
    assert not _heard(store, 0.01)
    store.close()


@pytest.mark.parametrize("url", ["postgresql://x:port/y", "postgresql+psycopg2://x/y"])
def test_what_is_no_url_of_it_is_refused_at_once(url: str) -> None:
    with pytest.raises(StoreError, match="postgresql://user@host/database"):
        PostgresStore(url)


def test_an_app_makes_no_store(url: str) -> None:
    store = open_store(url, create=False)
    with pytest.raises(StoreError, match="flaggate apply makes it"):
        store.revision()
    store.close()


def test_of_many_that_make_the_same_store_each_has_it(url: str) -> None:
    stores = [PostgresStore(url) for _ in range(8)]
    failures: list[BaseException] = []

    def ask(store: PostgresStore) -> None:
        try:
            assert store.revision() == 0
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len({store.identity for store in stores}) == 1
    for store in stores:
        store.close()


def test_a_newer_schema_is_not_touched_and_what_was_read_goes_on(store: PostgresStore, url: str) -> None:
    bring(store)
    turn(store, Verb.ON, "banner")
    gate = Gate(PostgresStore(url), background=False)
    assert gate.is_on("banner", ADA)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE flaggate_meta SET schema_version = 99")
    late = PostgresStore(url)
    with pytest.raises(StoreError, match="its schema is version 99"):
        late.commit([], [])
    gate.refresh()
    assert gate.is_on("banner", ADA)
    gate.close()
    late.close()


def test_a_role_that_may_only_read_serves_and_writes_nothing(own_server: PostgresServer, url: str) -> None:
    store = PostgresStore(url)
    bring(store)
    turn(store, Verb.ON, "banner")
    schema = url.rpartition("%3D")[2]
    with psycopg.connect(own_server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE reader_{schema} LOGIN")
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO reader_{schema}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader_{schema}")
    reader = PostgresStore(url.replace("flaggate@", f"reader_{schema}@"))
    gate = Gate(reader, background=False)
    assert gate.is_on("banner", ADA)
    with pytest.raises(StoreError, match="the role needs SELECT, INSERT"):
        reader.commit([Write("flag", "x", 0, {})], [])
    with psycopg.connect(own_server.url(), autocommit=True) as connection:
        connection.execute("ALTER ROLE flaggate IN DATABASE postgres SET default_transaction_read_only = on")
    try:
        standby = PostgresStore(url)
        assert standby.revision() > 0
        with pytest.raises(StoreError, match="is this a standby"):
            standby.commit([Write("flag", "x", 0, {})], [])
        standby.close()
    finally:
        with psycopg.connect(
            own_server.url(), autocommit=True, options="-c default_transaction_read_only=off"
        ) as connection:
            connection.execute("ALTER ROLE flaggate IN DATABASE postgres RESET default_transaction_read_only")
    gate.close()
    store.close()


def test_counts_wait_for_another_writer_only_shortly(store: PostgresStore, url: str) -> None:
    store.commit([Write("flag", "a", 0, {})], [])
    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('flaggate ' || current_schema()), 1)")
        with pytest.raises(BusyError):
            store.add_counts(Report("one", 1, (a_count("a"),)))
        assert store.revision() == 1
        store.commit([Write("flag", "a", 1, {"n": 1})], [an_event("a", "kill")])
    store.add_counts(Report("one", 1, (a_count("a"),)))
    assert store.counts()[0].requests == 1


def test_of_two_that_saw_the_same_version_one_writes(store: PostgresStore, url: str) -> None:
    other = PostgresStore(url)
    store.commit([Write("flag", "a", 0, {})], [])
    other.commit([Write("flag", "a", 1, {"by": "other"})], [an_event("a")])
    with pytest.raises(ConflictError):
        store.commit([Write("flag", "a", 1, {"by": "store"})], [an_event("a")])
    assert len(store.history()) == 1
    other.close()


# --- what a database may be like ----------------------------------------------------------------


def test_a_database_that_sorts_by_a_language_gives_back_what_it_took(own_server: PostgresServer) -> None:
    with psycopg.connect(own_server.url(), autocommit=True) as connection:
        connection.execute(
            "CREATE DATABASE german TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de' LOCALE 'C' ENCODING 'UTF8'"
        )
    source, target = MemoryStore(), PostgresStore(own_server.url().replace("/postgres?", "/german?"))
    names = ("new_home", "new2", "new-x", "New", "a")
    source.commit([Write("flag", name, 0, {}) for name in names], [])
    source.add_counts(Report("one", 1, tuple(a_count(name) for name in names)))
    carried = carry(source, target)
    assert target.contents() == carried.contents
    assert [count.flag for count in target.counts()] == sorted(names)
    target.close()


def test_a_kill_outlives_a_crash_whatever_the_role_is_used_to(own_server: PostgresServer, url: str) -> None:
    with psycopg.connect(own_server.url(), autocommit=True) as connection:
        connection.execute("ALTER ROLE flaggate SET synchronous_commit = off")
    try:
        store = PostgresStore(url)
        with store._writing() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        store.close()
    finally:
        with psycopg.connect(own_server.url(), autocommit=True) as connection:
            connection.execute("ALTER ROLE flaggate RESET synchronous_commit")


def test_of_another_run_nobody_can_tell_what_was_committed(store: PostgresStore) -> None:
    store.commit([], [])
    with pytest.raises(StoreError, match="nobody can tell"):
        store._was_committed(1, "another run")


def test_a_table_in_the_place_of_another_is_heard_of(store: PostgresStore, url: str) -> None:
    store.commit([Write("flag", "a", 0, {})], [])
    assert _heard(store)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE other AS SELECT * FROM flaggate_meta")
        connection.execute("DROP TABLE flaggate_meta")
        connection.execute("ALTER TABLE other RENAME TO flaggate_meta")
    called = store.identity
    assert store.revision() == 1
    assert store.identity != called
    until(lambda: _heard(store, 0.2), "it listens anew", seconds=20)
    other = PostgresStore(url)
    other.commit([Write("flag", "b", 0, {})], [])
    assert _heard(store)
    other.close()


def test_no_password_is_shown_wherever_it_stands() -> None:
    store = PostgresStore("postgresql://u:one@h/d?password=two&sslpassword=three&sslmode=require")
    assert store.url == "postgresql://u:***@h/d?password=***&sslmode=require&sslpassword=***"
