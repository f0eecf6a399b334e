"""The cases, on each database that Django brings and this machine has: each in a pytest of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.contrib.django_store import servers
from tests.runtime.scenes import ROOT

CASES = sorted((Path(__file__).parent / "cases").glob("case_*.py"))
OPTIONS = ["-q", "-p", "no:django", "-p", "no:xdist", "-p", "no:cacheprovider", "-o", "python_files=case_*.py"]


@pytest.mark.parametrize(
    "database",
    [
        servers.sqlite,
        pytest.param(servers.postgresql, marks=pytest.mark.long),
        pytest.param(servers.mariadb, marks=pytest.mark.long),
    ],
)
def test_the_store_on(
    database: Callable[[Path], AbstractContextManager[dict[str, Any]]], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With all that it is to keep: see the cases."""
    if database is not servers.mariadb:  # each line that it runs is one of SQLite's
        request.getfixturevalue("measured")
    with database(tmp_path) as settings:
        environment = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "FLAGGATE_TEST_DATABASE": json.dumps(settings),
            "FLAGGATE_TEST_NOT_MIGRATED": str(tmp_path / "not-migrated.sqlite3"),
        }
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *OPTIONS, "-p", "tests.contrib.django_store.project", *map(str, CASES)],
            env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")} | environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stdout + done.stderr
