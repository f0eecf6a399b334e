"""Apps on real servers, each in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.servers import Server, ended
from tests.runtime.scenes import until

_LISTENS: Final = re.compile(r"(?:Listening at: |running on )http://127\.0\.0\.1:(\d+)")
GUNICORN: Final = "gunicorn --bind=127.0.0.1:0 --graceful-timeout=20"
UVICORN: Final = "uvicorn --port=0 --no-access-log --timeout-keep-alive=120"  # longer than any client pauses


def needs(**modules: str) -> pytest.MarkDecorator:
    """Skip without these modules, each named with what brings it. They are not imported: this process is not theirs."""
    missing = [project for module, project in modules.items() if find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"pip install {' '.join(missing)}")


@contextmanager
def serving(command: str, folder: Path, environment: Mapping[str, str] = {}) -> Iterator[Server]:
    """A server that is started in the folder, and sees the modules there. It may not listen yet: `listens` waits."""
    log = folder / "server.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", *command.split()],
            cwd=folder,
            env=surroundings(folder, environment),
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    with ended(process):
        yield Server(process, folder, log)


def surroundings(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process there."""
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1", **environment}


def await_listening(*servers: Server) -> None:
    """Wait until all of them are there."""
    for server in servers:
        until(lambda server=server: _listens(server), "the server listens")  # type: ignore[misc]  # this one, now


def _listens(server: Server) -> bool:
    assert server.process.poll() is None, server.words()
    found = _LISTENS.search(server.words())
    server.port = 0 if found is None else int(found[1])
    return found is not None
