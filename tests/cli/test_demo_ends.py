"""A demo that somebody ends before it is done leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal


@pytest.mark.parametrize(("number", "code", "said"), [(signal.SIGINT, 130, "stopped\n"), (signal.SIGTERM, 143, "")])
@pytest.mark.parametrize("point", ["100 people", "draft", "manchester"])
def test_a_signal_to_all_of_it(tmp_path: Path, point: str, number: signal.Signals, code: int, said: str) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "flaggate", "demo", "--pace", "0.5", "--people", "100"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert demo.stdout is not None
    while not (line := demo.stdout.readline()).startswith(point):
        assert line, "the demo ended by itself"
    os.killpg(demo.pid, number)  # as a terminal does it: whoever is in the foreground
    _, errors = demo.communicate(timeout=60)  # its processes hold this pipe: it ends when the last of them has gone
    assert (demo.returncode, errors.lstrip()) == (code, said)  # click ends the line of the ^C first
    assert list(tmp_path.iterdir()) == []


def test_servers_go_with_a_demo_that_is_killed(tmp_path: Path) -> None:
    """Nobody is left to end them; they see that it has gone. (Its folder stays: nobody is left to remove it.)"""
    demo = subprocess.Popen(
        [sys.executable, "-m", "flaggate", "demo", "--pace", "0.5", "--people", "100"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    while not (line := demo.stdout.readline()).startswith("draft"):
        assert line, "the demo ended by itself"
    demo.kill()
    assert demo.communicate(timeout=60)[1] == ""  # as above: when the last of them has gone


@pytest.mark.parametrize("python", ["/no/such/python", "/bin/false"])
def test_a_demo_whose_processes_do_not_run_says_so(
    terminal: Terminal, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    terminal("demo", "--pace", "0", "--json", code=1)
    assert "the demo" in terminal.out
    assert terminal.err == ""


@pytest.mark.parametrize("part", ["flask", "geoip2", "mmdb_writer", "starlette", "uvicorn", "waitress"])
def test_a_demo_that_misses_a_part_says_what_to_install(
    terminal: Terminal, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, part, None)  # as where it is not installed
    terminal("demo", code=2)
    assert "pip install 'flaggate[demo]'" in terminal.err
    assert terminal.out == ""
