"""Compiled flags against a slow reading of the rules, and the invariants that hold for every flag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flaggate import Context, Decision, Flag, Stage
from flaggate.decide.compile import CompiledFlag, compile_condition, compile_flag, constant_flag
from flaggate.decide.explain import explain
from flaggate.flags.audience import Condition
from flaggate.flags.model import FULL_SHARE, Segment
from flaggate.rollout.state import Status
from tests import oracle
from tests.decide.worlds import (
    EVERY_CONDITION,
    EXPOSING,
    KEYS,
    NAME,
    OPERANDS,
    SEGMENTS,
    VALUES,
    World,
    audiences,
    context_of,
    contexts,
    expected,
    flags,
    holds,
    keyless_audiences,
    running,
    segments,
    shares,
    switches,
    worlds,
)

LEEDS: Final = ((Condition("city", "equals", ("Leeds",)),),)
MANCHESTER: Final = ((Condition("city", "equals", ("Manchester",)),),)


def compiled(world: World) -> CompiledFlag:
    return compile_flag(world.flag, world.rollout, world.segments)


def plan(*stages: tuple[int, Any]) -> World:
    """A world that runs at the last of these stages: shares in thousandths and audiences."""
    made = tuple(Stage(f"s{number}", audience, share) for number, (share, audience) in enumerate(stages, 1))
    flag = Flag(NAME, "A plan", "owner@example.com", stages=made)
    return World(flag, running(flag, len(made)), {})


# --- against the slow reading -----------------------------------------------------------------


@pytest.mark.parametrize("attribute", OPERANDS)
def test_a_condition_means_what_the_grammar_says(attribute: str) -> None:
    """Every operator of the attribute with every value that there is for it, and with none."""
    askers = [context_of({}), *(context_of({attribute: value}) for value in VALUES[attribute])]
    for condition in EVERY_CONDITION:
        if condition.attribute == attribute:
            wanted = [holds(condition, asker, {}) for asker in askers]
            assert [compile_condition(condition, {})(asker) for asker in askers] == wanted, condition


@given(names=st.permutations(SEGMENTS), count=st.integers(1, 3), context=contexts, segments=segments)
def test_a_segment_means_its_audience_or_its_members(
    names: list[str], count: int, context: Context, segments: dict[str, Segment]
) -> None:
    condition = Condition("segment", "segment", tuple(names[:count]))
    assert compile_condition(condition, segments)(context) is holds(condition, context, segments)


@given(world=worlds() | worlds(statuses=EXPOSING) | switches(), context=contexts)
@settings(max_examples=300)
@example(plan((0, ())), Context("1"))
@example(plan((50_000, LEEDS), (10_000, MANCHESTER), (20_000, ())), Context("1", city="Leeds"))
@example(plan((10_000, LEEDS), (50_000, ())), Context("1", city="Leeds"))
@example(plan((50_000, LEEDS), (10_000, ())), Context("1", city="Leeds"))
@example(plan((10_000, LEEDS), (10_000, ())), Context("1", city="Leeds"))
@example(plan((10_000, LEEDS), (50_000, ())), Context(city="Leeds"))
def test_the_decision_is_that_of_a_slow_reading(world: World, context: Context) -> None:
    """For every key, so that those on both sides of each share are among them."""
    flag = compiled(world)
    for key in (None, *KEYS):
        asker = context.replace(**{world.flag.unit: key})
        wanted = expected(world, asker)
        assert flag.decide(asker) == wanted
        assert flag.is_on(asker) is wanted.is_on
    assert explain(world.flag, world.rollout, asker, world.segments).decision == wanted


def _key_with_bucket(low: int, high: int) -> str:
    return next(str(n) for n in range(10_000) if low <= oracle.bucket(NAME, str(n)) < high)


LOW, MIDDLE, HIGH = _key_with_bucket(0, 10_000), _key_with_bucket(10_000, 50_000), _key_with_bucket(50_000, 100_000)


@pytest.mark.parametrize(
    ("stages", "key", "answer"),
    [
        # a smaller share, then a larger one: the earliest that lets in is named; all are in the current experiment
        (((10_000, LEEDS), (50_000, ())), LOW, (True, "stage", "s1", "treatment")),
        (((10_000, LEEDS), (50_000, ())), MIDDLE, (True, "stage", "s2", "treatment")),
        (((10_000, LEEDS), (50_000, ())), HIGH, (False, "stage", None, "control")),
        (((10_000, LEEDS), (50_000, LEEDS), (60_000, ())), LOW, (True, "stage", "s1", "treatment")),
        # a larger share, then a smaller one: Leeds stays at 50 %, and is in no arm of the 10 %
        (((50_000, LEEDS), (10_000, ())), LOW, (True, "stage", "s1", None)),
        (((50_000, LEEDS), (10_000, ())), MIDDLE, (True, "stage", "s1", None)),
        (((50_000, LEEDS), (10_000, ())), HIGH, (False, "stage", None, None)),
        # equal shares of different audiences: one experiment
        (((10_000, LEEDS), (10_000, ())), LOW, (True, "stage", "s1", "treatment")),
        (((10_000, LEEDS), (10_000, ())), MIDDLE, (False, "stage", None, "control")),
        # the current audience does not match: no arm
        (((10_000, LEEDS), (50_000, MANCHESTER)), LOW, (True, "stage", "s1", None)),
        (((10_000, LEEDS), (50_000, MANCHESTER)), HIGH, (False, "stage", None, None)),
        # a whole audience among them: no arm, and the earliest that lets in is named
        (((10_000, LEEDS), (100_000, LEEDS), (50_000, ())), LOW, (True, "stage", "s1", None)),
        (((10_000, LEEDS), (100_000, LEEDS), (50_000, ())), HIGH, (True, "stage", "s2", None)),
        # without a key a share lets nobody in, a whole audience does
        (((10_000, LEEDS), (50_000, ())), None, (False, "no_unit", None, None)),
        (((50_000, LEEDS), (10_000, ())), None, (False, "no_unit", None, None)),
        (((50_000, LEEDS), (10_000, MANCHESTER)), None, (False, "no_unit", None, None)),
        (((10_000, LEEDS), (100_000, ())), None, (True, "stage", "s2", None)),
        # a share of 0 is an experiment of which everyone is the control
        (((0, ()),), LOW, (False, "stage", None, "control")),
    ],
)
def test_leeds_by_hand(
    stages: tuple[tuple[int, Any], ...], key: str | None, answer: tuple[bool, str, str | None, str | None]
) -> None:
    """The rules of stage and arm, each once, with the answer written out."""
    assert compiled(plan(*stages)).decide(Context(key, city="Leeds"))[1:] == answer


@pytest.mark.parametrize(
    "shape", ["alone", "before a larger", "before a smaller", "before an equal", "before another's"]
)
def test_a_share_lets_in_the_buckets_below_it(shape: str) -> None:
    """To the thousandth of a percent, wherever in the plan the share stands."""
    for key in (LOW, MIDDLE, HIGH):
        place = oracle.bucket(NAME, key)
        for share, is_in in ((place, False), (place + 1, True)):
            after = {
                "alone": (),
                "before a larger": ((share + 1, MANCHESTER), (place, ())),
                "before a smaller": ((1, ()),),
                "before an equal": ((share, ()),),
                "before another's": ((99_999, MANCHESTER),),
            }[shape]
            decision = compiled(plan((share, LEEDS), *after)).decide(Context(key, city="Leeds"))
            assert decision[1:4] == (is_in, "stage", "s1" if is_in else None)


def test_a_cohort_lets_two_flags_share_their_units() -> None:
    one, two = (replace(plan((50_000, ())).flag, name=name, cohort="autumn") for name in ("one", "two"))
    apart = replace(two, cohort=None)
    askers = [Context(str(number)) for number in range(200)]

    def who_has(flag: Flag) -> list[bool]:
        rollout = replace(running(flag, 1), flag=flag.name, salt=flag.name)
        return [compile_flag(flag, rollout, {}).is_on(asker) for asker in askers]

    assert who_has(one) == who_has(two)
    assert who_has(two) != who_has(apart)


def test_the_salt_is_the_name_at_birth() -> None:
    """A flag with a new name keeps its units."""
    world = plan((50_000, ()))
    renamed = replace(world.flag, name="billing"), replace(world.rollout, flag="billing")
    for key in map(str, range(200)):
        assert compile_flag(*renamed, {}).is_on(Context(key)) is compiled(world).is_on(Context(key))


def test_a_missing_segment_is_said_when_compiling() -> None:
    with pytest.raises(KeyError, match="vip"):
        compiled(plan((FULL_SHARE, ((Condition("segment", "segment", ("vip",)),),))))


@pytest.mark.parametrize("is_on", [True, False])
def test_a_constant_flag_answers_everyone_the_same(is_on: bool) -> None:
    decision = Decision(NAME, is_on, "override")
    flag = constant_flag(decision)
    assert flag.decide(Context("1")) == flag.decide(Context()) == decision
    assert flag.is_on(Context()) is is_on
    assert flag.reads == frozenset()


# --- invariants -------------------------------------------------------------------------------


@given(world=worlds() | switches(), context=contexts)
def test_i1_killed_is_off_whatever_else_is_stored(world: World, context: Context) -> None:
    killed = compile_flag(world.flag, replace(world.rollout, killed=True), world.segments)
    assert killed.decide(context) == Decision(NAME, False, "killed")
    assert killed.is_on(context) is False
    assert killed.reads == frozenset()


@given(flag=flags(least=2), context=contexts, segments=segments)
def test_i3_growing_removes_nobody(flag: Flag, context: Context, segments: dict[str, Segment]) -> None:
    answers = [
        compile_flag(flag, running(flag, stage), segments).is_on(context) for stage in range(1, len(flag.stages) + 1)
    ]
    assert answers == sorted(answers)


@given(flag=flags(of=keyless_audiences), share=shares, number=st.integers(0, 4), context=contexts)
def test_i4_a_lower_share_removes_only_the_highest_buckets(
    flag: Flag, share: int, number: int, context: Context
) -> None:
    """Of people who differ only in their key."""
    stages = list(flag.stages)
    number %= len(stages)
    stages[number] = replace(stages[number], share_thousandths=min(share, stages[number].share_thousandths))
    rollout = running(flag, len(stages))
    before, after = (compile_flag(one, rollout, {}).is_on for one in (flag, replace(flag, stages=tuple(stages))))
    people = [context.replace(**{flag.unit: key}) for key in KEYS]
    assert all(before(person) for person in people if after(person))
    places = {True: [-1], False: [FULL_SHARE]}
    for person in filter(before, people):
        places[after(person)].append(oracle.bucket(flag.cohort or NAME, getattr(person, flag.unit)))
    assert max(places[True]) < min(places[False])


@given(audience=audiences, steps=st.lists(shares, min_size=1, max_size=5), context=contexts, segments=segments)
def test_i14_shares_that_never_fall_leave_nobody_between_the_arms(
    audience: Any, steps: list[int], context: Context, segments: dict[str, Segment]
) -> None:
    """Where every stage asks the same audience and shares only grow, all whom the share asks have an arm."""
    world = replace(plan(*((share, audience) for share in sorted(steps))), segments=segments)
    decision = compiled(world).decide(context)
    has_arm = decision.reason == "stage" and max(steps) < FULL_SHARE
    assert decision.arm == (("treatment" if decision.is_on else "control") if has_arm else None)


@given(world=worlds() | switches(), context=contexts)
def test_i19_a_decision_depends_on_snapshot_and_context_alone(world: World, context: Context) -> None:
    first = compiled(world)
    again = compile_flag(replace(world.flag), replace(world.rollout), dict(world.segments))
    twin = context.replace()
    assert first.decide(context) == first.decide(twin) == again.decide(twin) == first.decide(context)


@given(world=worlds(statuses=EXPOSING), context=contexts)
def test_i20_after_a_rollback_every_decision_is_what_it_was_before_the_start(world: World, context: Context) -> None:
    draft = replace(world.rollout, status=Status.DRAFT, stage=0, attempt=0)
    back = replace(world.rollout, status=Status.ROLLED_BACK)
    before = compile_flag(world.flag, draft, world.segments).decide(context)
    after = compile_flag(world.flag, back, world.segments).decide(context)
    assert not before.is_on
    if before.reason == "not_started":
        before = before._replace(reason="rolled_back")
    assert after == before


# --- what a flag reads ------------------------------------------------------------------------


class _ReadAttributes(Mapping[str, Any]):
    """Own attributes that note who was asked for."""

    def __init__(self, values: Mapping[str, Any], read: set[str]) -> None:
        self._values, self._read = values, read

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("a flag reads only the attributes that it names")

    def __len__(self) -> int:
        return len(self._values)


class _ReadContext(Context):
    """A context that notes which of its attributes were read, by the names that audiences use."""

    read: set[str]

    def __init__(self, known: Context) -> None:
        object.__setattr__(self, "read", set())
        values = {name: getattr(known, name) for name in Context.__slots__}
        super().__init__(**values | {"attributes": _ReadAttributes(known.attributes, self.read)})

    def __getattribute__(self, name: str) -> Any:
        if name in Context.__slots__ and name != "attributes":
            self.read.add("group" if name == "groups" else name)
        return super().__getattribute__(name)


@given(world=worlds() | switches(), context=contexts)
def test_a_decision_reads_only_what_it_says(world: World, context: Context) -> None:
    flag = compiled(world)
    for ask in (flag.decide, flag.is_on):
        asker = _ReadContext(context)
        ask(asker)
        assert asker.read <= flag.reads


@pytest.mark.parametrize(
    ("world", "reads"),
    [
        (plan((FULL_SHARE, ((Condition("staff", "equals", (True,)),),))), {"staff"}),
        (plan((FULL_SHARE, LEEDS)), {"city"}),
        (plan((50_000, LEEDS)), {"city", "user"}),
        (plan((50_000, ())), {"user"}),
        (plan((FULL_SHARE, ())), set()),
        (plan((FULL_SHARE, ((Condition("group", "equals", ("beta",)), Condition("seats", "at_least", 2)),))), {"group", "seats"}),
    ],
)  # fmt: skip
def test_a_flag_names_what_it_reads_and_no_more(world: World, reads: set[str]) -> None:
    """So that no session, database or GeoIP file is touched for a rule that does not need it."""
    assert compiled(world).reads == reads
    asker = _ReadContext(Context("1", groups=["beta"], city="Leeds", staff=False, attributes={"seats": 3}))
    compiled(world).decide(asker)
    assert asker.read == reads


def test_later_stages_and_a_stopped_plan_read_nothing_of_theirs() -> None:
    world = plan((FULL_SHARE, LEEDS), (50_000, ((Condition("tier", "equals", ("pro",)),),)))
    assert compile_flag(world.flag, running(world.flag, 1), {}).reads == {"city"}
    denying = replace(world.flag, deny=((Condition("account", "equals", ("acme-de",)),),))
    for status in (Status.DRAFT, Status.ROLLED_BACK):
        assert compile_flag(denying, replace(world.rollout, status=status), {}).reads == {"account"}


def test_segments_add_what_they_read() -> None:
    known = {
        "near": Segment("near", LEEDS),
        "firms": Segment("firms", unit="account", members=frozenset({"acme"})),
    }
    world = plan((FULL_SHARE, ((Condition("segment", "segment", ("near", "firms")),),)))
    assert compiled(replace(world, segments=known)).reads == {"city", "account"}
