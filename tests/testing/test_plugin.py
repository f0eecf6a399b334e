"""The pytest plugin, in projects of its users: each a folder of its own, and pytest as they run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.runtime.scenes import FLAGS

Run: TypeAlias = Callable[..., str]

APP = """
from flaggate import Gate

gate = Gate.open("memory://", definitions="flags.toml")
"""


OTHERS = "cacheprovider", "hypothesispytest", "pytest_cov", "django"
"""What pytest would load as well, and takes longer to import than it has to do here."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs pytest on files of tests in a project that has flaggate, and returns what it says."""
    (tmp_path / "flags.toml").write_text(FLAGS, encoding="utf-8")
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")

    def run_it(*options: str, code: int = 0, **files: str) -> str:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "FLAGGATE"))}
        without = (word for plugin in OTHERS for word in ("-p", f"no:{plugin}"))
        command = [sys.executable, "-m", "pytest", "-W", "error", "--strict-markers", *without, *options]
        env |= {"PYTHONPATH": str(tmp_path), "COLUMNS": "200"}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run_it


def ended(output: str, outcome: str = "PASSED") -> set[str]:
    """The tests that ended so, by `-v`; of xdist by `-rA`."""
    after = re.findall(rf"^[^:\s]+\.py::(\S+) {outcome}\b", output, re.MULTILINE)
    before = re.findall(rf"^{outcome} [^:\s]+\.py::(\S+)", output, re.MULTILINE)
    return {*after, *before}


MARKED = """
import pytest

from app import gate


def states():
    return gate.is_on("banner"), gate.is_on("tiered")


@pytest.mark.with_and_without("banner")
def test_one(overridden):
    assert overridden == {"banner": gate.is_on("banner")}
    assert states() == (overridden["banner"], False)


@pytest.mark.with_and_without("banner")
def test_without_the_fixture():
    assert gate.decide("banner").reason == "override"


@pytest.mark.with_and_without("banner", "tiered")
def test_several_in_one(overridden):
    assert states() in [(True, True), (False, False)]
    assert states() == tuple(overridden.values())


@pytest.mark.with_and_without("banner")
@pytest.mark.with_and_without("tiered")
def test_two(overridden):
    assert states() == (overridden["banner"], overridden["tiered"])


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.with_and_without("banner")
def test_with_parameters(overridden, number):
    assert states() == (overridden["banner"], False)


@pytest.mark.with_and_without("banner")
class TestClass:
    def test_method(self, overridden):
        assert states() == (overridden["banner"], False)

    @pytest.mark.with_and_without("tiered", "banner")
    def test_named_again(self, overridden):
        assert states() == (overridden["banner"], overridden["tiered"])
        assert states() in [(True, True), (False, False)]

    def test_with_more(self, override_flags, overridden):
        override_flags({"tiered": not overridden["banner"]})
        assert states() == (overridden["banner"], not overridden["banner"])


def test_unmarked(overridden):
    assert overridden == {}
    assert states() == (False, False)
"""

RUNS = {
    *(f"test_one[banner:{state}]" for state in ("on", "off")),
    *(f"test_without_the_fixture[banner:{state}]" for state in ("on", "off")),
    *(f"test_several_in_one[banner:{state},tiered:{state}]" for state in ("on", "off")),
    *(f"test_two[tiered:{one},banner:{other}]" for one in ("on", "off") for other in ("on", "off")),
    *(f"test_with_parameters[banner:{state}-{number}]" for state in ("on", "off") for number in (1, 2)),
    *(f"TestClass::test_method[banner:{state}]" for state in ("on", "off")),
    *(f"TestClass::test_named_again[tiered:{state},banner:{state}]" for state in ("on", "off")),
    *(f"TestClass::test_with_more[banner:{state}]" for state in ("on", "off")),
    "test_unmarked",
}


@pytest.mark.usefixtures("measured")
def test_the_marker_runs_a_test_with_and_without(run: Run) -> None:
    assert ended(run("-v", test_marked=MARKED)) == RUNS
    assert ended(run("-v", "-k", "test_two and tiered:on and banner:off")) == {"test_two[tiered:on,banner:off]"}


def test_in_the_processes_of_xdist(run: Run) -> None:
    pytest.importorskip("xdist", reason="pip install pytest-xdist")
    assert ended(run("-rA", "-n", "2", test_marked=MARKED)) == RUNS


