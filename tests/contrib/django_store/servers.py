"""Databases for the tests: an SQLite file, and servers of PostgreSQL and MariaDB that a test starts for itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.scenes import until

_NOBODY = "nobody"


@contextmanager
def sqlite(directory: Path) -> Iterator[dict[str, Any]]:
    yield {"ENGINE": "django.db.backends.sqlite3", "NAME": str(directory / "db.sqlite3")}


@contextmanager
def postgresql(_: Path) -> Iterator[dict[str, Any]]:
    pytest.importorskip("psycopg", reason="pip install psycopg[binary]")
    initdb, server = _found("initdb"), _found("postgres")
    with _directory() as place:
        _run([initdb, "-D", place / "data", "-U", "flaggate", "-A", "trust", "-E", "UTF8", "-N"])
        arguments = [server, "-D", place / "data", "-k", place, "-c", "listen_addresses=", "-c", "fsync=off"]
        told = place / "data" / "postmaster.pid"  # its socket is there before it takes anybody
        with _served(arguments, place / "log", lambda: told.exists() and "ready" in told.read_text()):
            yield {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": "postgres",
                "USER": "flaggate",
                "HOST": str(place),
            }


@contextmanager
def mariadb(_: Path) -> Iterator[dict[str, Any]]:
    pytest.importorskip("pymysql", reason="pip install PyMySQL")
    install, server = _found("mariadb-install-db"), _found("mariadbd")
    with _directory() as place:
        data, socket = f"--datadir={place / 'data'}", place / "socket"
        _run([install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db"])
        quick = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M"]
        arguments = [server, "--no-defaults", data, "--skip-networking", f"--socket={socket}", *quick]
        with _served(arguments, place / "log", socket.exists):
            _run([_found("mariadb"), f"--socket={socket}", "-u", "root", "-e", "CREATE DATABASE flaggate"])
            engine = {"ENGINE": "django.db.backends.mysql", "NAME": "flaggate", "USER": "root"}
            options = {"unix_socket": str(socket), "isolation_level": "repeatable read", "ssl_disabled": True}
            yield engine | {"OPTIONS": options}  # else each connection reads the certificates of the whole world first


def _found(program: str) -> str:
    places = [
        os.environ["PATH"],
        "/usr/sbin",
        *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)),
    ]
    found = shutil.which(program, path=os.pathsep.join(places))
    if found is None:
        pytest.skip(f"no {program}: install postgresql and mariadb-server")
    return found


@contextmanager
def _directory() -> Iterator[Path]:
    """Not of pytest's: no server runs as root, and another user may not enter that."""
    with tempfile.TemporaryDirectory(prefix="flaggate-") as name:
        if not os.getuid():
            shutil.chown(name, _NOBODY)
        yield Path(name)


def _user() -> str | None:
    return None if os.getuid() else _NOBODY


def _run(command: list[Any]) -> None:
    done = subprocess.run(command, user=_user(), cwd="/", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def _served(command: list[Any], log: Path, is_up: Callable[[], bool]) -> Iterator[None]:
    with log.open("w") as written:
        server = subprocess.Popen(command, user=_user(), cwd="/", stdout=written, stderr=written)
    try:
        until(lambda: is_up() or server.poll() is not None, "the database server listens")
        assert server.poll() is None, log.read_text()
        yield
    finally:
        server.terminate()
        server.wait()
