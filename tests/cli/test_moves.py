"""The commands that move a flag, who acts and why, and what is answered to a wrong word."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import OWNER, Terminal


def test_the_whole_plan(applied: Terminal) -> None:
    assert "has it now: staff" in applied("start", "new-invoicing")
    out = applied("advance", "new-invoicing", "--reason", "a day went by")
    assert "it is running, stage 2 of 5 (manchester)" in out
    assert "passed over: soak 24h" in out
    assert "staff, 50 % of city Manchester and country GB" in out
    applied("pause", "new-invoicing")
    applied("resume", "new-invoicing")
    applied("step-back", "new-invoicing")
    applied("resume", "new-invoicing")
    for _ in range(4):
        applied("advance", "new-invoicing", "--reason", "go")
    assert "that was the last stage; release-owner@example.com watches for 48 hours" in applied.out
    applied("complete", "new-invoicing", "--reason", "quiet")
    assert applied.json("status")["new-invoicing"]["status"] == "completed"


def test_rollback_and_restart(applied: Terminal) -> None:
    applied("start", "new-invoicing")
    applied("rollback", "new-invoicing")
    applied("restart", "new-invoicing", code=1)
    assert applied.err == "new-invoicing: cannot restart: it needs a reason. Say --reason WHY.\n"
    assert applied.json("restart", "new-invoicing", "--reason", "mended")["attempt"] == 2


def test_kill_and_unkill(applied: Terminal) -> None:
    applied("start", "new-invoicing")
    assert "off for everyone; flaggate unkill new-invoicing" in applied("kill", "new-invoicing")
    assert applied("kill", "new-invoicing").startswith("new-invoicing: nothing to change; it is running, stage 1 of 5")
    applied("unkill", "new-invoicing", code=1)
    found = applied.json("unkill", "new-invoicing", "--reason", "mended")
    assert found["changed"]
    assert not found["killed"]


def test_a_switch(terminal: Terminal, write: Callable[[str], str]) -> None:
    terminal("apply", write('[flags.dark-mode]\ndescription = "Dark"\nowner = "o"\n'))
    assert terminal("on", "dark-mode") == "dark-mode: on; it is on\n"
    assert terminal("off", "dark-mode") == "dark-mode: off; it is off\n"
    terminal("start", "dark-mode", code=1)
    assert "a switch that is off does not take it. Legal now: on, kill" in terminal.err


def test_owner(applied: Terminal) -> None:
    applied("start", "new-invoicing", "--as", "stranger@example.com", code=1)
    assert "nobody answers for it" in applied.err
    applied("owner", "accept", "new-invoicing")
    out = applied("owner", "set", "new-invoicing", "next@example.com", "--deputy", "d1@example.com", "--deputy", "d2")
    assert f"next@example.com has to accept: flaggate owner accept new-invoicing; {OWNER} answers until then" in out
    assert applied.json("status")["new-invoicing"]["deputies"] == ["d1@example.com", "d2"]
    assert "nobody answers until then" in applied("owner", "away", "new-invoicing")
    applied("owner", "accept", "new-invoicing", code=1)
    assert "neither the owner (next@example.com) nor a deputy" in applied.err


def test_who_acts(applied: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    applied("kill", "new-invoicing", "--as", "on-call@example.com", "--reason", "smoke")
    applied("unkill", "new-invoicing", "--reason", "no fire")
    monkeypatch.delenv("FLAGGATE_ACTOR")
    applied("kill", "new-invoicing")
    actors = [event["actor"] for event in applied.json("history", "new-invoicing")]
    assert actors == [OWNER, "on-call@example.com", OWNER, getpass.getuser()]


def test_nobody_acts(applied: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise OSError("no such user")

    monkeypatch.delenv("FLAGGATE_ACTOR")
    monkeypatch.setattr(getpass, "getuser", no_name)
    applied("kill", "new-invoicing", code=2)
    assert "Say --as NAME, or set FLAGGATE_ACTOR" in applied.err


@pytest.mark.parametrize(
    ("word", "right"),
    [("promote", "advance"), ("abort", "rollback"), ("stat", "status"), ("kil", "kill"), ("revert", "rollback")],
)
def test_a_wrong_word_is_answered_with_the_right_one(terminal: Terminal, word: str, right: str) -> None:
    terminal(word, "new-invoicing", code=2)
    assert f"There is no command '{word}'. Did you mean '{right}'?" in terminal.err


def test_a_word_that_is_like_nothing(terminal: Terminal) -> None:
    terminal("xyzzy", code=2)
    assert "There is no command 'xyzzy'. flaggate --help lists them all." in terminal.err


def test_a_wrong_flag_is_answered_with_the_right_one(applied: Terminal) -> None:
    applied("kill", "new-invoice", code=2)
    assert 'there is no flag "new-invoice"; did you mean "new-invoicing"?' in applied.err
    assert applied.json("kill", "new-invoice", code=2)["kind"] == "UnknownFlagError"


def test_no_store(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLAGGATE_STORE")
    terminal("kill", "new-invoicing", code=2)
    assert "Say --store sqlite:///flags.db, or set FLAGGATE_STORE" in terminal.err
    assert "Which store?" in terminal.json("status", code=2)["error"]


def test_a_store_that_is_not_there_is_not_made_by_a_kill(terminal: Terminal, tmp_path: Path) -> None:
    terminal("kill", "new-invoicing", "--store", "sqlite:///flagz.db", code=3)
    assert "there is no such file; flaggate apply makes it" in terminal.err
    assert not (tmp_path / "flagz.db").exists()


def test_a_store_url_of_another_kind(terminal: Terminal) -> None:
    terminal("status", "--store", "flags.db", code=3)
    assert "allowed: sqlite:///PATH" in terminal.err


def test_help_lists_everything(terminal: Terminal) -> None:
    out = terminal("--help")
    assert all(word in out for word in ("start", "kill", "unkill", "apply", "explain", "Exit codes"))
