"""The demo: the pages that it was served, person by person, are those of an oracle that shares no code with it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flaggate.cli.demo import walk
from flaggate.cli.demo.people import make_people, one_of_each_kind
from flaggate.cli.main import run
from tests import oracle
from tests.e2e.browser import Browser
from tests.runtime.scenes import until

ROWS = {
    "draft": (0, 0), "internal": (1, 1), "manchester": (1, 2), "beta": (1, 3), "tenth": (1, 4), "tenth, killed": (1, 0),
    "tenth, unkilled": (2, 4), "tenth, rolled back": (2, 0), "tenth, mended": (3, 4), "everyone": (3, 5),
    "completed": (3, 5),
}  # fmt: skip
"""Attempt and stage as far as people notice."""


def people_in(seen: Any) -> list[oracle.Person]:
    return [oracle.Person(**{**words, "groups": tuple(words["groups"])}) for words in seen["people"]]


def test_every_page_is_the_oracles_and_every_request_is_counted() -> None:
    """As a user would run it. One test: it takes its time."""
    args = [sys.executable, "-m", "flaggate", "demo", "--pace", "0", "--json"]
    done = subprocess.run(args, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    people = people_in(seen)
    assert len(people) == 500
    assert [row["name"] for row in seen["rows"]] == list(ROWS)
    sent: Counter[tuple[int, int, str | None]] = Counter()
    for row in seen["rows"]:
        attempt, stage = ROWS[row["name"]]
        answers = [oracle.expected(stage, person) for person in people]
        expected = [is_on for is_on, *_ in answers]
        assert row["should"] == expected, row["name"]
        assert row["has"] == [expected, expected], row["name"]
        for is_on, _, arm, _ in answers * 2:
            at = stage or (0 if row["name"] == "draft" else 4)
            sent.update({(attempt, at, what) for what in ("on" if is_on else "off", arm) if what})
    numbers = [sum(row["should"]) for row in seen["rows"]]
    assert 0 < numbers[1] < numbers[2] < numbers[3] < numbers[4] < numbers[-1] < 500, (
        "the people make every stage matter"
    )

    assert len(seen["kill_seconds"]) == 2
    assert all(seconds > 0 for seconds in seen["kill_seconds"])

    for each in seen["requests"]:
        place = each["attempt"], each["stage"], each["arm"]
        assert each["counted"] == each["sent"], place
        more = each["sent"] - sent.pop(place)
        is_killed = place in ((1, 4, "on"), (1, 4, "off"), (1, 4, "treatment"))
        is_failing = place[:2] == (2, 4)
        assert more == 0 or ((is_killed or is_failing) and more > 0), "they saw the kill, or the page that failed"
    assert not sent
    assert seen["failed"] >= 5
    assert 0 < seen["fall_seconds"] < walk.FALL_SECONDS
    assert "new-invoicing: rolled back" in seen["told"]


def test_a_wrong_page_fails_the_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(walk, "should_have_it", lambda person, stage: stage > 0 and person.staff)
    assert run(["demo", "--pace", "0", "--people", "100"]) == 1
    out = capsys.readouterr().out
    assert "WRONG" in out
    assert "manchester, process 1: wrong for user-" in out
    assert "as predicted" not in out


def test_a_wrong_count_fails_the_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(walk, "arm_of", lambda person, stage: None)
    monkeypatch.setattr(walk, "COUNTED_SECONDS", 0.1)
    assert run(["demo", "--pace", "0", "--people", "100"]) == 1
    out = capsys.readouterr().out
    assert "All 2,200 pages were as predicted." in out
    assert "WRONG: attempt 1, stage 2, control: 0 sent, " in out


def test_the_demo_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--pace", "0.02", "--people", "100"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("100 people, 2 processes that serve them a Flask app, 1 SQLite file; takes about 10 s\n")
    assert "the processes served the old page after" in out
    assert "All 2,200 pages were as predicted." in out
    assert "WRONG" not in out
    assert re.search(r"\d+ pages failed; rolled back by itself within [\d.]+ s", out)
    assert "why: errors: " in out
    assert "release-owner@example.com was told: new-invoicing: rolled back" in out
    asked = re.search(
        r"([\d,]+) requests asked the flag \(these 2,200, and ([\d,]+) to see the kill and the rollback arrive\), "
        r"(\S+) were",
        out,
    )
    assert asked is not None
    sent, more, counted = (int(number.replace(",", "")) for number in asked.groups())
    assert (sent, sent) == (2200 + more, counted)


def test_who_is_told_of_is_served_what_is_told() -> None:
    told = one_of_each_kind(make_people(500, 1))
    assert len({person.user for person in told.values()}) == 5
    for words, person in told.items():
        here = oracle.Person(person.user, person.account, person.staff, person.groups, person.tier, "Manchester", "GB")
        assert words.startswith("the new pages" if oracle.expected(4, here)[0] else "the old pages"), words


@pytest.mark.usefixtures("measured")
def test_it_stays_for_a_browser(tmp_path: Path) -> None:
    """At stage tenth, on two ports, until Ctrl-C; whoever looks from this machine is in Manchester."""
    args = [sys.executable, "-m", "flaggate", "demo", "--pace", "0", "--people", "100", "--stay", "--json"]
    with subprocess.Popen(args, env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stdout is not None
            text = ""
            while not text.endswith("\n}\n"):
                text += (line := demo.stdout.readline())
                assert line, "the demo ended by itself"
            seen = json.loads(text)
            here, there = seen["urls"]
            with Browser(here) as one, Browser(there) as other:
                buttons = re.findall(r'<button name="user" value="([^"]*)"', one.get("/sign-in").body)
                told = [person.user for person in one_of_each_kind(make_people(100, 1)).values()]
                assert buttons[: len(told)] == told
                assert len(buttons) == len(set(buttons)) == 12
                for person in people_in(seen)[:40]:
                    from_here = oracle.Person(
                        person.user, person.account, person.staff, person.groups, person.tier, "Manchester", "GB"
                    )
                    is_on = oracle.expected(4, from_here)[0]
                    other.cookies = one.sign_in(str(person.user)).cookies
                    assert (one.get("/").is_new, other.get("/").is_new) == (is_on, is_on), person
                staff = next(person for person in people_in(seen) if person.staff and person.account != "acme-de")
                assert one.sign_in(str(staff.user)).get("/").is_new
                assert run(["kill", oracle.FLAG, "--store", seen["store"], "--as", "somebody"]) == 0
                until(lambda: not one.get("/").is_new, "the kill is seen")
            demo.send_signal(signal.SIGINT)
            assert demo.wait(60) == 0
            assert list(tmp_path.iterdir()) == []
        finally:
            demo.kill()
