"""The commands that move a flag, who acts and why, and what is answered to a wrong word."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from flaggate.errors import StoreError
from flaggate.stores.base import Presence
from flaggate.stores.sql import SqlStore
from tests.cli.conftest import OWNER, Terminal
from tests.seed import SEED


def test_the_whole_plan(applied: Terminal) -> None:
    assert "has it now: staff" in applied("start", "new-invoicing")
    out = applied("advance", "new-invoicing", "--reason", "a day went by")
    assert "it is running, stage 2 of 5 (manchester)" in out
    assert "passed over: soak 0 s of 24 h" in out
    assert "staff, 50 % of city Manchester and country GB" in out
    applied("pause", "new-invoicing")
    assert "has it now: staff, 50 % of city Manchester" in applied("resume", "new-invoicing")
    assert "has it now: staff, never account acme-de" in applied("step-back", "new-invoicing")
    applied("resume", "new-invoicing")
    for _ in range(4):
        applied("advance", "new-invoicing", "--reason", "go")
    assert "that was the last stage; release-owner@example.com watches: 48 observed hours end the watch" in applied.out
    assert "flaggate complete new-invoicing --reason WHY" in applied.out
    assert "has it now: everyone, never account acme-de\n" in applied.out
    applied("complete", "new-invoicing", "--reason", "quiet")
    assert applied.json("status")["new-invoicing"]["status"] == "completed"
    assert applied.json("history")[-1]["evidence"] == {"passed_over": ["watch 0 s of 48 h"]}


def test_rollback_and_restart(applied: Terminal) -> None:
    applied("start", "new-invoicing")
    applied("rollback", "new-invoicing")
    applied("restart", "new-invoicing", code=1)
    assert applied.err == "new-invoicing: restart refused: it needs a reason. Say --reason WHY.\n"
    error = applied.json("restart", "new-invoicing", code=1)["error"]
    assert error == "new-invoicing: restart refused: it needs a reason. Say --reason WHY."
    assert applied.json("restart", "new-invoicing", "--reason", "mended")["attempt"] == 2


APPROVED = f"""
[flags.full]
description = "Asked before it goes on"
owner = "{OWNER}"
stages = [{{ name = "half", share = 50, soak = "1h", approval = "other" }}, {{ name = "all" }}]
guards = [{{ metric = "errors", limit = "1%" }}]
"""


def test_approve(terminal: Terminal, write: Callable[[str], str]) -> None:
    terminal("apply", write(APPROVED))
    terminal("approve", "full", code=1)
    assert "full: approve refused: it is a draft. Legal now: start," in terminal.err
    terminal("start", "full")
    terminal("approve", "full", code=1)
    assert f"approve refused: {OWNER} asked for it, and another person has to approve." in terminal.err
    assert "Legal now" not in terminal.err  # it is legal, for another
    assert terminal("approve", "full", "--as", "lead@example.com", "--reason", "looks good") == (
        "full: approve; it is running, stage 1 of 2 (half)\n  waits for a judgement of its guards, soak 0 s of 1 h\n"
    )
    assert "nothing to change" in terminal("approve", "full", "--as", "lead@example.com")
    assert "approval nobody -> by lead@example.com" in terminal("history")
    terminal("advance", "full", "--reason", "soon enough")
    assert "passed over: soak 0 s of 1 h\n" in terminal.out
    terminal("approve", "full", code=1)
    assert "approve refused: it is watching" in terminal.err


def test_a_stage_that_asks_for_no_approval(applied: Terminal) -> None:
    applied("start", "new-invoicing")
    assert applied.json("approve", "new-invoicing", code=1)["error"].startswith(
        "new-invoicing: approve refused: this stage asks for no approval. Legal now: advance,"
    )


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
    assert terminal("on", "dark-mode") == "dark-mode: on; it is on\n  has it now: everyone\n"
    assert terminal("off", "dark-mode") == "dark-mode: off; it is off\n"
    terminal("start", "dark-mode", code=1)
    assert "dark-mode: start refused: it is a switch. Legal now: on, kill" in terminal.err


def test_owner(applied: Terminal) -> None:
    applied("start", "new-invoicing", "--as", "stranger@example.com", code=1)
    assert "nobody answers for it" in applied.err
    assert "--as says who starts it" in applied.err
    applied("owner", "accept", "new-invoicing")
    out = applied("owner", "set", "new-invoicing", "next@example.com", "--deputy", "d1@example.com", "--deputy", "d2")
    assert (
        f"next@example.com or a deputy has to accept: flaggate owner accept new-invoicing; until then {OWNER} answers"
        in out
    )
    assert applied.json("status")["new-invoicing"]["deputies"] == ["d1@example.com", "d2"]
    assert "until then nobody answers" in applied("owner", "away", "new-invoicing")
    applied("owner", "accept", "new-invoicing", code=1)
    assert "neither the owner (next@example.com) nor a deputy" in applied.err


def test_who_acts(applied: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    applied("kill", "new-invoicing", "--as", "on-call@example.com", "--reason", "smoke")
    applied("unkill", "new-invoicing", "--reason", "no fire")
    monkeypatch.delenv("FLAGGATE_ACTOR")
    applied("kill", "new-invoicing")
    actors = [event["actor"] for event in applied.json("history", "new-invoicing")]
    assert actors == [OWNER, "on-call@example.com", OWNER, getpass.getuser()]


def test_who_has_a_killed_flag_is_nobody(applied: Terminal) -> None:
    applied("start", "new-invoicing")
    applied("advance", "new-invoicing", "--reason", "go")
    applied("kill", "new-invoicing")
    assert "has it now" not in applied("step-back", "new-invoicing")
    assert "has it now: staff, never account acme-de" in applied("unkill", "new-invoicing", "--reason", "mended")
    applied("rollback", "new-invoicing")
    applied("kill", "new-invoicing")
    assert "has it now" not in applied("unkill", "new-invoicing", "--reason", "mended")


def test_a_share_of_nothing_is_nobody(terminal: Terminal, write: Callable[[str], str]) -> None:
    stages = 'stages = [{name = "dark", share = 0, soak = "1h"}, {name = "all"}]\n'
    guards = 'guards = [{metric = "errors", limit = "1%"}]\n'
    terminal("apply", write(f'[flags.dark]\ndescription = "x"\nowner = "{OWNER}"\n{stages}{guards}'))
    assert "has it now: nobody\n" in terminal("start", "dark")


def test_a_name_is_kept_as_it_is_meant(applied: Terminal) -> None:
    applied("owner", "set", "new-invoicing", " next@example.com ", "--deputy", "deputy@example.com\t", "--reason", "  ")
    applied("owner", "accept", "new-invoicing", "--as", " next@example.com")
    found = applied.json("status")["new-invoicing"]
    assert (found["accepted_by"], found["deputies"]) == ("next@example.com", ["deputy@example.com"])
    assert applied.json("history")[1]["reason"] is None


@pytest.mark.parametrize(
    "args",
    [
        ("kill", "new-invoicing", "--as", " "),
        ("owner", "set", "new-invoicing", ""),
        ("owner", "set", "new-invoicing", "next@example.com", "--deputy", "d@example.com", "--deputy", "\t"),
    ],
)
def test_a_blank_name_is_wrong_input(applied: Terminal, args: tuple[str, ...]) -> None:
    applied(*args, code=2)
    assert "it is blank; allowed: a name or an address that is not empty" in applied.err


def test_nobody_is_the_clock(applied: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is taken; a service that has it as its user's kills all the same."""
    applied("kill", "new-invoicing", "--as", "flaggate", code=2)
    assert "'flaggate' is who acts where the clock or a guard does; allowed: the name or the address" in applied.err
    monkeypatch.delenv("FLAGGATE_ACTOR")
    monkeypatch.setattr(getpass, "getuser", lambda: "flaggate")
    applied("kill", "new-invoicing")
    assert applied.json("history")[-1]["actor"] == f"flaggate@{socket.gethostname()}"


