"""Calls of run that are wrong from the start. How it runs is in tests/e2e/test_run.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal


@pytest.mark.parametrize("every", ["0.05s", "99ms", "11s", "1m", "5", "s", "-1s", "1.5.2s", ""])
def test_how_often(applied: Terminal, every: str) -> None:
    applied("run", "--every", every, code=2)
    assert f"'--every': {every!r}; allowed: 0.1s to 10s, such as 5s or 200ms" in applied.err


def test_a_store_that_is_not_there(terminal: Terminal) -> None:
    terminal("run", "--store", "sqlite:///flagz.db", code=3)
    assert "there is no such file; flaggate apply makes it" in terminal.err
    assert terminal.out == ""


def test_definitions_that_are_wrong_make_no_store(terminal: Terminal, write: Callable[[str], str]) -> None:
    terminal("run", "--definitions", write("[flags.x]\nowner = 3\n"), code=2)
    assert "flags.x.owner: 3 is not allowed; allowed: " in terminal.err
    terminal("run", "--definitions", "flagz.toml", code=2)
    assert "flagz.toml: it cannot be read" in terminal.err
    assert not Path("flags.db").exists()


def test_a_config_of_notices_that_cannot_be_read(applied: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    command = "run"
    applied(command, "--notify", "apprize.yml", code=2)
    assert "'--notify'" in applied.err
    assert "apprize.yml; allowed: the file of an Apprise configuration" in applied.err
    monkeypatch.setenv("FLAGGATE_NOTIFY", "apprize.yml")
    assert "apprize.yml; allowed: " in applied.json(command, code=2)["error"]
