"""What `status` shows of the requests that were counted."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator

import pytest

from flaggate import Context, Gate
from flaggate.stores import open_store
from flaggate.stores.base import Arm, Count, Report
from tests.cli.conftest import Terminal


@pytest.fixture
def count(applied: Terminal) -> Iterator[Callable[..., None]]:
    """Adds counts of new-invoicing to the store."""
    store = open_store(os.environ["FLAGGATE_STORE"])
    sequence = itertools.count(1)

    def add(attempt: int, stage: int, arm: Arm, requests: int, errors: int, **histogram: int) -> None:
        edges = {edge.removeprefix("_").replace("_", "."): number for edge, number in histogram.items()}
        counts = (Count("new-invoicing", attempt, stage, arm, requests, errors, edges),)
        store.add_counts(Report("process", next(sequence), counts))

    yield add
    store.close()


def counted(out: str) -> list[list[str]]:
    """What `status FLAG` says at its end about what was counted; the cells of a table stand apart."""
    lines = out.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(("seen", "no request")))
    return [re.split(r"\s{2,}", line) for line in lines[begin:] if not line.startswith("at this traffic")]


def test_status_shows_what_was_seen_in_this_stage(applied: Terminal, count: Callable[..., None]) -> None:
    applied("start", "new-invoicing")
    for _ in range(3):
        applied("advance", "new-invoicing", "--reason", "go")
    count(1, 3, "on", 70, 70, _10=70)  # the stage before
    count(1, 4, "off", 200_000, 7, _2_2=180_000, _390=20_000)
    count(1, 4, "on", 1930, 41, _1_2=930, _270=900, _390=50, _1200=20, _56000=30)
    count(1, 4, "treatment", 1200, 1200, inf=61, _1=1139)
    count(1, 4, "control", 0, 0, _5600=1)  # somebody left; no request was finished
    assert counted(applied("status", "new-invoicing")) == [
        ["seen in stage 4 (tenth), attempt 1:"],
        ["", "requests", "errors", "how slow"],
        ["on", "1,930", "41 (2.1 %)", "95 % within 390 ms"],
        ["treatment", "1,200", "1,200 (100.0 %)", "over 56 s"],
        ["off", "200,000", "7 (under 0.01 %)", "95 % within 390 ms"],
    ]
    applied("advance", "new-invoicing", "--reason", "go")
    assert counted(applied("status", "new-invoicing")) == [["no request was counted in this stage yet"]]


def test_status_shows_what_was_seen_before_the_start(applied: Terminal, count: Callable[..., None]) -> None:
    assert counted(applied("status", "new-invoicing")) == [["no request was counted before the start yet"]]
    count(0, 0, "off", 1000, 5)
    count(0, 0, "off", 1000, 5, _1500=1)
    assert counted(applied("status", "new-invoicing")) == [
        ["seen before the start:"],
        ["", "requests", "errors", "how slow"],
        ["off", "2,000", "10 (0.50 %)", "95 % within 1.5 s"],
    ]
    applied("start", "new-invoicing")
    assert counted(applied("status", "new-invoicing")) == [["no request was counted in this stage yet"]]


def test_status_does_not_show_what_an_older_attempt_saw(applied: Terminal, count: Callable[..., None]) -> None:
    applied("start", "new-invoicing")
    count(1, 1, "on", 5, 0)
    applied("rollback", "new-invoicing")
    assert counted(applied("status", "new-invoicing")) == [
        ["seen in stage 1 (internal), attempt 1:"],
        ["", "requests", "errors", "how slow"],
        ["on", "5", "0", "-"],
    ]
    applied("restart", "new-invoicing", "--reason", "mended")
    assert counted(applied("status", "new-invoicing")) == [["no request was counted in this stage yet"]]


def test_status_of_a_switch_that_was_asked(terminal: Terminal, write: Callable[[str], str]) -> None:
    terminal("apply", write('[flags.s]\ndescription = "x"\nowner = "o"\n'))
    assert counted(terminal("status", "s")) == [["no request was counted yet"]]
    terminal("on", "s")
    gate = Gate.open(os.environ["FLAGGATE_STORE"])
    with gate.visit(Context("ada")) as visit:
        assert visit["s"]
    gate.close()
    found = counted(terminal("status", "s"))
    assert found[:2] == [["seen:"], ["", "requests", "errors", "how slow"]]
    assert found[2][:3] == ["on", "1", "0"]
    assert found[2][3].startswith("95 % within ")


def test_json_has_all_counts(applied: Terminal, count: Callable[..., None]) -> None:
    """Of older attempts and stages too, and with the whole histogram."""
    assert applied.json("status")["new-invoicing"]["counts"] == []
    count(2, 1, "on", 5, 1, _1_2=4, inf=1)
    count(1, 3, "control", 7, 0)
    expected = [
        {"flag": "new-invoicing", "attempt": 1, "stage": 3, "arm": "control", "requests": 7, "errors": 0, "histogram": {},
         "measured": {}},
        {
            "flag": "new-invoicing", "attempt": 2, "stage": 1, "arm": "on", "requests": 5, "errors": 1,
            "histogram": {"1.2": 4, "inf": 1}, "measured": {},
        },
    ]  # fmt: skip
    for look in (("status",), ("status", "new-invoicing")):
        assert applied.json(*look)["new-invoicing"]["counts"] == expected
