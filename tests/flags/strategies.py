"""Hypothesis strategies of what people may write: definitions in JSON's types, without a mistake."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st

from flaggate.flags.model import AUTOMATIC
from flaggate.flags.notify import KINDS

__all__ = ["audiences", "definitions", "flags", "guards", "names", "segments", "templates"]

Table = dict[str, Any]
_Form = dict[str, st.SearchStrategy[Any]]


def names() -> st.SearchStrategy[str]:
    """Names of flags, stages, segments and cohorts."""
    return st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)


def _texts() -> st.SearchStrategy[str]:
    return st.text(min_size=1, max_size=12).filter(str.strip)


def _people() -> st.SearchStrategy[str]:
    return _texts().filter(lambda text: text != AUTOMATIC)


def _one_or_many(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3)


# --- audiences --------------------------------------------------------------------------------

_WHOLE = st.integers(-(2**63), 2**63 - 1)
_NUMBERS = _WHOLE | st.floats(allow_nan=False, allow_infinity=False)
_SCALARS = st.text(max_size=12) | _NUMBERS | st.booleans()
_MOMENTS = st.datetimes(
    datetime(1, 1, 2),
    datetime(9999, 12, 30),  # a moment of any year, whatever the zone
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
).map(lambda moment: moment.isoformat())
_NETWORKS = st.sampled_from(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "0.0.0.0/0", "::1/128"])
_VERSIONS = st.sampled_from([">=2.1", ">=2.1,<3", "~=1.4", "==2.*", "!=1.0.post1", ">2.0rc1"])
_PARTS = st.text(min_size=1, max_size=5)
_OWN_NAMES = st.sampled_from(["seats", "app.version", "signed_up", "Größe", "a b", "0", ""])


def _tables(values: st.SearchStrategy[Any], **operators: st.SearchStrategy[Any]) -> st.SearchStrategy[Table]:
    """Tables of operators."""
    known = {"not": _one_or_many(values)} | operators
    return st.fixed_dictionaries({}, optional=known).filter(bool)


def _conditions(values: st.SearchStrategy[Any], **operators: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return _one_or_many(values) | _tables(values, **operators)


def _text_conditions() -> st.SearchStrategy[Any]:
    return _conditions(st.text(max_size=12), prefix=_PARTS, suffix=_PARTS, contains=_PARTS, exists=st.booleans())


_KNOWN: dict[str, st.SearchStrategy[Any]] = {
    **{name: _text_conditions() for name in ("user", "account", "visitor", "group", "tier", "city", "region")},
    "staff": st.booleans() | st.fixed_dictionaries({"not": st.booleans()}),
    "city_id": _conditions(_WHOLE, exists=st.booleans()),
    "country": _conditions(st.sampled_from(["GB", "DE", "US"]), exists=st.booleans()),
    "ip": _conditions(st.just("192.0.2.1"), in_network=_one_or_many(_NETWORKS), exists=st.booleans()),
}
_OWN = _conditions(
    _SCALARS,
    at_least=_NUMBERS,
    below=_NUMBERS,
    prefix=_PARTS,
    suffix=_PARTS,
    contains=_PARTS,
    version=_VERSIONS,
    before=_MOMENTS,
    after=_MOMENTS,
    exists=st.booleans(),
)


@st.composite
def _condition_tables(draw: st.DrawFn, segment_names: tuple[str, ...]) -> Table:
    keys = draw(st.lists(st.sampled_from([*_KNOWN]), max_size=2, unique=True))
    own = draw(st.lists(_OWN_NAMES, min_size=0 if keys else 1, max_size=2, unique=True))
    table: Table = {key: draw(_KNOWN[key]) for key in keys} | {key: draw(_OWN) for key in own}
    if bool(segment_names) and draw(st.booleans()):
        table["segment"] = draw(_one_or_many(st.sampled_from(segment_names)))
    return table


def audiences(segment_names: tuple[str, ...] = ()) -> st.SearchStrategy[Any]:
    """Audiences that may ask these segments."""
    return _one_or_many(_condition_tables(segment_names))


# --- plans ------------------------------------------------------------------------------------

_DURATIONS = st.sampled_from(["0s", "45m", "24h", "1h30m", "2d", "1000ms", "3650d", "1h1h"])
_DAYS = st.sampled_from(["Mon", "Mon-Fri", "Sat-Mon", "Mon-Sun", "Tue-Mon", "Wed-Wed"])
_TIMES = st.sampled_from(["09:00-16:00", "00:00-24:00", "23:58-23:59"])
_ZONES = st.sampled_from(["Europe/London", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
_HOURS = st.tuples(_DAYS, _TIMES, _ZONES).map(" ".join)
_SHARES = st.integers(0, 100_000).map(lambda thousandths: thousandths / 1000) | st.integers(0, 100)
_LIMITS = st.sampled_from(["1%", "0.25%", "99.999%", "00.10%", "0.00000000000000001%"])
_CONDITIONS = {
    "soak": _DURATIONS,
    "min_sample": st.integers(1, 10**9),
    "approval": st.sampled_from([True, "other"]),
    "not_before": _MOMENTS,
    "hours": _HOURS,
    "prove": st.just(True),
}


def guards(*, with_control: bool) -> st.SearchStrategy[Table]:
    """Guards; against control only where there is one."""
    own = st.sampled_from(["checkout_failed", "x", "error", "a" * 64, "e2e_"])
    slower_than = st.sampled_from(["400ms", "2s", "1m", "1001ms"])
    query: _Form = {"metric": own, "query": _texts()}
    limits: list[_Form] = [
        {"metric": own | st.just("errors"), "limit": _LIMITS},
        {"metric": st.just("slow"), "limit": _LIMITS, "slower_than": slower_than},
        {"metric": own, "at_least": _LIMITS},
    ]
    against: _Form = {
        "metric": own | st.sampled_from(["errors", "slow"]),
        "vs_control": st.integers(1000, 100_000).map(lambda thousandths: thousandths / 1000) | st.integers(1, 100),
    }
    return st.one_of(
        *(_acting(form, _SHARED) for form in limits),
        *(_acting(query | {bound: _NUMBERS}, _ASKED) for bound in ("limit", "at_least")),
        *([_acting(against)] if with_control else []),
    )


_SHARED: _Form = {"on_shared": st.sampled_from(["rollback", "hold"])}
_ASKED: _Form = {
    "every": st.sampled_from(["5s", "30s", "1h", "1m30s", "5000ms"]),
    "for": st.sampled_from(["0s", "1s", "5m", "24h", "1d"]),
}
_NO_DATA: _Form = {"on_no_data": st.sampled_from(["hold", "rollback", "ignore"])}


def _acting(form: _Form, more: Mapping[str, st.SearchStrategy[Any]] = MappingProxyType({})) -> st.SearchStrategy[Table]:
    """Guards of a form, each with something of what it may do."""
    asked = {key: value for key, value in more.items() if key not in _SHARED}
    return st.one_of(
        st.fixed_dictionaries(form, optional={**more, **_NO_DATA, "on_breach": st.just("rollback")}),
        st.fixed_dictionaries(form | {"on_breach": st.sampled_from(["hold", "warn"])}, optional={**asked, **_NO_DATA}),
        st.fixed_dictionaries(form | {"observe": st.just(True)}, optional=asked),
    )


def _guard_lists(*, with_control: bool) -> st.SearchStrategy[list[Table]]:
    return st.lists(guards(with_control=with_control), max_size=2)


@st.composite
def _stages(draw: st.DrawFn, stage_names: list[str], is_rising: bool, segment_names: tuple[str, ...]) -> list[Table]:
    stages: list[Table] = []
    shares = [draw(_SHARES) for _ in stage_names]
    if is_rising:
        shares.sort()
    for index, name in enumerate(stage_names):
        stage: Table = {"name": name}
        if not is_rising:  # each its own audience: only then may a share fall
            stage["audience"] = {"stage number": index} | draw(_condition_tables(segment_names))
        elif draw(st.booleans()):
            stage["audience"] = draw(audiences(segment_names))
        stage["share"] = shares[index]
        if index < len(stage_names) - 1:
            stage |= draw(st.fixed_dictionaries({}, optional=_CONDITIONS).filter(bool))
        if draw(st.booleans()):
            stage["guards"] = draw(_guard_lists(with_control=0 < shares[index] < 100))
        stages.append(stage)
    return stages


def _plans(segment_names: tuple[str, ...]) -> st.SearchStrategy[list[Table]]:
    stage_names = st.lists(names(), min_size=1, max_size=4, unique=True)
    return st.tuples(stage_names, st.booleans()).flatmap(lambda drawn: _stages(*drawn, segment_names))


def _has_control(shares: list[float]) -> bool:
    return any(0 < share < 100 for share in shares)


@st.composite
def templates(draw: st.DrawFn, segment_names: tuple[str, ...] = ()) -> Table:
    """Tables of one template."""
    stages = draw(_plans(segment_names))
    guards = _guard_lists(with_control=_has_control([stage["share"] for stage in stages]))
    return {"stages": stages} | draw(st.fixed_dictionaries({}, optional={"guards": guards}))


@st.composite
def _taken(draw: st.DrawFn, name: str, template: Table, segment_names: tuple[str, ...]) -> Table:
    """What a flag says of its plan under a template."""
    theirs = template["stages"]
    is_rising = any("stage number" not in stage.get("audience", ()) for stage in theirs)
    others = draw(_stages([stage["name"] for stage in theirs], is_rising, segment_names))
    is_for_others = draw(st.booleans())  # in all stages or in none, so that no share falls
    own: list[Table] = []
    for other in others:
        entry = {key: other[key] for key in _CONDITIONS if key in other and draw(st.booleans())}
        if is_for_others:
            entry |= {key: other[key] for key in ("audience", "share") if key in other}
            entry["guards"] = other.get("guards", [])
        if bool(entry) or draw(st.booleans()):
            own.append({"name": other["name"]} | entry)
    has_control = _has_control([stage["share"] for stage in (others if is_for_others else theirs)])
    flag: Table = {"template": name} | ({"stages": draw(st.permutations(own))} if own else {})
    if draw(st.booleans()) or not has_control:  # the template's guards may be against control
        flag["guards"] = draw(_guard_lists(with_control=has_control))
    return flag


_OF_ROLLOUTS: _Form = {"unit": st.sampled_from(["user", "account", "visitor"]), "cohort": names()}


@st.composite
def flags(
    draw: st.DrawFn, segment_names: tuple[str, ...] = (), among: Mapping[str, Table] = MappingProxyType({})
) -> Table:
    """Tables of one flag, a rollout or a switch; a rollout's may be one of these templates."""
    optional = {
        "deputies": st.lists(_people(), max_size=3, unique=True),
        "deny": audiences(segment_names),
        "notify": _NOTIFY,
    }
    flag: Table = draw(st.fixed_dictionaries({"description": _texts(), "owner": _people()}, optional=optional))
    if draw(st.booleans()):
        return flag | draw(st.fixed_dictionaries({}, optional={"audience": audiences(segment_names)}))
    flag |= draw(st.fixed_dictionaries({}, optional=_OF_ROLLOUTS))
    if bool(among) and draw(st.booleans()):
        name = draw(st.sampled_from([*among]))
        return flag | draw(_taken(name, among[name], segment_names))
    stages = draw(_plans(segment_names))
    guards = _guard_lists(with_control=_has_control([stage["share"] for stage in stages]))
    return flag | {"stages": stages} | draw(st.fixed_dictionaries({}, optional={"guards": guards}))


_RECIPIENTS = st.sampled_from(["owner", "deputies", "oncall", "ada@example.com", "Größe", "#1"])
_NOTIFY = st.dictionaries(
    _RECIPIENTS, st.just("all") | st.lists(st.sampled_from(KINDS), min_size=1, max_size=3, unique=True), max_size=3
)


def segments() -> st.SearchStrategy[Table]:
    """Tables of one segment, of either form that needs no other file."""
    members = {"unit": st.sampled_from(["user", "account", "visitor"]), "members": st.lists(_texts(), unique=True)}
    return st.fixed_dictionaries(members) | st.fixed_dictionaries({"audience": audiences()})


@st.composite
def definitions(draw: st.DrawFn) -> Table:
    """Whole definitions files."""
    document: Table = {}
    if draw(st.booleans()):
        document["segments"] = draw(st.dictionaries(names(), segments(), max_size=2))
    known = tuple(document.get("segments", {}))
    if draw(st.booleans()):
        document["templates"] = draw(st.dictionaries(names(), templates(known), min_size=1, max_size=1))
    if draw(st.booleans()):
        among = document.get("templates", {})
        document["flags"] = draw(st.dictionaries(names(), flags(known, among), max_size=2))
    return document
