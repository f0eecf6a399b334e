"""What `check` says about a plan without a mistake."""

from __future__ import annotations

from typing import Any

from flaggate.flags.advice import advice
from flaggate.flags.document import flag_from_json, parse
from tests.seed import SEED

LAST = {"name": "everyone"}
LIMIT = {"metric": "errors", "limit": "1%"}


def paths_and_words(**flag: Any) -> list[tuple[str, str]]:
    """The advice on one flag, each in its first words."""
    read = flag_from_json("a", {"description": "A", "owner": "owner@example.com"} | flag)
    return [(path, words[:25]) for path, words in advice({"a": read})]


def test_the_seed_plan_is_told_of_silence_and_of_a_place() -> None:
    assert [
        (path.rsplit(".", 1)[1], words) for path, words in advice(parse(SEED.read_text(encoding="utf-8")).flags)
    ] == [
        ("internal", "no min_sample: silence counts as fine here"),
        ("manchester", "50 % of a place by user: who leaves the place leaves the stage"),
        ("tenth", "no min_sample: silence counts as fine here"),
    ]


def test_a_share_of_a_place_by_account_stays_with_the_account() -> None:
    stage = {"name": "gb", "audience": {"country": "GB"}, "share": 10, "min_sample": 1}
    assert paths_and_words(unit="account", stages=[stage, LAST], guards=[LIMIT]) == []
    assert paths_and_words(stages=[stage, LAST], guards=[LIMIT]) == [("flags.a.stages.gb", "10 % of a place by user: ")]


def test_a_stage_without_a_rollback_guard_and_one_that_lets_in_nobody() -> None:
    stages = [{"name": "none", "share": 0, "min_sample": 1}, LAST]
    assert paths_and_words(stages=stages, guards=[LIMIT | {"on_breach": "hold"}]) == [
        ("flags.a.stages.none", "a share of 0 lets in nobo"),
        ("flags.a.stages.none", "no rollback guard is judg"),
        ("flags.a.stages.everyone", "no rollback guard is judg"),
    ]


def test_an_attribute_that_looks_misspelt() -> None:
    stages = [{"name": "gb", "audience": {"contry": "GB", "seats": 3}, "min_sample": 1}, LAST]
    assert paths_and_words(stages=stages, guards=[LIMIT], deny={"acount": "x"}) == [
        ("flags.a.deny.acount", '"acount" is taken for one'),
        ("flags.a.stages.gb.audience.contry", '"contry" is taken for one'),
    ]
    assert paths_and_words(audience={"regoin": "x"}) == [("flags.a.audience.regoin", '"regoin" is taken for one')]


def test_a_metric_that_looks_misspelt_is_counted_by_nobody() -> None:
    own = [{"metric": "error", "limit": "1%"}, {"metric": "checkout_failed", "limit": "1%"}]
    asked = {"metric": "error", "query": "up", "limit": 1}
    stages = [{"name": "gb", "min_sample": 1, "guards": [LIMIT, {"metric": "slows", "limit": "1%"}]}, LAST]
    assert paths_and_words(stages=stages, guards=[LIMIT, *own, asked]) == [
        ("flags.a.stages.gb.guards[1].metric", '"slows" is taken for a me'),
        ("flags.a.guards[1].metric", '"error" is taken for a me'),
    ]


def test_a_guard_that_observes_is_no_rollback_guard() -> None:
    stages = [{"name": "gb", "min_sample": 1, "guards": [LIMIT]}, LAST]
    assert paths_and_words(stages=stages, guards=[LIMIT | {"observe": True}]) == [
        ("flags.a.stages.everyone", "no rollback guard is judg"),
    ]


def test_a_date_that_has_passed_once_the_stage_is_reached() -> None:
    dates = {
        "first": None,
        "second": "2026-12-01T09:00:00Z",
        "third": "2026-12-01T10:00:00+02:00",
        "fourth": "2026-12-02T09:00:00Z",
    }
    stages = [{"name": name, "min_sample": 1} | ({"not_before": at} if at else {}) for name, at in dates.items()]
    assert paths_and_words(stages=[*stages, LAST], guards=[LIMIT]) == [
        ("flags.a.stages.third.not_before", "this has passed by then: ")
    ]
    same = [{"name": name, "min_sample": 1, "not_before": "2026-12-01T09:00:00Z"} for name in dates]
    assert paths_and_words(stages=[*same, LAST], guards=[LIMIT]) == []
