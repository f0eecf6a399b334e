"""What changed between two canonical documents."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given

from flaggate.flags.canonical import flag_to_json
from flaggate.flags.difference import Change, difference
from flaggate.flags.document import flag_from_json
from tests.flags import strategies

PLAN: dict[str, Any] = {
    "description": "Search by meaning",
    "owner": "owner@example.com",
    "stages": [
        {"name": "internal", "audience": {"staff": True}, "soak": "24h"},
        {"name": "tenth", "share": 10, "soak": "24h"},
        {"name": "everyone"},
    ],
    "guards": [{"metric": "errors", "limit": "1%"}],
}


def changed(**changes: Any) -> list[Change]:
    """The differences from PLAN to PLAN with these keys."""
    return list(difference(PLAN, PLAN | changes))


def test_nothing_changed() -> None:
    assert list(difference(PLAN, copy.deepcopy(PLAN))) == []


def test_a_key_that_came_went_or_changed() -> None:
    assert changed(owner="other@example.com") == [Change("owner", "owner@example.com", "other@example.com")]
    assert changed(unit="account") == [Change("unit", None, "account")]
    without_guards = {key: value for key, value in PLAN.items() if key != "guards"}
    assert list(difference(PLAN, without_guards)) == [Change("guards", PLAN["guards"], None)]


def test_a_stage_is_named_and_only_what_changed_in_it() -> None:
    internal, tenth, everyone = PLAN["stages"]
    assert changed(stages=[internal, tenth | {"share": 5}, everyone]) == [Change("stages.tenth.share", 10, 5)]
    assert changed(stages=[internal, everyone]) == [Change("stages.tenth", tenth, None)]
    half = {"name": "half", "share": 50, "soak": "1h"}
    assert changed(stages=[internal, tenth, half, everyone]) == [Change("stages.half", None, half)]


def test_stages_in_another_order() -> None:
    internal, tenth, everyone = PLAN["stages"]
    names = [["internal", "tenth", "everyone"], ["tenth", "internal", "everyone"]]
    assert changed(stages=[tenth, internal, everyone]) == [Change("stages (order)", *names)]
    assert [change.path for change in changed(stages=[tenth | {"share": 5}, internal, everyone])] == [
        "stages (order)",
        "stages.tenth.share",
    ]


def test_a_plan_that_became_a_switch() -> None:
    switch = {key: value for key, value in PLAN.items() if key not in {"stages", "guards"}}
    assert [change.path for change in difference(PLAN, switch)] == ["stages", "guards"]


def test_lists_without_names_change_as_a_whole() -> None:
    guards = [*PLAN["guards"], {"metric": "slow", "vs_control": 2}]
    assert changed(guards=guards) == [Change("guards", PLAN["guards"], guards)]


@pytest.mark.parametrize(("before", "after"), [(1, True), (False, 0), ([1], [True]), ({"a": [0]}, {"a": [False]})])
def test_a_bool_is_no_number(before: Any, after: Any) -> None:
    assert list(difference({"x": before}, {"x": after})) != []
    assert list(difference({"x": before}, {"x": before})) == []


def test_one_number_written_in_two_ways_is_no_change() -> None:
    assert list(difference({"x": [2, {"y": 1.0}]}, {"x": [2.0, {"y": 1}]})) == []


@given(strategies.flags(), strategies.flags())
def test_there_is_a_difference_exactly_if_the_flags_differ(one: dict[str, Any], other: dict[str, Any]) -> None:
    before, after = flag_from_json("a", one), flag_from_json("a", other)
    changes = list(difference(flag_to_json(before), flag_to_json(after)))
    assert (changes == []) == (before == after)
    assert all(repr(change.before) != repr(change.after) for change in changes)  # 0 is not False
