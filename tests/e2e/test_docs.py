"""What README and docs show works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flaggate.flags.document import parse

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def shell(command: str, folder: Path) -> str:
    """Run one line as a reader would, with the flaggate of this environment."""
    scripts = Path(sys.executable).parent
    env = os.environ | {"FLAGGATE_STORE": "sqlite:///flags.db", "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_the_readme_from_top_to_bottom(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    outputs = []
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", readme, re.MULTILINE | re.DOTALL):
        if language == "toml":
            (tmp_path / "flags.toml").write_text(text)
        elif language == "console":
            outputs += [shell(line[2:], tmp_path) for line in text.splitlines()]
        elif language == "python":
            (tmp_path / "app.py").write_text(text)
            outputs.append(shell("python app.py", tmp_path))
    assert any("running, stage 2 of 5 (manchester)" in output for output in outputs)
    assert any(output.splitlines()[:1] in (["the old page"], ["the overhauled page"]) for output in outputs)
    assert "KILLED" in shell("flaggate status", tmp_path)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_toml_in_the_docs_is_valid(path: Path) -> None:
    for text in blocks(path, "toml"):
        parse(text, source=path.name)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_python_in_the_docs_runs(path: Path, tmp_path: Path) -> None:
    for text in blocks(path, "python"):
        (tmp_path / "example.py").write_text(text)
        shell("python example.py", tmp_path)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
    relative = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in relative if not (path.parent / link).is_file()] == []


def test_every_command_is_documented() -> None:
    from flaggate.cli.main import cli

    table = (ROOT / "docs" / "cli.md").read_text()
    words = [*cli.commands, *(f"owner {name}" for name in cli.commands["owner"].commands)]  # type: ignore[attr-defined]  # a group
    missing = [word for word in words if word != "owner" and f"`{word} " not in table and f"`{word}`" not in table]
    assert missing == []
