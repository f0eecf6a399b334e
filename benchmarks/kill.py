"""How soon a kill by the command line reaches every worker of a real server under a light load. Takes two minutes.

    python benchmarks/kill.py      # needs gunicorn and uvicorn

100 kills, each undone again; from the call of `flaggate kill` (in this process) until another process, which keeps
asking, has the first answer of each worker that knows of it. The figures are upper bounds: a worker says nothing before
it is asked (every 10 ms or so), and 40 ms are uvicorn's own, whose workers' sockets have no TCP_NODELAY. The pauses are
random, so that kills fall into all moments of the polls.
"""

from __future__ import annotations

import io
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, redirect_stdout
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaggate import Gate
from flaggate.cli.main import run
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores import open_store
from flaggate.web import asgi, wsgi

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLS = 100
PAUSE_SECONDS = (0.15, 0.4)
CONNECTIONS = 8
BETWEEN_REQUESTS_SECONDS = 0.02
TARGET_MS = 300.0
FLAG = "banner"
DEFINITIONS = f'[flags.{FLAG}]\ndescription = "A switch"\nowner = "owner@example.com"\n'
SERVERS = {
    "gunicorn, 4 workers": (
        4,
        ["gunicorn", "--log-level=error", "--bind=127.0.0.1:{port}", "--workers=4", "kill:wsgi_app"],
    ),
    "uvicorn, 2 workers": (2, ["uvicorn", "--log-level=error", "--port={port}", "--workers=2", "kill:asgi_app"]),
}

# --- the app, as the servers import it --------------------------------------------------------

gate = Gate.open(os.environ.get("FLAGGATE_STORE", "memory://"))


def _answer() -> bytes:
    visit = gate.current.get()
    assert visit is not None
    return json.dumps([os.getpid(), visit.snapshot.revision, gate.is_on(FLAG)]).encode()


async def _asgi(_scope: Any, _receive: Any, send: Any) -> None:
    body = _answer()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _wsgi(_environ: Any, start_response: Any) -> list[bytes]:
    body = _answer()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


asgi_app = asgi.FlaggateMiddleware(_asgi, gate)
wsgi_app = wsgi.FlaggateMiddleware(_wsgi, gate)

# --- the process that asks --------------------------------------------------------------------

Seen = dict[int, list[tuple[int, bool, float]]]
"""By worker: the revisions that it served, whether the flag was on in them, and when it said so first (time.time)."""


def _ask(connection: HTTPConnection) -> tuple[int, int, bool]:
    connection.request("GET", "/")
    pid, revision, is_on = json.loads(connection.getresponse().read())
    return pid, revision, is_on


def _connections(port: int, workers: int) -> list[HTTPConnection]:
    """Some to each worker: those that stay open stay with theirs, and a quick one takes many before the next wakes up."""
    by_worker: dict[int, list[HTTPConnection]] = {}
    while len(by_worker) < workers:
        opened = [HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(48)]
        for connection in opened:
            connection.connect()
        for connection in opened:
            by_worker.setdefault(_ask(connection)[0], []).append(connection)
    return [connection for each in by_worker.values() for connection in each[: CONNECTIONS // workers]]


def watch(port: int, workers: int) -> None:
    """Keep asking until the parent says a word, and print what was seen."""
    seen: Seen = {}
    is_over = threading.Event()

    def keep_asking(connection: HTTPConnection) -> None:
        while not is_over.is_set():
            pid, revision, is_on = _ask(connection)
            known = seen.setdefault(pid, [])
            if not known or known[-1][0] < revision:
                known.append((revision, is_on, time.time()))
            time.sleep(BETWEEN_REQUESTS_SECONDS)

    threads = [threading.Thread(target=keep_asking, args=[each]) for each in _connections(port, workers)]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    is_over.set()
    for thread in threads:
        thread.join()
    print(json.dumps(seen), flush=True)


# --- measuring --------------------------------------------------------------------------------


@contextmanager
def serving(command: list[str], store: str) -> Iterator[int]:
    """A server on a port of its own."""
    port = random.randrange(20_000, 32_000)  # below those that the system gives to clients
    environment = os.environ | {"FLAGGATE_STORE": store, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen([sys.executable, "-m", *(word.format(port=port) for word in command)], env=environment)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, "the server has ended"
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def kill_and_undo(url: str, times: int) -> dict[int, float]:
    """Type it so often. Returns when each kill was called (time.time), by its revision."""
    called = {}
    store = open_store(url)
    words = [FLAG, "--store", url, "--as", "owner@example.com", "--reason", "to measure it"]
    for _ in range(times):
        time.sleep(random.uniform(*PAUSE_SECONDS))
        now = time.time()
        with redirect_stdout(io.StringIO()):
            assert run(["kill", *words]) == 0
        called[store.revision()] = now
        time.sleep(random.uniform(*PAUSE_SECONDS))
        with redirect_stdout(io.StringIO()):
            assert run(["unkill", *words]) == 0
    store.close()
    return called


def measure(workers: int, command: list[str], url: str) -> list[list[float]]:
    """For each kill, the milliseconds until each worker answered that it is off."""
    with serving(command, url) as port:
        watcher = subprocess.Popen(
            [sys.executable, __file__, str(port), str(workers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "ready\n"
        kill_and_undo(url, 1)  # what it needs is imported by then
        called = kill_and_undo(url, KILLS)
        time.sleep(1)
        seen: Seen = json.loads(watcher.communicate("enough\n")[0])
    assert len(seen) == workers, f"{len(seen)} of {workers} workers answered"
    return [
        [
            next(1000 * (at - now) for served, is_on, at in of_one if served == revision and not is_on)
            for of_one in seen.values()
        ]
        for revision, now in called.items()
    ]


def row(name: str, delays: list[float]) -> str:
    cuts = statistics.quantiles(delays, n=100, method="inclusive")
    late = sum(delay > TARGET_MS for delay in delays)
    figures = " | ".join(f"{value:>4.0f} ms" for value in (cuts[49], cuts[94], cuts[98], max(delays)))
    return f"| {name:<37} | {figures} | {late:>3} of {len(delays):<3} |"


def main() -> None:
    print(f"| {KILLS} kills | p50 | p95 | p99 | max | later than {TARGET_MS:.0f} ms |\n|---|---|---|---|---|---|")
    last: dict[str, float] = {}
    for name, (workers, command) in SERVERS.items():
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/flags.db"
            control = Control(open_store(url))
            control.apply(parse(DEFINITIONS), actor="owner@example.com")
            control.act(Verb.ON, FLAG, actor="owner@example.com")
            kills = measure(workers, command, url)
        last[name] = sum(max(each) <= TARGET_MS for each in kills) / len(kills)
        print(row(f"{name}: each of them", [delay for each in kills for delay in each]))
        print(row(f"{name}: the last of them", [max(each) for each in kills]), flush=True)
    for name, part in last.items():
        print(f"{name}, target (all within {TARGET_MS:.0f} ms in 95 of 100): {'met' if part >= 0.95 else 'MISSED'}")


if __name__ == "__main__":
    if sys.argv[1:]:
        watch(int(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
