"""Faults in apps that real servers serve: what people are served then, and what the rollout says of it.

The small ones (+50 %, a hang) are planted in one app: they take the longest to show, and sync workers would serve nobody
else meanwhile.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.planted import APPS, OWNER, PLAN, Example, served
from tests.e2e.planted_site import FLAG
from tests.runtime.scenes import until

# Two guards may be sure only together: then each for itself is a little less so.
ALLOWED = r"We are (more than )?(9[78]|99(\.\d)?) % sure that this is worse than you allow \(at most (1 %|1.25 times the control's)\)"
PER_STAGE = "A healthy feature triggers this in fewer than 1 of 100 stages, however long we watch"
SLOWER = PLAN.replace("guards = [", 'guards = [\n    { metric = "slow", vs_control = 1.2 },')
COMPARED = PLAN.replace('{ metric = "errors", limit = "1%" },', "").replace(
    '{ name = "everyone" }', '{ name = "everyone", guards = [{ metric = "errors", limit = "1%" }] }'
)
"""Nothing that is broken without the feature keeps this one from its start."""


class Served:
    """One app at a time, for as many tests as can be."""

    def __init__(self, stack: ExitStack, folders: pytest.TempPathFactory) -> None:
        self._stack = stack
        self._folders = folders
        self._now: Example | None = None
        self.is_spent = False
        """What has failed without the feature keeps a rollout from its start for an hour."""

    def __call__(self, name: str) -> Example:
        if self._now is None or self._now.name != name or self.is_spent:
            self._stack.close()
            self._now = self._stack.enter_context(served(name, self._folders.mktemp(name)))
            self.is_spent = False
        return self._now


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ExitStack() as stack:
        yield Served(stack, tmp_path_factory)


@pytest.fixture(scope="module", params=APPS)
def name(request: pytest.FixtureRequest) -> str:
    """Of an app; a module's, so that all tests of it come together."""
    found: str = request.param
    return found


@pytest.fixture
def example(serve: Served, name: str) -> Iterator[Example]:
    yield (made := serve(name))
    made.end()


@pytest.fixture
def starlette_app(serve: Served) -> Iterator[Example]:
    yield (made := serve("starlette_invoicing"))
    made.end()


def everybody(example: Example) -> list[int]:
    return [*example.exposed, *example.others]


def is_taken_back(example: Example, metric: str) -> None:
    """Those who had the new page have the old one, and whoever asks is told why."""
    example.await_workers()
    assert example.served(everybody(example)) == {"rolled back"}
    assert "is rolled back, stage 1 of 2 (half)" in example.says("status", FLAG)
    assert f"flaggate rollback status running -> rolled back, breach no -> latched {metric}: " in example.says(
        "history", FLAG, "--limit", "1"
    )


# --- what the workers see and do by themselves --------------------------------------------------


@pytest.mark.parametrize("fails", [1.0, 0.2, 0.05])
def test_a_page_that_fails_is_taken_back(example: Example, fails: float) -> None:
    example.begin()
    example.plant(on={"fails": fails})
    seen = example.browse(example.turns(everybody(example)), per_second=150)
    is_taken_back(example, "errors")
    said = example.says("status", FLAG)
    assert re.search(
        r"breach errors: [\d,]+ of [\d,]+ requests with the feature failed \([\d.]+ %\), 0 of [\d,]+ without", said
    )
    assert re.search(r"\d+ users were hit\. " + ALLOWED, said), said
    assert PER_STAGE in said
    assert seen.pages[False, "failed"] == 0


# --- what the hand looks at, whose clock need not be waited for ---------------------------------


def looked(example: Example, seconds: float) -> dict[str, Any]:
    """So many seconds after the last look; all that was sent is counted by then."""
    until(example.is_all_counted, f"all requests are counted: {example.sent}")
    found: dict[str, Any] = example.order("look", seconds)
    return found


def test_one_user_in_a_loop_is_no_evidence_against_the_feature(example: Example) -> None:
    example.begin(by_hand=True)
    example.plant(on={"fails": 0.01})
    stuck, *others = example.exposed
    for unlucky in others[:3]:
        turns = [*((person, 0.5) for person in everybody(example)), (unlucky, 0.0), *[(stuck, 0.0)] * 100]
        example.random.shuffle(turns)
        assert example.browse(turns).pages[True, "failed"] == 101
        found = looked(example, 5.0)
        assert not found["has_moved"]
        assert set(found["answers"]) == {"too_few"}
    assert example.served(example.exposed) == {"new"}


