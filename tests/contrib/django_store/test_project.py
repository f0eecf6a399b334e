"""A project that says nothing of a store has it in its own database: from `manage.py migrate` to a kill."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

SETTINGS = """
SECRET_KEY = "for the tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "flaggate.contrib.django"]
MIDDLEWARE = ["flaggate.contrib.django.FlaggateMiddleware"]
DATABASES = {{
    "default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    "flags": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "flags.sqlite3"}},
}}
{more}
"""
FLAGS = """
[flags.banner]
description = "A switch"
owner = "owner@example.com"
"""
GO_ON = """
from flaggate.contrib.django.store import DjangoStore
from flaggate.stores.base import Count, Report

store = DjangoStore()
assert [count.measured for count in store.counts()] == [{}, {}]
ones = [Count(flag, 1, 1, "on", 1, 0, {"10": 1}, {"paid": 1}) for flag in ("before", "meanwhile")]
store.add_counts(Report("p", 1, tuple(ones)))
for count in store.counts():
    print(count.flag, count.requests, count.histogram, count.measured)
"""


class Project:
    def __init__(self, directory: Path, more: str = "") -> None:
        self.directory = directory
        (directory / "project.py").write_text(SETTINGS.format(more=more))
        (directory / "flags.toml").write_text(FLAGS)

    def manage(self, *arguments: str) -> tuple[int, str]:
        """The exit code, and all that was printed."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "django", *arguments],
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "project", "PYTHONPATH": self._path()},
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout

    def _path(self) -> str:
        return os.pathsep.join([str(self.directory), os.environ.get("PYTHONPATH", "")])


@pytest.mark.parametrize(("more", "options"), [("", []), ('FLAGGATE_STORE = "django:flags"', ["--database", "flags"])])
def test_the_store_is_in_the_projects_database(tmp_path: Path, more: str, options: list[str]) -> None:
    project = Project(tmp_path, more)
    code, said = project.manage("flaggate", "apply", "flags.toml")
    assert code != 0
    assert " ".join(["manage.py migrate flaggate", *options, "makes its tables"]) in " ".join(said.split())
    assert project.manage("migrate", "--verbosity=0", *options) == (0, "")
    for command in (["apply", "flags.toml"], ["on", "banner"], ["kill", "banner", "--reason", "it hurts"]):
        code, said = project.manage("flaggate", *command)
        assert code == 0, said
    code, said = project.manage("flaggate", "history", "banner")
    assert code == 0
    assert "it hurts" in said


def test_everything_moves_into_the_projects_database_and_out_of_it(tmp_path: Path) -> None:
    project = Project(tmp_path)

    def move(old: str, new: str) -> tuple[int, str]:
        code, said = project.manage("flaggate", "move", "--from", old, "--to", new)
        return code, said.splitlines()[-1] if code else said

    assert project.manage("migrate", "--verbosity=0") == (0, "")
    for command in (["apply", "flags.toml"], ["on", "banner"], ["kill", "banner", "--reason", "it hurts"]):
        assert project.manage("flaggate", *command)[0] == 0
    assert move("django", "django") == (2, "Error: --from and --to name the same store: django.")
    allowed = "DATABASES has no 'other'; allowed: default, flags"
    assert move("django", "django:other") == (2, f"Error: django:other: {allowed}.")
    code, said = move("django", "django:flags")
    assert code == 3
    assert said.endswith("; manage.py migrate flaggate --database flags makes its tables")
    code, said = move("django", "sqlite:///moved.db")
    assert code == 0, said
    assert said.startswith("carried to sqlite:///moved.db: 1 flag, 0 segments, 3 events, ")
    assert project.manage("migrate", "--verbosity=0", "--database=flags") == (0, "")
    code, said = move("sqlite:///moved.db", "django:flags")
    assert code == 0, said
    assert "next: say django:flags where sqlite:///moved.db was said" in said
    code, said = move("sqlite:///moved.db", "django")
    assert (code, said) == (
        1,
        "django:default: it is not empty: only an empty store takes another one's contents",
    )
    (tmp_path / "project.py").write_text(SETTINGS.format(more='FLAGGATE_STORE = "django:flags"'))
    assert "it hurts" in project.manage("flaggate", "history", "banner")[1]


def test_the_migrations_are_those_of_the_models(tmp_path: Path) -> None:
    """Also where the project has another kind of primary key."""
    project = Project(tmp_path, 'DEFAULT_AUTO_FIELD = "django.db.models.SmallAutoField"')
    assert project.manage("makemigrations", "--check", "--dry-run") == (0, "No changes detected\n")


def test_the_tables_can_be_taken_away_again(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.manage("migrate", "--verbosity=0") == (0, "")
    for migration in ("0002", "0001", "zero"):
        assert project.manage("migrate", "--verbosity=0", "flaggate", migration) == (0, "")
    assert project.manage("migrate", "--verbosity=0") == (0, "")


def test_what_was_counted_before_an_update_goes_on(tmp_path: Path) -> None:
    """Also where a process of the version before counts on, until the deploy comes to it."""
    project, columns = Project(tmp_path), "flag, attempt, stage, arm, requests, errors, histogram"
    for migration, flag in (("0002", "before"), ("0003", "meanwhile")):
        assert project.manage("migrate", "--verbosity=0", "flaggate", migration) == (0, "")
        with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as raw:
            values = (flag, 1, 1, "on", 3, 1, '{"10":3}')
            raw.execute(f"INSERT INTO flaggate_django_count ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            raw.commit()
    code, said = project.manage("shell", "--verbosity=0", "--command", GO_ON)
    assert (code, said.splitlines()) == (0, ["before 4 {'10': 4} {'paid': 1}", "meanwhile 4 {'10': 4} {'paid': 1}"])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('FLAGGATE_STORE = "django:other"', "DATABASES has no 'other'; allowed: default, flags"),
        ("FLAGGATE_DEFINITIONS = 7", "FLAGGATE_DEFINITIONS: 7; allowed: a definitions file"),
    ],
)
def test_a_store_that_cannot_be_is_told_by_check(tmp_path: Path, setting: str, said: str) -> None:
    code, output = Project(tmp_path, setting).manage("check")
    assert code != 0
    assert said in output
