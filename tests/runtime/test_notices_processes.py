"""Processes that die, stand still, fork or end in the midst of telling people, and two that want to tell the same."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from flaggate import Gate
from flaggate.errors import BusyError
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.runtime.ticker import Ticker
from flaggate.stores.base import Store
from flaggate.stores.sql import SqlStore
from tests.runtime.notice_scenes import PLAN, Target, Teller, configure
from tests.runtime.scenes import NOW, OWNER, ROOT, run, until
from tests.stores.children import Pipe, fork, wait
from tests.stores.crashing import crashes

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks what it kills")


@pytest.fixture
def config(tmp_path: Path, target: Target) -> Path:
    return configure(tmp_path / "apprise.yml", {target.url(): "always"})


AT_ONCE = PLAN.replace('soak = "10s"', 'soak = "0s"', 1)


def prepared(path: Path, config: Path, text: str = PLAN) -> str:
    """A store whose events have been told so far. Returns its URL."""
    with closing(SqlStore(f"sqlite:///{path}")) as store:
        teller = Teller(store, config)
        teller.apply(text)
        teller.tell()
        teller.ticker.release()
        return store.url


@contextmanager
def the_next(url: str, config: Path) -> Iterator[Teller]:
    """The next process, which has told what it had to, once the lease of the one before is over."""
    with closing(SqlStore(url, clock=lambda: time.time() + 3600)) as store:
        teller = Teller(store, config)
        teller.tell(0)
        yield teller


@pytest.fixture
def url(tmp_path: Path, config: Path) -> str:
    return prepared(tmp_path / "flags.db", config)


# --- killed -----------------------------------------------------------------------------------


@forks
def test_killed_once_it_was_sent_it_is_told_again(tmp_path: Path, config: Path, target: Target) -> None:
    """Nobody knows whether it was: at least once."""
    url = prepared(tmp_path / "flags.db", config)

    def send_and_die() -> None:
        teller = Teller(SqlStore(url), config)
        teller.act(Verb.ON, "banner")
        teller.look()
        teller.notifier.wait(30)
        os.kill(os.getpid(), signal.SIGKILL)

    assert wait(fork(send_and_die)) == -signal.SIGKILL
    assert target.titles == ["banner: turned on"]
    with the_next(url, config) as teller:
        assert target.titles == ["banner: turned on"] * 2
        teller.tell()
        assert target.titles == ["banner: turned on"] * 2
        assert teller.kept.pending == {}


@forks
def test_killed_once_it_was_kept_it_is_told_once(tmp_path: Path, config: Path, target: Target) -> None:
    url = prepared(tmp_path / "flags.db", config)

    def die(seconds: float) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def keep_and_die() -> None:
        teller = Teller(SqlStore(url), config)
        teller.notifier.send = die  # type: ignore[method-assign]  # just before
        teller.act(Verb.ON, "banner")
        teller.look()

    assert wait(fork(keep_and_die)) == -signal.SIGKILL
    with the_next(url, config):
        assert target.titles == ["banner: turned on"]
    assert target.titles == ["banner: turned on"]


@forks
def test_killed_between_any_two_steps_of_a_look(tmp_path: Path, target: Target) -> None:
    """Rollout, event and message agree: what happened is told, and nothing else."""
    url = prepared(tmp_path / "flags.db", configure(tmp_path / "apprise.yml", {target.url(): "always"}), AT_ONCE)
    with closing(SqlStore(url)) as store:
        Teller(store, tmp_path / "apprise.yml").act(Verb.START)

    def config_of(store: Store) -> Path:
        """Each store's has a path of its own."""
        folder = Path(str(store.directory)).parent
        return configure(folder / "apprise.yml", {target.url(folder.name): "always"})

    seen = []
    for store in crashes(tmp_path / "flags.db", lambda store: Teller(store, config_of(store)).tell()):
        config = config_of(store)
        with the_next(store.url, config) as teller:
            happened = [event.verb for event in teller.store.history() if event.verb != "apply"]
            assert teller.kept.pending == {}
        told = Counter(heard.title for heard in target.heard if heard.path == f"/{config.parent.name}")
        assert happened == ["start", "advance"]
        assert set(told) == {"invoicing: started", "invoicing: advanced to tenth"}
        seen.append(set(told.values()))
    assert seen[0] == seen[-1] == {1}, "without a crash, or before anything was done, each is told once"
    assert {2} in seen
    assert all(counts <= {1, 2} for counts in seen)
    assert len(seen) > 20


