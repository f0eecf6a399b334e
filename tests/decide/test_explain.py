"""The trace of a decision, word by word."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any, Final

import pytest
from hypothesis import given
from packaging.specifiers import SpecifierSet

from flaggate import Context, Flag, Stage
from flaggate.decide.explain import explain
from flaggate.flags.audience import Condition
from flaggate.flags.model import Segment
from flaggate.rollout.state import Rollout, Status, Verb
from tests.decide.seed_plan import FLAG, at_stage, moved
from tests.decide.worlds import World, contexts, running, switches, worlds
from tests.oracle import bucket

LOW: Final = next(str(n) for n in range(1000) if bucket(FLAG.name, str(n)) < 10_000)
HIGH: Final = next(str(n) for n in range(1000) if bucket(FLAG.name, str(n)) >= 50_000)


def place(key: str) -> str:
    """The key's bucket as a person reads it."""
    return f"{bucket(FLAG.name, key):,}"


def told(rollout: Rollout, context: Context, flag: Flag = FLAG, **segments: Segment) -> str:
    return str(explain(flag, rollout, context, segments))


def test_someone_in_leeds_at_the_tenth() -> None:
    leeds = Context(HIGH, city="Leeds", country="GB", tier="free")
    assert told(at_stage(4), leeds) == (
        "kill: no; deny: no; internal: staff: no; manchester: city is Manchester: no, it is Leeds; "
        "beta: in group beta: no, in no group, or tier is enterprise: no, it is free; "
        f"tenth: bucket {place(HIGH)} is not below 10,000; off"
    )


def test_the_trace_ends_at_the_stage_that_lets_in() -> None:
    steps = "kill: no; deny: no; internal: staff: no; manchester: "
    assert told(at_stage(4), Context(LOW, city="Leeds")) == (
        f"{steps}city is Manchester: no, it is Leeds; "
        "beta: in group beta: no, in no group, or tier is enterprise: no, it is not known; "
        f"tenth: bucket {place(LOW)} is below 10,000; on"
    )
    assert told(at_stage(5), Context(LOW, city="Manchester", country="GB")) == (
        f"{steps}city is Manchester: yes, country is GB: yes, bucket {place(LOW)} is below 50,000; on"
    )
    assert told(at_stage(5), Context(staff=True)) == "kill: no; deny: no; internal: staff: yes; on"
    assert told(at_stage(3), Context("1", groups=["ops", "beta"])) == (
        f"{steps}city is Manchester: no, it is not known; beta: in group beta: yes; on"
    )
    assert told(at_stage(5), Context()).endswith("; everyone: everyone, yes; on")


def test_the_other_manchester() -> None:
    other = Context(LOW, city="Manchester", country="US")
    assert told(at_stage(2), other) == (
        "kill: no; deny: no; internal: staff: no; manchester: country is GB: no, it is US; off"
    )


def test_a_share_needs_a_key() -> None:
    assert told(at_stage(4), Context(city="Leeds")).endswith(
        "tenth: but a share of 10 % needs a user, and there is none; off"
    )
    assert told(at_stage(2), Context(city="Manchester", country="GB")).endswith(
        "manchester: city is Manchester: yes, country is GB: yes, but a share of 50 % needs a user, and there is none; off"
    )


def test_kill_and_deny_end_the_trace() -> None:
    assert told(moved(at_stage(4), Verb.KILL), Context(staff=True)) == "kill: yes; off"
    assert told(at_stage(5), Context(staff=True, account="acme-de")) == "kill: no; deny: account is acme-de: yes; off"
    assert told(replace(at_stage(5), killed=True), Context(account="acme-de")) == "kill: yes; off"


@pytest.mark.parametrize(
    ("rollout", "end"),
    [
        (at_stage(0), "status: draft; off"),
        (moved(at_stage(3), Verb.ROLLBACK), "status: rolled back; off"),
        (at_stage(1), "internal: staff: yes; on"),
        (moved(at_stage(1), Verb.PAUSE), "internal: staff: yes; on"),
        (at_stage(5), "internal: staff: yes; on"),
        (moved(at_stage(5), Verb.COMPLETE), "internal: staff: yes; on"),
    ],
)
def test_every_status(rollout: Rollout, end: str) -> None:
    assert told(rollout, Context(staff=True)) == f"kill: no; deny: no; {end}"


