"""Forks and spawns: the child keeps up by itself, the parent goes on, and nobody hangs.

Each scene is a script in an interpreter of its own, which forks as a server would.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flaggate.rollout.state import Verb
from flaggate.stores.sql import SqlStore
from tests.runtime.scenes import bring, run, turn

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

START = """
import logging, os, sys, threading, time, warnings
from flaggate import Context, Gate
from flaggate.rollout.state import Verb
from flaggate.stores.sql import SqlStore
from tests.runtime.scenes import UnreliableStore, fork, reap, turn, until

warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and newer warn of any fork beside a thread
ADA = Context("ada")
store = SqlStore(sys.argv[1])
store.poll_seconds = 0.01

def asked(gate):
    gate.is_on("banner", ADA)
    return gate

def sees(gate, is_on):
    until(lambda: gate.is_on("banner", ADA) is is_on, f"banner is {is_on}")
"""


@pytest.fixture
def url(store: SqlStore) -> str:
    bring(store)
    turn(store, Verb.ON, "banner")
    store.close()
    return store.url


def test_a_child_and_its_parent_both_see_a_later_change(url: str, tmp_path: Path) -> None:
    script = """
gate = asked(Gate.open(store))
def serve():
    assert gate.health().is_keeper_alive is False
    asked(gate)
    assert gate.health().is_keeper_alive
    sees(gate, False)
child = fork(serve)
turn(store, Verb.KILL, "banner")
reap(child)
sees(gate, False)
turn(store, Verb.UNKILL, "banner")
sees(gate, True)
print(gate.health().is_keeper_alive)
"""
    assert run(tmp_path, START + script, url) == "True\n"


@pytest.mark.usefixtures("measured")
def test_a_fork_before_the_first_question(url: str, tmp_path: Path) -> None:
    script = """
gate = Gate.open(store)
children = [fork(lambda: sees(gate, False)) for _ in range(2)]
turn(store, Verb.KILL, "banner")
reap(*children)
"""
    run(tmp_path, START + script, url)


def test_a_child_changes_what_its_parent_sees(url: str, tmp_path: Path) -> None:
    script = """
gate = asked(Gate.open(store))
reap(fork(lambda: turn(gate.store, Verb.KILL, "banner")))
sees(gate, False)
"""
    run(tmp_path, START + script, url)


def test_a_fork_of_a_fork(url: str, tmp_path: Path) -> None:
    script = """
gate = asked(Gate.open(store))
def parent():
    asked(gate)
    def child():
        asked(gate)
        reap(fork(lambda: sees(gate, False)))
        sees(gate, False)
    reap(fork(child))
    sees(gate, False)
first = fork(parent)
turn(store, Verb.KILL, "banner")
reap(first)
sees(gate, False)
"""
    run(tmp_path, START + script, url)


@pytest.mark.usefixtures("measured")
def test_a_fork_in_the_middle_of_a_pull_does_not_hang(url: str, tmp_path: Path) -> None:
    """The store keeps the keeper waiting: the fork does not wait for it, and the child answers from what is known."""
    script = """
logging.disable()
unreliable = UnreliableStore(store)
gate = asked(Gate.open(unreliable))
while not store.presences(): time.sleep(0.01)  # it is there, and says that it has gone if it can
unreliable.asked.clear()
unreliable.is_open.clear()
assert unreliable.asked.wait(30)
def serve():
    assert gate.is_on("banner", ADA)
    unreliable.is_open.set()
    sees(gate, False)
child = fork(serve)
turn(store, Verb.KILL, "banner")
reap(child)
assert gate.is_on("banner", ADA)
unreliable.is_open.set()
sees(gate, False)
"""
    run(tmp_path, START + script, url)


def test_a_fork_while_the_first_pull_imports_and_reads(url: str, tmp_path: Path) -> None:
    """A child must not inherit the lock of an import that only the parent's thread would have finished."""
    script = """
logging.disable()  # ten first pulls at once may take their time
gate = Gate.open(store)
thread = threading.Thread(target=asked, args=(gate,))
thread.start()
children = []
for _ in range(10):
    children.append(fork(lambda: sees(gate, True)))
    time.sleep(0.01)  # so that they fall into different moments of it
reap(*children)
thread.join(30)
sees(gate, True)
"""
    run(tmp_path, START + script, url)


def test_forks_of_several_threads_at_once(url: str, tmp_path: Path) -> None:
    script = """
gate = asked(Gate.open(store))
together = threading.Barrier(4)
def forking():
    together.wait()
    for _ in range(5):
        reap(fork(lambda: sees(gate, True)))
threads = [threading.Thread(target=forking) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join(60)
turn(store, Verb.KILL, "banner")
sees(gate, False)
"""
    run(tmp_path, START + script, url)


def test_a_fork_with_two_gates_on_one_store_and_one_that_is_closed(url: str, tmp_path: Path) -> None:
    script = """
one, other, closed = (asked(Gate.open(store)) for _ in range(3))
closed.close()
def serve():
    assert closed.is_on("banner", ADA)  # as it was
    with closed.visit(ADA): assert closed.is_on("banner")
    sees(one, False)
    sees(other, False)
    assert closed.is_on("banner", ADA)
    assert not closed.health().is_keeper_alive
child = fork(serve)
turn(store, Verb.KILL, "banner")
reap(child)
sees(one, False)
sees(other, False)
"""
    run(tmp_path, START + script, url)