# --- two of them ------------------------------------------------------------------------------


@forks
def test_two_processes_on_one_file_tell_each_thing_once(tmp_path: Path, config: Path, target: Target) -> None:
    url = prepared(tmp_path / "flags.db", config)
    pipes = Pipe(), Pipe()

    def look(pipe: Pipe) -> None:
        store = SqlStore(url)
        teller = Teller(store, config)
        while (command := pipe.receive(1)) != "e":
            assert command == "l"
            teller.look()
        teller.ticker.tell(30)
        teller.ticker.release()

    children = [fork(lambda pipe=pipe: look(pipe)) for pipe in pipes]  # type: ignore[misc]  # mypy sees no default there
    with closing(SqlStore(url)) as store:
        person = Teller(store, config)
        person.act(Verb.START)
        for turn in range(40):
            for pipe in pipes:
                pipe.send("l")
            if turn == 10:
                person.act(Verb.ON, "banner")
            if turn == 20:
                person.act(Verb.OFF, "banner")
        for pipe in pipes:
            pipe.send("e")
        assert [wait(child) for child in children] == [0, 0]
        verbs = Counter(event.verb for event in store.history() if event.verb != "apply")
        last = Teller(store, config)
        last.tell()
    assert verbs == {"start": 1, "advance": 1, "on": 1, "off": 1}
    assert Counter(target.titles) == dict.fromkeys(
        (
            "invoicing: started",
            "invoicing: advanced to tenth",
            "invoicing: waits for approval",
            "banner: turned on",
            "banner: turned off",
        ),
        1,
    )


@forks
def test_one_that_stood_still_tells_nothing_twice(tmp_path: Path, config: Path, target: Target) -> None:
    """SIGSTOP, as of a container that is frozen: another takes its place, and when it wakes it has nothing to say."""
    url = prepared(tmp_path / "flags.db", config)
    looked, woken = Pipe(), Pipe()

    def look() -> None:
        teller = Teller(SqlStore(url), config, every_seconds=0.1)
        teller.act(Verb.START)
        teller.tell()
        looked.send()
        woken.receive(1)
        for _ in range(3):
            assert teller.look() is None, "another one has the lease"
        teller.ticker.tell(30)

    child = fork(look)
    looked.receive(1)
    os.kill(child, signal.SIGSTOP)
    with closing(SqlStore(url)) as store:
        teller = Teller(store, config)
        teller.act(Verb.PAUSE)
        until(lambda: teller.look() is not None, "its lease is over")
        teller.ticker.tell(30)
        os.kill(child, signal.SIGCONT)
        woken.send()
        assert wait(child) == 0
    assert target.titles == ["invoicing: started", "invoicing: paused"]


def test_one_that_stood_still_once_it_was_kept_begins_nothing(
    tmp_path: Path, config: Path, url: str, target: Target
) -> None:
    """By then it is another's to tell."""
    with closing(SqlStore(url)) as store:
        teller = Teller(store, config, every_seconds=0.1)
        keep = store.save_progress

        def keep_and_stand_still(documents: Mapping[str, Mapping[str, Any] | None], *, holder: str) -> None:
            keep(documents, holder=holder)
            until(lambda: store.lease() is None, "the lease is over")

        store.save_progress = keep_and_stand_still  # type: ignore[method-assign]  # as a process that is stopped there
        teller.act(Verb.ON, "banner")
        assert teller.look() is not None
        teller.notifier.wait(30)
        assert target.asked == 0
    with the_next(url, config):
        assert target.titles == ["banner: turned on"]


