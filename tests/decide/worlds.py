"""Small random worlds (flags, rollouts, contexts, segments), and a slow reading of what must be answered in them.

Strategies are made once each: to make and validate one takes Hypothesis longer than to draw from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any, Final, get_args

from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from flaggate import Context, Decision, Flag, Stage
from flaggate.flags.audience import Audience, Condition
from flaggate.flags.model import FULL_SHARE, Segment, Unit
from flaggate.rollout.state import Rollout, Status
from tests import oracle

NOW: Final = datetime(2026, 3, 2, 10, tzinfo=UTC)
NAME: Final = "new-invoicing"
COHORT: Final = "autumn"
UNITS: Final[tuple[Unit, ...]] = get_args(Unit)
KEYS: Final = tuple(str(number) for number in range(8))
EXPOSING: Final = (Status.RUNNING, Status.PAUSED, Status.WATCHING, Status.COMPLETED)
ROLLOUT_STATUSES: Final = (Status.DRAFT, *EXPOSING, Status.ROLLED_BACK)

# --- what there is to be known ----------------------------------------------------------------

_MOMENTS: Final = (NOW - timedelta(days=1), NOW, NOW + timedelta(days=1))
_OWN: Final[tuple[Any, ...]] = (
    True, False, 0, 1, 2, 2.5, "1", "", "2.1", "2.1.0rc1", "10", "alpha", "b-alpha-z", *_MOMENTS,
    "2026-03-02T10:00:00+00:00", "2026-03-02T10:00:01Z", "2026-03-02", datetime(2026, 3, 2, 9), ["1"],
)  # fmt: skip
VALUES: Final[dict[str, tuple[Any, ...]]] = {
    "user": KEYS,
    "account": KEYS,
    "visitor": KEYS,
    "staff": (True, False),
    "group": (frozenset[str](), frozenset({"beta"}), frozenset({"early", "ops"}), frozenset({"beta", "ops"})),
    "tier": ("free", "pro", "enterprise"),
    "city": ("Manchester", "Leeds", "Man"),
    "city_id": (1, 2),
    "region": ("England", "New Hampshire"),
    "country": ("GB", "US"),
    "ip": ("10.1.2.3", "192.168.0.1", "::ffff:10.1.2.3", "2001:db8::1", "no address"),
    "seats": _OWN,
    "build": _OWN,
}
"""What may be known of each attribute; any of them may be missing too."""


def context_of(known: Mapping[str, Any]) -> Context:
    """A context that knows these values, by the names that audiences use."""
    own = {name: value for name, value in known.items() if name in ("seats", "build")}
    named = {"groups" if name == "group" else name: value for name, value in known.items() if name not in own}
    return Context(**named, attributes=own)


contexts: Final[st.SearchStrategy[Context]] = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in VALUES.items()}
).map(context_of)


# --- conditions -------------------------------------------------------------------------------


def _some(*values: Any) -> tuple[tuple[Any, ...], ...]:
    """Each value alone, and two of them together."""
    return (*((value,) for value in values), values[:2])


def _on_text(values: tuple[str, ...]) -> dict[str, tuple[Any, ...]]:
    parts = tuple({value[:2]: None for value in values} | {value[-2:]: None for value in values})
    exists = (True, False)
    some = _some(*values)
    return {"equals": some, "not": some, "prefix": parts, "suffix": parts, "contains": parts, "exists": exists}


_NETWORKS: Final = tuple(ip_network(text) for text in ("10.0.0.0/8", "192.168.0.0/24", "2001:db8::/32", "0.0.0.0/0"))
_ON_OWN: Final[dict[str, tuple[Any, ...]]] = _on_text(("alpha", "zulu")) | {
    "equals": _some(True, False, 1, 2, 2.5, "1", "alpha"),
    "not": _some(True, False, 1, 2, 2.5, "1", "alpha"),
    "at_least": (1, 2, 2.5),
    "below": (1, 2, 2.5),
    "version": tuple(map(SpecifierSet, (">=2.1", "<10", "==2.1.*"))),
    "before": _MOMENTS,
    "after": _MOMENTS,
}
OPERANDS: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "staff": {"equals": ((True,), (False,)), "not": ((True,), (False,))},
    "group": _on_text(("beta", "early", "ops")),
    "city_id": {"equals": _some(1, 2), "not": _some(1, 2), "exists": (True, False)},
    "ip": {
        "equals": _some("10.1.2.3", "2001:db8::1"),
        "not": _some("10.1.2.3", "2001:db8::1"),
        "in_network": _some(*_NETWORKS),
        "exists": (True, False),
    },
    "seats": _ON_OWN,
    "build": _ON_OWN,
    **{name: _on_text(VALUES[name]) for name in (*UNITS, "tier", "city", "region", "country")},
}
"""What may be asked of each attribute: its operators, and operands for them."""

EVERY_CONDITION: Final = tuple(
    Condition(attribute, operator, operand)  # type: ignore[arg-type]  # one of the operators
    for attribute, operators in OPERANDS.items()
    for operator, operands in operators.items()
    for operand in operands
)
SEGMENTS: Final = ("early-ones", "named-users", "named-accounts")


@cache
def _conditions_on(name: str) -> st.SearchStrategy[Condition]:
    return st.sampled_from([condition for condition in EVERY_CONDITION if condition.attribute == name])


def _conditions(*attributes: str) -> st.SearchStrategy[Condition]:
    return st.sampled_from(attributes).flatmap(_conditions_on)


plain_conditions: Final = _conditions(*OPERANDS)
conditions: Final = plain_conditions | st.sampled_from(
    [Condition("segment", "segment", names) for names in _some(*SEGMENTS)]
)


def _audiences(of: st.SearchStrategy[Condition], least: int) -> st.SearchStrategy[Audience]:
    table = st.lists(of, min_size=1, max_size=2).map(tuple)
    return st.lists(table, min_size=least, max_size=2).map(tuple)


audiences: Final = _audiences(conditions, 0)
_HALVES: Final = st.sampled_from(
    [(), *(((condition,),) for condition in EVERY_CONDITION if condition.attribute == "staff")]
)
"""Audiences that match half of all contexts: most others match so few that stages would seldom meet."""
keyless_audiences: Final = _audiences(_conditions("staff", "city", "city_id", "seats"), 0)
"""Audiences that match a context whatever its keys are."""

# --- segments and flags ------------------------------------------------------------------------

_members: Final = st.frozensets(st.sampled_from(KEYS), max_size=3)
segments: Final[st.SearchStrategy[dict[str, Segment]]] = st.fixed_dictionaries(
    {
        "early-ones": st.builds(Segment, st.just("early-ones"), _audiences(plain_conditions, 1)),
        "named-users": st.builds(Segment, st.just("named-users"), unit=st.just("user"), members=_members),
        "named-accounts": st.builds(Segment, st.just("named-accounts"), unit=st.just("account"), members=_members),
    }
)

_EDGES: Final = sorted({oracle.bucket(salt, key) + more for salt in (NAME, COHORT) for key in KEYS for more in (0, 1)})
shares: Final = st.sampled_from((0, 1, 10_000, 50_000, 99_999, FULL_SHARE, FULL_SHARE)) | st.sampled_from(_EDGES)


_units: Final = st.sampled_from(UNITS)
_cohorts: Final = st.sampled_from((None, COHORT))


@cache
def _pools(of: st.SearchStrategy[Audience]) -> st.SearchStrategy[list[Audience]]:
    return st.lists(_HALVES | of, min_size=1, max_size=3)


@cache
def _denied(of: st.SearchStrategy[Audience]) -> st.SearchStrategy[Audience]:
    return st.just(()) | of


@cache
@st.composite
def flags(draw: st.DrawFn, least: int = 1, most: int = 5, of: st.SearchStrategy[Audience] = audiences) -> Flag:
    """A flag with stages; stages often share an audience, as plans do."""
    pool = draw(_pools(of))
    count = draw(st.integers(least, most))
    stages = tuple(
        Stage(f"s{number}", draw(st.sampled_from(pool)), draw(shares), soak_seconds=0) for number in range(1, count + 1)
    )
    return Flag(
        NAME,
        "A flag of a random world",
        "owner@example.com",
        unit=draw(_units),
        cohort=draw(_cohorts),
        deny=draw(_denied(of)),
        stages=stages,
    )


def running(flag: Flag, stage: int) -> Rollout:
    """A rollout that runs at a stage."""
    return Rollout(NAME, NAME, Status.RUNNING, NOW, flag.owner, stage=stage, attempt=1)


@dataclass(frozen=True)
class World:
    """A flag where it stands, and the segments around it."""

    flag: Flag
    rollout: Rollout
    segments: Mapping[str, Segment]


@st.composite
def worlds(draw: st.DrawFn, statuses: tuple[Status, ...] = ROLLOUT_STATUSES, most: int = 5) -> World:
    """A world whose rollout is at any stage of the plan."""
    flag = draw(flags(most=most))
    rollout = running(flag, draw(st.integers(1, len(flag.stages))))
    rollout = replace(
        rollout, status=draw(st.sampled_from(statuses)), killed=draw(st.sampled_from((False,) * 4 + (True,)))
    )
    return World(flag, rollout, draw(segments))


@st.composite
def switches(draw: st.DrawFn) -> World:
    """A world with a switch instead."""
    flag = Flag(NAME, "A switch", "owner@example.com", deny=draw(_denied(audiences)), audience=draw(audiences))
    status = draw(st.sampled_from((Status.ON, Status.ON, Status.OFF)))
    rollout = replace(running(flag, 0), status=status, killed=draw(st.sampled_from((False, False, True))))
    return World(flag, rollout, draw(segments))


# --- what must be answered: DESIGN 2 and 5, word by word ----------------------------------------


def expected(world: World, context: Context) -> Decision:
    """The decision, slowly."""
    flag, rollout = world.flag, world.rollout
    if rollout.killed:
        return Decision(NAME, False, "killed")
    if flag.deny and matches(flag.deny, context, world.segments):
        return Decision(NAME, False, "denied")
    match rollout.status:
        case Status.DRAFT:
            return Decision(NAME, False, "not_started")
        case Status.ROLLED_BACK:
            return Decision(NAME, False, "rolled_back")
        case Status.OFF:
            return Decision(NAME, False, "off")
        case Status.ON:
            is_on = matches(flag.audience, context, world.segments)
            return Decision(NAME, is_on, "on" if is_on else "no_match")
    return _staged(world, context)


def _staged(world: World, context: Context) -> Decision:
    flag, rollout = world.flag, world.rollout
    stages = flag.stages[: rollout.stage]
    matched = [stage for stage in stages if matches(stage.audience, context, world.segments)]
    if not matched:
        return Decision(NAME, False, "no_match")
    key = getattr(context, flag.unit)
    effective = max(stage.share_thousandths for stage in matched)
    if effective < FULL_SHARE and key is None:
        return Decision(NAME, False, "no_unit")
    place = FULL_SHARE - 1 if key is None else oracle.bucket(flag.cohort or rollout.salt, key)
    is_on = place < effective
    lets_in = [s.name for s in matched if s.share_thousandths == FULL_SHARE or (key and place < s.share_thousandths)]
    has_arm = stages[-1] in matched and effective == stages[-1].share_thousandths < FULL_SHARE
    arm = ("treatment" if is_on else "control") if has_arm else None
    return Decision(NAME, is_on, "stage", lets_in[0] if is_on else None, arm)  # type: ignore[arg-type]  # one of two words


def matches(audience: Audience, context: Context, segments: Mapping[str, Segment]) -> bool:
    """Any of the tables; in a table all of its conditions; no table is everyone."""
    return not audience or any(all(holds(c, context, segments) for c in table) for table in audience)


def holds(condition: Condition, context: Context, segments: Mapping[str, Segment]) -> bool:
    """One condition, from the words of the grammar."""
    operand = condition.operand
    if condition.operator == "segment":
        return any(_is_in(segments[name], context, segments) for name in operand)
    values = list(_values(condition.attribute, context))
    if condition.operator == "exists":
        return bool(values) is operand
    if condition.operator == "not":
        return bool(values) and not any(_same(value, one) for value in values for one in operand)
    return any(_compare(condition.operator, value, operand) for value in values)


def _is_in(segment: Segment, context: Context, segments: Mapping[str, Segment]) -> bool:
    if segment.unit is None:
        return matches(segment.audience, context, segments)
    return getattr(context, segment.unit) in segment.members


def _values(attribute: str, context: Context) -> Iterator[Any]:
    if attribute == "group":
        yield from context.groups
        return
    value = getattr(context, attribute) if attribute in Context.__slots__ else context.attributes.get(attribute)
    if value is not None:
        yield value


def _same(value: Any, other: Any) -> bool:
    return isinstance(value, bool) is isinstance(other, bool) and bool(value == other)


def _compare(operator: str, value: Any, operand: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match operator, value:
        case "equals", _:
            return any(_same(value, one) for one in operand)
        case "at_least", _:
            return is_number and bool(value >= operand)
        case "below", _:
            return is_number and bool(value < operand)
        case "prefix", str():
            return bool(value[: len(operand)] == operand)
        case "suffix", str():
            return bool(value[-len(operand) :] == operand)
        case "contains", str():
            return value.find(operand) >= 0
        case "version", str():
            return _is_version(value, operand)
        case "in_network", str():
            return _is_in_network(value, operand)
        case (("before" | "after"), _):
            moment = _moment(value)
            return moment is not None and (moment < operand if operator == "before" else moment > operand)
    return False


def _is_version(value: str, wanted: SpecifierSet) -> bool:
    try:
        return wanted.contains(Version(value), prereleases=True)
    except InvalidVersion:
        return False


def _is_in_network(value: str, networks: tuple[Any, ...]) -> bool:
    try:
        address = ip_address(value.removeprefix("::ffff:"))
    except ValueError:
        return False
    return any(address in network for network in networks)


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str) and value.startswith("2026-03-02T"):
        value = datetime.fromisoformat(value)
    return value if isinstance(value, datetime) and value.tzinfo else None