FIXTURES = """
import asyncio
import sys
import threading
import unittest

import pytest

from flaggate.testing import override

HEAVY = {"sqlalchemy", "flaggate.flags.document", "flaggate.decide.compile", "flaggate.testing.contract"}
loaded = HEAVY & set(sys.modules)

from app import gate


def test_what_the_plugin_loads():
    assert loaded == set()


@pytest.fixture
def beta(override_flags):
    override_flags({"banner": True})


@pytest.fixture
@override({"tiered": True})
def given():
    yield gate.is_on("tiered")


def test_the_fixture(override_flags):
    assert not gate.is_on("banner")
    override_flags({"banner": False, "tiered": True})
    override_flags({"banner": lambda context: context.staff})
    assert (gate.decide("banner").is_on, gate.is_on("tiered")) == (False, True)
    override_flags({"banner": True})
    assert gate.decide("banner").reason == "override"


def test_of_a_fixture_of_ones_own(beta, given):
    assert given is gate.is_on("banner") is True


@pytest.mark.parametrize("number", [1, 2])
def test_is_over(number):
    assert not gate.is_on("banner")
    assert not gate.is_on("tiered")


@pytest.mark.parametrize("number", [1, 2])
@override({"banner": True})
def test_decorated(number, tmp_path):
    assert gate.is_on("banner")


def test_unknown(override_flags):
    with pytest.raises(Exception, match='there is no flag "baner"; did you mean "banner"'):
        override_flags({"baner": True})


def test_no_thread_is_started():
    assert gate.decide("banner").reason == "off"
    assert threading.enumerate() == [threading.main_thread()]


@override({"banner": True})
class TestCase(unittest.TestCase):
    def setUp(self):
        self.is_on = gate.is_on("banner")

    def test_it(self):
        assert self.is_on

    @override({"banner": False})
    def test_method(self):
        assert self.is_on
        assert not gate.is_on("banner")


class TestAsync(unittest.IsolatedAsyncioTestCase):
    @override({"banner": True})
    async def test_it(self):
        assert gate.is_on("banner")
"""


def test_the_fixture_and_decorators(run: Run) -> None:
    tests = set(re.findall(r"def (test_\w+)", FIXTURES))
    found = {re.sub(r".*::|\[.*", "", name) for name in ended(run("-v", test_fixtures=FIXTURES))}
    assert found == tests


ASYNC = """
import anyio
import pytest

from app import gate
from flaggate.testing import override

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
@override({"tiered": True})
async def given():
    yield gate.is_on("tiered")


@override({"banner": True})
async def test_decorated(given):
    await anyio.sleep(0)
    assert given is gate.is_on("banner") is gate.is_on("tiered") is True


@pytest.mark.with_and_without("banner")
async def test_marked(overridden, override_flags):
    override_flags({"tiered": True})
    await anyio.sleep(0)
    assert gate.is_on("tiered")
    assert gate.is_on("banner") is await anyio.to_thread.run_sync(gate.is_on, "banner") is overridden["banner"]


async def test_is_over():
    assert not gate.is_on("banner")
    assert not gate.is_on("tiered")
"""


def test_async_tests(run: Run) -> None:
    pytest.importorskip("anyio", reason="pip install anyio")
    found = ended(run("-v", test_async=ASYNC))
    assert found == {"test_decorated", "test_marked[banner:on]", "test_marked[banner:off]", "test_is_over"}


def test_what_pytest_says_of_it(run: Run) -> None:
    assert re.search(
        r"^@pytest.mark.with_and_without\(\*names\): run the test with these", run("--markers"), re.MULTILINE
    )
    fixtures = run("--fixtures")
    assert re.search(
        r"^override_flags -- .*plugin\.py.*\n    Have flags answer as this test wants", fixtures, re.MULTILINE
    )
    assert re.search(
        r"^overridden -- .*plugin\.py.*\n    How the flags of `with_and_without` are", fixtures, re.MULTILINE
    )


def test_a_project_that_does_not_want_it(run: Run) -> None:
    test = "def test(request): assert 'overridden' not in request.fixturenames"
    assert ended(run("-v", "-p", "no:flaggate", test_without=test)) == {"test"}


WRONG = """
import unittest

import pytest


class TestCase(unittest.TestCase):
    @pytest.mark.with_and_without("banner")
    def test_it(self):
        raise AssertionError("it does not begin")


@pytest.mark.with_and_without("baner")
def test_unknown():
    raise AssertionError("it does not begin")


def test_fails(override_flags):
    override_flags({"banner": True})
    raise ZeroDivisionError


def test_after():
    from app import gate

    assert not gate.is_on("banner")
"""


@pytest.mark.usefixtures("measured")
def test_tests_that_fail(run: Run) -> None:
    output = run("-v", code=1, conftest="import app", test_wrong=WRONG)
    assert ended(output, "ERROR") == {"TestCase::test_it", "test_unknown[baner:on]", "test_unknown[baner:off]"}
    assert ended(output, "FAILED") == {"test_fails"}
    assert ended(output) == {"test_after"}
    assert "with_and_without: test_it; allowed: on what pytest runs twice: no test of a unittest.TestCase" in output
    assert 'UnknownFlagError: there is no flag "baner"; did you mean "banner"?' in output


@pytest.mark.usefixtures("measured")
def test_a_marker_that_names_no_flag_is_refused(run: Run) -> None:
    wrong = ["", "1", "['banner']", "'banner', None", "banner=True"]
    text = "import pytest\n\n@pytest.mark.with_and_without({})\ndef test(): pass\n"
    output = run("-q", code=2, **{f"test_{count}": text.format(words) for count, words in enumerate(wrong)})
    shown = re.findall(r"(?m)^E .*SettingError: with_and_without: (.*); allowed: names of flags: with_and", output)
    assert shown == ["()", "(1,)", "(['banner'],)", "('banner', None)", "{'banner': True}"]
