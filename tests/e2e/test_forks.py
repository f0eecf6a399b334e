"""How servers, Celery and Django's reloader make processes: each follows what happens to a flag by itself, by one thread of
ours at most, and ends at once. What a fork itself may run into is in tests/runtime/test_fork.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPException
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from flaggate.rollout.state import Verb
from flaggate.runtime.gate import END_SECONDS
from flaggate.stores import open_store
from flaggate.stores.base import Store
from tests.e2e.servers import Server, ask, ended, free_port, is_there, serving
from tests.e2e.test_servers import workers_of
from tests.runtime.scenes import bring, turn, until
from tests.shared_servers import STORES, new_url

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks at /proc")

WORKERS = {
    "gunicorn, two workers": 2,
    "gunicorn --preload": 4,
    "gunicorn gthread": 4,
    "gunicorn gevent": 2,
    "gunicorn gevent --preload": 2,
    "uvicorn": 2,
    "granian, two workers": 2,
    "uWSGI": 2,
    "uWSGI --lazy-apps": 2,
}
"""So many processes answer."""
BEFORE_FORK = ("gunicorn --preload", "uWSGI")
"""These import the app before they fork: there it may ask a flag first."""


@pytest.fixture(
    params=[pytest.param(kind, marks=() if kind == "sqlite" else pytest.mark.long) for kind in STORES],
)
def shared_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a store for any number of processes, with a flag that is on."""
    url = new_url(request.param, tmp_path)
    with closing(open_store(url)) as made:
        bring(made)
        turn(made, Verb.ON, "banner")
    return url


@pytest.fixture
def store(shared_store_url: str) -> Iterator[Store]:
    made = open_store(shared_store_url)
    yield made
    made.close()


def app_of(name: str) -> str:
    is_asgi = name.startswith(("uvicorn", "granian"))
    return f"tests.e2e.forking_site:{'asgi' if is_asgi else 'wsgi'}_app"


def needed_by(name: str) -> None:
    """Skip, and say what to install."""
    if "gevent" in name:
        pytest.importorskip("gevent", reason="pip install gevent")


def processes(server: Server) -> list[int]:
    """Those that answer."""
    if not server.name.startswith("granian"):
        return workers_of(server, WORKERS[server.name])
    found: set[int] = (
        set()
    )  # its workers have a socket each: what the system gives to one that stands still waits there

    def has_all() -> bool:
        found.add(server.ask("/").json()["pid"])
        return len(found) == WORKERS[server.name]

    until(has_all, "each answers")
    return sorted(found)


def seen(server: Server, workers: list[int], is_on: bool) -> None:
    """Wait until each worker says so, by one thread of ours."""
    found: dict[int, dict[str, Any]] = {}

    def all_say_so() -> bool:
        told = server.ask("/").json()
        found[told["pid"]] = told
        return set(found) == set(workers) and all(one["is_on"] is is_on for one in found.values())

    until(all_say_so, f"{workers} say that it is {'on' if is_on else 'off'}", seconds=60)
    assert {one["keepers"] for one in found.values()} == {1}


def reached(store: Store) -> set[int]:
    """The processes that say that they serve what the store has."""
    return {int(one.who.rpartition(":")[2]) for one in store.presences() if one.revision == store.revision()}


@pytest.mark.parametrize("name", WORKERS)
def test_each_worker_follows_by_one_thread(name: str, store: Store, shared_store_url: str, tmp_path: Path) -> None:
    needed_by(name)
    with serving(name, shared_store_url, tmp_path / "server", app=app_of(name)) as server:
        workers = processes(server)
        seen(server, workers, True)
        turn(store, Verb.KILL, "banner")
        seen(server, workers, False)
        until(lambda: reached(store) >= set(workers), "each says so to the others")
        server.end()
    assert not any(map(is_there, workers))
    assert reached(store) & set(workers) == set(), "who has ended has said so"


@pytest.mark.parametrize("name", BEFORE_FORK)
def test_a_parent_that_asked_before_it_forked_goes_on(
    name: str, store: Store, shared_store_url: str, tmp_path: Path
) -> None:
    """But uWSGI's, which forks without a word to Python: it serves nobody, and no thread runs there."""
    folder, app = tmp_path / "server", app_of(name)
    with serving(name, shared_store_url, folder, app=app, SITE_ASKS_AT_ONCE="yes") as server:
        workers = processes(server)
        everybody = {*workers, *([] if name == "uWSGI" else [server.process.pid])}
        for verb, is_on in ((Verb.KILL, False), (Verb.UNKILL, True)):
            turn(store, verb, "banner")
            seen(server, workers, is_on)
            until(lambda: reached(store) == everybody, "the parent follows, too", seconds=60)
        (replaced, *_) = workers
        os.kill(replaced, signal.SIGKILL)  # it forks once more, while its own keeper runs
        until(lambda: not is_there(replaced), "one is gone")
        seen(server, processes(server), True)
        turn(store, Verb.KILL, "banner")
        seen(server, processes(server), False)
        until(lambda: server.process.pid in reached(store) or name == "uWSGI", "the parent goes on", seconds=60)


# --- Django's reloader ------------------------------------------------------------------------

