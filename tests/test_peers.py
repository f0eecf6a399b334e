"""The table of peers: is the plan in it the seed plan, and does it come out?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers import plan
from benchmarks.peers.ours import peer

ROOT = Path(__file__).parents[1]


def test_the_functions_by_hand_are_the_plan() -> None:
    plan.answers_are_right(plan.by_hand_of_row)
    for row in plan.PERSONS:
        assert plan.by_hand(plan.person_of(row)) is plan.by_hand_of_row(row)


def test_flaggate_answers_each_as_by_hand(tmp_path: Path) -> None:
    flags, members = plan.names(3), plan.members(50)
    peer.write(tmp_path, flags, members)
    names = peer.load(tmp_path, plan.PERSONS)
    for row in plan.PERSONS:
        context = names["Context"](**row)
        found = names["gate"].decisions(context)
        assert set(found) == {*flags, plan.PILOT}
        assert found[plan.FLAG].is_on is plan.by_hand_of_row(row)
        assert found[plan.PILOT].is_on is (row["user"] in members)


def test_a_wrong_answer_is_named() -> None:
    with pytest.raises(AssertionError, match="is not True"):
        plan.answers_are_right(lambda row: plan.by_hand_of_row(row) and row["tier"] != "enterprise")
    with pytest.raises(AssertionError, match="Manchester's half: 2000 of 2000 are in"):
        plan.answers_are_right(
            lambda row: row["account"] != "acme-de" and (row["city"] == "Manchester" or plan.by_hand_of_row(row))
        )


def test_the_table_comes_out() -> None:
    command = [sys.executable, "-m", "benchmarks.peers", "--quick", "--only", "ours"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert not done.returncode, done.stderr
    assert "| flaggate (" in done.stdout
    assert "| by hand " in done.stdout


def test_a_peer_that_is_not_installed_has_no_row() -> None:
    """As in the environment of the tests, which has none of them."""
    command = [sys.executable, "-m", "benchmarks.peers", "--quick", "--only", "featurevisor"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 1
    assert "featurevisor: ModuleNotFoundError: No module named 'featurevisor'" in done.stderr
