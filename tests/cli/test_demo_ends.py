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
@pytest.mark.parametrize("point", ["500 people", "draft", "manchester"])
def test_a_signal_to_all_of_it(tmp_path: Path, point: str, number: signal.Signals, code: int, said: str) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "flaggate", "demo", "--pace", "0.5"],
        env=_unmeasured() | {"TMPDIR": str(tmp_path)},
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


def _unmeasured() -> dict[str, str]:
    """An environment without coverage, whose tracer keeps a lock for ever that an interrupt hits while it is held."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


@pytest.mark.parametrize("python", ["/no/such/python", "/bin/false"])
def test_a_demo_whose_processes_do_not_run_says_so(
    terminal: Terminal, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    terminal("demo", "--pace", "0", "--json", code=1)
    assert "the demo" in terminal.out
    assert terminal.err == ""
