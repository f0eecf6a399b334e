"""T1-T11 of the guards' rule: the cut of `benchmarks/guards.py` that a test run has time for. Every row is seeded.

A target for false alarms is met when the 99 % lower confidence bound of what was found is not above it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flaggate import Guard
from tests.rollout.rows import (
    AGAINST_CONTROL,
    AGAINST_LIMIT,
    BOTH,
    HOUR,
    SLOW,
    SLOWER,
    SURE,
    Cell,
    at_400_ms,
    broken,
    crashing,
    healthy,
    middle,
    outage,
    outcome,
    slower,
    stuck,
)
from tests.rollout.rules import evidence_of, is_met, reverse_of
from tests.rollout.worlds import Stream, World, judged

STAGES = 400
HOURS = 2.0
MINUTE = 60.0


@pytest.mark.parametrize(
    "world",
    [healthy(0.1)(0), stuck()(0), broken(3, 0.01, after=1)(5), World(share=0.9, phases=((0.0, 0.01, 0.01),))],
    ids=["a tenth", "loops", "breaks", "at the limit"],
)
def test_the_closed_form_says_what_the_judge_says(world: World) -> None:
    """Where rows are screened by it. It is written from the formulas, and shares nothing with the judge but constants."""
    stream = Stream(world, (0, 0), 3.2 * HOUR, MINUTE)
    said = list(judged(stream, *BOTH))
    for place, guard in enumerate(BOTH):
        numbers = [judgement.verdicts[place].numbers["evidence"] for judgement in said]
        assert numbers == pytest.approx(evidence_of(guard, stream, 0.5), rel=1e-9)
        kept = [judgement.kept["guards"][place]["reverse"] for judgement in said if judgement.kept is not None]
        reverse = [min(sum(one["whole"]), sum(one["hourly"])) / 5 for one in kept]
        assert reverse == pytest.approx(reverse_of(guard, stream), rel=1e-9)


def test_t1_t9_healthy_stages_are_left_alone_and_nobody_is_told_that_they_are_worse() -> None:
    cell = Cell("T1", "cut", healthy(), BOTH, HOURS, MINUTE)
    found = [outcome(cell, number, is_screened=True) for number in range(STAGES)]
    assert is_met(0.01, sum(one.why is not None for one in found), STAGES)
    assert is_met(0.03, sum(one.sure >= SURE for one in found), STAGES)
    for others in zip(*(one.others for one in found), strict=True):  # Flagger's rule, Argo's, the z-test
        assert not is_met(0.01, sum(at is not None for at in others), STAGES)


def test_t2_users_stuck_in_a_loop_are_no_breach() -> None:
    found = [
        outcome(Cell("T2", "cut", stuck(), BOTH, HOURS, MINUTE), number, is_screened=True) for number in range(STAGES)
    ]
    assert is_met(0.01, sum(one.why is not None for one in found), STAGES)
    assert is_met(0.03, sum(one.sure >= SURE for one in found), STAGES)


def test_t3_an_outage_of_both_arms_is_not_the_features_fault() -> None:
    cell = Cell("T3", "cut", outage(MINUTE, HOUR), BOTH, 1.3, MINUTE)
    found = [outcome(cell, number) for number in range(STAGES)]
    assert is_met(0.01, sum(one.why not in {None, "shared"} for one in found), STAGES)
    assert sum(one.why == "shared" for one in found) > STAGES / 2  # it is over the limit all the same


@pytest.mark.parametrize(("times", "rate"), [(2, 0.04), (5, 0.02)])
def test_t4_it_takes_at_most_twice_as_long_as_walds_test_that_knows_the_rates(times: float, rate: float) -> None:
    cell = Cell("T4", f"cut {times}", broken(times, rate, per_second=4), (AGAINST_CONTROL,), HOURS, 20.0)
    found = [outcome(cell, number) for number in range(60)]
    assert middle(one.exposed for one in found) <= 2 * middle(one.oracle for one in found)


def test_t5_what_breaks_after_a_day_takes_at_most_four_times_as_long() -> None:
    cell = Cell("T5", "cut", broken(5, 0.005, per_second=2, after=24), (AGAINST_CONTROL,), 27.0, 2 * MINUTE)
    found = [outcome(cell, number) for number in range(30)]
    assert middle(one.exposed for one in found) <= 4 * middle(one.oracle for one in found)


@pytest.mark.parametrize(
    ("share", "guard", "most"),
    [(0.1, AGAINST_CONTROL, 15), (0.5, AGAINST_CONTROL, 15), (0.9, AGAINST_CONTROL, 120), (1.0, AGAINST_LIMIT, 5)],
)
def test_t6_where_everything_fails_a_few_requests_are_enough(share: float, guard: Guard, most: int) -> None:
    cell = Cell("T6", f"cut {share}", crashing(share), (guard,), 0.2, 1.0)
    found = [outcome(cell, number) for number in range(30)]
    assert middle(one.exposed for one in found) <= most


@pytest.mark.parametrize(("share", "most"), [(0.1, 1_500), (0.5, 3_000)])
def test_t7_five_times_as_many_errors_show_within(share: float, most: int) -> None:
    cell = Cell("T7", f"cut {share}", broken(5, 0.002, share), (AGAINST_CONTROL,), HOURS, 10.0)
    found = [outcome(cell, number) for number in range(30)]
    assert middle(one.exposed for one in found) <= most


@pytest.mark.parametrize(("world", "guard"), [(slower(1.2), SLOWER), (at_400_ms(1.0), SLOW)], ids=["control", "limit"])
def test_t8_exactly_as_slow_as_allowed_is_allowed(world: Callable[[int], World], guard: Guard) -> None:
    cell = Cell("T8", f"cut {guard.limit}", world, (guard,), HOURS, 2 * MINUTE)
    found = [outcome(cell, number) for number in range(STAGES // 2)]
    assert is_met(0.01, sum(one.why is not None for one in found), len(found))
    assert is_met(0.05, sum(one.is_safe for one in found), len(found))


def test_t8_half_as_slow_again_is_found() -> None:
    cell = Cell("T8", "cut", slower(1.5), (SLOWER,), HOURS, 20.0)
    found = [outcome(cell, number) for number in range(30)]
    assert middle(one.exposed for one in found) <= 1_500


@pytest.mark.parametrize(
    ("treatment", "control", "guard"),
    [(0.01, 0.01, AGAINST_LIMIT), (0.025, 0.02, AGAINST_CONTROL)],
    ids=["limit", "control"],
)
def test_t10_exactly_at_the_limit_is_not_safe(treatment: float, control: float, guard: Guard) -> None:
    cell = Cell("T10", f"cut {guard.limit}", healthy(0.5, treatment, control), (guard,), HOURS, MINUTE)
    found = [outcome(cell, number, is_screened=True) for number in range(STAGES)]
    assert is_met(0.05, sum(one.is_safe for one in found), STAGES)
    assert is_met(0.01, sum(one.why is not None for one in found), STAGES)
