"""Why a rollout stays in its stage, in words, and the hours of a zone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from flaggate import Flag, Guard, Stage
from flaggate.flags.document import parse
from flaggate.flags.model import Hours
from flaggate.rollout.holds import Hold, HoldKind, holds, is_within, opens_at
from flaggate.rollout.progress import Progress
from flaggate.rollout.state import Approval, Rollout, Status
from flaggate.rollout.verdict import Answer, Judgement, Verdict
from tests.rollout.plans import GUARD

MONDAY_NOON: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)
OFFICE: Final = Hours((0, 1, 2, 3, 4), 9 * 60, 16 * 60, "Europe/London")


FIRST: Final = Rollout("f", "f", Status.RUNNING, MONDAY_NOON, "owner", (), "owner", stage=1, attempt=2, revision=1)
FRESH: Final = Judgement(2, 1, 1)


def held(
    stage: Stage, rollout: Rollout = FIRST, judgement: Judgement | None = FRESH, **observed: Any
) -> tuple[Hold, ...]:
    """What holds in the first of two stages."""
    flag = Flag("f", "d", "owner", stages=(stage, Stage("all")), guards=(GUARD,))
    return holds(flag, rollout, Progress(2, 1, 1, **observed), judgement, MONDAY_NOON)


def words(found: tuple[Hold, ...]) -> list[str]:
    return [hold.why for hold in found]


@pytest.mark.parametrize(
    ("declared", "kind", "why", "ends"),
    [
        ({"soak_seconds": 86_400}, "soak", "soak 0 s of 24 h", "24 h more that are observed"),
        ({"soak_seconds": 5_400}, "soak", "soak 0 s of 1 h 30 min", "1 h 30 min more that are observed"),
        ({"min_sample": 500}, "min_sample", "min_sample 0 of 500 requests", "more requests of those who have it"),
        ({"min_sample": 5_000}, "min_sample", "min_sample 0 of 5 000 requests", "more requests of those who have it"),
        ({"prove": True}, "prove", "prove: nothing is not known to be safe", "every guard safe"),
        (
            {"not_before": MONDAY_NOON + timedelta(days=1)},
            "date", "not before Tue 03 Mar 2026 12:00 UTC", "Tue 03 Mar 2026 12:00 UTC",
        ),
        (
            {"hours": Hours((5, 6), 0, 1440, "Europe/London")},
            "hours", "hours Sat-Sun 00:00-24:00 Europe/London", "Sat 07 Mar 2026 00:00 GMT",
        ),
        ({"approval": "any"}, "approval", "approval", "somebody approves"),
        ({"approval": "other"}, "approval", "approval by another person", "somebody other than who asked approves"),
    ],
)  # fmt: skip
def test_each_says_why_since_when_and_what_ends_it(declared: dict[str, Any], kind: str, why: str, ends: str) -> None:
    (hold,) = held(Stage("s", **declared))
    assert (hold.kind, hold.why, hold.ends, hold.since) == (kind, why, ends, MONDAY_NOON)
    earlier = MONDAY_NOON - timedelta(hours=1)
    (hold,) = held(Stage("s", **declared), holds={kind: earlier})
    assert hold.since == earlier


@pytest.mark.parametrize(
    "declared",
    [{"soak_seconds": 0}, {"hours": OFFICE}, {"not_before": MONDAY_NOON}, {"soak_seconds": 0, "hours": OFFICE}],
)
def test_what_is_met_does_not_hold(declared: dict[str, Any]) -> None:
    assert held(Stage("s", **declared)) == ()


def test_progress_is_told() -> None:
    stage = Stage("s", soak_seconds=86_400, min_sample=5_000)
    soak, sample = held(stage, judgement=replace(FRESH, requests=3_120), observed_seconds=3 * 3600.0 + 720)
    assert (soak.why, soak.done, soak.of) == ("soak 3 h 12 min of 24 h", 11_520.0, 86_400.0)
    assert (sample.why, sample.done, sample.of) == ("min_sample 3 120 of 5 000 requests", 3_120.0, 5_000.0)
    assert held(stage, judgement=replace(FRESH, requests=5_000), observed_seconds=86_400.0) == ()


@pytest.mark.parametrize(
    ("guard", "answer", "found"),
    [
        (GUARD, Answer.OK, []),
        (GUARD, Answer.TOO_FEW, []),
        (GUARD, Answer.SAFE, []),
        (GUARD, Answer.NO_DATA, ["nothing is known of errors (no data)"]),
        (GUARD, Answer.ERROR, ["nothing is known of errors (error)"]),
        (replace(GUARD, on_no_data="ignore"), Answer.NO_DATA, []),
        (replace(GUARD, on_breach="hold"), Answer.BREACH, ["errors: worse than allowed"]),
        (replace(GUARD, on_breach="warn"), Answer.BREACH, []),
    ],
)
def test_what_a_guard_holds(guard: Guard, answer: Answer, found: list[str]) -> None:
    assert words(held(Stage("s"), judgement=replace(FRESH, verdicts=(Verdict(guard, answer),)))) == found


def test_why_nothing_is_known_of_a_guard() -> None:
    refused = Verdict(Guard("queue", limit=Decimal(9), query="queue"), Answer.ERROR, {"why": "it was refused"})
    assert words(held(Stage("s"), judgement=replace(FRESH, verdicts=(refused,)))) == [
        "nothing is known of queue (error: it was refused)"
    ]


def test_what_is_to_be_proven_takes_every_guard() -> None:
    safe, ok = Verdict(GUARD, Answer.SAFE), Verdict(GUARD, Answer.OK)
    stage = Stage("s", prove=True)
    assert held(stage, judgement=replace(FRESH, verdicts=(safe, safe))) == ()
    assert words(held(stage, judgement=replace(FRESH, verdicts=(safe, ok)))) == [
        "prove: errors is not known to be safe"
    ]


def test_the_split_of_the_arms() -> None:
    (hold,) = held(Stage("s"), judgement=replace(FRESH, split="61 % where 50 % should be"))
    assert (hold.kind, hold.why) == ("split", "the split is not as designed: 61 % where 50 % should be")


@pytest.mark.parametrize(
    "judgement", [None, replace(FRESH, attempt=7), replace(FRESH, stage=7), replace(FRESH, revision=7)]
)
def test_what_was_said_of_another_stage_says_nothing(judgement: Judgement | None) -> None:
    """I6."""
    assert words(held(Stage("s"), judgement=judgement)) == ["a judgement of its guards"]


def test_all_of_them_in_the_order_of_a_tick() -> None:
    everything = Stage(
        "s", soak_seconds=60, min_sample=1, prove=True, approval="any", not_before=MONDAY_NOON + timedelta(1),
        hours=Hours((5, 6), 0, 1440, "Europe/London"),
    )  # fmt: skip
    verdicts = Verdict(GUARD, Answer.NO_DATA), Verdict(replace(GUARD, on_breach="hold"), Answer.BREACH)
    absent = replace(FIRST, accepted_by=None)
    found = held(everything, absent, replace(FRESH, verdicts=verdicts, split="as 2 to 1", doubts=("a",), broken=("b",)))
    assert [hold.kind for hold in found] == [kind for kind in HoldKind if kind is not HoldKind.UNJUDGED]


def test_nobody_answers() -> None:
    (hold,) = held(Stage("s"), replace(FIRST, accepted_by=None))
    assert (hold.kind, hold.why, hold.ends) == ("owner", "nobody answers for it", "owner or a deputy accepts")


def test_an_approval_that_was_given_holds_no_more() -> None:
    asks = Stage("s", approval="any")
    assert held(asks, replace(FIRST, approval=Approval("ada", 2, 1, 1))) == ()
    for stale in (Approval("ada", 1, 1, 1), Approval("ada", 2, 2, 1), Approval("ada", 2, 1, 0)):
        assert words(held(asks, replace(FIRST, approval=stale))) == ["approval"]


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
def test_nothing_holds_what_is_not_running(status: Status) -> None:
    assert held(Stage("s", soak_seconds=60), replace(FIRST, status=status)) == ()


def test_nothing_holds_what_is_killed_or_has_lost_its_stage() -> None:
    assert held(Stage("s", soak_seconds=60), replace(FIRST, killed=True)) == ()
    assert held(Stage("s", soak_seconds=60), replace(FIRST, stage=3)) == ()


@pytest.mark.parametrize(
    ("written", "now", "opens"),
    [
        ("Mon-Fri 09:00-16:00 Europe/London", datetime(2026, 3, 2, 8, 59, tzinfo=UTC), "Mon 02 Mar 09:00 GMT"),
        ("Mon-Fri 09:00-16:00 Europe/London", datetime(2026, 3, 2, 9, 0, tzinfo=UTC), "Tue 03 Mar 09:00 GMT"),
        ("Mon-Fri 09:00-16:00 Europe/London", datetime(2026, 3, 6, 16, 0, tzinfo=UTC), "Mon 09 Mar 09:00 GMT"),
        ("Wed 09:00-16:00 Europe/London", datetime(2026, 3, 4, 17, 0, tzinfo=UTC), "Wed 11 Mar 09:00 GMT"),
        # over the change of clocks, in both directions; the hour that is skipped
        ("Mon-Fri 09:00-16:00 Europe/London", datetime(2026, 3, 27, 17, 0, tzinfo=UTC), "Mon 30 Mar 09:00 BST"),
        ("Mon-Fri 09:00-16:00 Europe/London", datetime(2026, 10, 23, 17, 0, tzinfo=UTC), "Mon 26 Oct 09:00 GMT"),
        ("Sun 01:30-04:00 Europe/London", datetime(2026, 3, 28, 12, 0, tzinfo=UTC), "Sun 29 Mar 02:30 BST"),
        # hours that lie in it whole are not there that day
        ("Sun 01:00-02:00 Europe/London", datetime(2026, 3, 28, 12, 0, tzinfo=UTC), "Sun 05 Apr 01:00 BST"),
        ("Mon 08:00-10:00 Pacific/Auckland", datetime(2026, 3, 1, 12, 0, tzinfo=UTC), "Mon 02 Mar 08:00 NZDT"),
    ],
)
def test_when_the_hours_begin_next(written: str, now: datetime, opens: str) -> None:
    found = opens_at(hours(written), now)
    assert f"{found:%a %d %b %H:%M %Z}" == opens
    assert found > now
    assert is_within(hours(written), found)


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
