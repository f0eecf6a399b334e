"""The demo: its answers, person by person, are those of an oracle that shares no code with it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from flaggate.cli.demo import command
from flaggate.cli.main import run
from tests import oracle

STAGE_OF_ROW = {
    "draft": 0, "internal": 1, "manchester": 2, "beta": 3, "tenth": 4, "tenth, killed": 0, "tenth, unkilled": 4,
    "everyone": 5, "completed": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def seen() -> Any:
    """What `flaggate demo --json` prints, run as a user would."""
    args = [sys.executable, "-m", "flaggate", "demo", "--pace", "0", "--json"]
    done = subprocess.run(args, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_every_answer_of_every_person_is_the_oracles(seen: Any) -> None:
    people = [oracle.Person(**{**words, "groups": tuple(words["groups"])}) for words in seen["people"]]
    assert len(people) == 500
    assert [row["name"] for row in seen["rows"]] == list(STAGE_OF_ROW)
    for row in seen["rows"]:
        expected = [oracle.expected(STAGE_OF_ROW[row["name"]], person)[0] for person in people]
        assert row["should"] == expected, row["name"]
        assert row["has"] == [expected, expected], row["name"]


def test_the_people_make_every_stage_matter(seen: Any) -> None:
    counts = [sum(row["should"]) for row in seen["rows"]]
    internal, manchester, beta, tenth = counts[1:5]
    assert 0 < internal < manchester < beta < tenth < counts[-1] < 500


def test_both_processes_saw_the_kill(seen: Any) -> None:
    assert len(seen["kill_seconds"]) == 2
    assert all(seconds > 0 for seconds in seen["kill_seconds"])


def test_a_wrong_answer_fails_the_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "should_have_it", lambda person, stage: stage > 0 and person.staff)
    assert run(["demo", "--pace", "0", "--people", "100"]) == 1
    out = capsys.readouterr().out
    assert "WRONG" in out
    assert "manchester, process 1: wrong for user-" in out


def test_the_demo_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--pace", "0.02", "--people", "100"]) == 0
    out = capsys.readouterr().out
    assert "the other processes saw the kill after" in out
    assert "All 1800 answers were as predicted." in out
