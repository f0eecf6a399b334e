"""What counts at one look: how errors of one unit come together, hours, and where control's 95 % point is."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from math import exp
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaggate import Guard
from flaggate.rollout.edges import EDGES_MS, edge_at_least
from flaggate.rollout.evidence import absolute, relative
from flaggate.rollout.seen import Seen, Tally, Units, added_up, most_bad, slower
from flaggate.rollout.verdict import Answer
from tests.rollout.looker import Looker

LIMIT: Final = Guard("errors", limit=Decimal("0.01"))
CONTROL: Final = Guard("errors", vs_control=Decimal("1.25"))
SLOWER: Final = Guard("slow", vs_control=Decimal("1.2"))


def kept(looker: Looker) -> dict[str, Any]:
    """Of the only guard."""
    assert looker.kept is not None
    (guard,) = looker.kept["guards"]
    assert isinstance(guard, dict)
    return guard


def whole(looker: Looker) -> list[float]:
    """What it has since the stage began."""
    found = kept(looker)["evidence"]["whole"]
    assert isinstance(found, list)
    return found


# --- against a limit: errors of one unit -------------------------------------------------------


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_a_user_in_a_loop_is_one_piece_of_evidence_however_often_one_looks(errors: list[int]) -> None:
    looker = Looker(LIMIT, share=1)
    looker.look()
    for number in errors:
        looker.count("on", number, errors=number, units=["stuck"] * number)
        looker.look(1)
    assert whole(looker) == pytest.approx([0.5 * exp(ratio) for ratio in absolute(0.01, 0, 1)])


def test_good_requests_and_bad_ones_are_divided_by_how_those_come_together() -> None:
    looker = Looker(LIMIT, share=1)
    looker.count("on", 100, errors=8, units=["a", "a", "a", "a", "b", "c", "d", "d"])
    looker.look()
    clumped = (16 + 1 + 1 + 4) / 8
    assert whole(looker) == pytest.approx([0.5 * exp(ratio) for ratio in absolute(0.01, 92 / clumped, 8 / clumped)])


def test_what_was_counted_before_a_loop_began_is_not_counted_again_when_it_ends() -> None:
    """In the next window they come one by one again, and the window before is still held against them."""
    looker = Looker(LIMIT, share=1)
    looker.look()
    looker.count("on", 3, errors=3)
    looker.look(1)
    looker.count("on", 40, errors=40, units=["stuck"] * 40)
    looker.look(1)
    together = 43 / ((3 + 40 * 40) / 43)
    assert whole(looker) == pytest.approx([0.5 * exp(ratio) for ratio in absolute(0.01, 0, together)])
    before = whole(looker)
    looker.wait(600)
    looker.count("on", 10, errors=10)
    looker.look(1)
    more = absolute(0.01, 0, 10 / ((3 + 40 * 40) / 43))
    assert whole(looker) == pytest.approx([one * exp(ratio) for one, ratio in zip(before, more, strict=True)])
    before = whole(looker)
    looker.wait(1200)  # it is forgotten
    looker.count("on", 10, errors=10)
    looker.look(1)
    more = absolute(0.01, 0, 10)
    assert whole(looker) == pytest.approx([one * exp(ratio) for one, ratio in zip(before, more, strict=True)])


def test_without_requests_nothing_changes() -> None:
    looker = Looker(LIMIT, share=1)
    looker.count("on", 100, errors=2)
    looker.look()
    before = whole(looker)
    for _ in range(3):
        looker.look(30)
    assert whole(looker) == before
    assert sum(kept(looker)["evidence"]["late"]) == pytest.approx(0.5 / 2880 * 8)


# --- against control: hours --------------------------------------------------------------------


def test_who_has_failed_in_another_hour_may_fail_again_for_what_got_worse_since() -> None:
    looker = Looker(CONTROL)
    looker.count("treatment", 9, errors=9, units=range(9))
    looker.look()
    looker.count("treatment", 9, errors=9, units=range(9))
    looker.look()
    once = [0.5 * exp(ratio) for ratio in relative(1.25, 0.5, 9, 0)]
    assert whole(looker) == pytest.approx(once)
    looker.wait(3600)
    looker.count("treatment", 9, errors=9, units=range(9))
    looker.look()
    assert whole(looker) == pytest.approx(once)
    ratios = relative(1.25, 0.5, 9, 0)
    assert kept(looker)["evidence"]["late"] == pytest.approx([60 * 0.5 / 2880 * exp(ratio) for ratio in ratios])
    looker.look(3600)  # and the next hour clears it
    assert kept(looker)["evidence"]["late"] == pytest.approx([60 * 0.5 / 2880] * 8)


def test_safe_against_control_wants_both_the_stage_and_its_hours_to_say_so() -> None:
    """Every unit has failed once, in both arms; those with the feature go on failing."""
    looker = Looker(CONTROL)
    for number in range(200):
        looker.count("treatment", 10, errors=2, units=[number % 3, number % 5])
        looker.count("control", 10, errors=1)
        looker.look(600)
    reverse = kept(looker)["reverse"]
    assert sum(reverse["whole"]) / 5 > 20
    assert sum(reverse["hourly"]) / 5 < 3
    assert looker.answer() is Answer.OK


# --- slowness against control -------------------------------------------------------------------

USUAL: Final = {"100": 90, "200": 5, "300": 5}


def warm(looker: Looker, looks: int = 5) -> None:
    """Enough of control to know its 95 % point; with the feature as without."""
    for _ in range(looks):
        for arm in ("treatment", "control"):
            looker.count(arm, 100, took=USUAL)
        looker.look()


def test_nothing_is_compared_before_control_has_shown_200_requests() -> None:
    looker = Looker(SLOWER)
    looker.count("treatment", 199, took={"1000": 199}, bad={"slower": 199})
    looker.count("control", 199, took={"100": 180, "200": 9, "300": 10})
    looker.look()
    assert kept(looker)["point"] is None
    looker.count("control", 1, took={"200": 1})
    looker.look()
    assert kept(looker)["point"] == 200
    looker.count("treatment", 1, took={"1000": 1})
    verdict = looker.verdict()
    assert (verdict.numbers["requests"], verdict.numbers["bad"]) == (200, 1)  # what came before it was known is not


def test_it_compares_how_many_of_treatment_pass_what_is_allowed_with_how_many_of_control_pass_the_point() -> None:
    looker = Looker(SLOWER)
    warm(looker)
    before = whole(looker)
    looker.count("treatment", 60, took={"200": 40, "240": 10, "270": 7, "1000": 3})
    looker.count("control", 40, took={"100": 30, "200": 6, "220": 4})
    verdict = looker.verdict()
    ratios = relative(1.0, 0.6, 10, 4)  # 240 ms are allowed; the share is that of these requests
    assert whole(looker) == pytest.approx([one * exp(ratio) for one, ratio in zip(before, ratios, strict=True)])
    assert (verdict.numbers["bad"], verdict.numbers["control_bad"]) == (10 + 5 * 3, 4 + 5 * 3)


def test_the_bucket_in_which_the_tolerance_lies_counts_neither_for_the_feature_nor_against_it() -> None:
    looker = Looker(replace(SLOWER, vs_control=Decimal("1.3")))
    warm(looker)  # 260 ms: between 240 and 270
    before, reverse = whole(looker), kept(looker)["reverse"]["whole"]
    looker.count("treatment", 50, took={"100": 40, "270": 10})
    looker.count("control", 50, took={"100": 50})
    looker.look()
    assert whole(looker) == pytest.approx(before)
    assert sum(kept(looker)["reverse"]["whole"]) < sum(reverse)


def test_those_of_one_unit_count_together() -> None:
    looker = Looker(SLOWER)
    warm(looker)
    before = whole(looker)
    looker.wait(1200)
    looker.count("treatment", 10, took={"1000": 10})
    looker.count("control", 10, took={"100": 10})
    for _ in range(10):
        looker._note("slower", "treatment", ["tired"])
    looker.look()
    ratios = relative(1.0, 0.5, 1, 0)
    assert whole(looker) == pytest.approx([one * exp(ratio) for one, ratio in zip(before, ratios, strict=True)])


def test_half_as_slow_again_is_a_breach_and_as_slow_as_control_is_safe() -> None:
    slow, same = Looker(SLOWER), Looker(SLOWER)
    answers, usual = set(), {"100": 90, "200": 5, "220": 3, "300": 2}
    for _ in range(120):
        for looker, took in ((slow, {"150": 90, "300": 5, "330": 3, "470": 2}), (same, usual)):
            looker.count("treatment", 100, took=took, bad={"slower": 10})
            looker.count("control", 100, took=usual, bad={"slower": 5})
        answers.add(slow.verdict().rolls_back)
        last = same.verdict()
    assert True in answers
    assert last.answer is Answer.SAFE


def test_what_is_slow_follows_control() -> None:
    """Everything gets three times as slow, with the feature and without."""
    looker = Looker(SLOWER)
    warm(looker, 80)
    assert kept(looker)["point"] == 200
    for _ in range(120):
        for arm in ("treatment", "control"):
            looker.count(arm, 100, took={"300": 90, "620": 5, "910": 5})
        assert looker.answer() is not Answer.BREACH
    assert kept(looker)["point"] == 620
    assert sum(count for _, count in kept(looker)["faded"].items()) > 12_000


@pytest.mark.parametrize(
    ("took", "allowed", "point"),
    [
        ({"100": 200}, "1.2", 100),  # all alike
        ({"100": 180, "inf": 20}, "1.2", None),  # a tenth took longer than the last edge
        ({"100": 90, "inf": 10, "1.0": 100}, "1.2", 100),
        ({"300": 920, "330": 15, "360": 25, "390": 40}, "1.2", 300),  # 1.2 times 300 is an edge again
        ({"300": 920, "330": 15, "360": 25, "390": 40}, "1", 360),  # the nearest to 5 %
        ({"3.0": 920, "3.3": 15, "3.6": 25, "3.9": 40}, "1.2", 3.0),
        ({"60000.0": 900, "inf": 50, "100": 50}, "1.2", 60_000),
        ({"300": 950, "400": 50}, "1.2", 300),
    ],
)
def test_where_the_95_percent_point_is(took: dict[str, int], allowed: str, point: float | None) -> None:
    looker = Looker(replace(SLOWER, vs_control=Decimal(allowed)))
    looker.count("control", sum(took.values()), took=took)
    looker.look()
    assert kept(looker)["point"] == point
    looker.count("treatment", 10, took={"inf": 10})
    looker.look()


# --- what is counted ----------------------------------------------------------------------------


def test_edges_are_a_tenth_apart() -> None:
    assert all(1.05 < after / before < 1.16 for before, after in pairwise(EDGES_MS))
    assert (EDGES_MS[0], EDGES_MS[-1]) == (1, 56_000)
    assert edge_at_least(390) == 390
    assert edge_at_least(390.1) == 430
    assert edge_at_least(90_000) == float("inf")


@pytest.mark.parametrize(
    ("guard", "counted"),
    [
        (LIMIT, (100, 7)),
        (Guard("slow", limit=Decimal("0.05"), slower_than_ms=400), (90, 12)),
        (SLOWER, (90, 0)),  # what is slow is known from control only
        (Guard("checkout_failed", limit=Decimal("0.05")), (100, 3)),
        (Guard("paid", at_least=Decimal("0.05")), (100, 40)),
        (Guard("seen", at_least=Decimal("0.05")), (100, 100)),
    ],
)
def test_a_tally_counts_what_the_guard_judges(guard: Guard, counted: tuple[int, int]) -> None:
    tally = Tally(100, 7, {"200.0": 78, "430": 10, "inf": 2}, {"checkout_failed": 3, "paid": 60})
    assert tally.of(guard) == counted


def test_tallies_add_up() -> None:
    one, other = Tally(3, 1, {"1.0": 2}, {"paid": 1}), Tally(4, 2, {"1.0": 1, "inf": 3})
    assert added_up([one, other]) == Tally(7, 3, {"1.0": 3, "inf": 3}, {"paid": 1})
    assert added_up([]) == Tally()
    assert slower({"1.0": 3, "inf": 3}, 1.0) == 3


def test_what_was_not_counted_is_nothing() -> None:
    seen = Seen({}, {("errors", 0, 0): {"on": Units(1, 2, 4)}})
    assert seen.arm("on") == Tally()
    assert seen.set("errors") == {"on": (1, 2, 4)}
    assert seen.set("errors", 3600, 0) == {}


def test_the_most_that_may_be_bad() -> None:
    assert most_bad(LIMIT) == 0.01
    assert most_bad(Guard("paid", at_least=Decimal("0.2"))) == 0.8
