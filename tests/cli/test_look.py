"""status, explain, history."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flaggate import Context, Gate
from flaggate.stores import open_store
from flaggate.stores.base import Write
from tests.cli.conftest import OWNER, Terminal

EVERYTHING = f"""
[flags.full]
description = "All of it"
owner = "{OWNER}"
deputies = ["owner@example.com"]
deny = {{ account = "acme-de" }}
[[flags.full.stages]]
name = "half"
share = 50
soak = "24h"
min_sample = 500
prove = true
hours = "Mon-Fri 09:00-16:00 Europe/London"
approval = "other"
guards = [{{ metric = "errors", vs_control = 1.250 }}]
[[flags.full.stages]]
name = "all"
[[flags.full.guards]]
metric = "slow"
slower_than = "400ms"
limit = "5%"
on_no_data = "ignore"
[[flags.full.guards]]
metric = "errors"
limit = "0.5%"
on_breach = "hold"
on_no_data = "rollback"
"""


def test_status_of_an_empty_store(terminal: Terminal, write: Callable[[str], str]) -> None:
    terminal("apply", write(""))
    assert "no flags in sqlite:///" in terminal("status")


def test_status_of_all(applied: Terminal) -> None:
    out = applied("status")
    assert "draft" in out
    assert "release-owner@example.com (not accepted)" in out
    applied("start", "new-invoicing")
    out = applied("status")
    assert "running, stage 1 of 5 (internal)" in out
    assert "a judgement of its guards, soak 0 s of 24 h" in out


def test_status_of_one(applied: Terminal) -> None:
    applied("start", "new-invoicing")
    applied("advance", "new-invoicing", "--reason", "go")
    out = applied("status", "new-invoicing")
    assert "done  internal: staff" in out
    assert "here  manchester: 50 % of city Manchester and country GB" in out
    assert "next  tenth: 10 % of everyone" in out
    assert "waits for a judgement of its guards; ends it: a look at its guards" in out
    assert "            soak 0 s of 24 h; ends it: 24 h more that are observed" in out
    assert "            min_sample 0 of 500 requests; ends it: more requests of those who have it" in out
    assert "legal now advance, step-back, pause" in out


def test_status_says_what_would_end_the_wait(applied: Terminal) -> None:
    waits: list[list[str]] = []

    def look() -> None:
        waits.append(applied.json("status")["new-invoicing"]["waits_for"])

    look()
    applied("start", "new-invoicing")
    look()
    applied("kill", "new-invoicing")
    look()
    applied("unkill", "new-invoicing", "--reason", "mended")
    for _ in range(4):
        applied("advance", "new-invoicing", "--reason", "go")
    look()
    applied("complete", "new-invoicing", "--reason", "quiet")
    look()
    unjudged = "a judgement of its guards"
    assert waits == [["start"], [unjudged, "soak 0 s of 24 h"], ["unkill"], [unjudged, "watch 0 s of 48 h"], []]


def test_status_says_who_answers_for_the_owner(applied: Terminal) -> None:
    applied("owner", "accept", "new-invoicing", "--as", "deputy@example.com")
    assert "deputy@example.com stands in for release-owner@example.com" in applied("status")
    applied("start", "new-invoicing")
    applied("owner", "away", "new-invoicing")
    assert "nobody answers for it" in applied.json("status")["new-invoicing"]["waits_for"]
    assert f"ends it: {OWNER} or a deputy accepts" in applied("status", "new-invoicing")


@pytest.fixture
def off_file(tmp_path: Path) -> Path:
    """Where the off file of the terminal's store belongs."""
    folder = tmp_path / "flags.db.flaggate"
    folder.mkdir()
    return folder / "off"


