"""What guards say of a stage: whose fault it is, who has gone silent, what is safe, and what an edit does."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from math import exp
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaggate import Guard
from flaggate.rollout.evidence import absolute, relative
from flaggate.rollout.judge import judge
from flaggate.rollout.seen import REQUESTS, Sample, Seen, Tally, Units
from flaggate.rollout.verdict import Answer
from tests.rollout.looker import START, Looker

LIMIT: Final = Guard("errors", limit=Decimal("0.01"))
CONTROL: Final = Guard("errors", vs_control=Decimal("1.25"))
SLOW: Final = Guard("slow", limit=Decimal("0.05"), slower_than_ms=400)
SLOWER: Final = Guard("slow", vs_control=Decimal("1.2"))
QUERY: Final = Guard("queue", limit=Decimal(10), query="queue_length", every_seconds=15)
ALL: Final = (LIMIT, CONTROL, SLOW, SLOWER, Guard("paid", at_least=Decimal("0.1")), QUERY)


def healthy(looker: Looker, looks: int = 60, errors_each: int = 20) -> None:
    """Ten requests in each arm from look to look, and now and then an error in both."""
    for number in range(looks):
        error = int(number % errors_each == 0)
        for arm in ("treatment", "control"):
            looker.count(arm, 10, errors=error)
        assert looker.answer() in {Answer.TOO_FEW, Answer.OK, Answer.SAFE}


# --- a breach ---------------------------------------------------------------------------------


def test_five_bad_requests_are_a_breach_where_everyone_has_it_and_none_may_be() -> None:
    looker = Looker(LIMIT, share=1)
    for failed in range(5):
        assert looker.answer() is Answer.TOO_FEW, failed
        looker.count("on", 1, errors=1)
    verdict = looker.verdict()
    assert verdict.answer is Answer.BREACH
    assert verdict.rolls_back
    expected = sum(0.5 * exp(ratio) for ratio in absolute(0.01, 0, 5)) / 8
    assert verdict.numbers["evidence"] == pytest.approx(expected)
    assert {name: verdict.numbers[name] for name in ("requests", "bad", "units", "rate", "control_requests")} == {
        "requests": 5, "bad": 5, "units": 5, "rate": 1.0, "control_requests": 0,
    }  # fmt: skip


def test_five_bad_requests_of_two_units_are_not() -> None:
    looker = Looker(LIMIT, share=1)
    for _ in range(10):
        looker.count("on", 4, errors=4, units=[1, 2] * 2)
        verdict = looker.verdict()
    assert verdict.answer is Answer.TOO_FEW
    expected = sum(0.5 * exp(ratio) for ratio in absolute(0.01, 0, 2)) / 8
    assert verdict.numbers["evidence"] == pytest.approx(expected)  # each is no more than one piece of evidence
    looker.count("on", 1, errors=1)
    assert looker.answer() is Answer.BREACH


def test_units_with_and_without_an_arm_have_the_feature() -> None:
    looker = Looker(LIMIT)
    looker.count("on", 20, errors=20)
    looker.count("control", 20)
    verdict = looker.verdict()
    assert (verdict.numbers["requests"], verdict.numbers["units"], verdict.numbers["control_requests"]) == (20, 20, 20)


def test_against_control_eleven_units_with_an_error_and_none_without_are() -> None:
    looker = Looker(CONTROL)
    for failed in range(11):
        looker.count("treatment", 1, errors=1)
        looker.count("control", 1)
        verdict = looker.verdict()
        expected = sum(0.5 * exp(ratio) for ratio in relative(1.25, 0.5, failed + 1, 0)) / 8
        assert verdict.numbers["evidence"] == pytest.approx(expected, rel=0.01)  # and the late half
    assert verdict.answer is Answer.BREACH
    assert verdict.numbers["units"] == 11


def test_against_control_a_unit_counts_once() -> None:
    looker = Looker(CONTROL)
    for _ in range(40):
        looker.count("treatment", 3, errors=3, units=["a", "b", "c"])
        looker.count("control", 3)
        assert looker.answer() is Answer.TOO_FEW
    assert looker.verdict().numbers["bad"] == 120


def test_errors_that_both_arms_have_are_no_evidence_however_many() -> None:
    looker = Looker(CONTROL)
    for _ in range(100):
        for arm in ("treatment", "control"):
            looker.count(arm, 20, errors=10)
        verdict = looker.verdict()
        assert not verdict.is_worse
    assert verdict.numbers["evidence"] < 1e-3


def test_guards_that_act_share_one_weight_and_cry_together() -> None:
    """One over the same counts needs a hundred, two that say the same need fifty each."""
    alone, both = Looker(LIMIT, share=1), Looker(LIMIT, replace(LIMIT, limit=Decimal("0.0100001")), share=1)
    for looker in (alone, both):
        looker.count("on", 20, errors=5)
    (first,), (second, third) = alone.look().verdicts, both.look().verdicts
    assert second.numbers["evidence"] == pytest.approx(first.numbers["evidence"] / 2)
    assert second.numbers["evidence"] + third.numbers["evidence"] == pytest.approx(first.numbers["evidence"], rel=1e-3)
    assert first.numbers["evidence"] > 200
    assert {first.answer, second.answer, third.answer} == {Answer.BREACH}


def test_of_guards_that_cry_only_together_the_loudest_is_named() -> None:
    looker = Looker(LIMIT, SLOW, share=1)
    looker.count("on", 45, errors=5, took={"100": 36, "500": 9}, bad={"slow 400": 9})
    first, second = looker.look().verdicts
    assert first.numbers["evidence"] < 100 <= first.numbers["evidence"] + second.numbers["evidence"]
    assert (first.answer, second.answer) == (Answer.BREACH, Answer.TOO_FEW)


def test_a_guard_that_has_not_enough_to_show_lends_its_evidence_to_no_other() -> None:
    """Four of twelve requests fail: that is evidence; and half of them are slow, as they may."""
    looker = Looker(LIMIT, replace(SLOW, limit=Decimal("0.5")), share=1)
    looker.count("on", 12, errors=4, took={"100": 6, "500": 6}, bad={"slow 400": 6})
    first, second = looker.look().verdicts
    assert first.numbers["evidence"] > 1000
    assert second.numbers["evidence"] < 1
    assert (first.answer, second.answer) == (Answer.TOO_FEW, Answer.TOO_FEW)


def test_observing_warning_and_holding_guards_have_a_weight_of_their_own_and_roll_nothing_back() -> None:
    others = [replace(LIMIT, observe=True), replace(LIMIT, on_breach="warn"), replace(LIMIT, on_breach="hold")]
    looker = Looker(LIMIT, *others, share=1)
    looker.count("on", 3, errors=3)
    looker.look()
    looker.count("on", 2, errors=1)
    verdicts = looker.look().verdicts
    assert len({verdict.numbers["evidence"] for verdict in verdicts}) == 1
    looker.count("on", 1, errors=1)
    acting, *rest = looker.look().verdicts
    assert [verdict.answer for verdict in (acting, *rest)] == [Answer.BREACH] * 4
    assert [verdict.rolls_back for verdict in (acting, *rest)] == [True, False, False, False]
    assert [verdict.holds for verdict in rest] == [False, False, True]


def test_a_hold_ends_when_its_evidence_falls_below_ten() -> None:
    looker = Looker(replace(LIMIT, on_breach="hold"), share=1)
    looker.count("on", 6, errors=6)
    said = [looker.verdict()]
    while said[-1].answer is Answer.BREACH:
        looker.count("on", 20)
        said.append(looker.verdict())
    assert said[0].numbers["evidence"] >= 100
    assert any(10 <= verdict.numbers["evidence"] < 100 for verdict in said[:-1])
    assert all(verdict.numbers["evidence"] >= 10 for verdict in said[:-1])
    assert said[-1].numbers["evidence"] < 10
    looker.count("on", 1)
    assert looker.answer() is not Answer.BREACH


# --- whose fault it is ------------------------------------------------------------------------


def outage(looker: Looker, looks: int = 1, each: int = 10) -> list[Any]:
    """Half of all requests fail, in both arms."""
    said = []
    for _ in range(looks):
        for arm in ("treatment", "control"):
            looker.count(arm, each, errors=each // 2)
        said.append(looker.verdict(30))
    return said


def test_over_the_limit_with_the_feature_and_without_is_held_for_ten_minutes_and_then_rolled_back_as_shared() -> None:
    looker = Looker(LIMIT)
    healthy(looker)
    said = outage(looker, 30)
    first = next(number for number, verdict in enumerate(said) if verdict.answer is Answer.SHARED)
    assert {verdict.answer for verdict in said[first : first + 20]} == {Answer.SHARED}
    assert all(verdict.holds and not verdict.rolls_back for verdict in said[first : first + 20])
    last = said[first + 20]
    assert (last.answer, last.numbers["why"], last.rolls_back) == (Answer.BREACH, "shared", True)


def test_the_plan_may_say_that_it_stays_held() -> None:
    looker = Looker(replace(LIMIT, on_shared="hold"))
    healthy(looker)
    said = outage(looker, 80)
    assert [verdict.answer for verdict in said[2:]] == [Answer.SHARED] * 78
    for _ in range(30):  # it has ended
        for arm in ("treatment", "control"):
            looker.count(arm, 50)
        last = looker.verdict(30)
    assert last.answer is Answer.OK
    assert last.numbers["evidence"] < 1


def test_an_outage_that_has_ended_leaves_no_evidence_behind() -> None:
    looker = Looker(LIMIT)
    healthy(looker)
    outage(looker, 4)
    held = 0
    while (verdict := looker.verdict(30)).answer is Answer.SHARED:
        held += 1
        for arm in ("treatment", "control"):
            looker.count(arm, 10)
    assert 15 <= held <= 20
    assert verdict.answer is Answer.OK
    assert verdict.numbers["evidence"] == 0.5
    looker.count("control", 10)
    looker.count("treatment", 10, errors=10)
    assert looker.answer() is not Answer.OK  # and it begins again


def test_evidence_that_falls_off_by_itself_ends_the_hold() -> None:
    looker = Looker(LIMIT)
    for arm in ("treatment", "control"):
        looker.count(arm, 6, errors=6)
    assert looker.answer() is Answer.SHARED
    for arm in ("treatment", "control"):
        looker.count(arm, 600)
    assert looker.answer() is Answer.OK
    assert looker.kept is not None
    assert (looker.kept["crying_since"], looker.kept["mark"]) == (None, None)


def test_the_feature_is_blamed_at_once_if_those_who_have_it_are_hit_more_often() -> None:
    looker = Looker(LIMIT)
    looker.count("treatment", 20, errors=9)
    looker.count("control", 20)
    verdict = looker.verdict()
    assert verdict.answer is Answer.BREACH
    assert "why" not in verdict.numbers


def test_later_than_after_five_minutes_it_takes_more_to_blame_the_feature() -> None:
    """And not for ever more than anybody can show: it would be held and never rolled back."""
    for minutes, hit, answer in ((4, 17, Answer.BREACH), (6, 17, Answer.SHARED), (6, 20, Answer.BREACH)):
        looker = Looker(LIMIT)
        for arm in ("treatment", "control"):
            looker.count(arm, 10, errors=6)
        assert looker.answer() is Answer.SHARED
        looker.wait(60.0 * minutes - 5)
        looker.count("treatment", 20, errors=hit)
        looker.count("control", 20)
        assert looker.answer() is answer


def test_a_guard_against_control_that_cries_needs_no_other_proof() -> None:
    """Long after the crossing, in an outage that is not the feature's, the feature breaks too."""
    looker = Looker(LIMIT, CONTROL)
    for arm in ("treatment", "control"):
        looker.count(arm, 10, errors=8)
    assert [verdict.answer for verdict in looker.look().verdicts] == [Answer.SHARED, Answer.TOO_FEW]
    looker.wait(400)
    looker.count("treatment", 40, errors=40)
    looker.count("control", 40, errors=2)
    assert [verdict.answer for verdict in looker.look().verdicts] == [Answer.BREACH, Answer.BREACH]


