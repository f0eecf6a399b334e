"""Real servers under wrk, with and without the middleware. Information only: wrk spreads; the second bare run says how much.

    python benchmarks/serving.py      # needs wrk (apt-get install wrk), uvicorn and gunicorn

One worker each; every request asks `new-invoicing` at its stage "tenth". Takes two minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flaggate import Gate
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores import open_store
from flaggate.web import asgi, wsgi

SECONDS = 5
ROUNDS = 3
PLAN = (Path(__file__).parents[1] / "src" / "flaggate" / "cli" / "demo" / "plan.toml").read_text()
SERVERS = {
    "uvicorn": ("asgi", ["uvicorn", "--no-access-log", "--log-level=warning", "--port={port}"]),
    "gunicorn": (
        "wsgi",
        [
            "gunicorn",
            "--log-level=error",
            "--bind=127.0.0.1:{port}",
            "--worker-class=gthread",
            "--threads=4",
            "--keep-alive=30",
        ],
    ),
}

# --- the apps, as the servers import them ------------------------------------------------------

gate = Gate.open(os.environ.get("FLAGGATE_STORE", "memory://"))


def who(_request: Any) -> dict[str, Any]:
    return {"user": "u-1", "tier": "team"}


async def asgi_bare(scope: Any, _receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def _asgi_asking(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        gate.is_on("new-invoicing")
    await asgi_bare(scope, receive, send)


def wsgi_bare(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def _wsgi_asking(environ: Any, start_response: Any) -> list[bytes]:
    gate.is_on("new-invoicing")
    return wsgi_bare(environ, start_response)


asgi_flags = asgi.FlaggateMiddleware(_asgi_asking, gate, context=who)
wsgi_flags = wsgi.FlaggateMiddleware(_wsgi_asking, gate, context=who)

# --- measuring --------------------------------------------------------------------------------


@contextmanager
def serving(command: list[str], app: str, store: str) -> Iterator[int]:
    """A server of one worker on a port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    words = [word.format(port=port) for word in command]
    environment = os.environ | {"FLAGGATE_STORE": store, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen([sys.executable, "-m", *words, f"serving:{app}"], env=environment)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def requests_per_second(port: int) -> float:
    url = f"http://127.0.0.1:{port}/"
    said = subprocess.run(
        ["wrk", "-t1", "-c16", f"-d{SECONDS}s", url], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found is not None, said
    return float(found[1])


def main() -> None:
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/flags.db"
        control = Control(open_store(store))
        control.apply(parse(PLAN), actor="bench")
        for verb in (Verb.START, Verb.ADVANCE, Verb.ADVANCE, Verb.ADVANCE):
            control.act(verb, "new-invoicing", actor="release-owner@example.com", reason="bench")
        print("| server | bare | bare again | with flaggate |\n|---|---|---|---|")
        for name, (protocol, command) in SERVERS.items():
            rates: dict[int, list[float]] = {0: [], 1: [], 2: []}
            for _ in range(ROUNDS):
                for column, kind in enumerate(("bare", "bare", "flags")):
                    with serving(command, f"{protocol}_{kind}", store) as port:
                        time.sleep(2)  # until it serves; wrk would count the wait
                        rates[column].append(requests_per_second(port))
            cells = " | ".join(f"{sorted(each)[ROUNDS // 2]:,.0f}/s" for each in rates.values())
            print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
