"""The drills run, so that the command cannot rot: some of them, on the store that needs no server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.drill import __main__ as command
from benchmarks.drill.report import Result, line, table
from benchmarks.drill.seen import Drill
from tests.runtime.scenes import ROOT

pytest.importorskip("gunicorn", reason="pip install gunicorn")
pytest.importorskip("mmdb_writer", reason="pip install mmdb-writer")
NOTHING = Drill("nothing", "Nothing happens.", lambda _kind, _folder, _seen: None)


def drill(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.drill", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


@pytest.mark.long
@pytest.mark.parametrize("name", ["store-killed", "workers-killed", "definitions-half-written"])
def test_the_promise_is_kept(name: str, tmp_path: Path) -> None:
    done = drill("--on", "sqlite", "--only", name, "--table", str(tmp_path / "table"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "none failed" in done.stdout or name == "workers-killed"
    assert f"| {name} | sqlite |" in (tmp_path / "table").read_text()


def test_all_are_listed_with_their_stores_and_promises() -> None:
    said = drill("--list").stdout
    for each in command.DRILLS:
        assert f"{each.name} ({', '.join(each.stores)}): {each.promise}" in said


def test_a_name_that_no_drill_has_is_refused() -> None:
    done = drill("--only", "store-eaten")
    assert done.returncode == 2
    assert "no such drill: store-eaten" in done.stderr


def test_one_that_does_not_end_is_ended_and_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of its own that it has: a quarter of a second is not enough for any."""
    (killed,) = [each for each in command.DRILLS if each.name == "store-killed"]
    result = command.result(killed, "sqlite", 0.25)
    assert not result.is_kept
    assert "not over after 0 s" in result.seen


def test_one_that_cannot_run_has_failed() -> None:
    lacking = Drill("nothing", "Nothing happens.", NOTHING.run, needs=lambda store: f"no {store} today")
    assert command.result(lacking, "sqlite", 60).broken == ("not run: no sqlite today",)
    assert command.result(NOTHING, "sqlite", 0).broken == ("not run: the time is over",)


def test_what_was_broken_is_said_and_shown() -> None:
    kept = Result(NOTHING, "sqlite", "all well", (), 1.0)
    broken = Result(NOTHING, "redis", "2 failed", ("2 failed",), 1.0)
    assert line(kept).startswith("kept   nothing on sqlite")
    assert line(broken).endswith("broken: 2 failed")
    assert table([kept, broken]).splitlines()[2:] == [
        "| nothing | sqlite | Nothing happens. | all well | kept |",
        "|  | redis |  | 2 failed | **broken** |",
    ]
