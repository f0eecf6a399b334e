"""For all tests: on a busy machine no single example is too slow, and in CI no part is missing."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

gc.disable()  # until all tests are collected

pytest_plugins = ["flaggate.testing.plugin"]  # see pyproject.toml

IS_CI = "CI" in os.environ

# Some hundred interpreters are started: else each of them compiles flaggate, and those of pytest rewrite the tests, anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# In CI the same examples every time: what is red there is red for a reason in the change.
settings.register_profile("flaggate", deadline=None, derandomize=IS_CI)
settings.load_profile("flaggate")


@pytest.fixture(scope="session", autouse=True)
def _coverage() -> Iterator[dict[str, str]]:
    """Child processes start without it: it doubles what they cost, and most of them run what is measured in here, too.

    Its tracer also keeps a lock for ever that an interrupt hits while it is held.
    """
    taken = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith("COVERAGE_")}
    yield taken
    os.environ |= taken


@pytest.fixture(scope="session", autouse=True)
def _servers() -> Iterator[None]:
    """Those that tests share are stopped in the end."""
    yield
    if "tests.shared_servers" in sys.modules:
        sys.modules["tests.shared_servers"].stop_all()


@pytest.fixture
def measured(_coverage: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With it: for tests whose children run what nobody else does."""
    for name, value in _coverage.items():
        monkeypatch.setenv(name, value)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was imported stays: to look through it again and again is a fifth of what a test takes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped for want of a part: in CI that is a failure."""
    skipped = terminalreporter.stats.get("skipped", [])
    if IS_CI and skipped:
        for report in skipped:
            terminalreporter.write_line(f"skipped in CI: {report.nodeid}: {report.longrepr[-1]}", red=True)
        if terminalreporter._session is not None:  # private, and what pytest itself returns
            terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED
