"""A fork in the midst of an import: it waits for it, or the child would wait for ever.

Each scene is a script in an interpreter of its own, which imports nothing else beforehand. Python tells an audit hook of each
import, before it takes that module's lock; it keeps the thread for two seconds, or until somebody has forked.
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
import os, signal, sys, threading, time, warnings
from flaggate import Context, Gate

warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and newer warn of any fork beside a thread
url, module = sys.argv[1:]
ADA = Context("ada")
asking = threading.current_thread()
is_importing, has_forked = threading.Event(), threading.Event()

def hook(event, arguments):
    if event == "import" and arguments[0] == module and threading.current_thread() is not asking:
        is_importing.set()
        has_forked.wait(2.0)

def sees(gate, is_on):
    import logging  # not before: whoever imports it first takes its lock later
    logging.disable()  # on a busy machine a first question may wait for longer than it should
    deadline = time.monotonic() + 20
    while gate.is_on("banner", ADA) is not is_on and time.monotonic() < deadline: time.sleep(0.01)
    assert gate.is_on("banner", ADA) is is_on

def in_child(act):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, "the child has not ended well"

sys.addaudithook(hook)
os.register_at_fork(after_in_parent=has_forked.set)
"""


@pytest.fixture
def url(store: SqlStore) -> str:
    bring(store)
    turn(store, Verb.ON, "banner")
    store.close()
    return store.url


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("module", "act"),
    [
        pytest.param("flaggate.runtime.definitions", "gate.pull()", id="a pull"),
        pytest.param("flaggate.decide.compile", "gate.health()", id="no question at all"),
        pytest.param("flaggate.flags.document", "gate.control", id="a change"),
        pytest.param("sqlalchemy.engine", "Gate.open(url)", id="a gate is opened"),
    ],
)
def test_a_child_asks_though_another_thread_was_importing(url: str, tmp_path: Path, module: str, act: str) -> None:
    """Longer than a fork waits for a store."""
    gate = "gate = None" if "open" in act else "gate = Gate.open(url)"
    script = f"""
{gate}
thread = threading.Thread(target=lambda: {act})
thread.start()
assert is_importing.wait(30)
in_child(lambda: sees(gate or Gate.open(url), True))
thread.join(30)
sees(gate or Gate.open(url), True)
"""
    run(tmp_path, START + script, url, module)


def test_a_child_looks_at_rollouts_though_the_keeper_was_importing_what_does(url: str, tmp_path: Path) -> None:
    """Else its keeper would never come to the next round."""
    script = """
gate = Gate.open(url, tick_seconds=0.05)
gate.is_on("banner", ADA)
assert is_importing.wait(30)
def serve():
    from flaggate.rollout.state import Verb
    sees(gate, True)
    assert gate.tick() is not None
    gate.control.act(Verb.KILL, "banner", actor="owner@example.com")
    sees(gate, False)
in_child(serve)
sees(gate, False)
"""
    run(tmp_path, START + script, url, "flaggate.runtime.lease_words")