def test_what_is_off_on_this_machine_is_said(
    applied: Terminal, off_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert applied.json("status")["new-invoicing"]["off_here"] is False
    off_file.write_text("new-invoicing")
    monkeypatch.setenv("FLAGGATE_OFF", "new-invoice")
    for look in (("status",), ("status", "new-invoicing")):
        applied(*look)
        assert "off on this machine, whatever is below: new-invoice, new-invoicing" in applied.err
        assert "no such flag: new-invoice\n" in applied.err
    assert applied.json("status")["new-invoicing"]["off_here"] is True
    assert applied.err == ""
    applied("start", "new-invoicing")
    assert "off on this machine all the same" in applied.err


def test_what_is_wrong_with_the_off_file_is_said(applied: Terminal, off_file: Path) -> None:
    off_file.write_text("new_invoicing")
    for look in (("status",), ("explain", "new-invoicing")):
        applied(*look)
        assert "'new_invoicing', which is no flag's name" in applied.err


@pytest.mark.parametrize("words", ["new-invoicing", "*"])
def test_explain_answers_what_an_app_here_answers(applied: Terminal, off_file: Path, words: str) -> None:
    applied("start", "new-invoicing")
    assert applied("explain", "new-invoicing", "--staff").endswith("on\n")
    off_file.write_text(words)
    gate = Gate.open(os.environ["FLAGGATE_STORE"])
    answered = gate.explain("new-invoicing", Context(staff=True))
    gate.close()
    assert applied("explain", "new-invoicing", "--staff") == str(answered).replace("; ", "\n") + "\n"
    assert applied.out == "kill: yes, in this process (FLAGGATE_OFF or the off file)\noff\n"
    found = applied.json("explain", "new-invoicing", "--staff")
    assert (found["is_on"], found["reason"], found["steps"]) == (False, "killed", list(answered.steps))


def test_status_of_one_has_everything(terminal: Terminal, write: Callable[[str], str]) -> None:
    terminal("apply", write(EVERYTHING))
    terminal("start", "full")
    terminal("kill", "full", "--as", "on-call@example.com", "--reason", "smoke")
    terminal("owner", "accept", "full", "--as", "owner@example.com")
    terminal("owner", "away", "full", "--as", "owner@example.com")
    out = re.sub(r"[0-9-]{10} [0-9:]{8} [A-Z]+", "NOW", terminal("status", "full"))
    assert out.splitlines() == [
        "full: All of it",
        "  is        running, stage 1 of 2 (half), KILLED, since NOW, attempt 1",
        "  killed    NOW on-call@example.com kill: smoke",
        f"  owner     {OWNER} (not accepted); deputies owner@example.com",
        "  deny      account acme-de",
        "  stages    1  here  half: 50 % of everyone; soak 24h, min_sample 500, prove, "
        "hours Mon-Fri 09:00-16:00 Europe/London, approval by another person; "
        "errors at most 1.25 times the control's: rollback on breach, hold on no data",
        "            2  next  all: everyone",
        "  guards    slow (over 400ms) at most 5%: rollback on breach, ignore on no data",
        "            errors at most 0.5%: hold on breach, rollback on no data",
        "  next      all",
        "  waits for unkill",
        "  served    no process serves flags now, or none has said so",
        "  legal now pause, rollback, unkill, owner accept, owner set, owner away",
        "  last      NOW owner@example.com owner away",
        "no request was counted in this stage yet",
    ]


def test_status_of_a_switch(terminal: Terminal, write: Callable[[str], str]) -> None:
    terminal("apply", write('[flags.s]\ndescription = "x"\nowner = "o"\naudience = {tier = ["a", "b"]}\n'))
    out = terminal("status", "s")
    assert "  audience  tier a or b\n" in out
    assert "deny" not in out
    assert "killed" not in out


def test_one_flag_that_cannot_be_read_does_not_hide_the_others(applied: Terminal, write: Callable[[str], str]) -> None:
    store = open_store(os.environ["FLAGGATE_STORE"])
    store.commit([Write("flag", "broken", 0, {"flag": {}, "rollout": {}}), Write("segment", "bad", 0, {"x": 1})], [])
    store.close()
    out = applied("status")
    assert "cannot be read" in next(row for row in out.splitlines() if row.startswith("broken"))
    assert "draft" in next(row for row in out.splitlines() if row.startswith("new-invoicing"))
    found = applied.json("status")
    assert found["broken"]["problem"]
    assert found["new-invoicing"]["status"] == "draft"
    applied("status", "broken", code=1)
    assert "the stored flag broken cannot be read" in applied.err
    assert applied("explain", "new-invoicing").endswith("off\n")


def test_times_carry_their_zone(applied: Terminal) -> None:
    moment = r"20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9:]{8} [A-Z+]\S+"
    for look in (("status",), ("status", "new-invoicing"), ("history",)):
        assert re.search(moment, applied(*look)), look


def test_a_table_in_a_pipe_never_wraps(applied: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    applied("kill", "new-invoicing", "--reason", "smoke " * 100)
    lines = applied("history").splitlines()
    assert len(lines) == 3
    assert lines[-1].endswith("smoke " * 99 + "smoke")
    assert all(line == line.rstrip() for line in lines)


def test_nothing_that_a_person_wrote_moves_the_cursor(terminal: Terminal, write: Callable[[str], str]) -> None:
    evil = r"\u001b[31m\u009b1A\u202e\n\u0007"
    terminal("apply", write(f'[flags.s]\ndescription = "{evil}"\nowner = "{evil}"\ndeny = {{ tier = "{evil}" }}\n'))
    raw = "\x1b[2J\n\u202e"
    terminal("kill", "s", "--as", f"me{raw}", "--reason", raw)
    shown = ""
    for look in (("status",), ("status", "s"), ("history",), ("explain", "s", "--tier", raw)):
        shown += terminal(*look) + terminal.err
    terminal("owner", "accept", "s", "--as", f"me{raw}", code=1)
    shown += terminal.err
    terminal("status", raw, code=2)
    shown += terminal.err
    terminal(raw, code=2)
    shown += terminal.err
    assert {c for c in shown if not c.isprintable()} == {"\n"}
    assert r"me\x1b[2J\n\u202e" in shown
    found = terminal("history", "--json")
    assert {c for c in found if not c.isprintable()} == {"\n"}
    assert json.loads(found)[-1]["actor"] == f"me{raw}"


def test_explain(applied: Terminal) -> None:
    applied("start", "new-invoicing")
    for _ in range(3):
        applied("advance", "new-invoicing", "--reason", "go")
    lines = applied("explain", "new-invoicing", "--user", "u1", "--city", "Leeds", "--country", "GB").splitlines()
    assert lines == [
        "kill: no",
        "deny: no",
        "internal: staff: no",
        "manchester: city is Manchester: no, it is Leeds",
        "beta: in group beta: no, in no group, or tier is enterprise: no, it is not known",
        "tenth: bucket 42,383 is not below 10,000",
        "off",
    ]
    found = applied.json("explain", "new-invoicing", "--group", "alpha", "--group", "beta")
    assert (found["is_on"], found["reason"], found["stage"]) == (True, "stage", "beta")


def test_explain_a_key_that_no_encoding_knows(applied: Terminal) -> None:
    applied("start", "new-invoicing")
    for _ in range(3):
        applied("advance", "new-invoicing", "--reason", "go")
    found = applied.json("explain", "new-invoicing", "--user", "half \ud800")
    assert (found["is_on"], found["reason"]) == (False, "fault")


def test_explain_own_attributes(terminal: Terminal, write: Callable[[str], str]) -> None:
    text = '[flags.big]\ndescription = "x"\nowner = "o"\naudience = {seats = {at_least = 10}, name = "Bo"}\n'
    terminal("apply", write(text))
    terminal("on", "big")
    assert terminal.json("explain", "big", "--attribute", "seats=12", "--attribute", "name=Bo")["is_on"]
    assert not terminal.json("explain", "big", "--attribute", "seats=9", "--attribute", "name=Bo")["is_on"]
    terminal("explain", "big", "--attribute", "seats", code=2)
    assert "say NAME=VALUE" in terminal.err


def test_explain_with_a_segment(terminal: Terminal, write: Callable[[str], str]) -> None:
    text = '[flags.s]\ndescription = "x"\nowner = "o"\naudience = {segment = "p"}\n'
    terminal("apply", write(text + '[segments.p]\nunit = "user"\nmembers = ["u-1"]\n'))
    terminal("on", "s")
    assert "on for: in segment p: yes" in terminal("explain", "s", "--user", "u-1")


def test_history(applied: Terminal) -> None:
    applied("start", "new-invoicing")
    applied("advance", "new-invoicing", "--reason", "a day went by [bold]")
    out = applied("history")
    assert "new" in out
    assert "status draft -> running, accepted by nobody -> release-owner@example.com, stage 0 -> 1" in out
    assert "stage 1 -> 2, passed over soak 0 s of 24 h" in out
    assert "a day went by [bold]" in out
    assert [event["verb"] for event in applied.json("history", "new-invoicing", "--limit", "1")] == ["advance"]


def test_history_of_a_revision_and_of_a_removal(terminal: Terminal, write: Callable[[str], str]) -> None:
    switch = '[flags.a]\ndescription = "x"\nowner = "o"\n'
    terminal("apply", write(switch))
    terminal("apply", write(switch.replace('"x"', '"y"')))
    terminal("apply", write(switch + 'deny = {tier = ["' + '", "'.join(map(str, range(100))) + '"]}'))
    terminal("apply", write(""), "--prune")
    out = terminal("history", "a")
    assert 'deny: (not there) -> {"tier": ["0", "1", ' in out
    assert '"50"' not in out
    assert 'description: "x" -> "y"' in out
    assert "removed" in out


def test_history_of_hand_overs_and_of_segments(terminal: Terminal, write: Callable[[str], str]) -> None:
    text = '[flags.s]\ndescription = "x"\nowner = "o"\naudience = {segment = "p"}\n'
    members = '[segments.p]\nunit = "user"\nmembers = '
    segments = ['["a", "b"]', '["b", "c"]']
    for segment in segments:
        terminal("apply", write(text + members + segment))
    terminal("owner", "set", "s", "next", "--deputy", "d1", "--deputy", "d2")
    terminal("apply", write(text + '[segments.p]\naudience = {tier = "pro"}'))
    out = terminal("history")
    assert "1 member added, 1 member gone" in out
    assert "owner o -> next, deputies nobody -> d1, d2" in out
    assert 'audience nobody -> {"tier": "pro"}' not in out
    assert 'audience (not there) -> {"tier": "pro"}' in out
    assert "null" not in out


def test_history_of_an_unknown_name(applied: Terminal) -> None:
    applied("history", "new-invoice", code=2)
    assert 'did you mean "new-invoicing"?' in applied.err
