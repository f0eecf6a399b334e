"""status, explain, history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal


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
    assert "soak 24h" in out


def test_status_of_one(applied: Terminal) -> None:
    applied("start", "new-invoicing")
    applied("advance", "new-invoicing", "--reason", "go")
    out = applied("status", "new-invoicing")
    assert "done  internal: staff" in out
    assert "here  manchester: 50 % of city Manchester and country GB" in out
    assert "next  tenth: 10 % of everyone" in out
    assert "waits for soak 24h, min_sample 500" in out
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
    assert waits == [["start"], ["soak 24h"], ["unkill"], ["complete"], []]


def test_status_says_who_answers_for_the_owner(applied: Terminal) -> None:
    applied("owner", "accept", "new-invoicing", "--as", "deputy@example.com")
    assert "deputy@example.com for release-owner@example.com" in applied("status")
    applied("start", "new-invoicing")
    applied("owner", "away", "new-invoicing")
    assert "an owner who accepts" in applied.json("status")["new-invoicing"]["waits_for"]


def test_what_is_off_on_this_machine_is_said(
    applied: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flags.db.flaggate").mkdir()
    (tmp_path / "flags.db.flaggate" / "off").write_text("new-invoicing")
    monkeypatch.setenv("FLAGGATE_OFF", "other")
    applied("status")
    assert "off on this machine, whatever is below: new-invoicing, other" in applied.err
    applied("explain", "new-invoicing", "--user", "u")
    assert "off on this machine" in applied.err


def test_explain(applied: Terminal) -> None:
    applied("start", "new-invoicing")
    for _ in range(3):
        applied("advance", "new-invoicing", "--reason", "go")
    lines = applied("explain", "new-invoicing", "--user", "u1", "--city", "Leeds", "--country", "GB").splitlines()
    assert lines == [
        "kill: no",
        "deny: no",
        "internal: not staff, no",
        "manchester: city is Leeds, no",
        "beta: in no group, tier is not known, no",
        "tenth: bucket 42 383 is not below 10 000",
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
    assert "on for: segment p, yes" in terminal("explain", "s", "--user", "u-1")


def test_history(applied: Terminal) -> None:
    applied("start", "new-invoicing")
    applied("advance", "new-invoicing", "--reason", "a day went by [bold]")
    out = applied("history")
    assert "new" in out
    assert "status draft -> running, accepted_by null -> release-owner@example.com, stage 0 -> 1" in out
    assert "stage 1 -> 2, passed over soak 24h" in out
    assert "a day went by [bold]" in out
    assert [event["verb"] for event in applied.json("history", "new-invoicing", "--limit", "1")] == ["advance"]


def test_history_of_a_revision_and_of_a_removal(terminal: Terminal, write: Callable[[str], str]) -> None:
    switch = '[flags.a]\ndescription = "x"\nowner = "o"\n'
    terminal("apply", write(switch))
    terminal("apply", write(switch.replace('"x"', '"y"')))
    terminal("apply", write(""), "--prune")
    out = terminal("history", "a")
    assert "edited description" in out
    assert "removed" in out


def test_history_of_an_unknown_name(applied: Terminal) -> None:
    applied("history", "new-invoice", code=2)
    assert 'did you mean "new-invoicing"?' in applied.err
