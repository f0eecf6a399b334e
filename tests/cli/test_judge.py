"""judge --record and --replay, and what status and start say of guards."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flaggate import Gate
from flaggate.stores import open_store
from tests.cli.conftest import Terminal
from tests.runtime.guarded import PLAN, visits
from tests.runtime.scenes import until

OWNER = "owner@example.com"


@pytest.fixture
def running(terminal: Terminal, write: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal with a guarded rollout that runs."""
    monkeypatch.setenv("FLAGGATE_ACTOR", OWNER)
    terminal("apply", write(PLAN))
    terminal("start", "checkout")
    return terminal


def traffic(rounds: int = 1, share: int = 0) -> None:
    """Of 100 users; of those that have it one in so many fails."""
    gate = Gate.open(os.environ["FLAGGATE_STORE"], background=False)
    gate.refresh()
    for _ in range(rounds):
        visits(gate, range(100), fail=lambda number, is_on: bool(share) and is_on and number % share == 0)
    gate.close()


def test_status_shows_each_guard(running: Terminal) -> None:
    assert "guards:" not in [line.strip() for line in running("status", "checkout").splitlines()]
    assert running.json("status")["checkout"]["guards"] is None
    traffic(6)
    running("tick")
    out = running("status", "checkout")
    table = out[out.index("\nguards:\n") :]
    assert re.search(r"^errors +at most 2 % +0 % +0 % to ", table, re.MULTILINE)
    assert "at most 1.5 times the control's" in table
    assert "slow (over 400 ms)" in table
    assert "(observes)" in table
    guards = running.json("status")["checkout"]["guards"]
    assert [guard["metric"] for guard in guards] == [
        "errors", "errors", "slow", "slow", "checkout_failed", "checkout_done",
    ]  # fmt: skip
    assert guards[0]["words"].startswith("errors: 0 of ")
    assert "at this traffic, in stage half: " in out


def test_status_says_why_it_was_rolled_back(running: Terminal) -> None:
    traffic(2, share=2)
    running("tick")
    out = running("status", "checkout")
    assert "  breach    errors: " in out
    assert "99.9 % sure that this is worse than you allow" in out
    assert "guards:" not in out.splitlines()


def test_start_says_what_would_show(
    terminal: Terminal, write: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAGGATE_ACTOR", OWNER)
    terminal("apply", write(PLAN))
    traffic(3)
    out = terminal("status", "checkout")
    assert "at this traffic, in stage half: a doubling would show in " in out
    assert "stage half" in terminal("start", "checkout")


def test_a_stage_that_could_hardly_be_judged_is_warned_of(
    terminal: Terminal, write: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAGGATE_ACTOR", OWNER)
    guards = 'guards = [{ metric = "errors", limit = "50%" }]\n'
    terminal("apply", write(PLAN[: PLAN.index("guards =")] + guards))
    traffic(2)
    out = terminal("start", "checkout")
    assert "stage half could hardly be judged: a doubling would not show, five times as many would not show" in out


def test_what_was_recorded_is_judged_again(running: Terminal, tmp_path: Path, write: Callable[[str], str]) -> None:
    file = tmp_path / "counts.jsonl"
    arguments = [sys.executable, "-m", "flaggate", "judge", "checkout", "--record", str(file)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as recording:
        try:
            until(file.exists, "it has begun")
            until(lambda: file.read_text(encoding="utf-8").count("\n") >= 1, "a look")
            traffic(1, share=2)
            until(lambda: file.read_text(encoding="utf-8").count("\n") >= 2, "a look after that")
        finally:
            recording.send_signal(signal.SIGINT)
            recording.wait(30)
    assert recording.returncode == 0
    out = running("judge", "checkout", "--replay", str(file))
    assert "half: rolled back: errors: " in out
    assert "guards:" in out
    lines = [json.loads(line) for line in running("judge", "checkout", "--replay", str(file), "--json").splitlines()]
    assert [line["stage"] for line in lines] == ["half"] * len(lines)
    assert lines[-1]["guards"][0]["answer"] == "breach"
    patient = PLAN.replace('"2%"', '"99%"').replace("vs_control = 1.5", "vs_control = 99")
    out = running("judge", "checkout", "--replay", str(file), "--definitions", write(patient))
    assert "rolled back" not in out
    assert "errors too few, errors against control too few" in out


def record(arms: str = "{}", units: str = "[]") -> str:
    """A line of a stage that the plan has not."""
    at = '"at": "2026-03-02T12:00:00+00:00", "stage": "x", "attempt": 1, "pulse": 1'
    return f'{{{at}, "arms": {arms}, "units": {units}}}\n'


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("nonsense\n", "line 1 of "),
        ('{"at": 3}\n', "line 1 of "),
        ("\udcff\n", "line 1 of "),
        (record(arms='{"on": [1e999, 0, {}, {}]}'), "line 1 of "),
        (record(arms='{"on": [1, 0, {"soon": 1}, {}]}'), "line 1 of "),
        (record(arms='{"on": [1, 0, {"100": "one"}, {}]}'), "line 1 of "),
        (record(units='[["errors", 0, 0, "on", "one", 1]]'), "line 1 of "),
        (record(), "the record is of stage x; the plan has half, everyone"),
    ],
)
def test_what_is_no_record_is_refused(running: Terminal, tmp_path: Path, lines: str, words: str) -> None:
    (tmp_path / "counts.jsonl").write_text(lines, encoding="utf-8", errors="surrogateescape")
    running("judge", "checkout", "--replay", "counts.jsonl", code=2)
    assert words in running.err


def test_wrong_words(running: Terminal, tmp_path: Path, write: Callable[[str], str]) -> None:
    (tmp_path / "counts.jsonl").write_text("", encoding="utf-8")
    assert running("judge", "checkout", "--replay", "counts.jsonl") == "the record is empty\n"
    running("judge", "checkout", code=2)
    assert "say --record FILE or --replay FILE" in running.err
    running("judge", "checkout", "--record", "x", "--definitions", write(PLAN), code=2)
    assert "--record reads a store: leave --definitions out" in running.err
    running("judge", "nowhere", "--replay", "counts.jsonl", code=2)
    assert 'there is no flag "nowhere"' in running.err
    running("judge", "nowhere", "--replay", "counts.jsonl", "--definitions", write(PLAN), code=2)
    open_store(os.environ["FLAGGATE_STORE"]).close()
