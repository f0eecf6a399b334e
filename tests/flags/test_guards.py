"""What guards mean as they are written, and how they are written again."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from flaggate.flags.canonical import flag_to_json
from flaggate.flags.difference import difference
from flaggate.flags.document import flag_from_json, parse
from flaggate.flags.model import Flag, Guard
from flaggate.flags.words import guard_words
from flaggate.rollout.state import unguarded_stages
from tests.flags import strategies

DEPTH = "sum(queue_depth)"


def flag_with(*guards: dict[str, Any]) -> Flag:
    """A rollout with a control, and these guards for all of its stages."""
    stages = [{"name": "tenth", "share": 10, "soak": "24h"}, {"name": "everyone"}]
    plan = {"description": "A", "owner": "owner@example.com", "stages": stages, "guards": list(guards)}
    return flag_from_json("a", plan)


def guard(**written: Any) -> Guard:
    return flag_with(written).guards[0]


EACH: list[tuple[dict[str, Any], Guard, str]] = [
    (
        {"metric": "errors", "limit": "1%"},
        Guard("errors", limit=Decimal("0.01")),
        "errors at most 1%: rollback on breach, hold on no data",
    ),
    (
        {"metric": "slow", "limit": "5%", "slower_than": "400ms", "on_breach": "hold", "on_no_data": "ignore"},
        Guard("slow", limit=Decimal("0.05"), slower_than_ms=400, on_breach="hold", on_no_data="ignore"),
        "slow (over 400ms) at most 5%: hold on breach, ignore on no data",
    ),
    (
        {"metric": "checkout_failed", "vs_control": 1.25},
        Guard("checkout_failed", vs_control=Decimal("1.25")),
        "checkout_failed at most 1.25 times the control's: rollback on breach, hold on no data",
    ),
    (
        {"metric": "checkout_failed", "limit": "0.5%", "on_shared": "hold"},
        Guard("checkout_failed", limit=Decimal("0.005"), on_shared="hold"),
        "checkout_failed at most 0.5%: rollback on breach, hold if it is as bad without the feature, hold on no data",
    ),
    (
        {"metric": "checkout_done", "at_least": "5%", "observe": True},
        Guard("checkout_done", at_least=Decimal("0.05"), observe=True),
        "checkout_done at least 5%: observes, never acts",
    ),
    (
        {"metric": "queue_depth", "query": DEPTH, "limit": 100},
        Guard("queue_depth", limit=Decimal(100), query=DEPTH, every_seconds=30),
        "queue_depth (a query, every 30s) at most 100: rollback on breach, hold on no data",
    ),
    (
        {"metric": "margin", "query": DEPTH, "at_least": -0.05, "every": "5m", "for": "24h"},
        Guard("margin", at_least=Decimal("-0.05"), query=DEPTH, every_seconds=300, for_seconds=86_400),
        "margin (a query, every 5m) at least -0.05 for 24h: rollback on breach, hold on no data",
    ),
    (
        {"metric": "queue_depth", "query": DEPTH, "limit": 0, "observe": True},
        Guard("queue_depth", limit=Decimal(0), query=DEPTH, every_seconds=30, observe=True),
        "queue_depth (a query, every 30s) at most 0: observes, never acts",
    ),
]


@pytest.mark.parametrize(("written", "expected", "words"), EACH)
def test_each_kind_is_read_kept_and_said(written: dict[str, Any], expected: Guard, words: str) -> None:
    flag = flag_with(written)
    assert flag.guards == (expected,)
    assert flag_to_json(flag)["guards"] == [written]
    assert guard_words(expected) == words


def test_what_is_the_default_is_not_kept() -> None:
    acts = {"on_breach": "rollback", "on_no_data": "hold", "on_shared": "rollback"}
    asked = {"every": "30s", "for": "0s", "on_breach": "rollback", "on_no_data": "hold"}
    plain, query = {"metric": "errors", "limit": "1%"}, {"metric": "queue_depth", "query": DEPTH, "limit": 100}
    kept = flag_to_json(flag_with(plain | acts, query | asked, query | {"limit": 100.0}))
    assert kept["guards"] == [plain, query, query]


def test_a_limit_of_a_query_is_the_same_however_it_is_written() -> None:
    text = (
        '[flags.a]\ndescription = "A"\nowner = "owner@example.com"\nstages = [{{ name = "all" }}]\n'
        'guards = [{{ metric = "queue_depth", query = "up", limit = {} }}]'
    )
    read = {parse(text.format(number)).flags["a"].guards for number in ("100", "100.0", "1e2", "0x64", "1_00")}
    assert len(read) == 1
    assert parse(text.format("0.05")).flags["a"].guards[0].limit == Decimal("0.05")
    assert parse(text.format("-0.0")).flags["a"].guards[0].limit == 0


def test_a_stage_needs_a_rollback_guard_that_acts() -> None:
    assert unguarded_stages(flag_with({"metric": "errors", "limit": "1%"})) == ()
    assert unguarded_stages(flag_with({"metric": "errors", "limit": "1%", "observe": True})) == ("tenth", "everyone")
    assert unguarded_stages(flag_with({"metric": "errors", "limit": "1%", "on_breach": "warn"})) == (
        "tenth",
        "everyone",
    )
    assert unguarded_stages(flag_with({"metric": "x", "vs_control": 2})) == ("everyone",)
    assert unguarded_stages(flag_with({"metric": "x", "query": "up", "at_least": 1})) == ()


def test_units_are_counted_by_what_is_bad_of_them() -> None:
    """Each form of a metric under a key of its own, and a query under none."""
    slower = {"metric": "slow", "limit": "5%"}
    written: list[dict[str, Any]] = [
        {"metric": "errors", "limit": "1%"},
        {"metric": "errors", "vs_control": 2},
        slower | {"slower_than": "400ms"},
        slower | {"slower_than": "2s"},
        {"metric": "slow", "vs_control": 2},
        {"metric": "paid", "limit": "5%"},
        {"metric": "paid", "at_least": "5%"},
        {"metric": "paid", "query": "up", "at_least": 1},
    ]
    keys = [guard.key for guard in flag_with(*written).guards]
    assert keys == ["errors", "errors", "slow 400", "slow 2000", "slower", "paid", "no paid", None]


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ({"limit": "2%"}, "1%", "2%"),
        ({"observe": True}, None, True),
        ({"on_shared": "hold"}, None, "hold"),
    ],
)
def test_an_edit_of_a_guard_is_a_difference(change: dict[str, Any], before: object, after: object) -> None:
    guard = {"metric": "errors", "limit": "1%"}
    (found,) = difference(flag_to_json(flag_with(guard)), flag_to_json(flag_with(guard | change)))
    (key,) = change
    assert found.path == "guards"
    assert (found.before[0].get(key), found.after[0].get(key)) == (before, after)


def test_a_template_s_guards_are_those_of_any_kind() -> None:
    guards = [written for written, _, _ in EACH]
    stages = [{"name": "tenth", "share": 10, "soak": "24h"}, {"name": "everyone"}]
    flag = {"description": "A", "owner": "owner@example.com", "template": "standard"}
    document = {"templates": {"standard": {"stages": stages, "guards": guards}}, "flags": {"a": flag}}
    assert parse(json.dumps(document), syntax="json").flags["a"].guards == tuple(expected for _, expected, _ in EACH)


@given(strategies.guards(with_control=True))
def test_every_guard_is_kept_and_can_be_said(written: dict[str, Any]) -> None:
    flag = flag_with(written)
    assert flag_with(*json.loads(json.dumps(flag_to_json(flag)))["guards"]) == flag
    assert flag.guards[0].metric in guard_words(flag.guards[0])