NEW_YEAR: Final = datetime(2026, 1, 1, tzinfo=UTC)
CITY: Final = ((Condition("city", "equals", ("Leeds",)),),)
PLAIN: Final = Flag(FLAG.name, "A switch", "owner@example.com", audience=CITY)


@pytest.mark.parametrize(
    ("flag", "status", "words"),
    [
        (PLAIN, Status.ON, "kill: no; on for: city is Leeds: yes; on"),
        (replace(PLAIN, audience=()), Status.ON, "kill: no; on for: everyone, yes; on"),
        (replace(PLAIN, deny=CITY), Status.ON, "kill: no; deny: city is Leeds: yes; off"),
        (PLAIN, Status.OFF, "kill: no; status: off; off"),
    ],
)
def test_switches(flag: Flag, status: Status, words: str) -> None:
    switch = replace(running(flag, 0), status=status)
    assert told(switch, Context(city="Leeds"), flag) == words


def test_a_switch_that_is_on_for_others() -> None:
    switch = replace(running(PLAIN, 0), status=Status.ON)
    assert told(switch, Context(city="London"), PLAIN) == "kill: no; on for: city is Leeds: no, it is London; off"
    assert told(switch, Context(), PLAIN) == "kill: no; on for: city is Leeds: no, it is not known; off"


def one_stage(*conditions: Condition, share: int = 100_000) -> Flag:
    """A flag with one stage for a table of conditions."""
    return Flag(FLAG.name, "A plan", "owner@example.com", unit="account", stages=(Stage("all", (conditions,), share),))


@pytest.mark.parametrize(
    ("condition", "known", "words"),
    [
        (Condition("seats", "at_least", 5), {"attributes": {"seats": 7}}, "seats is at least 5: yes, it is 7; on"),
        (Condition("seats", "at_least", 5), {}, "seats is at least 5: no, it is not known; off"),
        (Condition("seats", "below", 5), {"attributes": {"seats": 7}}, "seats is below 5: no, it is 7; off"),
        (Condition("city", "equals", ("Leeds", "York")), {"city": "York"}, "city is Leeds or York: yes, it is York; on"),
        (Condition("city", "not", ("Leeds", "York")), {"city": "York"}, "city is not Leeds or York: no, it is York; off"),
        (Condition("city", "prefix", "Le"), {"city": "York"}, "city begins with Le: no, it is York; off"),
        (Condition("city", "suffix", "ds"), {"city": "Leeds"}, "city ends with ds: yes, it is Leeds; on"),
        (Condition("city", "contains", "ed"), {"city": "York"}, "city contains ed: no, it is York; off"),
        (Condition("app", "version", SpecifierSet(">=2")), {"attributes": {"app": "1.9rc1"}},
         "app is a version >=2: no, it is 1.9rc1; off"),
        (Condition("ip", "in_network", (ip_network("10.0.0.0/8"),)), {"ip": "192.0.2.1"},
         "ip is in 10.0.0.0/8: no, it is 192.0.2.1; off"),
        (Condition("paid", "after", NEW_YEAR), {"attributes": {"paid": "2025-12-31T00:00:00Z"}},
         "paid is after 2026-01-01T00:00:00+00:00: no, it is 2025-12-31T00:00:00Z; off"),
        (Condition("tier", "exists", False), {}, "tier is not known: yes; on"),
        (Condition("tier", "exists", False), {"tier": "pro"}, "tier is not known: no, it is pro; off"),
        (Condition("tier", "exists", True), {}, "tier is known: no; off"),
        (Condition("group", "exists", True), {}, "in a group: no; off"),
        (Condition("group", "exists", False), {"groups": ["ops"]}, "in no group: no, groups are ops; off"),
        (Condition("group", "equals", ("a", "b")), {"groups": ["b", "c"]}, "in group a or b: yes, groups are b, c; on"),
        (Condition("group", "not", ("a",)), {}, "in a group, but not in a: no, in no group; off"),
        (Condition("group", "prefix", "be"), {"groups": ["beta"]}, "in a group that begins with be: yes, groups are beta; on"),
        (Condition("staff", "not", (True,)), {}, "not staff: yes; on"),
        (Condition("staff", "equals", (False,)), {"staff": True}, "not staff: no; off"),
        (Condition("segment", "segment", ("vip",)), {"account": "7"}, "in segment vip: yes; on"),
        (Condition("segment", "segment", ("near", "vip")), {"account": "8"}, "in segment near or vip: no; off"),
    ],
)  # fmt: skip
def test_conditions_of_every_kind(condition: Condition, known: dict[str, Any], words: str) -> None:
    flag = one_stage(condition)
    segments = {"vip": Segment("vip", unit="account", members=frozenset({"7"})), "near": Segment("near", CITY)}
    assert told(running(flag, 1), Context(**known), flag, **segments) == f"kill: no; all: {words}"


