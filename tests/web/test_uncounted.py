"""Requests that no guard is to judge by: health checks, and paths that the app lists."""

from __future__ import annotations

from typing import Any

import pytest

from flaggate import Gate
from flaggate.errors import SettingError
from tests.web.scenes import Speaks, counted


def ask(gate: Gate, protocol: Speaks, path: str, **settings: Any) -> None:
    def respond() -> str:
        gate.is_on("banner")
        return "ok"

    protocol.ask(protocol.site(gate, respond, **settings), path)


@pytest.mark.parametrize("path", ["/healthz", "/health/", "/ping", "/__heartbeat__"])
def test_health_checks_are_not_counted(gate: Gate, protocol: Speaks, path: str) -> None:
    ask(gate, protocol, path)
    assert counted(gate) is None


@pytest.mark.parametrize(
    ("path", "is_counted"),
    [("/metrics", False), ("/jobs/7", False), ("/jobs", False), ("/job", True), ("/healthy", True)],
)
def test_paths_that_the_app_lists(gate: Gate, protocol: Speaks, path: str, is_counted: bool) -> None:
    ask(gate, protocol, path, uncounted=["/metrics", "/jobs/*"])
    assert (counted(gate) is not None) is is_counted


@pytest.mark.parametrize("wrong", ["/metrics", 3, ["metrics"], [3], ["/a?b"], ["/<int:n>"]])
def test_what_is_no_list_of_paths_is_refused(gate: Gate, protocol: Speaks, wrong: Any) -> None:
    with pytest.raises(SettingError, match=r"^uncounted: .*; allowed: a list of paths:"):
        ask(gate, protocol, "/", uncounted=wrong)


def test_what_is_asked_in_a_request_is_told_as_it_is_asked(gate: Gate, protocol: Speaks) -> None:
    told: list[tuple[str, bool]] = []
    gate.on_asked = lambda decision: told.append((decision.flag, decision.is_on))
    ask(gate, protocol, "/")
    gate.on_asked = None
    assert told == [("banner", True)]


def test_what_the_app_says_failed_is_an_error(gate: Gate, protocol: Speaks) -> None:
    def respond() -> str:
        visit = gate.current.get()
        assert visit is not None
        visit.is_on("banner")
        visit.fail()
        return "ok"

    assert protocol.ask(protocol.site(gate, respond)).status == 200
    found = counted(gate)
    assert found is not None
    assert found[:2] == (1, 1)
