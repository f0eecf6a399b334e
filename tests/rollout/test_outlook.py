"""What comes next for a rollout, and when at the earliest."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from flaggate import Flag, Stage
from flaggate.flags.model import Hours
from flaggate.rollout.outlook import earliest, next_stage
from flaggate.rollout.progress import WATCH_SECONDS, Progress
from flaggate.rollout.state import Rollout, Status
from tests.rollout.plans import GUARD

MONDAY_NOON: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)
OFFICE: Final = Hours((0, 1, 2, 3, 4), 9 * 60, 16 * 60, "Europe/London")
HOUR: Final = timedelta(hours=1)


def plan(**declared: Any) -> Flag:
    return Flag("f", "d", "owner", stages=(Stage("first", **declared), Stage("all")), guards=(GUARD,))


def stands(status: Status = Status.RUNNING, stage: int = 1) -> Rollout:
    return Rollout("f", "f", status, MONDAY_NOON, "owner", (), "owner", stage=stage, attempt=1)


def when(observed_hours: float = 0.0, rollout: Rollout | None = None, **declared: Any) -> timedelta | None:
    """How long after Monday noon it may go on."""
    rollout = stands() if rollout is None else rollout
    progress = Progress(1, rollout.stage, 0, observed_seconds=observed_hours * 3600)
    moment = earliest(plan(**declared), rollout, progress, MONDAY_NOON)
    return None if moment is None else moment - MONDAY_NOON


@pytest.mark.parametrize(
    ("observed", "declared", "after"),
    [
        (0, {}, 0 * HOUR),
        (0, {"soak_seconds": 86_400}, 24 * HOUR),
        (20, {"soak_seconds": 86_400}, 4 * HOUR),
        (25, {"soak_seconds": 86_400}, 0 * HOUR),
        (20, {"soak_seconds": 86_400, "not_before": MONDAY_NOON + 3 * HOUR}, 4 * HOUR),
        (20, {"soak_seconds": 86_400, "not_before": MONDAY_NOON + 5 * HOUR}, 5 * HOUR),
        (22, {"soak_seconds": 86_400, "hours": OFFICE}, 2 * HOUR),
        (20, {"soak_seconds": 86_400, "hours": OFFICE}, 21 * HOUR),  # 16:00 is over: Tuesday, 09:00
        (0, {"not_before": MONDAY_NOON + 5 * 24 * HOUR, "hours": OFFICE}, (6 * 24 + 21) * HOUR),  # of a Saturday
    ],
)  # fmt: skip
def test_what_the_clock_says(observed: float, declared: dict[str, Any], after: timedelta) -> None:
    assert when(observed, **declared) == after


def test_a_watch_ends_after_its_hours() -> None:
    watching = stands(Status.WATCHING, 2)
    assert when(0, watching) == timedelta(seconds=WATCH_SECONDS)
    assert when(50, watching) == 0 * HOUR
    assert when(0, replace(watching, killed=True)) is None


@pytest.mark.parametrize("status", [each for each in Status if each not in {Status.RUNNING, Status.WATCHING}])
def test_the_clock_moves_nothing_else(status: Status) -> None:
    assert when(0, stands(status), soak_seconds=60) is None


def test_of_a_stage_that_is_not_there_nothing_is_said() -> None:
    assert when(0, stands(stage=3)) is None
    assert next_stage(plan(), stands(stage=3)) is None


@pytest.mark.parametrize(
    ("status", "stage", "name"),
    [
        (Status.DRAFT, 0, "first"),
        (Status.RUNNING, 1, "all"),
        (Status.PAUSED, 1, "all"),
        (Status.WATCHING, 2, None),
        (Status.COMPLETED, 2, None),
        (Status.ROLLED_BACK, 1, None),
        (Status.OFF, 0, None),
    ],
)
def test_what_comes_next(status: Status, stage: int, name: str | None) -> None:
    found = next_stage(plan(), stands(status, stage))
    assert (None if found is None else found.name) == name
