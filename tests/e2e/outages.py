"""Stores that a test takes away, keeps silent and gives back, whichever database they are in.

A place is a store with what can befall it. One more is a line in PLACES: a server's URL Behind a Wire has all that it
takes.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Final, Protocol

from tests.e2e.servers import LOCAL, free_port
from tests.postgres_servers import postgres_server
from tests.runtime.scenes import until

__all__ = ["PLACES", "Behind", "Place", "SqliteFile", "Wire"]

_READ_LOCKS: Final = 123, 5
"""Of an SQLite WAL: the bytes of flags.db-shm that a reader locks (sqlite.org/walformat.html, 2.3)."""
_HOLDS: Final = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX, int(sys.argv[3]), int(sys.argv[2]))
    print("held", flush=True)
    sys.stdin.read()
"""
"""Another process: an fcntl lock goes with the first file of a process that is closed, whoever opened it."""


_WRITES: Final = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
while True:
    connection.execute("BEGIN IMMEDIATE")
    print("writes", flush=True)
    time.sleep(0.5)
    connection.execute("ROLLBACK")
    time.sleep(0.5)
"""


class Place(Protocol):
    """A store, as an app's URL names it, and what befalls it."""

    url: str

    def goes(self) -> None:
        """It is not there any more: whoever asks is refused at once."""

    def comes_back(self) -> None:
        """As it was."""

    def silent(self) -> AbstractContextManager[None]:
        """It answers nobody, and refuses nobody: whoever asks waits for a time-out."""

    def slow(self) -> AbstractContextManager[None]:
        """It takes its time."""


class SqliteFile:
    """A file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "flags.db"
        self.url = f"sqlite:///{self.path}"

    def goes(self) -> None:
        for file in self._files(self.path.parent):
            file.rename(file.with_name(f"away-{file.name}"))

    def comes_back(self) -> None:
        for file in self._files(self.path.parent, "away-"):
            file.rename(file.with_name(file.name.removeprefix("away-")))

    def _files(self, folder: Path, prefix: str = "") -> list[Path]:
        found = (folder / f"{prefix}{self.path.name}{more}" for more in ("-wal", "-shm", ""))
        return [file for file in found if file.exists()]

    @contextmanager
    def silent(self) -> Iterator[None]:
        shared = self.path.with_name("flags.db-shm")
        until(shared.exists, "a process has the file open")
        command = [sys.executable, "-c", _HOLDS, str(shared), *map(str, _READ_LOCKS)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == b"held\n"
            yield
            process.stdin.close()
            process.wait(30)

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Half of the time somebody else writes."""
        with subprocess.Popen(
            [sys.executable, "-c", _WRITES, str(self.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"writes\n"
            yield
            process.kill()


class Wire:
    """A TCP port in front of another one: it carries, carries late, carries nothing, or is not there.

    Args:
        target: Host and port of the server behind it.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self.delay_seconds = 0.0
        """How long each piece takes, either way."""
        self._carries = threading.Event()
        self._carries.set()
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server((LOCAL, 0))
        self.port: int = self._listening.getsockname()[1]
        self._listen()

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def cut(self) -> None:
        """Whoever is connected is not any more, and nobody gets in."""
        self._listening.shutdown(socket.SHUT_RDWR)  # or who waits in accept() would take one more
        self._listening.close()
        for each in [*self._open]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """On the same port."""
        self._listening = socket.create_server((LOCAL, self.port))
        self._listen()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """What is sent either way waits."""
        self._carries.clear()
        try:
            yield
        finally:
            self._carries.set()

    def close(self) -> None:
        """For good."""
        self._carries.set()
        self.cut()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:  # cut
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with closing(near), suppress(OSError):
            self._carries.wait()
            with socket.create_connection(self._target) as far:
                self._open |= {near, far}
                try:
                    self._both_ways(near, far)
                finally:
                    self._open -= {near, far}

    def _both_ways(self, near: socket.socket, far: socket.socket) -> None:
        others = {near: far, far: near}
        while True:
            for ready in select.select([near, far], [], [])[0]:
                part = ready.recv(65_536)
                if not part:
                    return
                self._carries.wait()
                sleep(self.delay_seconds)
                others[ready].sendall(part)


class Behind:
    """A server's store, through a wire.

    Args:
        url: Of the store; it names this port of loopback.
    """

    def __init__(self, url: str, port: int) -> None:
        self.wire = Wire((LOCAL, port))
        self.url = url.replace(str(port), str(self.wire.port))

    def goes(self) -> None:
        self.wire.cut()

    def comes_back(self) -> None:
        self.wire.mend()

    def silent(self) -> AbstractContextManager[None]:
        return self.wire.silent()

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Each piece takes 0.1 s, either way."""
        self.wire.delay_seconds = 0.1
        yield
        self.wire.delay_seconds = 0.0


@contextmanager
def _sqlite(folder: Path) -> Iterator[Place]:
    yield SqliteFile(folder)


@contextmanager
def _postgresql(_: Path) -> Iterator[Place]:
    port = free_port()
    with postgres_server(port=port) as server:
        place = Behind(server.new_schema(), port)
        with closing(place.wire):
            yield place


PLACES: Final[Mapping[str, Callable[[Path], AbstractContextManager[Place]]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
}
"""By name, of a folder that is the place's own."""
