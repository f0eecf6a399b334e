"""Evidence against arithmetic written out, and against what it promises: how seldom it cries when nothing is wrong."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb, exp, inf, isfinite, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaggate.rollout.evidence import (
    ALPHA,
    CRIES,
    TIMES_BETTER,
    TIMES_WORSE,
    Evidence,
    Reverse,
    absolute,
    clumping,
    interval,
    relative,
    split,
    sure,
)

COUNTS = st.integers(0, 10**9)
SMALL = st.integers(0, 30)
SHARES = st.sampled_from([Fraction(1, 10), Fraction(1, 2), Fraction(9, 10), Fraction(1, 1000)])
LIMITS = st.sampled_from([Fraction(1, 100), Fraction(1, 20), Fraction(1, 2), Fraction(99, 100), Fraction(1, 4000)])


def odds(fraction: Fraction, times: Fraction) -> Fraction:
    """A fraction whose odds are so many times as large."""
    return fraction * times / (1 - fraction + fraction * times)


# --- likelihood ratios, written out -----------------------------------------------------------


@given(LIMITS, SMALL, SMALL)
def test_against_a_limit_it_is_the_likelihood_ratio_of_each_alternative(limit: Fraction, good: int, bad: int) -> None:
    for times, found in zip(TIMES_WORSE, absolute(float(limit), good, bad), strict=True):
        worse = odds(limit, Fraction(times))
        ratio = (worse / limit) ** bad * ((1 - worse) / (1 - limit)) ** good
        assert found == pytest.approx(log(ratio.numerator) - log(ratio.denominator), rel=1e-9, abs=1e-9)


@given(SHARES, st.sampled_from([Fraction(1), Fraction(5, 4), Fraction(3)]), SMALL, SMALL)
def test_against_control_it_is_the_likelihood_ratio_of_whose_each_is(
    share: Fraction, allowed: Fraction, treatment: int, control: int
) -> None:
    as_allowed = odds(share, allowed)
    for times, found in zip(TIMES_WORSE, relative(float(allowed), float(share), treatment, control), strict=True):
        worse = odds(as_allowed, Fraction(times))
        ratio = (worse / as_allowed) ** treatment * ((1 - worse) / (1 - as_allowed)) ** control
        assert found == pytest.approx(log(ratio.numerator) - log(ratio.denominator), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("alternatives", [TIMES_WORSE, TIMES_BETTER])
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.9])
def test_it_is_not_expected_to_grow_exactly_at_the_limit(fraction: float, alternatives: tuple[float, ...]) -> None:
    """Over all that ten requests may bring."""
    for which in range(len(alternatives)):
        weighted = (
            comb(10, bad) * fraction**bad * (1 - fraction) ** (10 - bad) * exp(ratios[which])
            for bad in range(11)
            for ratios in (
                absolute(fraction, 10 - bad, bad, alternatives),
                relative(1.0, fraction, bad, 10 - bad, alternatives),
            )
        )
        assert sum(weighted) == pytest.approx(2.0)  # one for each of both


# --- the e-process ----------------------------------------------------------------------------


def test_it_is_the_mean_over_alternatives_of_what_began_with_the_stage_and_what_begins_with_each_minute() -> None:
    """Two looks in the first minute, one after three more, and one after two days."""
    evidence, looks = Evidence.begun(0.5), [(0, 97, 3), (0, 40, 0), (4, 10, 2), (4000, 5, 1)]
    wholes, lates, known = [0.25] * 8, [0.0] * 8, 0
    for minutes, good, bad in looks:
        ratios = absolute(0.01, good, bad)
        evidence.look(minutes, ratios, ratios)
        new = min(minutes, 2880) - known
        known += new
        wholes = [whole * exp(ratio) for whole, ratio in zip(wholes, ratios, strict=True)]
        lates = [(late + new * 0.25 / 2880) * exp(ratio) for late, ratio in zip(lates, ratios, strict=True)]
        assert evidence.value == pytest.approx((sum(wholes) + sum(lates)) / 8, rel=1e-12)
    assert (evidence.minutes, known) == (2880, 2880)


def test_both_halves_may_count_by_different_sets() -> None:
    evidence = Evidence.begun(1.0)
    evidence.look(1, relative(1.0, 0.5, 3, 0), relative(1.0, 0.5, 1, 0))
    whole, late = (relative(1.0, 0.5, number, 0) for number in (3, 1))
    expected = sum(0.5 * exp(one) + 0.5 / 2880 * exp(other) for one, other in zip(whole, late, strict=True)) / 8
    assert evidence.value == pytest.approx(expected)
    evidence.forget_late()
    assert evidence.late == [0.0] * 8
    before = evidence.value
    evidence.look(1, None, None)  # nothing was seen
    assert evidence.value == before == pytest.approx(sum(0.5 * exp(one) for one in whole) / 8)
    evidence.look(0, None, relative(1.0, 0.5, 1, 0))  # the clock was set back: no minute is new, and none is lost
    assert evidence.value == before


def test_after_so_many_minutes_it_begins_with_them_behind_it() -> None:
    evidence = Evidence.begun(0.5, 100)
    evidence.look(101, None, None)
    assert evidence.late == pytest.approx([0.25 / 2880] * 8)


@given(st.lists(st.tuples(st.integers(0, 3000), st.sampled_from([-1e9, -600.0, 0.0, 499.0, 600.0, 1e9])), max_size=12))
def test_it_stays_a_number(looks: list[tuple[int, float]]) -> None:
    evidence, reverse = Evidence.begun(1.0), Reverse.begun()
    for minutes, exponent in looks:
        evidence.look(minutes, [exponent] * 8, [-exponent] * 8)
        reverse.look([exponent] * 5, [exponent] * 5)
        assert 0 <= evidence.value <= 1e200
        assert 0 <= reverse.value <= 1e200
        assert 0 <= sure(evidence.value) <= 1


def test_reverse_is_the_smaller_of_what_the_stage_says_and_what_its_hours_say() -> None:
    reverse = Reverse.begun()
    assert reverse.value == 1
    better, worse = (relative(1.25, 0.5, *units, TIMES_BETTER) for units in ((0, 30), (30, 0)))
    reverse.look(better, None)
    assert reverse.value == 1
    reverse.look(None, better)
    assert reverse.value == pytest.approx(sum(map(exp, better)) / 5)
    reverse.look(None, worse)
    assert reverse.value < 1
    same = Reverse.begun()
    same.look(better, better)
    assert same.whole == same.hourly


# --- Ville: however often one looks -----------------------------------------------------------


@pytest.mark.parametrize("limit", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("bar", [3.0, 10.0, 33.0, CRIES])
def test_exactly_at_the_limit_it_reaches_a_bar_as_seldom_as_it_promises(limit: float, bar: float) -> None:
    """Exactly: of all ways that 400 requests may go, with a look after each; of the half that began with the stage."""
    alive, reached = {0: 1.0}, 0.0
    ratios = {bad: absolute(limit, 0, 1) if bad else absolute(limit, 1, 0) for bad in (0, 1)}
    for number in range(1, 401):
        after: dict[int, float] = {}
        for bad, chance in alive.items():
            for more, times in ((1, limit), (0, 1 - limit)):
                after[bad + more] = after.get(bad + more, 0.0) + chance * times
        alive = {}
        for bad, chance in after.items():
            exponents = (one * bad + none * (number - bad) for one, none in zip(ratios[1], ratios[0], strict=True))
            if sum(map(exp, exponents)) / 8 >= bar:
                reached += chance
            else:
                alive[bad] = chance
    assert 0 < reached <= 1 / bar


@pytest.mark.parametrize("bar", [2.0, 4.0, 8.0])
def test_so_do_both_halves_together(bar: float) -> None:
    """Exactly: of all 4 096 ways that a unit each minute may fall, at a share of 30 %, for twelve minutes of a stage that
    had two quiet days: the late half has all its weight at once then, as much as it ever gets."""
    reached = 0.0
    steps = {bad: relative(1.0, 0.3, bad, 1 - bad) for bad in (0, 1)}
    for way in product((0, 1), repeat=12):
        evidence = Evidence.begun(1.0)
        for minute, bad in enumerate(way):
            evidence.look(2880 + minute, steps[bad], steps[bad])
            if evidence.value >= bar:
                reached += 0.3 ** sum(way) * 0.7 ** (12 - sum(way))
                break
    assert 0 < reached <= 1 / bar


# --- how bad requests come together; the split -----------------------------------------------


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([], 1.0),
        ([(0, 0), (0, 0)], 1.0),
        ([(7, 7)], 1.0),
        ([(40, 1600)], 40.0),
        ([(3 + 40, 3 + 1600), (5, 5)], 1603 / 43),
        ([(5, 5), (4, 10)], 2.5),
        ([(5, 0)], 1.0),  # no sum of squares is smaller than its sum
    ],
)
def test_clumping(windows: list[tuple[int, int]], expected: float) -> None:
    assert clumping(windows) == expected


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9])
def test_a_split_as_designed_is_no_evidence_and_another_one_is(share: float) -> None:
    assert split(share, 0, 0) == 1
    treatment = round(20_000 * share)
    assert split(share, treatment, 20_000 - treatment) < 1
    assert split(share, round(treatment * 1.5) + 40, 20_000 - treatment) > 1000
    assert split(share, treatment // 3, 200_000) > 1000


@given(st.floats(0.001, 0.999), COUNTS, COUNTS)
def test_nothing_raises_for_any_counts(share: float, one: int, other: int) -> None:
    assert 0 <= split(share, one, other) < inf
    assert all(map(isfinite, relative(1.25, share, one, other)))
    assert all(map(isfinite, absolute(share, one, other)))
    assert clumping([(one, other)]) >= 1
    low, high = interval(one, other)
    assert 0 <= low <= high <= 1


# --- for people -------------------------------------------------------------------------------


def test_sure() -> None:
    assert sure(0) == 0
    assert sure(33) == pytest.approx(0.97, abs=0.001)
    assert sure(CRIES) == pytest.approx(1 - ALPHA, abs=0.001)


@pytest.mark.parametrize(
    ("bad", "requests", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (10, 100, 0.0552, 0.1744),
        (41, 1930, 0.0157, 0.0287),
    ],
)
def test_interval_is_wilsons(bad: int, requests: int, low: float, high: float) -> None:
    assert interval(bad, requests) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("requests", [1, 37, 334, 5001])
def test_the_interval_of_none_begins_with_none_and_that_of_all_ends_with_all(requests: int) -> None:
    """Rounding left 8.6e-17 % of 334."""
    assert (interval(0, requests)[0], interval(requests, requests)[1]) == (0.0, 1.0)
