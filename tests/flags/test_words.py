"""What is declared, in words."""

from __future__ import annotations

from typing import Any

import pytest

from flaggate.flags.document import flag_from_json
from flaggate.flags.words import audience_words, condition_words, span_words, stage_words


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"staff": True}, "staff"),
        ({"staff": False}, "staff false"),
        ([{"city": "Manchester", "country": "GB"}, {"tier": "team"}], "city Manchester and country GB or tier team"),
        ({"group": ["beta", "staff"], "seats": 3}, "group beta or staff and seats 3"),
        ({"seats": {"at_least": 2}, "user": {"not": ["a", "b"]}}, 'user not ["a", "b"] and seats at_least 2'),
        ({"segment": "pilots"}, "segment pilots"),
    ],
)
def test_an_audience(written: Any, words: str) -> None:
    flag = flag_from_json("a", {"description": "A", "owner": "owner@example.com", "audience": written})
    assert audience_words(flag.audience) == words


def test_stages_and_what_has_to_be_true_before_they_are_left() -> None:
    stages = [
        {"name": "staff", "audience": {"staff": True}, "soak": "24h", "min_sample": 500, "prove": True},
        {"name": "tenth", "share": 10, "approval": "other", "not_before": "2026-12-01T10:00:00+01:00"},
        {"name": "half", "share": 50, "approval": True, "hours": "Mon-Fri 09:00-16:00 UTC"},
        {"name": "everyone"},
    ]
    flag = flag_from_json("a", {"description": "A", "owner": "owner@example.com", "stages": stages})
    assert [stage_words(stage) for stage in flag.stages] == [
        "staff",
        "10 % of everyone",
        "50 % of everyone",
        "everyone",
    ]
    assert list(condition_words(flag)) == [
        "soak 24h, min_sample 500, prove",
        "not_before Tue 01 Dec 2026 09:00 UTC, approval by another person",
        "hours Mon-Fri 09:00-16:00 UTC, approval",
        "",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (45.9, "45 s"), (11_520, "3 h 12 min"), (86_400, "24 h"), (432_000, "5 d"), (432_005, "5 d"), (3_605, "1 h")],
)  # fmt: skip
def test_a_span_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert span_words(seconds) == words
