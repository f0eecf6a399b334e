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


SERVED = """
from app import app

client = app.test_client()
print(client.get("/invoices/7").text)
gone = client.get("/invoices/export"), client.get("/v2/invoices")
print(client.get("/invoices").location, *(response.status_code for response in gone))
print(client.post("/sign-in/grace").json)
print(client.get("/invoices/7").text)
print(client.post("/invoices").text, client.get("/invoices/export").text, client.get("/v2/invoices").json)
print(client.get("/").json)
"""

ANSWERED = """\
the old page of invoice 7
/invoices/1 404 404
{'new': True}
the overhauled page of invoice 7
made an overhauled export {'invoices': [1, 2]}
{'nav': '<a href="/invoices">Invoices</a>', 'new': True, 'why': 'on'}
"""


def test_the_flask_page_from_top_to_bottom(tmp_path: Path) -> None:
    """Its blocks of Python are one file."""
    page = ROOT / "docs" / "flask.md"
    (tmp_path / "app.py").write_text("\n\n".join(blocks(page, "python")))
    (tmp_path / "flags.toml").write_text("\n".join(blocks(page, "toml")))
    (tmp_path / "served.py").write_text(SERVED)
    apply, turn_on, status, kill = (text[2:] for block in blocks(page, "console") for text in block.splitlines())

    shell(apply, tmp_path)
    shell(turn_on, tmp_path)
    assert shell("python served.py", tmp_path) == ANSWERED
    assert "1 passed" in shell("python -m pytest -q app.py", tmp_path)
    assert "new-invoicing" in shell(status, tmp_path)
    shell(kill, tmp_path)
    assert "the overhauled page" not in shell("python served.py", tmp_path)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_toml_in_the_docs_is_valid(path: Path) -> None:
    for text in blocks(path, "toml"):
        parse(text, source=path.name)


@pytest.mark.parametrize("path", [path for path in DOCS if path.name != "flask.md"], ids=lambda path: path.name)
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