# --- forks and ends ---------------------------------------------------------------------------

SCRIPT = """
import sys, threading, warnings
from flaggate import Context, Gate
from flaggate.rollout.state import Verb
from flaggate.stores.base import Store
from flaggate.stores.sql import SqlStore
from tests.runtime.scenes import fork, reap, until

warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and newer warn of any fork beside a thread
url, config = sys.argv[1:]
def opened(background=True):
    gate = Gate.open(SqlStore(url), notify=config, tick_seconds=0.1 if background else 100.0, background=background)
    gate.is_on("banner", Context("ada"))
    return gate

def turn(gate, verb):
    gate.control.act(verb, "banner", actor="owner@example.com")

def has_told(gate):
    return gate._duties.ticker is not None and gate._duties.ticker._notices.is_idle(gate.store, gate.store.revision())
"""


def script(tmp_path: Path, text: str, *arguments: object) -> str:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return run(tmp_path, SCRIPT + text, *arguments, PYTHONPATH=path)


@forks
def test_a_child_tells_by_threads_of_its_own(tmp_path: Path, url: str, config: Path, target: Target) -> None:
    """The parent has told something, and ends; the child takes over."""
    script(
        tmp_path,
        """
gate = opened()
turn(gate, Verb.ON)
until(lambda: has_told(gate), "told by the parent")
def serve():
    gate.is_on("banner", Context("ada"))
    turn(gate, Verb.OFF)
    until(lambda: has_told(gate), "told by the child")
    gate.close()
child = fork(lambda: (until(lambda: not gate.store.lease(), "the parent let go"), serve()))
gate.close()
reap(child)
""",
        url,
        config,
    )
    assert target.titles == ["banner: turned on", "banner: turned off"]


@forks
def test_a_fork_while_something_is_sent(tmp_path: Path, url: str, config: Path, target: Target) -> None:
    """The child neither waits for it nor sends it again; the parent goes on."""
    target.is_open.clear()
    threading.Thread(target=target.answers_once_asked, daemon=True).start()
    script(
        tmp_path,
        """
gate = opened()
turn(gate, Verb.ON)
until(lambda: gate._duties.ticker is not None and gate._duties.ticker._notices.is_busy(), "something is sent")
def serve():
    assert gate._duties.ticker is None
    gate.close()
child = fork(serve)
reap(child)
until(lambda: has_told(gate), "told by the parent")
gate.close()
""",
        url,
        config,
    )
    assert target.titles == ["banner: turned on"]


SENDING = """
gate = opened(background=False)
turn(gate, Verb.ON)
assert gate.tick() is not None
def is_sending():
    is_there = any(thread.name == "flaggate-notice" for thread in threading.enumerate())
    return is_there or gate._duties.ticker._notices._sender.results()
until(is_sending, "it is being sent, or was")
"""


@pytest.mark.parametrize("ends", ["gate.close()", ""])
def test_who_ends_waits_for_what_is_being_sent(
    tmp_path: Path, config: Path, url: str, target: Target, ends: str
) -> None:
    """And keeps what came of it: the next process does not tell it again. Nobody has to close a gate."""
    script(tmp_path, f"{SENDING}\n{ends}", url, config)
    assert target.titles == ["banner: turned on"]
    with closing(SqlStore(url)) as store:
        assert store.lease() is None
        Teller(store, config).tell()
    assert target.titles == ["banner: turned on"]


def test_who_ends_does_not_wait_for_ever(tmp_path: Path, config: Path, url: str, target: Target) -> None:
    """What hangs is left to the next process."""
    target.is_open.clear()
    shorter = "import flaggate.runtime.duties\nflaggate.runtime.duties.LAST_FLUSH_SECONDS = 0.2"
    script(tmp_path, f"{SENDING}\n{shorter}\ngate.close()", url, config)
    target.is_open.set()
    with closing(SqlStore(url)) as store:
        assert store.lease() is None
        Teller(store, config).tell()
    assert "banner: turned on" in target.titles


