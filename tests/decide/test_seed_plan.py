"""The seed plan over 20 000 people: every answer at every stage is the oracle's."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest

from flaggate import Context
from flaggate.rollout.state import Rollout, Verb
from tests.decide.seed_plan import at_stage, compiled_at, context_of, moved
from tests.oracle import STAGES, Answer, Person, Standing, bucket, expected, make_people

PEOPLE: Final = make_people(20_000, seed=7)
CONTEXTS: Final = [context_of(person) for person in PEOPLE]
TENTH: Final = 4


def answers(rollout: Rollout) -> list[Answer]:
    """What each of the people gets."""
    compiled = compiled_at(rollout)
    decisions = [compiled.decide(context) for context in CONTEXTS]
    assert [compiled.is_on(context) for context in CONTEXTS] == [decision.is_on for decision in decisions]
    assert {decision.flag for decision in decisions} == {"new-invoicing"}
    return [(decision.is_on, decision.stage, decision.arm, decision.reason) for decision in decisions]


def who_has_it(rollout: Rollout) -> set[int]:
    """The people for whom it is on, by number."""
    return {number for number, answer in enumerate(answers(rollout)) if answer[0]}


def everyone_as_expected(rollout: Rollout, stage: int, standing: Standing = "as started") -> bool:
    """Whether every answer is the oracle's; names the first that is not."""
    for person, answer in zip(PEOPLE, answers(rollout), strict=True):
        assert answer == expected(stage, person, standing), person
    return True


def test_the_people_are_of_every_kind() -> None:
    """The comparison below is worth something only if nobody is missing from it."""
    seen = Counter(expected(stage, person) for stage in range(6) for person in PEOPLE)
    reasons = {reason for _, _, _, reason in seen}
    assert reasons == {"denied", "not_started", "stage", "no_match", "no_unit"}
    assert {stage for _, stage, _, _ in seen} == {None, *STAGES}
    assert min(seen.values()) > 50


@pytest.mark.parametrize("stage", range(6))
def test_every_answer_is_the_oracles(stage: int) -> None:
    assert everyone_as_expected(at_stage(stage), stage)


@pytest.mark.parametrize("stage", range(6))
def test_a_kill_answers_for_everyone(stage: int) -> None:
    assert everyone_as_expected(moved(at_stage(stage), Verb.KILL), stage, "killed")


@pytest.mark.parametrize("stage", range(1, 6))
def test_a_rollback_answers_for_everyone(stage: int) -> None:
    assert everyone_as_expected(moved(at_stage(stage), Verb.ROLLBACK), stage, "rolled_back")


def test_cohorts_nest_along_the_plan() -> None:
    had: set[int] = set()
    for stage in range(6):
        has = who_has_it(at_stage(stage))
        assert had < has or stage == 0
        had = has


@pytest.mark.parametrize("stage", range(1, 6))
def test_the_same_people_have_it_after_every_way_around(stage: int) -> None:
    rollout = at_stage(stage)
    before = answers(rollout)
    ways = [
        (Verb.KILL, Verb.UNKILL),
        (Verb.ROLLBACK, Verb.RESTART, *[Verb.ADVANCE] * (stage - 1)),
    ]
    if stage < 5:
        ways += [(Verb.PAUSE,), (Verb.PAUSE, Verb.RESUME)]
    if stage > 1:
        ways += [(Verb.STEP_BACK, Verb.RESUME, Verb.ADVANCE)]
    for way in ways:
        assert answers(moved(rollout, *way)) == before, way


def test_two_manchesters_are_told_apart() -> None:
    decide = compiled_at(at_stage(2)).decide
    key = next(str(n) for n in range(1000) if bucket("new-invoicing", str(n)) < 50_000)
    ours = Context(key, city="Manchester", country="GB")
    assert decide(ours).stage == "manchester"
    for other in ("US", None):
        assert decide(ours.replace(country=other)).reason == "no_match"


# --- the arms at "tenth" ----------------------------------------------------------------------


def arms_at_tenth() -> dict[Person, str]:
    """The people with an arm, and which."""
    return {
        person: arm for person, (_, _, arm, _) in zip(PEOPLE, answers(at_stage(TENTH)), strict=True) if arm is not None
    }


def six_deviations(count: int, share: float) -> float:
    """How far a binomial count may lie from its mean: less than 1 in 10^8 is farther."""
    return 6 * float((count * share * (1 - share)) ** 0.5)


def test_a_tenth_of_those_with_an_arm_are_treated() -> None:
    arms = arms_at_tenth()
    treated = sum(arm == "treatment" for arm in arms.values())
    assert len(arms) > 8_000
    assert abs(treated - len(arms) / 10) < six_deviations(len(arms), 0.1)


def test_only_strangers_to_the_earlier_stages_have_an_arm() -> None:
    for person in arms_at_tenth():
        assert person.user
        assert not person.staff
        assert person.account != "acme-de"
        assert "beta" not in person.groups
        assert person.tier != "enterprise"
        assert (person.city, person.country) != ("Manchester", "GB")


def test_the_upper_half_of_manchester_is_no_control_of_the_tenth() -> None:
    """They are off, but their share was 50 %: a bucket above it says something about them."""
    plain = [
        (person, answer)
        for person, answer in zip(PEOPLE, answers(at_stage(TENTH)), strict=True)
        if (person.city, person.country) == ("Manchester", "GB") and answer[3] == "stage" and not answer[0]
    ]
    assert len(plain) > 1_000
    assert all(person.user and bucket("new-invoicing", person.user) >= 50_000 for person, _ in plain)
    assert {arm for _, (_, _, arm, _) in plain} == {None}


@pytest.mark.parametrize("trait", ["tier", "city", "is_early"])
def test_the_arm_does_not_depend_on_who_they_are(trait: str) -> None:
    """Chi-square of trait against arm: each (count - expected)^2 / expected, over the table's cells.

    With at most 4 kinds there are at most 3 degrees of freedom; 37 is passed once in more than 10^7 by chance.
    """
    kinds = {
        person: person.tier if trait == "tier" else person.city if trait == "city" else "early" in person.groups
        for person in arms_at_tenth()
    }
    arms = arms_at_tenth()
    by_kind, by_arm = Counter(kinds.values()), Counter(arms.values())
    cells = Counter((kinds[person], arm) for person, arm in arms.items())
    assert 2 <= len(by_kind) <= 4
    distance = 0.0
    for kind, of_kind in by_kind.items():
        for arm, of_arm in by_arm.items():
            mean = of_kind * of_arm / len(arms)
            assert mean > 20
            distance += (cells[kind, arm] - mean) ** 2 / mean
    assert distance < 37


@pytest.mark.parametrize("stage", range(6))
def test_nobody_without_a_key_has_an_arm(stage: int) -> None:
    keyless = [answer for person, answer in zip(PEOPLE, answers(at_stage(stage)), strict=True) if not person.user]
    assert len(keyless) > 1_000
    assert {arm for _, _, arm, _ in keyless} == {None}


def test_a_decision_is_true_where_it_is_on() -> None:
    decide = compiled_at(at_stage(1)).decide
    assert decide(Context("u", staff=True))
    assert not decide(Context("u"))
