"""A terminal on a store of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flaggate.cli.main import run
from tests.seed import SEED

OWNER = "release-owner@example.com"


class Terminal:
    """Runs commands and remembers what the last one said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *args: str, code: int = 0) -> str:
        """Run a command, hold its exit code against the one expected, and return its output."""
        found = run(args)
        self.out, self.err = self._capsys.readouterr()
        assert found == code, (args, self.out, self.err)
        return self.out

    def json(self, *args: str, code: int = 0) -> Any:
        """The same with --json, read."""
        return json.loads(self(*args, "--json", code=code))


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """A terminal in an empty folder, with a store in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAGGATE_STORE", f"sqlite:///{tmp_path}/flags.db")
    monkeypatch.setenv("FLAGGATE_ACTOR", OWNER)
    monkeypatch.setenv("COLUMNS", "200")
    return Terminal(capsys)


@pytest.fixture
def applied(terminal: Terminal) -> Terminal:
    """A terminal whose store holds the seed plan."""
    terminal("apply", str(SEED))
    return terminal


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Writes a definitions file and returns its name."""

    def written(text: str) -> str:
        path = tmp_path / "flags.toml"
        path.write_text(text)
        return str(path)

    return written