def test_those_with_the_feature_are_never_heard_of_again(example: Example) -> None:
    # Who is new in control is told by windows of ten minutes, by the processes' own clock: all of this is in one.
    until(lambda: time.time() % 600 < 540, "the window has time enough left", seconds=90)
    example.begin(by_hand=True)
    known, others = example.others[:4], example.others[4:]
    example.browse(example.turns([*example.exposed, *known], passes=2))
    # The looks begin in the past and end now: windows of ten minutes are those of the processes' clock.
    assert set(looked(example, -430.0)["answers"]) == {"too_few"}
    example.browse(example.turns(known, passes=10))
    found = looked(example, 60.0)
    assert set(found["answers"]) == {"no_data"}
    assert "blind" in found["holds"]
    assert not found["has_moved"]
    for _ in range(6):
        example.browse(example.turns(known, passes=1))  # whoever was there before may ask again and again
        assert set(looked(example, 60.0)["answers"]) == {"no_data"}
    example.browse(example.turns(others, passes=1))
    found = looked(example, 5.0)
    assert set(found["answers"]) == {"breach"}
    assert found["has_moved"]
    is_taken_back(example, "errors")
    assert "Then no request with the feature came to its end while others did: it crashes or hangs" in example.says(
        "status", FLAG
    )
    assert "(vanished)" in example.says("history", FLAG, "--limit", "1")


def test_what_fails_in_both_arms_is_an_outage_and_what_fails_in_control_is_nothing(
    serve: Served, example: Example
) -> None:
    serve.is_spent = True
    example.begin(by_hand=True)
    example.plant(on={"fails": 0.5}, off={"fails": 0.5})
    for seconds in (0.0, 301.0):
        example.browse(example.turns(everybody(example), passes=2))
        found = looked(example, seconds)
        assert (found["answers"][0], found["has_moved"]) == ("shared", False)
        assert "breach" in found["holds"]
        if not seconds:
            said = example.says("status", FLAG)
            assert "not clearly more users are hit with the feature than without: an outage, or too few to tell" in said
            assert "after ten minutes the plan's on_shared" in said
    assert example.served(example.exposed) <= {"new", "failed"}
    example.browse(example.turns(everybody(example), passes=2))
    assert looked(example, 301.0)["has_moved"]
    is_taken_back(example, "errors")
    assert "It did not end, and your plan rolls back then (on_shared)" in example.says("status", FLAG)
    assert "(shared)" in example.says("history", FLAG, "--limit", "1")
    refused = example.order("run", "restart", FLAG, "--reason", "for the test", "--as", OWNER)
    assert refused["code"] == 1
    assert "broken without the feature already: errors: " in refused["said"]

    example.begin(COMPARED, by_hand=True)  # without a limit it starts
    example.plant(off={"fails": 0.5})
    for _ in range(2):
        seen = example.browse(example.turns(everybody(example), passes=2))
        assert (seen.pages[True, "failed"], seen.pages[False, "failed"] > 10) == (0, True)
        found = looked(example, 5.0)
        assert not found["has_moved"]
        assert set(found["answers"]) <= {"ok", "too_few"}
        assert "breach" not in found["holds"]
    assert example.served(example.exposed) == {"new"}


# --- on one app ---------------------------------------------------------------------------------


def test_a_page_that_hangs_is_taken_back(starlette_app: Example) -> None:
    example = starlette_app
    example.begin()
    example.plant(on={"seconds": 10.0})
    seen = example.browse(example.turns(everybody(example)), threads=16, patience=5.0, per_second=100)
    is_taken_back(example, "errors")
    assert seen.pages[True, "new"] == 0
    assert seen.pages[False, "old"] > 0


def test_a_page_that_takes_half_as_long_again_is_taken_back(starlette_app: Example) -> None:
    example = starlette_app
    example.begin(SLOWER)
    example.plant(on={"seconds": 0.225}, off={"seconds": 0.15})
    example.browse(example.turns(everybody(example)), threads=24)
    example.plant()
    is_taken_back(example, "slow")
    assert re.search(
        r"breach slow: [\d,]+ of [\d,]+ requests with the feature were slower than control's 95 % point allows .* "
        r"We are (more than )?99(\.\d)? % sure that this is worse than you allow \(at most 1.2 times the control's\)",
        example.says("status", FLAG),
    )
