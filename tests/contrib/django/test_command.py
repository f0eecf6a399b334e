"""`manage.py flaggate ...`: every command of flaggate, on the project's store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from flaggate.contrib.django import gate
from flaggate.contrib.django.management.commands.flaggate import Command
from tests.contrib.django.scenes import ShopBoard
from tests.contrib.scenes import FLAGS
from tests.runtime.scenes import ROOT

OWNER = "owner@example.com"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAGGATE_ACTOR", OWNER)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "flags.toml").write_text(FLAGS)
    return tmp_path


def manage(*words: str, code: int = 0, store: str = "sqlite:///flags.db") -> str:
    """Run the project's own command; returns its output, and what it says where it fails."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/contrib/django/shop/manage.py"), *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "FLAGGATE_STORE": store},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stderr


def test_from_the_projects_own_terminal(folder: Path) -> None:
    settings = "--settings=tests.contrib.django.shop.settings"
    assert manage("flaggate", "apply", "flags.toml", settings).startswith("new store sqlite:///flags.db\n")
    assert "complete refused:" in manage("flaggate", "complete", "tried", "--reason", "smoke", code=1)
    said = manage("flaggate", "status", code=2, store="nowhere")
    assert said == "FLAGGATE_STORE: nowhere; allowed: the URL of a store, such as sqlite:///flags.db, or django\n"


# --- in this process ----------------------------------------------------------------------------


@pytest.fixture
def terminal(folder: Path, board: ShopBoard, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """As `manage.py` calls it. Gives what it says."""

    def manage(*words: str, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            Command().run_from_argv(["bin/manage.py", "flaggate", *words])
        assert ended.value.code == code, words
        said = capsys.readouterr()
        return said.out, said.err

    return manage


def test_exit_codes_are_those_of_flaggate(terminal: Any, db: None) -> None:
    terminal("advance", "tried", code=1)
    terminal("kill", "nobodys", code=2)
    terminal("kill", "tried", "--store", "sqlite:///not-there.db", code=3)
    _, said = terminal("promote", "tried", code=2)
    assert "Did you mean 'advance'? manage.py flaggate --help lists them all." in said


def test_the_clock_and_the_dry_run(terminal: Any, folder: Path) -> None:
    call_command("flaggate", "start", "tried", "--as", OWNER)
    assert terminal("tick")[0] == "tried: advance: every condition is met; it is watching, stage 2 of 2 (everyone)\n"
    (folder / "people.jsonl").write_text('{"visitor": "v-1"}\n')
    assert "tried, 1 context of people.jsonl:" in terminal("plan", "tried", "--contexts", "people.jsonl")[0]


def test_the_projects_own_process_sees_it(board: ShopBoard, folder: Path) -> None:
    board.on("banner")
    out = StringIO()
    call_command("flaggate", "kill", "banner", "--reason", "smoke", stdout=out)
    assert out.getvalue().startswith("banner: kill;")
    gate().refresh()
    assert not gate().is_on("banner")


def test_call_command_raises_where_it_fails(board: ShopBoard, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("flaggate", "kill", "banner")
    err = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("flaggate", "unkill", "banner", stderr=err)
    assert caught.value.returncode == 1
    assert "unkill refused: it needs a reason" in err.getvalue()
    capsys.readouterr()
    call_command("flaggate", "status", "--json")
    assert json.loads(capsys.readouterr().out)["banner"]["killed"] is True


def test_a_setting_that_is_wrong_is_said_and_no_traceback(settings: Any) -> None:
    settings.FLAGGATE_DEFINITIONS = 3
    err = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("flaggate", "status", stderr=err)
    assert caught.value.returncode == 2
    assert err.getvalue().startswith("FLAGGATE_DEFINITIONS: 3; allowed")


def test_help_is_ours(terminal: Any, db: None, capsys: pytest.CaptureFixture[str]) -> None:
    Command().print_help("manage.py", "flaggate")
    said = capsys.readouterr().out
    assert "Usage: manage.py flaggate" in said
    assert "step-back" in said
    assert terminal("--help")[0] == said
    assert "Usage: manage.py flaggate status" in terminal("status", "--help")[0]
