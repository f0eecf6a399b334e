"""Hypothesis strategies of what people may write: definitions in JSON's types, without a mistake.

Made once each: to make and validate one takes Hypothesis longer than to draw from it.
"""

from __future__ import annotations

from datetime import timedelta, timezone
from functools import cache
from typing import Any

from hypothesis import strategies as st

__all__ = ["audiences", "definitions", "flags", "guards", "names", "segments"]

Table = dict[str, Any]
_Form = dict[str, st.SearchStrategy[Any]]


@cache
def names() -> st.SearchStrategy[str]:
    """Names of flags, stages, segments and cohorts."""
    return st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)


_TEXTS = st.text(min_size=1, max_size=12).filter(str.strip)


def _one_or_many(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3)


# --- audiences --------------------------------------------------------------------------------

_WHOLE = st.integers(-(2**63), 2**63 - 1)
_NUMBERS = _WHOLE | st.floats(allow_nan=False, allow_infinity=False)
_SCALARS = st.text(max_size=12) | _NUMBERS | st.booleans()
_MOMENTS = st.datetimes(
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
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


_KNOWN_KEYS = st.lists(st.sampled_from([*_KNOWN]), max_size=2, unique=True)
_OWN_KEYS = {least: st.lists(_OWN_NAMES, min_size=least, max_size=2, unique=True) for least in (0, 1)}


@cache
@st.composite
def _condition_tables(draw: st.DrawFn, segment_names: tuple[str, ...]) -> Table:
    keys = draw(_KNOWN_KEYS)
    own = draw(_OWN_KEYS[0 if keys else 1])
    table: Table = {key: draw(_KNOWN[key]) for key in keys} | {key: draw(_OWN) for key in own}
    if bool(segment_names) and draw(st.booleans()):
        table["segment"] = draw(_segments_asked(segment_names))
    return table


@cache
def _segments_asked(segment_names: tuple[str, ...]) -> st.SearchStrategy[Any]:
    return _one_or_many(st.sampled_from(segment_names))


@cache
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
    "hours": _HOURS,
    "prove": st.just(True),
}
_SOME_CONDITIONS = st.fixed_dictionaries({}, optional=_CONDITIONS).filter(bool)


@cache
def guards(*, with_control: bool) -> st.SearchStrategy[Table]:
    """Guards; against control only where there is one."""
    what_next = {
        "on_breach": st.sampled_from(["rollback", "hold", "warn"]),
        "on_no_data": st.sampled_from(["hold", "rollback", "ignore"]),
    }
    slower_than = st.sampled_from(["400ms", "2s", "1m", "1001ms"])
    of_errors: _Form = {"metric": st.just("errors"), "limit": _LIMITS}
    of_slow: _Form = {"metric": st.just("slow"), "limit": _LIMITS, "slower_than": slower_than}
    against: _Form = {
        "metric": st.sampled_from(["errors", "slow"]),
        "vs_control": st.integers(1000, 100_000).map(lambda thousandths: thousandths / 1000) | st.integers(1, 100),
    }
    forms = [of_errors, of_slow, against] if with_control else [of_errors, of_slow]
    return st.one_of(*(st.fixed_dictionaries(form, optional=what_next) for form in forms))


@cache
def _guard_lists(*, with_control: bool) -> st.SearchStrategy[list[Table]]:
    return st.lists(guards(with_control=with_control), max_size=2)


_STAGE_NAMES = st.lists(names(), min_size=1, max_size=4, unique=True)


@cache
@st.composite
def _plans(draw: st.DrawFn, segment_names: tuple[str, ...]) -> list[Table]:
    stages: list[Table] = []
    stage_names = draw(_STAGE_NAMES)
    shares = [draw(_SHARES) for _ in stage_names]
    if is_rising := draw(st.booleans()):
        shares.sort()
    for index, name in enumerate(stage_names):
        stage: Table = {"name": name}
        if not is_rising:  # each its own audience: only then may a share fall
            stage["audience"] = {"stage number": index} | draw(_condition_tables(segment_names))
        elif draw(st.booleans()):
            stage["audience"] = draw(audiences(segment_names))
        stage["share"] = shares[index]
        if index < len(stage_names) - 1:
            stage |= draw(_SOME_CONDITIONS)
        if draw(st.booleans()):
            stage["guards"] = draw(_guard_lists(with_control=0 < shares[index] < 100))
        stages.append(stage)
    return stages


_UNITS = st.sampled_from(["user", "account", "visitor"])


@cache
@st.composite
def flags(draw: st.DrawFn, segment_names: tuple[str, ...] = ()) -> Table:
    """Tables of one flag, a rollout or a switch."""
    flag = draw(_described(segment_names))
    if draw(st.booleans()):
        return flag | draw(_switches(segment_names))
    stages = draw(_plans(segment_names))
    return flag | {"stages": stages} | draw(_rollouts(with_control=any(0 < stage["share"] < 100 for stage in stages)))


@cache
def _described(segment_names: tuple[str, ...]) -> st.SearchStrategy[Table]:
    optional = {"deputies": st.lists(_TEXTS, max_size=3, unique=True), "deny": audiences(segment_names)}
    return st.fixed_dictionaries({"description": _TEXTS, "owner": _TEXTS}, optional=optional)


@cache
def _switches(segment_names: tuple[str, ...]) -> st.SearchStrategy[Table]:
    return st.fixed_dictionaries({}, optional={"audience": audiences(segment_names)})


@cache
def _rollouts(*, with_control: bool) -> st.SearchStrategy[Table]:
    optional = {"unit": _UNITS, "cohort": names(), "guards": _guard_lists(with_control=with_control)}
    return st.fixed_dictionaries({}, optional=optional)


@cache
def segments() -> st.SearchStrategy[Table]:
    """Tables of one segment, of either form that needs no other file."""
    members = {"unit": _UNITS, "members": st.lists(_TEXTS, unique=True)}
    return st.fixed_dictionaries(members) | st.fixed_dictionaries({"audience": audiences()})


@cache
def _named(tables: st.SearchStrategy[Table]) -> st.SearchStrategy[dict[str, Table]]:
    return st.dictionaries(names(), tables, max_size=2)


@st.composite
def definitions(draw: st.DrawFn) -> Table:
    """Whole definitions files."""
    document: Table = {}
    if draw(st.booleans()):
        document["segments"] = draw(_named(segments()))
    known = tuple(document.get("segments", {}))
    if draw(st.booleans()):
        document["flags"] = draw(_named(flags(known)))
    return document