PROJECT = """
import json, os, sys, threading

from django.conf import settings

settings.configure(
    DEBUG=True, SECRET_KEY="k", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, FLAGGATE_STORE=os.environ["FLAGGATE_STORE"],
    INSTALLED_APPS=["flaggate.contrib.django"], MIDDLEWARE=["flaggate.contrib.django.FlaggateMiddleware"],
)

from django.core.management import execute_from_command_line
from django.http import JsonResponse
from django.urls import path

from flaggate.contrib.django import flags_from


def answer(request):
    is_on = flags_from(request).is_on("banner")
    keepers = [thread for thread in threading.enumerate() if thread.name == "flaggate-keeper"]
    return JsonResponse({"pid": os.getpid(), "is_on": is_on, "keepers": len(keepers)})


urlpatterns = [path("", answer)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""


def test_djangos_reloader_leaves_one_process_that_follows(store: Store, shared_store_url: str, tmp_path: Path) -> None:
    """It ends the one that serves in the midst of everything when a file changes, and begins another."""
    project, log = tmp_path / "project.py", tmp_path / "log"
    project.write_text(PROJECT)
    port = free_port()
    variables = os.environ | {"FLAGGATE_STORE": shared_store_url, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(project), "runserver", f"127.0.0.1:{port}"]

    def told() -> dict[str, Any]:
        assert process.poll() is None, log.read_text()
        with suppress(OSError, HTTPException):
            answered: dict[str, Any] = ask(port, "/").json()
            return answered
        return {"pid": 0}

    with log.open("wb") as written:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=variables, stdout=written, stderr=written, start_new_session=True
        )
    with ended(process):
        until(lambda: told()["pid"], "it serves", seconds=60)
        first = told()
        assert (first["is_on"], first["keepers"]) == (True, 1)
        project.write_text(PROJECT + "\n")
        until(lambda: told()["pid"] not in (0, first["pid"]), "another one serves", seconds=60)
        assert not is_there(first["pid"])
        turn(store, Verb.KILL, "banner")
        until(lambda: told().get("is_on") is False, "it follows")
        last = told()
        assert last["keepers"] == 1
        until(lambda: last["pid"] in reached(store), "it says so to the others")
        assert process.pid not in reached(store), "who only looks at files asks nothing"
        os.killpg(process.pid, signal.SIGINT)  # as by Ctrl-C
        process.wait(30)
        until(lambda: not is_there(last["pid"]), "both have ended")
    assert "Traceback" not in log.read_text()


# --- the end of scripts -----------------------------------------------------------------------

ASKS = """
import logging, os, sys, threading, time, warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from flaggate import Context, Gate
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and newer warn of any fork beside a thread
def ask():
    with gate.visit(Context("ada")): return gate.is_on("banner")
def says(what):
    print(time.monotonic(), what, flush=True)
def ends(status):
    says("it ends")
    sys.exit(status)
if __name__ == "__main__":
    gate = Gate.open(sys.argv[1])
    assert ask()
"""
ENDINGS = {
    "by its last line": ('says("it ends")', 0),
    "by sys.exit": ("ends(3)", 3),
    "by sys.exit in a thread of a pool": ("with ThreadPoolExecutor(4) as pool: pool.submit(ends, 3).result()", 3),
    "by an exception": ('says("it ends"); raise SystemError("as it may be")', 1),
    "by os._exit": ('says("it ends"); os._exit(4)', 4),
    "by os._exit in a child": (
        'child = os.fork()\n    if child == 0: assert ask(); os._exit(0)\n'
        '    assert os.waitpid(child, 0)[1] == 0 and ask(); says("it ends")',
        0,
    ),
    "by sys.exit in a child": (
        'child = os.fork()\n    if child == 0: assert ask(); sys.exit(0)\n'
        '    assert os.waitpid(child, 0)[1] == 0 and ask(); says("it ends")',
        0,
    ),
    "after a pool of processes": (
        "with ProcessPoolExecutor(2) as pool: assert all(pool.map(abs, [1, 2]))\n    assert ask(); says('it ends')", 0,
    ),
    "by SIGTERM": ('says("it ends"); os.kill(os.getpid(), 15); time.sleep(60)', -15),
    "by SIGINT": ('says("it ends"); os.kill(os.getpid(), 2); time.sleep(60)', -2),
}  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_script_that_asks_one_flag_ends_at_once(ending: str, shared_store_url: str, tmp_path: Path) -> None:
    """However it does: nobody waits for the keeper."""
    act, status = ENDINGS[ending]
    script = tmp_path / "script.py"
    script.write_text(f"{ASKS}    {act}\n")
    command = [sys.executable, str(script), shared_store_url]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    took = monotonic() - float(done.stdout.split()[0])  # one clock for all processes
    assert (done.returncode, done.stdout.partition(" ")[2]) == (status, "it ends\n"), done.stderr
    expected = {"by an exception": "SystemError: as it may be", "by SIGINT": "KeyboardInterrupt"}.get(ending, "")
    assert done.stderr.strip().rpartition("\n")[2] == expected
    assert took < END_SECONDS, "nobody waits until that is over"