def test_a_kill_is_never_refused_for_its_reason(applied: Terminal) -> None:
    applied("kill", "new-invoicing", "--as", "Zo\udceb", "--reason", "latin-1: \udcfc")  # as Python gives such bytes
    event = applied.json("history")[-1]
    assert (event["actor"], event["reason"]) == ("Zo\ufffd", "latin-1: \ufffd")
    applied("unkill", "new-invoicing", "--reason", "half a character: \ud800")
    assert applied.json("history")[-1]["reason"] == "half a character: ?"
    applied("kill", "new-\udcfc", code=2)
    assert 'there is no flag "new-\ufffd"' in applied.err


def test_nobody_acts(applied: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise OSError("no such user")

    monkeypatch.delenv("FLAGGATE_ACTOR")
    monkeypatch.setattr(getpass, "getuser", no_name)
    applied("kill", "new-invoicing", code=2)
    assert "Say --as NAME, or set FLAGGATE_ACTOR" in applied.err


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("promote", "advance"),
        ("abort", "rollback"),
        ("stat", "status"),
        ("kil", "kill"),
        ("revert", "rollback"),
        ("simulate", "plan"),
        ("daemon", "run"),
        ("cron", "tick"),
        ("sign-off", "approve"),
        ("accept", "owner accept"),
    ],
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
    assert f"there is no such file; flaggate apply makes it (looked for {tmp_path}/flagz.db)" in terminal.err
    assert not (tmp_path / "flagz.db").exists()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("flags.db", "flags.db names no store; did you mean sqlite:///flags.db? allowed: sqlite:///PATH"),
        ("sqlit:///x.db", "did you mean sqlite:///x.db?"),
        ("mongodb://u:secret@host/0", "mongodb://u:***@host/0 names no store; allowed: sqlite:///PATH"),
        ("sqlite://", "sqlite:// names no store; allowed: sqlite:///PATH"),
        ("memory://", "memory:// would end with this command"),
    ],
)
def test_a_url_that_names_no_store(terminal: Terminal, url: str, words: str) -> None:
    for command in (("status",), ("kill", "new-invoicing"), ("apply", str(SEED))):
        terminal(*command, "--store", url, code=2)
        assert words in terminal.err


