"""What a product manager reads of a guard."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from flaggate import Guard
from flaggate.rollout.verdict import Answer, Verdict
from flaggate.rollout.verdict_words import allowed_words, evidence_words, reason_words, verdict_words, written_words

AGAINST_CONTROL = Guard("errors", vs_control=Decimal("1.25"))
SLOWER = Guard("slow", vs_control=Decimal("1.2"))
LENGTH = Guard("queue_length", limit=Decimal(10), query="queue_length", for_seconds=120)
SOLD = Guard("sold", at_least=Decimal("0.02"))


def numbers(evidence: float, **more: Any) -> dict[str, Any]:
    """Of a stage in which one in fifty fails."""
    seen = {"requests": 1930, "bad": 41, "rate": 41 / 1930, "units": 30, "evidence": evidence}
    control = {"control_requests": 1871, "control_bad": 6, "control_rate": 6 / 1871, "control_units": 5}
    return seen | control | more


FAILED = "errors: 41 of 1,930 requests with the feature failed (2.1 %), 6 of 1,871 without (0.32 %)"


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (0.0, "no sign of trouble"),
        (2.99, "no sign of trouble"),
        (3.0, "a hint, watching"),
        (10.0, "91 % sure that it is worse than you allow"),
        (33.0, "97 % sure that it is worse than you allow"),
        (98.0, "99 % sure that it is worse than you allow"),
        (249.0, "99.6 % sure that it is worse than you allow"),
        (1e200, "more than 99.9 % sure that it is worse than you allow"),
    ],
)
def test_evidence_in_words(evidence: float, words: str) -> None:
    assert evidence_words(evidence) == words


@pytest.mark.parametrize(
    ("answer", "found", "words"),
    [
        (
            Answer.BREACH,
            numbers(249.0),
            f"{FAILED}; 35 users were hit, 30 of them with the feature. We are 99.6 % sure that this is worse than you "
            "allow (at most 1.25 times the control's). A healthy feature triggers this in fewer than 1 of 100 stages, "
            "however long we watch",
        ),
        (
            Answer.BREACH,
            numbers(0.0, why="vanished"),
            f"{FAILED}. Then no request with the feature came to its end while others did: it crashes or hangs",
        ),
        (
            Answer.BREACH,
            numbers(1e3, why="shared"),
            f"{FAILED}. Not clearly more users are hit with the feature than without: an outage, or too few to tell. It did "
            "not end, and your plan rolls back then (on_shared)",
        ),
        (
            Answer.SHARED,
            numbers(1e3),
            f"{FAILED}. Over your limit, but not clearly more users are hit with the feature than without: an outage, or too "
            "few to tell",
        ),
        (Answer.OK, numbers(1.0), f"{FAILED}. No sign of trouble"),
        (Answer.SAFE, numbers(0.1), f"{FAILED}. Safe: shown to be within your limit"),
        (Answer.TOO_FEW, numbers(3.0), f"{FAILED}. Not enough traffic to tell; a hint, watching"),
        (Answer.NO_DATA, numbers(0.0), "errors: nobody reports with the feature: nothing is known of it"),
        (Answer.ERROR, numbers(0.0, why="no disk"), "errors: it cannot be judged: no disk"),
        (Answer.ERROR, {"why": "no disk"}, "errors: error (why no disk)"),
        (Answer.OK, {}, "errors: ok"),
    ],
)
def test_a_verdict_in_words(answer: Answer, found: dict[str, Any], words: str) -> None:
    assert verdict_words(Verdict(AGAINST_CONTROL, answer, found), "user") == words


@pytest.mark.parametrize(
    ("guard", "found", "words"),
    [
        (AGAINST_CONTROL, {"units": 1, "control_units": 0}, "; 1 account was hit. "),
        (AGAINST_CONTROL, {"units": 0, "control_units": 1}, "; 1 account was hit, 0 of them with the feature. "),
        (AGAINST_CONTROL, {"units": 7, "control_units": 0}, "; 7 accounts were hit. "),
        (
            SLOWER,
            {},
            "slow: 41 of 1,930 requests with the feature were slower than control's 95 % point allows (2.1 %), ",
        ),
        (SLOWER, {}, "without (0.32 %). We are 91 % sure that this is worse than you allow (at most 1.2 times the"),
        (SOLD, {"bad": 1930, "rate": 1.0}, "sold: 1,930 of 1,930 requests with the feature had no sold (100 %), "),
        (SOLD, {"control_requests": 0, "rate": None}, "sold: 41 of 1,930 requests with the feature had no sold; "),
        (SOLD, {}, "(at least 2 %)"),
        (Guard("rude", limit=Decimal("0.01")), {}, "rude: 41 of 1,930 requests with the feature had rude (2.1 %), "),
    ],
)
def test_what_was_seen_of_other_guards(guard: Guard, found: dict[str, Any], words: str) -> None:
    assert words in verdict_words(Verdict(guard, Answer.BREACH, numbers(10.0, **found)), "account")


@pytest.mark.parametrize(
    ("answer", "found", "words"),
    [
        (Answer.OK, {"value": 7.25}, "queue_length: 7.25, where at most 10 is allowed"),
        (Answer.BREACH, {"value": 70.0}, "queue_length: 70, where at most 10 is allowed, for 2 min by now"),
        (Answer.ERROR, {"value": None, "why": "refused"}, "queue_length: error: refused"),
        (Answer.NO_DATA, {}, "queue_length: no data: nothing was answered"),
    ],
)
def test_what_a_query_says(answer: Answer, found: dict[str, Any], words: str) -> None:
    assert verdict_words(Verdict(LENGTH, answer, found), "user") == words


def test_a_query_that_wants_at_least() -> None:
    assert allowed_words(Guard("sold", at_least=Decimal("0.5"), query="sold")) == "at least 0.5"


def test_the_short_of_it() -> None:
    assert reason_words(Verdict(AGAINST_CONTROL, Answer.BREACH, numbers(249.0))) == FAILED
    assert reason_words(Verdict(AGAINST_CONTROL, Answer.BREACH, numbers(249.0, why="shared"))) == f"{FAILED} (shared)"
    assert reason_words(Verdict(AGAINST_CONTROL, Answer.NO_DATA, numbers(0.0))) == "errors: no data"
    over = "queue_length: 70, where at most 10 is allowed, for 2 min by now"
    assert reason_words(Verdict(LENGTH, Answer.BREACH, {"value": 70.0})) == over
    assert reason_words(Verdict(LENGTH, Answer.ERROR, {"why": "refused"})) == "queue_length: error: refused"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"metric": "errors", "answer": "breach", "words": "errors: all of them"}, "errors: all of them"),
        (
            {"metric": "errors", "answer": "too_few", "numbers": {"n": 3, "rate": 0.25}},
            "errors: too few (n 3, rate 0.25)",
        ),
        ({"metric": "errors", "answer": "ok", "numbers": None}, "errors: ok"),
        ({"answer": "ok"}, None),
        ("errors", None),
    ],
)
def test_as_events_have_it(written: Any, words: str | None) -> None:
    assert written_words(written) == words