def test_a_guard_against_control_that_is_louder_than_the_limit_needs_none_either() -> None:
    """Of another metric: the limit is nearly kept, and both cry only together."""
    for requests, answers in ((52, (Answer.TOO_FEW, Answer.BREACH)), (48, (Answer.SHARED, Answer.TOO_FEW))):
        looker = Looker(LIMIT, replace(CONTROL, metric="checkout_failed"))
        looker.count("treatment", requests, errors=5, bad={"checkout_failed": 11}, measured={"checkout_failed": 11})
        looker.count("control", requests, errors=5)
        verdicts = looker.look().verdicts
        assert max(verdict.numbers["evidence"] for verdict in verdicts) < 100
        assert tuple(verdict.answer for verdict in verdicts) == answers


def test_which_of_several_limits_is_over_when_the_hold_ends() -> None:
    """Errors have ended, slowness has not; and it is the plan of the one that decides."""
    looker = Looker(replace(LIMIT, on_shared="hold"), SLOW)
    for _ in range(3):
        for arm in ("treatment", "control"):
            looker.count(arm, 10, errors=10, took={"500": 10}, bad={"slow 400": 10})
        assert [verdict.answer for verdict in looker.look(30).verdicts] == [Answer.SHARED] * 2
    for _ in range(18):
        for arm in ("treatment", "control"):
            looker.count(arm, 10, took={"500": 10}, bad={"slow 400": 10})
        errors, slow = looker.look(30).verdicts
    assert errors.answer is Answer.SHARED
    assert (slow.answer, slow.numbers["why"]) == (Answer.BREACH, "shared")