@pytest.mark.parametrize(
    ("wanted", "found", "words"),
    [
        (7, "7", 'seats is 7: no, it is "7"'),
        ("7", 7, 'seats is "7": no, it is 7'),
        ("true", True, 'seats is "true": no, it is true'),
        ("Leeds", "Leeds ", 'seats is Leeds: no, it is "Leeds "'),
        ("Leeds", "leeds", "seats is Leeds: no, it is leeds"),
        ("Leeds", "", 'seats is Leeds: no, it is ""'),
        ("Leeds", "not known", 'seats is Leeds: no, it is "not known"'),
    ],
)
def test_what_looks_alike_is_told_apart(wanted: object, found: object, words: str) -> None:
    flag = one_stage(Condition("seats", "equals", (wanted,)))
    assert told(running(flag, 1), Context(attributes={"seats": found}), flag) == f"kill: no; all: {words}; off"


def test_two_conditions_on_one_attribute() -> None:
    flag = one_stage(Condition("seats", "at_least", 2), Condition("seats", "below", 5))
    assert told(running(flag, 1), Context(attributes={"seats": 3}), flag) == (
        "kill: no; all: seats is at least 2: yes, it is 3, seats is below 5: yes, it is 3; on"
    )


def test_small_shares_keep_their_decimals_and_the_unit_is_named() -> None:
    flag = one_stage(*CITY[0], share=125)
    assert told(running(flag, 1), Context("1", city="Leeds"), flag) == (
        "kill: no; all: city is Leeds: yes, but a share of 0.125 % needs an account, and there is none; off"
    )


def test_the_cohort_decides_the_bucket_that_is_told() -> None:
    flag = replace(one_stage(share=50_000), cohort="autumn", stages=(Stage("all", (), 50_000),))
    wanted = f"{bucket('autumn', '1'):,}"
    assert f"bucket {wanted} is" in told(running(flag, 1), Context(account=1), flag)


@given(world=worlds() | switches(), context=contexts)
def test_every_trace_can_be_told_and_ends_with_the_answer(world: World, context: Context) -> None:
    told = explain(world.flag, world.rollout, context, world.segments)
    assert told.steps[0] == f"kill: {'yes' if world.rollout.killed else 'no'}"
    assert str(told).rsplit("; ", 1)[1] == ("on" if told.decision else "off")


def test_a_rule_that_fails_is_told_as_the_fault_that_an_app_would_get() -> None:
    broken = Context(city=["Leeds"])  # type: ignore[arg-type]  # as an app without types may do
    flag = one_stage(Condition("city", "equals", ("Leeds", "London")))
    words = explain(flag, running(flag, 1), broken, {})
    assert words.decision == (flag.name, False, "fault", None, None)
    assert str(words) == """a rule failed: TypeError("unhashable type: 'list'"); off"""
    missing = one_stage(Condition("segment", "segment", ("vip",)))
    assert told(running(missing, 1), Context(), missing) == "a rule failed: KeyError('vip'); off"


def test_a_value_that_cannot_be_shown_is_decided_all_the_same() -> None:
    endless = 10**5000  # of more digits than Python writes

    flag = one_stage(Condition("seats", "at_least", 5))
    words = explain(flag, running(flag, 1), Context(attributes={"seats": endless}), {})
    assert words.decision.is_on
    assert "it is a value of int that cannot be shown" in str(words)
    flag = one_stage(Condition("group", "equals", ("beta",)))
    words = explain(flag, running(flag, 1), Context(groups=["beta", 7]), {})  # type: ignore[list-item]  # an app without types
    assert words.decision.is_on


def test_conditions_that_the_flag_does_not_ask_are_not_asked_here() -> None:
    """A rule that would fail after one that says no: the flag never comes to it, so the trace must not fail either."""

    class Broken(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            raise RuntimeError("the database is gone")

    flag = one_stage(*CITY[0], Condition("seats", "at_least", 5))
    context = Context(city="London", attributes=Broken())
    assert told(running(flag, 1), context, flag) == "kill: no; all: city is Leeds: no, it is London; off"
