"""What pytest has of flaggate: it loads by itself where flaggate is installed.

- the fixture `override_flags`: `override_flags({"new-invoicing": True})`, until the test ends;
- the marker `with_and_without("new-invoicing")`: the test runs once with the flag on and once with it off, and the
  fixture `overridden` says which: `overridden["new-invoicing"]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from flaggate.errors import SettingError

if TYPE_CHECKING:
    from flaggate.runtime.override import Answer

__all__ = ["overridden", "override_flags"]

_MARKER = "with_and_without"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{_MARKER}(*names): run the test with these flags on, and with them off")


@pytest.fixture
def override_flags() -> Iterator[Callable[[Mapping[str, Answer]], None]]:
    """Have flags answer as this test wants them, until it ends: as `flaggate.testing.override`."""
    from flaggate.testing.override import override

    with ExitStack() as stack:

        def override_now(answers: Mapping[str, Answer]) -> None:
            stack.enter_context(override(answers))

        yield override_now


@pytest.fixture(autouse=True)  # or a test that has the marker would have to name it
def overridden(request: pytest.FixtureRequest) -> Iterator[dict[str, bool]]:
    """How the flags of `with_and_without` are in this run of the test, by name."""
    answers: dict[str, bool] = getattr(request, "param", {})
    if not answers:
        if request.node.get_closest_marker(_MARKER) is not None:
            raise SettingError(_MARKER, request.node.name, "on what pytest runs twice: no test of a unittest.TestCase")
        yield {}
        return
    from flaggate.testing.override import override

    with override(answers):
        yield dict(answers)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    runs: list[dict[str, bool]] = [{}]
    for marker in metafunc.definition.iter_markers(_MARKER):
        if marker.kwargs or not marker.args or not all(isinstance(name, str) for name in marker.args):
            raise SettingError(_MARKER, marker.kwargs or marker.args, f'names of flags: {_MARKER}("new-invoicing")')
        names = [name for name in marker.args if name not in runs[0]]  # a class may name what its test does
        if names:
            runs = [{**run, **dict.fromkeys(names, is_on)} for run in runs for is_on in (True, False)]
    if len(runs) > 1:
        metafunc.parametrize("overridden", runs, ids=map(_words, runs), indirect=True)


def _words(run: Mapping[str, bool]) -> str:
    return ",".join(f"{name}:{'on' if is_on else 'off'}" for name, is_on in run.items())  # what -k takes, too