def test_only_who_tells_loads_apprise(tmp_path: Path, url: str, config: Path) -> None:
    """It takes a second and forty megabytes: no app that opens a gate, or waits, pays for that."""
    text = """
gate = opened()
until(lambda: has_told(gate), "it has looked")
print("apprise" in sys.modules)
"""
    assert script(tmp_path, text, url, config) == "False\n"


def test_one_look_of_a_process_that_ends(tmp_path: Path, config: Path, url: str, target: Target) -> None:
    """As by cron: `tell` waits until all was told."""
    with closing(SqlStore(url)) as store:
        control = Control(store, now=lambda: NOW)
        for verb in (Verb.ON, Verb.OFF, Verb.KILL):
            control.act(verb, "banner", actor=OWNER)
        teller = Teller(store, config)
        assert teller.look() is not None
        teller.ticker.tell(30)
        teller.ticker.release()
        assert teller.kept.pending == {}
    assert len(target.heard) == 3


def test_tell_where_there_is_nobody_to_tell(store: SqlStore) -> None:
    ticker = Ticker(store)
    assert ticker.tick(store.changes().rows) == []
    ticker.tell(30)


def test_tell_waits_for_a_store_that_is_busy(tmp_path: Path, config: Path, url: str, target: Target) -> None:
    """Another writer, as of a big apply: what was told is kept once it has ended."""
    with closing(SqlStore(url)) as store:
        teller = Teller(store, config)
        teller.act(Verb.ON, "banner")
        assert teller.look() is not None
        keep, refusals = store.save_progress, [1, 2]

        def refuse(documents: Mapping[str, Mapping[str, Any] | None], *, holder: str) -> None:
            if refusals:
                refusals.pop()
                raise BusyError(url, "somebody writes")
            keep(documents, holder=holder)

        store.save_progress = refuse  # type: ignore[method-assign]  # a writer for just so long
        teller.ticker.tell(30)
        assert (refusals, teller.kept.pending) == ([], {})
        teller.act(Verb.OFF, "banner")
        assert teller.look() is not None
        teller.notifier.wait(30)
        refusals[:] = [1, 2, 3]
        with pytest.raises(BusyError):
            teller.ticker.tell(0)
    assert target.titles == ["banner: turned on", "banner: turned off"]


def test_tell_does_not_wait_for_a_look_that_hangs(tmp_path: Path, config: Path, url: str) -> None:
    """As when the keeper of a process that ends still waits for its store."""
    is_over, is_looking = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        is_looking.set()
        is_over.wait(60)

    with closing(SqlStore(url)) as store:
        teller = Teller(store, config)
        teller.act(Verb.START)
        ticker = Ticker(store, judge=hang, notices=teller.notifier)
        looks = threading.Thread(target=lambda: ticker.tick(store.changes().rows), daemon=True)
        looks.start()
        assert is_looking.wait(60)
        ticker.tell(0.01)
        is_over.set()
        looks.join(60)
        ticker.tell(30)


def test_tell_once_another_has_the_lease(tmp_path: Path, config: Path, url: str, target: Target) -> None:
    """What it has sent it cannot keep any more; the other one tells it again."""
    with closing(SqlStore(url)) as store:
        teller = Teller(store, config)
        teller.act(Verb.ON, "banner")
        assert teller.look() is not None
        teller.notifier.wait(30)
        store.release_lease(teller.ticker.holder)
        assert store.take_lease("another", "host:1", 60)
        teller.ticker.tell(30)
        assert not teller.ticker.has_lease
        assert list(teller.kept.pending) == ["event 3"]
    assert target.titles == ["banner: turned on"]


def test_the_gate_gives_its_setting_on(tmp_path: Path, url: str, config: Path, target: Target) -> None:
    gate = Gate.open(url, notify=os.path.relpath(config), background=False)
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        gate.control.act(Verb.ON, "banner", actor=OWNER)
        gate.refresh()
        assert gate.tick() is not None
    finally:
        os.chdir(here)
        gate.close()
    assert target.titles == ["banner: turned on"]