def test_a_kill_that_the_store_does_not_do_says_what_needs_no_store(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "flags.db").write_text("this is no database " * 100)
    terminal("kill", "new-invoicing", code=3)
    file = tmp_path / "flags.db.flaggate" / "off"
    assert f"write new-invoicing into the file {file}, or start the app with FLAGGATE_OFF=new-inv" in terminal.err
    assert str(file) in terminal.json("kill", "new-invoicing", code=3)["hint"]
    terminal("unkill", "new-invoicing", "--reason", "mended", code=3)
    assert "FLAGGATE_OFF" not in terminal.err


def test_a_kill_is_done_though_nobody_can_tell_whether_it_has_arrived(
    applied: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied("start", "new-invoicing")

    def fails(store: SqlStore) -> list[Presence]:
        raise StoreError(store.url, "gone")

    monkeypatch.setattr(SqlStore, "presences", fails)
    assert "off for everyone" in applied("kill", "new-invoicing")
    assert "whether it has reached every process cannot be told" in applied.err


def test_a_kill_and_a_rollback_say_whom_they_reached(applied: Terminal) -> None:
    """For programs, too; what changed nothing has reached nobody anew."""
    applied("start", "new-invoicing")
    assert "no process serves flags now" in applied("rollback", "new-invoicing")
    found = applied.json("kill", "new-invoicing")
    assert (found["processes"], found["reached"], found["late"]) == (0, 0, [])
    assert "reached" not in applied.json("kill", "new-invoicing")


def test_a_kill_of_everything_is_answered_with_what_turns_everything_off(applied: Terminal, tmp_path: Path) -> None:
    applied("kill", "*", code=2)
    file = tmp_path / "flags.db.flaggate" / "off"
    assert applied.err.splitlines()[1:] == [
        "A kill is of one flag: kill each by its name, as flaggate status lists them.",
        f"To turn all flags off on a machine: write * into the file {file}, or start the app with FLAGGATE_OFF=*.",
    ]
    assert "FLAGGATE_OFF=*" in applied.json("kill", "*", code=2)["hint"]
    for args in (("kill", "nobodys"), ("unkill", "*", "--reason", "mended")):
        applied(*args, code=2)
        assert "FLAGGATE_OFF" not in applied.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (
            ("--store", "sqlite:///flags.db", "status"),
            "--store belongs to a command and follows it: flaggate status --store",
        ),
        (
            ("--reason", "smoke", "kill", "f"),
            "--reason belongs to a command and follows it: flaggate apply --reason ...",
        ),
        (
            ("owner", "--as", "me", "accept", "f"),
            "--as belongs to a command and follows it: flaggate owner accept --as",
        ),
        (("--stroe", "x", "status"), "No such option"),
        (("status", "--as", "me"), "No such option"),
    ],
)
def test_an_option_before_its_command_is_answered_with_its_place(
    terminal: Terminal, args: tuple[str, ...], words: str
) -> None:
    terminal(*args, code=2)
    assert words in terminal.err
    assert "follows it: flaggate status --json ..." in terminal.json("--json", "status", code=2)["error"]


def test_help_lists_everything(terminal: Terminal) -> None:
    out = terminal("--help")
    words = "start", "approve", "kill", "unkill", "apply", "plan", "explain", "tick", "run", "Exit codes"
    assert all(word in out for word in words)