# --- who has gone silent ----------------------------------------------------------------------


def test_if_nobody_reports_for_a_minute_nothing_is_known_and_nobody_is_blamed() -> None:
    looker = Looker(LIMIT, replace(CONTROL, on_breach="hold"))
    looker.is_soaked = False
    for arm in ("treatment", "control"):
        looker.count(arm, 600)
    looker.look()
    for _ in range(11):
        assert {verdict.answer for verdict in looker.look(5, is_silent=True).verdicts} == {Answer.OK}
    for _ in range(200):
        verdicts = looker.look(5, is_silent=True).verdicts
        assert {verdict.answer for verdict in verdicts} == {Answer.NO_DATA}
        assert all(verdict.is_blind for verdict in verdicts)
    assert {verdict.answer for verdict in looker.look(5).verdicts} == {Answer.OK}


def test_processes_that_report_nothing_are_quiet() -> None:
    looker = Looker(CONTROL)
    for _ in range(200):
        assert looker.answer(30) is Answer.TOO_FEW


def vanishing(looker: Looker, seconds: float, control: int = 5, units: int | None = None) -> Answer:
    """Nothing comes of treatment for so long, and so much of control from look to look, each of another unit; or of so
    many."""
    for _ in range(int(seconds // 5)):
        looker.count("control", control)
        looker.come([object() for _ in range(control)] if units is None else range(units))
        answer = looker.answer()
    return answer


def test_silence_of_those_who_have_it_holds_after_a_minute_and_is_a_breach_after_five_more() -> None:
    looker = Looker(replace(CONTROL, on_no_data="ignore"))
    healthy(looker)
    assert vanishing(looker, 55) is Answer.OK
    assert vanishing(looker, 5) is Answer.NO_DATA
    assert vanishing(looker, 295) is Answer.NO_DATA
    looker.count("control", 5)
    looker.come("abcde")
    verdict = looker.verdict()
    assert (verdict.answer, verdict.numbers["why"], verdict.rolls_back) == (Answer.BREACH, "vanished", True)
    looker.count("treatment", 1)
    assert looker.answer() is Answer.OK


def test_it_may_vanish_with_the_first_request() -> None:
    looker = Looker(CONTROL)
    looker.answer()
    assert vanishing(looker, 400) is Answer.BREACH


@pytest.mark.parametrize(("units", "is_no_chance"), [(1, False), (9, False), (10, True)])
def test_a_few_who_ask_again_and_again_do_not_say_that_others_vanished(units: int, is_no_chance: bool) -> None:
    """At night: of ten who come all are without it by chance once in a thousand times."""
    looker = Looker(CONTROL)
    healthy(looker)
    assert vanishing(looker, 60, units=units) is Answer.NO_DATA
    answer = vanishing(looker, 3600, units=units)
    assert answer is (Answer.BREACH if is_no_chance else Answer.NO_DATA)


def test_who_was_there_before_the_silence_does_not_count_in_its_window() -> None:
    looker = Looker(CONTROL)
    healthy(looker, looks=10)
    looker.come(range(100))
    healthy(looker, looks=1)
    assert vanishing(looker, 400, units=100) is Answer.NO_DATA
    assert vanishing(looker, 200, units=100) is Answer.BREACH, "in the next window"


def test_five_minutes_are_counted_from_when_it_is_missed() -> None:
    """A night without any request, and then the first ones in the morning have no feature."""
    looker = Looker(CONTROL)
    healthy(looker)
    for _ in range(100):
        assert looker.answer(60) is not Answer.NO_DATA
    assert vanishing(looker, 5, 29) is Answer.OK
    assert vanishing(looker, 5, 1) is Answer.NO_DATA
    looker.count("treatment", 1)
    assert looker.answer() is Answer.OK


@pytest.mark.parametrize("hours", [1, -1])
def test_nobody_was_silent_while_nobody_looked(hours: int) -> None:
    """All processes were away for an hour, or the clock was set."""
    looker = Looker(CONTROL)
    healthy(looker)
    assert vanishing(looker, 60) is Answer.NO_DATA
    looker.wait(3600 * hours)
    assert looker.answer() is Answer.NO_DATA
    assert vanishing(looker, 220) is Answer.NO_DATA
    assert vanishing(looker, 80) is Answer.BREACH


def test_where_few_have_it_few_are_missed() -> None:
    looker = Looker(CONTROL, share=0.01)
    healthy(looker)
    assert vanishing(looker, 600, 20) is Answer.OK  # 2 400 of control: 24 were to come
    assert vanishing(looker, 200, 20) is Answer.NO_DATA


def test_nobody_vanishes_while_nobody_reports() -> None:
    looker = Looker(CONTROL)
    healthy(looker)
    vanishing(looker, 50)
    for _ in range(100):
        assert looker.answer(5, is_silent=True) in {Answer.OK, Answer.NO_DATA}
    assert vanishing(looker, 55) is Answer.OK
    assert vanishing(looker, 5) is Answer.NO_DATA


def test_silence_says_nothing_to_guards_that_do_not_act_nor_without_a_control() -> None:
    looker = Looker(CONTROL, replace(LIMIT, on_breach="warn"))
    looker.is_soaked = False
    for arm in ("treatment", "control"):
        looker.count(arm, 600)
    looker.look()
    for _ in range(100):
        looker.count("control", 10)
        looker.come([object()])
        acting, warning = looker.look().verdicts
    assert (acting.answer, warning.answer) == (Answer.BREACH, Answer.OK)
    everyone = Looker(LIMIT, share=1)
    for _ in range(100):
        everyone.count("control", 10)
        assert everyone.answer(60) is Answer.TOO_FEW


# --- the split --------------------------------------------------------------------------------


def test_units_that_are_split_otherwise_void_what_compares_them() -> None:
    looker = Looker(CONTROL, LIMIT)
    for arm, units in (("treatment", 700), ("control", 300)):
        looker.count(arm, 1000)
        looker.meet(arm, units)
    judgement = looker.look()
    assert judgement.split == "700 units with and 300 without, where 0.5 of them were to have it"
    assert [verdict.answer for verdict in judgement.verdicts] == [Answer.TOO_FEW, Answer.SAFE]
    looker.count("treatment", 60, errors=60)
    judgement = looker.look()
    control, limit = judgement.verdicts
    assert control.numbers["evidence"] == 0.25  # nothing was learnt
    assert control.answer is Answer.TOO_FEW
    assert limit.answer is Answer.SHARED  # whose fault it is cannot be told


def test_units_that_are_split_as_designed_say_nothing() -> None:
    looker = Looker(CONTROL, share=0.1)
    looker.meet("treatment", 103)
    looker.meet("control", 897)
    assert looker.look().split is None


def test_a_split_that_mends_itself_counts_from_there_on() -> None:
    looker = Looker(SLOWER)
    looker.meet("treatment", 200)
    for arm in ("treatment", "control"):
        looker.count(arm, 1000, took={"100": 900, "200": 100})
    assert looker.look().split is not None
    looker.count("treatment", 500, took={"1000": 500}, bad={"slower": 500})
    looker.count("control", 500, took={"100": 500})
    assert looker.look().split is not None
    looker.meet("control", 200)
    assert looker.look().split is None
    assert looker.verdict().numbers["evidence"] == pytest.approx(0.5, rel=0.1)


# --- too few, ok, safe, doubts ----------------------------------------------------------------


def test_under_500_exposed_requests_are_too_few() -> None:
    looker = Looker(LIMIT)
    looker.is_soaked = False
    looker.count("on", 499)
    judgement = looker.look()
    assert (judgement.requests, judgement.verdicts[0].answer) == (499, Answer.TOO_FEW)
    looker.count("on", 1)
    assert looker.answer() is Answer.OK


def test_safe_needs_the_soak_and_evidence_of_the_opposite() -> None:
    looker = Looker(LIMIT, CONTROL)
    looker.is_soaked = False
    for _ in range(20):
        for arm in ("treatment", "control"):
            looker.count(arm, 400, errors=1)
        answers = [verdict.answer for verdict in looker.look(600).verdicts]
    assert answers == [Answer.OK, Answer.OK]
    looker.is_soaked = True
    assert [verdict.answer for verdict in looker.look().verdicts] == [Answer.SAFE, Answer.OK]
    for _ in range(80):
        looker.count("treatment", 400)
        looker.count("control", 400, errors=1)
        verdicts = looker.look(600).verdicts
    assert [verdict.answer for verdict in verdicts] == [Answer.SAFE, Answer.SAFE]
    assert all(verdict.is_proven for verdict in verdicts)


def test_nothing_is_safe_because_time_has_passed() -> None:
    looker = Looker(LIMIT)
    looker.count("on", 100)
    for _ in range(1000):
        assert looker.answer(600) is Answer.TOO_FEW


def test_evidence_from_ten_on_is_a_doubt() -> None:
    looker = Looker(LIMIT, replace(LIMIT, observe=True), QUERY, share=1)
    looker.count("on", 16, errors=3)
    judgement = looker.look()
    assert 10 <= judgement.verdicts[0].numbers["evidence"] < 100
    assert judgement.doubts == ("errors: 98 % sure that it is worse than you allow",)


def test_what_is_broken_already_is_handed_on() -> None:
    looker = Looker(LIMIT)
    looker.broken = {0: "errors: 40 of 100"}
    assert looker.look().broken == ("errors: 40 of 100",)


def test_where_no_stage_runs_nothing_is_judged() -> None:
    looker = Looker(LIMIT)
    rollout = replace(looker.rollout, stage=0)
    assert judge(looker.flag, rollout, Seen(), None, datetime.now(UTC), is_soaked=True) is None


# --- metrics of all kinds ---------------------------------------------------------------------


def test_what_the_app_measures_and_should_happen() -> None:
    looker = Looker(Guard("paid", at_least=Decimal("0.5")), share=1)
    looker.count("on", 100, measured={"paid": 60}, bad={"no paid": 40})
    verdict = looker.verdict()
    assert (verdict.numbers["bad"], verdict.numbers["limit"]) == (40, 0.5)
    looker.count("on", 100, bad={"no paid": 100})
    assert looker.answer() is Answer.BREACH


def test_slower_than_a_limit() -> None:
    looker = Looker(SLOW, share=1)
    looker.count("on", 600, took={"100": 570, "400": 10, "430": 20}, bad={"slow 400": 20})
    verdict = looker.verdict()
    assert (verdict.numbers["requests"], verdict.numbers["bad"], verdict.answer) == (600, 20, Answer.OK)
    looker.count("on", 100, took={"430": 100}, bad={"slow 400": 100})
    assert looker.answer() is Answer.BREACH


@pytest.mark.parametrize(
    ("sample", "answer", "why"),
    [
        (None, Answer.ERROR, "the process that looks knows no Prometheus server (prometheus=)"),
        (Sample(None, Answer.ERROR, "connection refused"), Answer.ERROR, "connection refused"),
        (Sample(None, Answer.NO_DATA, "no series"), Answer.NO_DATA, "no series"),
        (Sample(None), Answer.NO_DATA, None),
        (Sample(float("nan")), Answer.NO_DATA, None),
        (Sample(10.0), Answer.OK, None),
        (Sample(float("-inf")), Answer.OK, None),
        (Sample(10.1), Answer.BREACH, None),
        (Sample(float("inf")), Answer.BREACH, None),
    ],
)
def test_a_query_says_what_it_was_answered(sample: Sample | None, answer: Answer, why: str | None) -> None:
    looker = Looker(QUERY)
    if sample is not None:
        looker.samples["queue_length"] = sample
    verdict = looker.verdict(is_silent=True)
    assert (verdict.answer, verdict.numbers.get("why")) == (answer, why)
    assert verdict.numbers["limit"] == 10


def test_a_query_may_have_to_stay_over_its_limit_for_a_while() -> None:
    looker = Looker(Guard("up", at_least=Decimal(3), query="up", every_seconds=15, for_seconds=60))
    looker.samples["up"] = Sample(3.0)
    assert looker.answer() is Answer.OK
    looker.samples["up"] = Sample(2.0)
    assert [looker.answer(20) for _ in range(5)] == [Answer.OK] * 3 + [Answer.BREACH] * 2
    looker.samples["up"] = Sample(3.0)
    assert looker.answer() is Answer.OK
    looker.samples["up"] = Sample(2.0)
    assert [looker.answer(30) for _ in range(2)] == [Answer.OK] * 2
    looker.samples["up"] = Sample(None, Answer.NO_DATA, "stale")
    assert looker.answer() is Answer.NO_DATA
    looker.samples["up"] = Sample(2.0)
    assert looker.answer(60) is Answer.OK  # it begins anew


def test_a_query_takes_no_weight() -> None:
    looker = Looker(LIMIT, QUERY, share=1)
    looker.count("on", 5, errors=5)
    assert looker.look().verdicts[0].numbers["evidence"] == pytest.approx(sum(map(exp, absolute(0.01, 0, 5))) / 16)


# --- an edit, another attempt, another looker -------------------------------------------------


@pytest.mark.parametrize("edited", ALL[:5], ids=["limit", "control", "slow", "slower", "own"])
def test_an_edit_in_mid_stage_begins_anew_with_what_comes_after_it(edited: Guard) -> None:
    looker = Looker(LIMIT)
    bad = {"slow 400": 9, "slower": 9, "no paid": 9}
    for arm, errors in (("treatment", 40), ("control", 30)):
        looker.count(arm, 700, errors=errors, took={"100": 650, "430": 50}, bad=bad)
        looker.meet(arm, 300)
    assert looker.answer() is Answer.SHARED
    looker.edit(edited)
    judgement = looker.look()
    (verdict,) = judgement.verdicts
    assert judgement.requests == 0
    assert verdict.answer is Answer.TOO_FEW
    names = ("requests", "bad", "units", "control_requests", "control_bad", "control_units")
    assert [verdict.numbers[name] for name in names] == [0] * 6
    assert verdict.numbers["evidence"] == 0.5
    looker.count("treatment", 3, errors=2, took={"100": 3})
    looker.count("control", 5, errors=1, took={"100": 5})
    judgement = looker.look()
    assert judgement.requests == 3
    numbers = judgement.verdicts[0].numbers
    assert (numbers["requests"], numbers["control_requests"]) == (3, 5)
    if edited.metric == "errors":
        assert [numbers[name] for name in names] == [3, 2, 2, 5, 1, 1]


def test_a_query_that_comes_with_an_edit_counts_nothing_of_before() -> None:
    looker = Looker(LIMIT)
    looker.samples["queue_length"] = Sample(3.0)
    looker.look()
    looker.edit(QUERY, LIMIT)
    assert [verdict.answer for verdict in looker.look().verdicts] == [Answer.OK, Answer.TOO_FEW]


def test_a_lowered_share_is_held_against_units_that_come_after_it() -> None:
    looker = Looker(CONTROL)
    for arm in ("treatment", "control"):
        looker.meet(arm, 500)
    assert looker.look().split is None
    lower = replace(looker.flag.stages[0], share_thousandths=10_000)
    looker.flag = replace(looker.flag, stages=(lower, *looker.flag.stages[1:]))
    looker.edit(CONTROL)
    assert looker.look().split is None
    looker.meet("treatment", 10)
    looker.meet("control", 90)
    assert looker.look().split is None
    looker.meet("treatment", 90)
    assert looker.look().split == "100 units with and 90 without, where 0.1 of them were to have it"


@pytest.mark.parametrize("change", [{"attempt": 2}, {"stage": 2}])
def test_a_stage_entered_anew_begins_with_nothing(change: dict[str, Any]) -> None:
    """Its counts are others: what comes is of this stage and attempt, all of it."""
    looker = Looker(LIMIT, share=1)
    looker.count("on", 4, errors=4)
    looker.look()
    looker.rollout = replace(looker.rollout, **change)
    looker.count("on", 1, errors=1)
    judgement = looker.look()
    assert (judgement.requests, judgement.verdicts[0].numbers["bad"]) == (5, 5)


def test_what_was_kept_by_another_version_begins_anew_and_counts_nothing_twice() -> None:
    looker = Looker(LIMIT, share=1)
    looker.count("on", 4, errors=4)
    looker.look()
    assert looker.kept is not None
    looker.kept = {**looker.kept, "guards": [{"evidence": "?"}]}
    verdict = looker.verdict()
    assert (verdict.numbers["bad"], verdict.numbers["evidence"]) == (0, 0.5)


def test_judging_changes_nothing_of_what_was_kept() -> None:
    """Or else whoever judges twice from there would count twice."""
    looker = Looker(*ALL)
    for _ in range(3):
        for arm in ("treatment", "control"):
            looker.count(arm, 400, errors=3, took={"100": 370, "300": 30}, bad={"slower": 3})
        looker.look()
    kept, seen, now = looker.kept, looker.seen, datetime.fromtimestamp(looker.now + 5, UTC)
    before = json.dumps(kept)
    said = [judge(looker.flag, looker.rollout, seen, kept, now, is_soaked=True) for _ in range(2)]
    assert json.dumps(kept) == before
    assert said[0] == said[1]


# --- whatever is counted ----------------------------------------------------------------------

STEP = st.fixed_dictionaries(
    {
        "seconds": st.sampled_from([0.0, 1.0, 5.0, 61.0, 700.0, 4000.0]),
        "treatment": st.tuples(st.integers(0, 30), st.integers(0, 8)),
        "control": st.tuples(st.integers(0, 30), st.integers(0, 8)),
        "slow": st.integers(0, 5),
    }
)
STEPS = st.lists(STEP, max_size=25)


def count(looker: Looker, step: dict[str, Any], *, is_met: bool = False) -> None:
    for arm in ("treatment", "control"):
        requests, errors = step[arm]
        slow = min(step["slow"], requests)
        took = {"100": requests - slow, "820": slow}
        looker.count(arm, requests, errors=min(errors, requests), took=took, bad={"slow 400": slow, "slower": slow})
        if is_met:
            looker.meet(arm, requests // 3)


def wholes(looker: Looker) -> list[list[float]]:
    assert looker.kept is not None
    return [guard["evidence"]["whole"] for guard in looker.kept["guards"]]


@given(STEPS)
def test_the_same_reports_at_once_are_the_same_evidence_since_the_stage_began(steps: list[dict[str, Any]]) -> None:
    """Of units that come one by one: how those of one clump depends on when they are looked at."""
    often, once = Looker(LIMIT, CONTROL), Looker(LIMIT, CONTROL)
    for looker in (often, once):
        looker.look()
    for step in steps:
        for looker in (often, once):
            count(looker, step)
        often.look(0)
    once.look(0)
    for one, other in zip(wholes(often), wholes(once), strict=True):
        assert one == pytest.approx(other, rel=1e-6)


@given(STEPS, st.data())
def test_reports_that_come_late_are_harmless(steps: list[dict[str, Any]], data: st.DataObject) -> None:
    """Of guards that only observe: one that acts may begin anew, after an outage."""
    guards = [replace(guard, observe=True) for guard in (LIMIT, CONTROL)]
    prompt, late, waiting = Looker(*guards), Looker(*guards), list[dict[str, Any]]()
    for step in steps:
        for looker in (prompt, late):
            looker.wait(step["seconds"])
        count(prompt, step)
        prompt.look(0)
        waiting.append(step)
        if data.draw(st.booleans()):
            for one in waiting:
                count(late, one)
            waiting.clear()
        late.look(0)
    for step in waiting:
        count(late, step)
    for looker in (prompt, late):
        looker.look(0)
    for whole, same in zip(wholes(prompt), wholes(late), strict=True):
        assert whole == pytest.approx(same, rel=1e-6)


@given(STEPS)
def test_a_new_holder_of_what_was_kept_says_the_same_ever_after(steps: list[dict[str, Any]]) -> None:
    """What was kept goes through JSON between any two looks, or never."""
    looker, kept = Looker(*ALL), None
    for step in steps:
        count(looker, step, is_met=True)
        said = looker.look(step["seconds"])
        moment = datetime.fromtimestamp(looker.now, UTC)
        same = judge(looker.flag, looker.rollout, looker.seen, kept, moment, is_soaked=True)
        assert same is not None
        assert same.verdicts == said.verdicts
        kept = same.kept
        assert json.loads(json.dumps(kept)) == looker.kept


@given(STEPS)
def test_what_is_shown_never_becomes_less_while_more_is_counted(steps: list[dict[str, Any]]) -> None:
    looker, names = Looker(*ALL[:5]), ("requests", "bad", "units", "control_requests", "control_bad", "control_units")
    before = [[0] * 6] * 5
    for number, step in enumerate(steps):
        count(looker, step)
        if number == 10:
            looker.edit(*ALL[:5])
            before = [[0] * 6] * 5
        after = [[verdict.numbers[name] for name in names] for verdict in looker.look(step["seconds"]).verdicts]
        for one, other in zip(before, after, strict=True):
            assert all(old <= new for old, new in zip(one, other, strict=True))
        before = after


SOME = st.integers(0, 10**7)
TALLY = st.builds(
    Tally,
    SOME,
    SOME,
    st.dictionaries(st.sampled_from(["1.0", "91.0", "200.0", "inf"]), SOME),
    st.dictionaries(st.just("paid"), SOME),
)
PLACE = st.tuples(
    st.sampled_from(["errors", "slower", "slow 400", "no paid", REQUESTS]),
    st.sampled_from([0, 600, 3600]),
    st.sampled_from([0, 1_772_436_000, 1_772_438_400, 1_772_439_600]),
)
UNITS = st.dictionaries(st.sampled_from(["on", "treatment", "control"]), st.builds(Units, SOME, SOME, SOME))
SEEN = st.builds(
    Seen,
    st.dictionaries(st.sampled_from(["on", "treatment", "control"]), TALLY),
    st.dictionaries(PLACE, UNITS, max_size=8),
    st.integers(0, 3),
    st.dictionaries(st.just("queue_length"), st.builds(Sample, st.none() | st.floats())),
)


@given(
    st.lists(st.tuples(SEEN, st.integers(-10_000, 100_000)), max_size=8), st.sampled_from([0.001, 0.5, 0.999, 1.0]),
    st.sampled_from(["rollback", "hold"]),
)  # fmt: skip
def test_nothing_raises_for_any_counts(looks: list[tuple[Seen, int]], share: float, on_shared: Any) -> None:
    """Not where they become less, nor where the clock is set back; and all of it can be kept."""
    looker = Looker(*(replace(guard, on_shared=on_shared) for guard in ALL), share=share)
    kept, now = None, START.timestamp()
    for seen, seconds in looks:
        now += seconds
        judgement = judge(looker.flag, looker.rollout, seen, kept, datetime.fromtimestamp(now, UTC), is_soaked=True)
        assert judgement is not None
        kept = json.loads(json.dumps(judgement.kept, allow_nan=False))


# --- whose fault it is, where few have an arm ---------------------------------------------------


def bad_for_some(looker: Looker, looks: int, *, control: int = 75, bad_in_control: int = 0) -> list[Answer]:
    """Of 25 who have it the same five fail each time, two of them with an arm: what is said at each look."""
    found = []
    for _ in range(looks):
        looker.count("treatment", 8, errors=2, units=["a", "b"])
        looker.count("on", 17, errors=3, units=["c", "d", "e"])
        looker.count("control", control, errors=bad_in_control, units=[f"control {n}" for n in range(bad_in_control)])
        found.append(looker.answer())
        if found[-1] is Answer.BREACH:
            break
    return found


def test_it_is_the_feature_where_an_outage_would_have_hit_the_control() -> None:
    """Two with an arm are no evidence against chance; that none of so many without it fails is."""
    looker = Looker(LIMIT, share=0.1)
    found = bad_for_some(looker, 10)
    assert found[-1] is Answer.BREACH
    assert 2 <= len(found) <= 4
    assert looker.kept is not None
    (guard,) = looker.kept["guards"]
    assert sum(guard["blame"]["whole"]) / 8 < 50


@pytest.mark.parametrize(
    ("control", "bad_in_control"), [(75, 9), (1, 0)], ids=["it is hit as well", "there is next to no control"]
)
def test_it_is_held_where_nobody_can_tell(control: int, bad_in_control: int) -> None:
    found = bad_for_some(Looker(LIMIT, share=0.1), 10, control=control, bad_in_control=bad_in_control)
    assert found == [Answer.SHARED] * 10


def test_nor_by_what_one_who_is_stuck_has_done_since() -> None:
    looker = Looker(LIMIT, share=0.1)
    assert bad_for_some(looker, 1) == [Answer.SHARED]
    looker.wait(600)
    for _ in range(5):
        looker.count("treatment", 25, errors=5, units=["a"] * 5)
        looker.count("control", 75)
        assert looker.answer() is not Answer.BREACH


def test_the_same_few_who_fail_again_and_again_are_seen() -> None:
    """Without a control: five of a hundred, whatever they do, and however often somebody looks."""
    looker = Looker(LIMIT, share=1.0)
    for _ in range(3 * 120):
        looker.count("on", 100, errors=5, units=["a", "b", "c", "d", "e"])
        if looker.verdict().rolls_back:
            return
    raise AssertionError("not within three windows of ten minutes")
