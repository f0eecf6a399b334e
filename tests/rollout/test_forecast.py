"""How soon something would show, held against stages that are simulated by their means."""

from __future__ import annotations

from decimal import Decimal

import pytest

from flaggate import Guard, Stage
from flaggate.flags.document import parse
from flaggate.rollout.forecast import Traffic, expected, seconds_to_see, sight_words
from flaggate.rollout.seen import Tally
from tests.rollout.looker import START, Looker

AGAINST_LIMIT = Guard("errors", limit=Decimal("0.01"))
AGAINST_CONTROL = Guard("errors", vs_control=Decimal("1.25"))
SLOWER = Guard("slow", vs_control=Decimal("1.2"))
TALLY = Tally(10_000, 80)
HALF = Traffic(3600, 3600, TALLY)
STAFF = """
[flags.invoicing]
description = "Invoicing"
owner = "owner@example.com"
stages = [{ name = "staff", audience = { staff = true }, soak = "1h" }, { name = "everyone" }]
guards = [{ metric = "errors", limit = "1%" }]
"""


@pytest.mark.parametrize("times", [2.0, 5.0])
@pytest.mark.parametrize("guard", [AGAINST_LIMIT, AGAINST_CONTROL], ids=["limit", "control"])
def test_it_takes_about_as_long_as_it_says(guard: Guard, times: float) -> None:
    """One request a second in either arm, of which as many fail as are expected to."""
    said = seconds_to_see(guard, HALF, times)
    assert said is not None
    looker, step = Looker(guard), 60
    bad, bad_in_control = 0.0, 0.0
    for _ in range(1000):
        bad, bad_in_control = bad % 1 + times * 0.008 * step, bad_in_control % 1 + 0.008 * step
        looker.count("treatment", step, errors=int(bad))
        looker.count("control", step, errors=int(bad_in_control))
        if looker.look(step).verdicts[0].rolls_back:
            break
    assert said / 1.5 < looker.now - START.timestamp() < 1.5 * said + step


def test_what_will_never_show() -> None:
    query = Guard("queue_length", limit=Decimal(10), query="queue_length")
    nobody, no_control = Traffic(0, 3600, TALLY), Traffic(3600, 0, TALLY)
    assert seconds_to_see(query, HALF, 5.0) is None
    assert seconds_to_see(AGAINST_LIMIT, nobody, 5.0) is None
    assert seconds_to_see(AGAINST_CONTROL, no_control, 5.0) is None
    assert seconds_to_see(AGAINST_LIMIT, HALF, 1.1) is None, "within the limit"
    assert sight_words([query], HALF, 1) == "a doubling would not show, five times as many would not show"


def test_where_nothing_has_failed_yet_something_might_have() -> None:
    assert seconds_to_see(AGAINST_CONTROL, Traffic(3600, 3600, Tally()), 5.0) is not None


def test_guards_that_share_their_weight_take_longer_and_those_that_hold_do_not() -> None:
    holding = Guard("errors", vs_control=Decimal("1.25"), on_breach="hold")
    alone, together = (seconds_to_see(AGAINST_CONTROL, HALF, 2.0, sharing) or 0 for sharing in (1, 4))
    assert alone < together
    assert seconds_to_see(holding, HALF, 2.0, 4) == alone


@pytest.mark.parametrize(
    ("per_hour", "words"),
    [
        (360_000, "less than a minute"),
        (90_000, "about 1 min"),
        (3600, "about 27 min"),
        (60, "about 27 h"),
        (6, "about 11 d"),
        (0.6, "more than a month"),
    ],
)
def test_how_long_in_words(per_hour: float, words: str) -> None:
    said = sight_words([AGAINST_CONTROL, SLOWER], Traffic(per_hour, per_hour, TALLY), 1)
    assert said.startswith(f"a doubling would show in {words}, five times as many would show in ")


def test_what_a_stage_would_see() -> None:
    tenth = Stage("tenth", share_thousandths=10_000)
    staff = parse(STAFF).flags["invoicing"].stages[0]
    assert expected(tenth, TALLY, 2.0) == Traffic(500.0, 4500.0, TALLY)
    assert expected(tenth, TALLY, 0.0) is None
    assert expected(staff, TALLY, 2.0) is None, "nobody has counted how many they are"
