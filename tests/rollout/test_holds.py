"""What a stage declares before it may be left, in words, and the hours of a zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from flaggate import Stage
from flaggate.flags.document import parse
from flaggate.flags.model import Hours
from flaggate.rollout.holds import declared_conditions, is_within

MONDAY_NOON: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)
OFFICE: Final = Hours((0, 1, 2, 3, 4), 9 * 60, 16 * 60, "Europe/London")


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"soak_seconds": 0}, ()),
        ({"soak_seconds": 86_400}, ("soak 24h",)),
        ({"soak_seconds": 5_400}, ("soak 90m",)),
        ({"soak_seconds": 61}, ("soak 61s",)),
        ({"min_sample": 500}, ("min_sample 500",)),
        ({"prove": True}, ("prove",)),
        ({"approval": "any"}, ("approval",)),
        ({"approval": "other"}, ("approval by another person",)),
        ({"hours": OFFICE}, ()),
        ({"hours": Hours((5, 6), 0, 1440, "Europe/London")}, ("hours Sat-Sun 00:00-24:00 Europe/London",)),
        (
            {"soak_seconds": 60, "min_sample": 1, "prove": True, "approval": "any"},
            ("soak 1m", "min_sample 1", "prove", "approval"),
        ),
    ],
)
def test_what_a_stage_declares_in_words(declared: dict[str, Any], words: tuple[str, ...]) -> None:
    assert declared_conditions(Stage("s", **declared), MONDAY_NOON) == words


def hours(text: str) -> Hours:
    """Hours as they come out of a definitions file."""
    flag = f'flags.f = {{description = "d", owner = "o", stages = [{{name = "a", hours = "{text}"}}, {{name = "b"}}]}}'
    found = parse(flag).flags["f"].stages[0].hours
    assert found is not None
    return found


def london(*when: int, fold: int = 0) -> datetime:
    """A moment by the clocks of London."""
    year, month, day, hour, minute = when
    return datetime(year, month, day, hour, minute, tzinfo=ZoneInfo("Europe/London"), fold=fold)


@pytest.mark.parametrize(
    ("written", "moment", "is_in"),
    [
        # the start is included, the end is not, whatever the seconds
        ("Mon-Fri 09:00-16:00 Europe/London", london(2026, 3, 2, 9, 0), True),
        ("Mon-Fri 09:00-16:00 Europe/London", london(2026, 3, 2, 9, 0) - timedelta(microseconds=1), False),
        ("Mon-Fri 09:00-16:00 Europe/London", london(2026, 3, 2, 15, 59) + timedelta(seconds=59), True),
        ("Mon-Fri 09:00-16:00 Europe/London", london(2026, 3, 2, 16, 0), False),
        # days, over the end of the week, and one alone
        ("Mon-Fri 09:00-16:00 Europe/London", london(2026, 3, 6, 12, 0), True),
        ("Mon-Fri 09:00-16:00 Europe/London", london(2026, 3, 7, 12, 0), False),
        ("Fri-Mon 09:00-16:00 Europe/London", london(2026, 3, 8, 12, 0), True),
        ("Fri-Mon 09:00-16:00 Europe/London", london(2026, 3, 3, 12, 0), False),
        ("Wed 09:00-16:00 Europe/London", london(2026, 3, 4, 12, 0), True),
        ("Wed 09:00-16:00 Europe/London", london(2026, 3, 5, 12, 0), False),
        # to the end of the day
        ("Wed 22:00-24:00 Europe/London", london(2026, 3, 4, 23, 59), True),
        ("Wed 22:00-24:00 Europe/London", london(2026, 3, 5, 0, 0), False),
        # the day is that of the zone: Monday in Auckland is still Sunday in London
        ("Mon 08:00-10:00 Pacific/Auckland", datetime(2026, 3, 1, 20, 0, tzinfo=UTC), True),
        ("Sun 20:00-21:00 Europe/London", datetime(2026, 3, 2, 9, 30, tzinfo=timezone(timedelta(hours=13))), True),
        # summer time: nine o'clock in London is 09:00 UTC in winter, 08:00 in summer
        ("Mon-Sun 09:00-10:00 Europe/London", datetime(2026, 3, 28, 8, 30, tzinfo=UTC), False),
        ("Mon-Sun 09:00-10:00 Europe/London", datetime(2026, 3, 28, 9, 30, tzinfo=UTC), True),
        ("Mon-Sun 09:00-10:00 Europe/London", datetime(2026, 3, 29, 8, 30, tzinfo=UTC), True),
        ("Mon-Sun 09:00-10:00 Europe/London", datetime(2026, 3, 29, 9, 30, tzinfo=UTC), False),
        # the hour that is skipped does not come; the one that comes twice counts twice
        ("Sun 01:00-02:00 Europe/London", datetime(2026, 3, 29, 1, 30, tzinfo=UTC), False),
        ("Sun 01:00-02:00 Europe/London", datetime(2026, 10, 25, 0, 30, tzinfo=UTC), True),
        ("Sun 01:00-02:00 Europe/London", datetime(2026, 10, 25, 1, 30, tzinfo=UTC), True),
        ("Sun 01:00-02:00 Europe/London", datetime(2026, 10, 25, 2, 30, tzinfo=UTC), False),
        # zones by half an hour
        ("Mon 09:00-09:30 Asia/Kolkata", datetime(2026, 3, 2, 3, 45, tzinfo=UTC), True),
        ("Mon 09:00-09:30 UTC", datetime(2026, 3, 2, 9, 29, tzinfo=UTC), True),
    ],
)
def test_hours_go_by_the_clocks_of_their_zone(written: str, moment: datetime, is_in: bool) -> None:
    assert is_within(hours(written), moment) is is_in
    assert is_within(hours(written), moment.astimezone(UTC)) is is_in