@pytest.mark.usefixtures("measured")
def test_a_store_whose_hooks_fail_stops_no_later_fork(url: str, tmp_path: Path) -> None:
    script = """
class Hostile(UnreliableStore):
    def after_fork(self, *, in_child):
        super().after_fork(in_child=in_child)
        raise RuntimeError("a store of somebody else")
sys.unraisablehook = lambda unraisable: None
hostile = asked(Gate.open(Hostile(SqlStore(sys.argv[1]))))
gate = asked(Gate.open(store))
for _ in range(2):
    reap(fork(lambda: sees(gate, True)))
turn(store, Verb.KILL, "banner")
sees(gate, False)
"""
    run(tmp_path, START + script, url)


def test_a_child_counts_for_itself(url: str, tmp_path: Path) -> None:
    script = """
logging.disable()
gate = asked(Gate.open(store))
gate.is_on("unheard-of", ADA)
with gate.visit() as visit: pass
gate.is_on("tiered", {})
def serve():
    assert gate.health().unknown == gate.health().faults == {}, gate.health()
reap(fork(serve))
print(gate.health().unknown)
"""
    assert run(tmp_path, START + script, url) == "{'unheard-of': 1}\n"


def test_a_visit_goes_on_in_a_child(url: str, tmp_path: Path) -> None:
    script = """
gate = asked(Gate.open(store))
with gate.visit(ADA):
    assert gate.is_on("banner")
    turn(store, Verb.KILL, "banner")
    sees(gate, False)
    def serve():
        assert gate.is_on("banner")
        sees(gate, False)
    reap(fork(serve))
"""
    run(tmp_path, START + script, url)


def test_an_outage_at_the_fork(url: str, tmp_path: Path) -> None:
    """The child has what its parent knew."""
    script = """
logging.disable()
unreliable = UnreliableStore(store)
unreliable.directory = None
gate = asked(Gate.open(unreliable))
unreliable.error = OSError("the network is gone")
def serve():
    assert gate.is_on("banner", ADA)
    until(lambda: gate.health().problem, "the child says so")
    assert gate.is_on("banner", ADA)
    unreliable.error = None
    sees(gate, False)
child = fork(serve)
turn(store, Verb.KILL, "banner")
reap(child)
"""
    run(tmp_path, START + script, url)


MULTIPROCESSING = """
import multiprocessing, sys
from flaggate import Context, Gate
from flaggate.rollout.state import Verb
from flaggate.stores.sql import SqlStore
from tests.runtime.scenes import turn, until

def serve(url, ready, gate=None):
    gate = gate or Gate.open(url)
    assert gate.is_on("banner", Context("ada"))
    ready.set()
    until(lambda: not gate.is_on("banner", Context("ada")), "the kill arrives")

if __name__ == "__main__":
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    url, method = sys.argv[1:]
    start = multiprocessing.get_context(method)
    gate = Gate.open(url)
    assert gate.is_on("banner", Context("ada"))
    ready = start.Event()
    child = start.Process(target=serve, args=(url, ready, *([gate] if method == "fork" else [])))
    child.start()
    assert ready.wait(30)
    turn(gate.store, Verb.KILL, "banner")
    child.join(30)
    assert child.exitcode == 0, child.exitcode
    until(lambda: not gate.is_on("banner", Context("ada")), "the kill arrives")
"""


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(url: str, tmp_path: Path, method: str) -> None:
    run(tmp_path, MULTIPROCESSING, url, method)


# --- the end of a script --------------------------------------------------------------------


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param("gate.close()", id="closed"),
        pytest.param("", id="never closed"),
        pytest.param("reap(fork(lambda: asked(gate)))", id="forked"),
        pytest.param("child = os.fork()\nasked(gate)\nif child: reap(child)", id="both sides end as scripts do"),
        pytest.param("turn(store, Verb.KILL, 'banner')", id="just after a change"),
    ],
)
def test_a_script_that_asked_a_gate_ends_at_once_and_in_silence(url: str, tmp_path: Path, ending: str) -> None:
    """`run` sees to the exit code, to silence on stderr, and that it ends at all."""
    run(tmp_path, f"{START}\ngate = asked(Gate.open(store))\nassert gate.health().is_keeper_alive\n{ending}\n", url)


def test_a_script_ends_while_the_store_hangs(url: str, tmp_path: Path) -> None:
    script = """
unreliable = UnreliableStore(store)
gate = asked(Gate.open(unreliable))
unreliable.asked.clear()
unreliable.is_open.clear()
assert unreliable.asked.wait(30)
began = time.monotonic()
import atexit
atexit.register(lambda: print(time.monotonic() - began < 30))
"""
    assert run(tmp_path, START + script, url) == "True\n"


def test_twelve_idle_processes_see_a_change(url: str, tmp_path: Path) -> None:
    script = """
gate = asked(Gate.open(store))
ready_to_read, ready = os.pipe()
def serve():
    asked(gate)
    os.write(ready, b"x")
    sees(gate, False)
children = [fork(serve) for _ in range(12)]
gate.close()
seen = b""
while len(seen) < 12: seen += os.read(ready_to_read, 12)
turn(store, Verb.KILL, "banner")
reap(*children)
print(len(seen))
"""
    assert run(tmp_path, START + script, url) == "12\n"
