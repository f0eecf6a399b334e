"""A gate, a clock, and both protocols."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flaggate import Gate
from tests.web.scenes import Clock, Speaks, SpeaksAsgi, SpeaksWsgi, running


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Flags that are on, on a store in memory."""
    made = running()
    yield made
    made.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of visits and meters."""
    made = Clock()
    for module in ("web.asgi", "web.wsgi", "web.request", "runtime.meter"):
        monkeypatch.setattr(f"flaggate.{module}.perf_counter", made)
    return made


@pytest.fixture(params=[SpeaksAsgi, SpeaksWsgi], ids=["asgi", "wsgi"])
def protocol(request: pytest.FixtureRequest) -> Speaks:
    """Each in turn."""
    made: Speaks = request.param()
    return made
