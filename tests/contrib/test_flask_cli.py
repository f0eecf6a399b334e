"""`flask flaggate ...`: every command of flaggate, on the app's store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from flaggate.cli.flask import command
from flaggate.contrib.flask import gate_of, init_app
from tests.contrib.scenes import FLAGS, Switchboard

OWNER = "owner@example.com"

APP = """
from flask import Flask
from flaggate.contrib.flask import init_app

app = Flask("invoicing")
app.config["FLAGGATE_STORE"] = "sqlite:///flags.db"
init_app(app)
plain = Flask("plain")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one: an app and definitions, and the store of another app in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAGGATE_STORE", "sqlite:///elsewhere.db")
    monkeypatch.setenv("FLAGGATE_ACTOR", OWNER)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("FLASK_APP", raising=False)
    (tmp_path / "site_of_ours.py").write_text(APP)
    (tmp_path / "flags.toml").write_text(FLAGS)
    return tmp_path


def flask(*words: str, code: int = 0, app: str = "site_of_ours:app") -> str:
    """Run Flask's own command; returns its output, and what it says where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", app, *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stderr


def test_a_rollout_from_flasks_own_terminal(folder: Path) -> None:
    assert flask("flaggate", "apply", "flags.toml").startswith("new store sqlite:///flags.db\n")
    assert "running, stage 1 of 2 (half)" in flask("flaggate", "start", "tried")
    assert "tried: kill" in flask("flaggate", "kill", "tried", "--reason", "smoke")
    found = json.loads(flask("flaggate", "status", "--json"))
    assert (found["tried"]["status"], found["tried"]["killed"]) == ("running", True)
    assert "unkill refused: it needs a reason" in flask("flaggate", "unkill", "tried", code=1)
    assert sorted(path.name for path in folder.glob("*.db")) == ["flags.db"]


def test_a_look_makes_no_store_even_of_an_app_that_may(folder: Path) -> None:
    """Its definitions are not there: an empty store would only hide it."""
    named = 'app.config["FLAGGATE_DEFINITIONS"] = "missing.toml"\ninit_app(app)'
    (folder / "site_of_ours.py").write_text(APP.replace("init_app(app)", named))
    said = flask("flaggate", "status", code=3)
    assert f"there is no such file; flaggate apply makes it (looked for {folder}/flags.db)" in said
    assert not list(folder.glob("*.db"))


@pytest.mark.usefixtures("measured")
def test_an_app_without_flaggate_is_a_wrong_call(folder: Path) -> None:
    said = flask("flaggate", "status", app="site_of_ours:plain", code=2)
    assert "Error: app: plain; allowed: one that went through flaggate.contrib.flask.init_app" in said
    assert "Traceback" not in said


def test_flasks_help_lists_it_and_waits_for_none_of_it(folder: Path) -> None:
    """What reads stores and draws tables takes longer to import than Flask itself."""
    script = """
import sys
from flask.cli import cli

cli.main(["--help"], standalone_mode=False)
print(sorted({"rich", "sqlalchemy", "flaggate.cli.main"} & set(sys.modules)))
"""
    (folder / "help.py").write_text(script)
    done = subprocess.run([sys.executable, "help.py"], capture_output=True, text=True, timeout=60)
    assert "flaggate  Controlled rollouts, on this app's store." in done.stdout
    assert done.stdout.endswith("[]\n")


# --- in this process ----------------------------------------------------------------------------


@pytest.fixture
def terminal(folder: Path) -> Iterator[Callable[..., Result]]:
    """Runs a command of an app with definitions that are applied."""
    app = Flask("invoicing")
    app.config["FLAGGATE_STORE"] = "sqlite:///flags.db"
    gate = init_app(app)

    def run(*words: str, code: int = 0) -> Result:
        result: Result = app.test_cli_runner().invoke(command, words)
        assert result.exit_code == code, (words, result.output)
        return result

    run("apply", "flags.toml")
    yield run
    gate.close()


def test_groups_within_the_group(terminal: Callable[..., Result]) -> None:
    assert "tried" in terminal("owner", "set", "tried", "next@example.com").output
    terminal("owner", "accept", "tried", "--as", "next@example.com")
    assert json.loads(terminal("status", "tried", "--json").stdout)["tried"]["owner"] == "next@example.com"


def test_the_clock_and_the_dry_run(terminal: Callable[..., Result], folder: Path) -> None:
    assert "nothing to look at" in terminal("tick").output
    terminal("start", "tried", "--as", OWNER)
    assert (
        terminal("tick").output == "tried: advance: every condition is met; it is watching, stage 2 of 2 (everyone)\n"
    )
    (folder / "people.jsonl").write_text('{"visitor": "v-1"}\n')
    for source in ([], ["--definitions", "flags.toml"]):
        assert (
            "tried, 1 context of people.jsonl:"
            in terminal("plan", "tried", "--contexts", "people.jsonl", *source).output
        )


def test_exit_codes_are_those_of_flaggate(terminal: Callable[..., Result]) -> None:
    terminal("advance", "tried", code=1)
    terminal("kill", "nobodys", code=2)
    terminal("kill", "tried", "--store", "sqlite:///not-there.db", code=3)
    error = json.loads(terminal("kill", "nobodys", "--json", code=2).stdout)
    assert error["kind"] == "UnknownFlagError"


def test_a_store_that_is_named_is_nearer_than_the_apps(terminal: Callable[..., Result], folder: Path) -> None:
    assert "no flags in sqlite:///flags.db" not in terminal("status").output
    terminal("apply", "flags.toml", "--store", "sqlite:///elsewhere.db")
    terminal("kill", "tried", "--store", "sqlite:///elsewhere.db")
    killed = [json.loads(terminal("status", "--json", *words).stdout)["tried"]["killed"] for words in STORES]
    assert killed == [False, True]


STORES = [[], ["--store", "sqlite:///elsewhere.db"]]


def test_the_apps_own_process_sees_it(board: Switchboard) -> None:
    """On a store that is given as an object it is that object."""
    app = Flask("invoicing")
    init_app(app, board.on("banner"))
    with app.app_context():
        result = app.test_cli_runner().invoke(command, ["kill", "banner", "--as", OWNER])
    assert result.exit_code == 0
    gate_of(app).refresh()
    assert not gate_of(app).is_on("banner")
    applied = app.test_cli_runner().invoke(command, ["apply", os.devnull, "--as", OWNER])
    assert "nothing to change" in applied.output


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["status", "--help"], []])
def test_help_is_ours(terminal: Callable[..., Result], words: list[str]) -> None:
    result = terminal(*words, code=2 if words in ([], ["-h"]) else 0)
    assert "Usage: flask flaggate" in result.output
    if words == ["--help"]:
        assert "step-back" in result.output


def test_a_wrong_word_is_answered_as_by_flaggate(terminal: Callable[..., Result]) -> None:
    said = terminal("promote", "tried", code=2).output
    assert "There is no command 'promote'. Did you mean 'advance'? flask flaggate --help lists them all." in said
