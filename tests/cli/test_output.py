"""What is printed where it cannot be printed: the exit code is right, and nothing is a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flaggate.cli.main import run
from tests.cli.conftest import OWNER
from tests.seed import SEED

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")


def shell(command: str, folder: Path, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command line; {it} in it is flaggate."""
    words = {"FLAGGATE_STORE": "sqlite:///flags.db", "FLAGGATE_ACTOR": OWNER, **env}
    line = command.format(it=f"{sys.executable} -m flaggate")
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=os.environ | words, capture_output=True, timeout=60, check=False
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, and a flag in it that was killed for a reason not in ASCII."""
    made = tmp_path_factory.mktemp("made")
    where = ["--store", f"sqlite:///{made}/flags.db", "--as", OWNER]
    assert run(["apply", str(SEED), *where]) == 0
    assert run(["kill", "new-invoicing", "--reason", "na\u00efve \u2603", *where]) == 0
    return made


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", rb"na\xefve \u2603"), ("latin-1", b"na\xefve \\u2603")])
def test_what_cannot_be_encoded_is_escaped(folder: Path, encoding: str, shown: bytes) -> None:
    for command in ("history", "status new-invoicing"):
        done = shell(f"{{it}} {command}", folder, PYTHONIOENCODING=encoding)
        assert done.returncode == 0
        assert shown in done.stdout
    done = shell("{it} check 'na\u00efve \u2603.toml'", folder, PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert shown in done.stderr


@needs_full
@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("command", ["status", "history", "status --json", "unkill new-invoicing --reason x", "--help"])
def test_output_that_cannot_be_written(folder: Path, command: str) -> None:
    done = shell(f"{{it}} {command} > /dev/full", folder)
    assert done.returncode == 5
    assert b"the output could not be written: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


@needs_full
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("start new-invoicing 2> /dev/full", 1),
        ("start new-invoicing --json > /dev/full", 1),
        ("statuss 2> /dev/full", 2),
        ("status --json --bla > /dev/full", 2),
        ("unkill new-invoicing --reason x > /dev/full 2> /dev/full", 5),
    ],
)
def test_an_error_that_cannot_be_written_keeps_its_exit_code(folder: Path, command: str, code: int) -> None:
    assert shell(f"{{it}} {command}", folder).returncode == code


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("command", ["history", "history --json"])
def test_who_has_seen_enough_is_told_nothing(folder: Path, command: str) -> None:
    done = shell(f"({{it}} {command}; echo $? > code) | true", folder)
    assert done.stderr == b""
    assert (folder / "code").read_text() == "5\n"


@pytest.mark.usefixtures("measured")
def test_no_output_at_all(folder: Path) -> None:
    assert shell("{it} status >&-", folder).returncode == 0


@pytest.mark.parametrize("group", ["", "owner"])
def test_without_a_command_there_is_the_help(folder: Path, group: str) -> None:
    done = shell(f"{{it}} {group}", folder)
    assert done.returncode == 2
    lines = done.stderr.decode().splitlines() or done.stdout.decode().splitlines()
    assert lines[0].startswith("Usage: flaggate")
    assert "Commands:" in lines
