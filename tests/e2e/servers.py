"""Real servers, each in processes of its own that end with the test, and a client for them."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from tests.runtime.scenes import ROOT, until

LOCAL: Final = "127.0.0.1"
"""The peer that sites may trust; the others of 127.0.0.0/8 are strangers. Linux has all of them."""
STRANGER: Final = "127.0.0.2"

_GUNICORN: Final = "gunicorn --bind=127.0.0.1:0 --graceful-timeout=20"
_UVICORN: Final = "uvicorn --port=0 --no-access-log"
_PATIENT: Final = "--timeout-worker-healthcheck=60"  # else it kills a worker that a busy machine keeps waiting for 5 s
_GRANIAN: Final = "granian --port={port} --no-ws"
_WAITRESS: Final = "waitress --listen=127.0.0.1:0 --no-clear-untrusted-proxy-headers"
_HYPERCORN: Final = "hypercorn --bind=127.0.0.1:0 --bind=unix:{folder}/socket"
_DAPHNE: Final = "daphne --bind=127.0.0.1 --port=0"
# At SIGTERM alone it begins anew; with --die-on-term it ends at once, with whatever its workers are doing.
_UWSGI: Final = (
    "uwsgi --http-socket=127.0.0.1:0 --http-socket={folder}/socket --uwsgi-socket={folder}/uwsgi --master --processes=2 "
    "--hook-master-start='unix_signal:15 gracefully_kill_them_all' --enable-threads --need-app --disable-logging --module"
)
COMMANDS: Final[Mapping[str, str]] = {
    "gunicorn": f"{_GUNICORN} --workers=4 tests.e2e.sites:wsgi_app",
    "gunicorn --preload": f"{_GUNICORN} --workers=4 --preload tests.e2e.sites:wsgi_app",
    "gunicorn gthread": f"{_GUNICORN} --workers=4 --threads=4 tests.e2e.sites:wsgi_app",
    "gunicorn, two workers": f"{_GUNICORN} --workers=2 tests.e2e.sites:wsgi_app",
    "gunicorn, one worker": f"{_GUNICORN} --bind=unix:{{folder}}/socket tests.e2e.sites:wsgi_app",
    "gunicorn behind ProxyFix": f"{_GUNICORN} tests.e2e.sites:proxy_fixed",
    "uvicorn": f"{_UVICORN} {_PATIENT} --workers=2 tests.e2e.sites:asgi_app",
    "uvicorn, four workers": f"{_UVICORN} {_PATIENT} --workers=4 --factory tests.e2e.sites:asgi_app",
    "uvicorn, one worker": f"{_UVICORN} tests.e2e.sites:asgi_app",
    "uvicorn --no-proxy-headers": f"{_UVICORN} --no-proxy-headers tests.e2e.sites:asgi_app",
    "uvicorn --uds": "uvicorn --uds={folder}/socket --no-access-log tests.e2e.sites:asgi_app",
    "waitress": f"{_WAITRESS} tests.e2e.sites:wsgi_app",
    "granian wsgi": f"{_GRANIAN} --interface=wsgi tests.e2e.sites:wsgi_app",
    "granian asgi": f"{_GRANIAN} --interface=asgi tests.e2e.sites:asgi_app",
    "gunicorn asgi": f"{_GUNICORN} --worker-class=asgi --bind=unix:{{folder}}/socket tests.e2e.sites:asgi_app",
    "hypercorn": f"{_HYPERCORN} tests.e2e.sites:asgi_app",
    "hypercorn wsgi": f"{_HYPERCORN} tests.e2e.sites:wsgi_app",
    "daphne": f"{_DAPHNE} --unix-socket={{folder}}/socket tests.e2e.sites:asgi_app",
    "daphne --proxy-headers": f"{_DAPHNE} --proxy-headers tests.e2e.sites:asgi_app",
    "uWSGI": f"{_UWSGI} tests.e2e.sites:wsgi_app",
    "uWSGI --lazy-apps": f"{_UWSGI.replace('--master', '--master --lazy-apps')} tests.e2e.sites:wsgi_app",
    "gunicorn gevent": f"{_GUNICORN} --workers=2 --worker-class=gevent tests.e2e.sites:wsgi_app",
    "gunicorn gevent --preload": f"{_GUNICORN} --workers=2 --worker-class=gevent --preload tests.e2e.sites:wsgi_app",
    "granian, two workers": f"{_GRANIAN} --interface=asgi --workers=2 tests.e2e.sites:asgi_app",
    "granian --uds": "granian --uds={folder}/socket --interface=asgi --no-ws tests.e2e.sites:asgi_app",
    "waitress --unix-socket": "waitress --unix-socket={folder}/socket --no-clear-untrusted-proxy-headers "
    "tests.e2e.sites:wsgi_app",
    "gunicorn, Django": f"{_GUNICORN} --workers=2 tests.contrib.django.shop.wsgi:application",
    "uvicorn, Django": f"{_UVICORN} {_PATIENT} --workers=2 tests.contrib.django.shop.asgi:application",
}
WORKERS: Final = {"gunicorn": 4, "gunicorn --preload": 4, "gunicorn gthread": 4, "uvicorn": 2}
"""So many processes answer."""
_LISTENS: Final = re.compile(
    r"(?:(?:Listening at|[Rr]unning on|Serving on)[: ]*http://|(?:Listening on|bound to) TCP address )127\.0\.0\.1:(\d+)"
)


Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]
"""By name; or one by one, where a name comes more than once."""


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        assert self.status == 200, self
        return json.loads(self.body)


class Server:
    """A server that listens: on a port of the loopback, on a Unix socket, or on both (then it is asked by the port)."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, log: Path) -> None:
        self.process = process
        self.folder = folder
        self.log = log
        self.name = ""
        self.port = 0

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    def ask(self, path: str, headers: Headers = (), *, source: str = LOCAL, method: str = "GET") -> Reply:
        """One request on a connection of its own."""
        return ask(self.port or self.socket, path, headers, source=source, method=method)

    def words(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")

    def end(self, word: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end, and wait for that."""
        self.process.send_signal(word)
        self.process.wait(30)


def ask(where: int | Path, path: str, headers: Headers = (), *, source: str = LOCAL, method: str = "GET") -> Reply:
    """One request to a port of the loopback or a Unix socket, on a connection of its own."""
    port = where if isinstance(where, int) else None
    lines = headers.items() if isinstance(headers, Mapping) else headers
    with closing(HTTPConnection(LOCAL, port, timeout=30, source_address=(source, 0))) as connection:
        if isinstance(where, Path):
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(30)
            connection.sock.connect(str(where))
        connection.putrequest(method, path)
        for name, value in lines:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())


@contextmanager
def serving(name: str, store: str, folder: Path, *, app: str | None = None, **environment: str) -> Iterator[Server]:
    """A server of this kind, from its start until it listens to its end; whatever happens, nothing of it stays. It serves
    its own app, or the one that is named."""
    folder.mkdir(exist_ok=True)
    log = folder / "server.log"
    *words, own = shlex.split(COMMANDS[name].format(folder=folder, port=free_port()))
    words.append(app or own)
    command = ["-c", "import pyuwsgi; pyuwsgi.run()", *words[1:]] if words[0] == "uwsgi" else ["-m", *words]
    variables = os.environ | {"FLAGGATE_STORE": store, "PYTHONUNBUFFERED": "1"} | environment
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=variables,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    server = Server(process, folder, log)
    server.name = name
    with ended(process):
        until(lambda: _listens(server, words), f"{name} listens")
        yield server


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Whatever happens, nothing of this process stays, nor of the others of its session."""
    try:
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # workers that their parent has left
        process.wait()


def _listens(server: Server, words: list[str]) -> bool:
    assert server.process.poll() is None, server.words()
    if not any("127.0.0.1" in word or word.startswith("--port") for word in words):
        where: int | Path = server.socket
    elif words[0] == "granian":
        where = server.port = int(words[1].partition("=")[2])
    else:
        found = _LISTENS.search(server.words())
        if found is None:
            return False
        where = server.port = int(found[1])
    with suppress(OSError):
        return ask(where, "/nobody/address").status < 500
    return False


def is_there(pid: int) -> bool:
    """Whether this process has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def free_port() -> int:
    """For servers that do not tell which port they got. Below those that the system gives to clients: one of these would
    find its own connection there, before the server listens."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listening, suppress(OSError):
            listening.bind((LOCAL, port))
            return port
