"""Guards as people write them: what the app's requests, or the answers of a query, are held against."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from flaggate.flags.fields import (
    LIMIT,
    MILLISECONDS,
    NUMBER,
    ONLY_TRUE,
    TEXT,
    TIMES,
    choice,
    duration_text,
    number_to_json,
    percent_text,
    seconds_between,
)
from flaggate.flags.model import Guard
from flaggate.flags.place import Kind, Place, read_list, read_table, table_schema

__all__ = ["GUARDS", "METRICS", "guard_to_json"]

METRICS: Final = ("errors", "slow")
"""What is measured of every request; any other metric is the app's own."""
_RESERVED: Final = ("requests", "slower")
"""Units are counted under these, and under the metrics."""
_METRIC_PATTERN: Final = "^[a-z][a-z0-9_]{0,63}$"
_EVERY_SECONDS: Final = 30
_DAY: Final = 86_400
_BOUNDS: Final = ("limit", "at_least", "vs_control")
_OF_QUERIES: Final = ("every", "for")
_ACTS: Final = ("on_breach", "on_no_data", "on_shared")


# --- keys and values ------------------------------------------------------------------------


def _read_metric(value: object, place: Place) -> str | None:
    if isinstance(value, str) and re.fullmatch(_METRIC_PATTERN, value) and value not in _RESERVED:
        return value
    place.wrong_value(
        value,
        "errors, slow, or a name of your own: at most 64 lower-case letters, digits and underscores, a letter first, "
        f"and neither {' nor '.join(_RESERVED)}",
    )
    return None


_GUARD: Final[dict[str, Kind]] = {
    "metric": Kind(_read_metric, {"type": "string", "pattern": _METRIC_PATTERN, "not": {"enum": list(_RESERVED)}}),
    "limit": LIMIT,
    "at_least": LIMIT,
    "vs_control": TIMES,
    "slower_than": MILLISECONDS,
    "query": TEXT,
    "every": seconds_between(5, 3600),
    "for": seconds_between(0, _DAY),
    "on_breach": choice(("rollback", "hold", "warn")),
    "on_no_data": choice(("hold", "rollback", "ignore")),
    "on_shared": choice(("rollback", "hold")),
    "observe": ONLY_TRUE,
}
_QUERY: Final = _GUARD | {"limit": NUMBER, "at_least": NUMBER}


def _read_guard(value: object, place: Place) -> Guard | None:
    is_query = isinstance(value, dict) and "query" in value
    found = read_table(value, place, _QUERY if is_query else _GUARD, what="guard", required=("metric",))
    if not isinstance(value, dict):
        return None
    metric = found.get("metric")
    if is_query and metric in METRICS:
        place.key("metric").wrong(
            f'"{metric}" is measured here, and not asked', 'a query has a name of its own: metric = "queue_depth"'
        )
    _check_bounds(value, metric, place)
    for key in (key for key in _GUARD if key in value):
        belongs = _misplaced(key, value, metric)
        if belongs:
            place.key(key).wrong(f'"{key}" has no use here', belongs)
    return None if metric is None else _guard(found, is_query=is_query)


def _guard(found: dict[str, Any], *, is_query: bool) -> Guard:
    every, lasting = found.pop("every", _EVERY_SECONDS), found.pop("for", 0)
    found["slower_than_ms"] = found.pop("slower_than", None)
    if is_query:
        found |= {"every_seconds": every, "for_seconds": lasting or None}
    return Guard(**found)


# --- what one key says about another --------------------------------------------------------


def _check_bounds(value: Mapping[str, Any], metric: str | None, place: Place) -> None:
    """Exactly one of them."""
    bounds = [key for key in _BOUNDS if key in value]
    if len(bounds) > 1:
        number = {2: "two", 3: "three"}[len(bounds)]
        place.wrong(f"{' and '.join(bounds)} are {number} guards", "write one table for each")
    elif not bounds:
        place.wrong("the guard has no limit", f"add {_bounds_of(value, metric)}")
    if bounds == ["limit"] and metric == "slow" and not {"slower_than", "query"} & value.keys():
        place.wrong('"slower_than" is missing', 'say from when on a request is slow: slower_than = "400ms"')


def _bounds_of(value: Mapping[str, Any], metric: str | None) -> str:
    if "query" in value:
        return "limit = 100, or at_least = 0.5"
    if metric is None or metric in METRICS:
        return 'limit = "1%", or vs_control = 1.25'
    return 'limit = "1%", at_least = "5%", or vs_control = 1.25'


def _misplaced(key: str, value: Mapping[str, Any], metric: str | None) -> str | None:
    """Where a key belongs, if it does not belong into this guard."""
    is_query = "query" in value
    if key in _ACTS and value.get("observe") is True:
        return "a guard that observes never acts; leave this out, or observe"
    if key in _OF_QUERIES and not is_query:
        return "it belongs to a guard with a query"
    if key == "vs_control" and is_query:
        return f"a query asks of no control; write {_bounds_of(value, metric)}"
    if key == "at_least" and metric in METRICS and not is_query:
        return "it belongs to a metric of the app's own, or to a query"
    if key == "slower_than" and (is_query or metric not in ("slow", None) or _is_against_control(value)):
        return 'it belongs to metric = "slow" with a limit, without vs_control'
    if key == "on_shared":
        return _no_use_of_shared(value)
    return None


def _no_use_of_shared(value: Mapping[str, Any]) -> str | None:
    if "query" in value or _is_against_control(value):
        return "it belongs to a limit, or an at_least, of the app's own requests"
    if value.get("on_breach") in ("hold", "warn"):
        return "it belongs to a guard that rolls back"
    return None


def _is_against_control(value: Mapping[str, Any]) -> bool:
    return "vs_control" in value and not {"limit", "at_least"} & value.keys()


# --- for editors ----------------------------------------------------------------------------


def _without(*keys: str) -> dict[str, Any]:
    return {"properties": dict.fromkeys(keys, False)}


def _if(condition: dict[str, Any], then: dict[str, Any], otherwise: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"if": condition, "then": then} | ({} if otherwise is None else {"else": otherwise})


def _is(key: str, *values: Any) -> dict[str, Any]:
    return {"properties": {key: {"enum": list(values)}}, "required": [key]}


def _guard_schema() -> dict[str, Any]:
    numbers = {key: {"type": ["string", "number"]} for key in ("limit", "at_least")}
    limits = {"properties": dict.fromkeys(numbers, LIMIT.schema)}
    table = table_schema(_GUARD, ("metric",))
    is_slow_limit = {"properties": {"metric": {"const": "slow"}}, "required": ["metric", "limit"]}
    of_a_query = {
        "properties": dict.fromkeys(numbers, NUMBER.schema)
        | {"metric": {"not": {"enum": list(METRICS)}}}
        | dict.fromkeys(("vs_control", "slower_than", "on_shared"), False)
    }
    of_requests = {
        "allOf": [
            limits,
            _without(*_OF_QUERIES),
            _if(is_slow_limit, {"required": ["slower_than"]}, _without("slower_than")),
            _if(_is("metric", *METRICS), _without("at_least")),
            _if({"required": ["vs_control"]}, _without("on_shared")),
        ]
    }
    return table | {
        "properties": table["properties"] | numbers,
        "oneOf": [{"required": [key]} for key in _BOUNDS],
        "allOf": [
            _if({"required": ["query"]}, of_a_query, of_requests),
            _if(_is("on_breach", "hold", "warn"), _without("on_shared")),
            _if({"required": ["observe"]}, _without(*_ACTS)),
        ],
    }


def _read_guards(value: object, place: Place) -> tuple[Guard, ...]:
    return read_list(value, place, Kind(_read_guard, {}), "guards")


GUARDS: Final = Kind(_read_guards, {"type": "array", "items": _guard_schema()})


# --- the canonical form ---------------------------------------------------------------------


def guard_to_json(guard: Guard) -> dict[str, Any]:
    """The guard as a table of a definitions file, in JSON's types, without what is the default."""
    bound = percent_text if guard.query is None else number_to_json
    every = None if guard.every_seconds == _EVERY_SECONDS else guard.every_seconds
    written = {
        "metric": guard.metric,
        "limit": None if guard.limit is None else bound(guard.limit),
        "at_least": None if guard.at_least is None else bound(guard.at_least),
        "vs_control": None if guard.vs_control is None else number_to_json(guard.vs_control),
        "slower_than": None if guard.slower_than_ms is None else duration_text(guard.slower_than_ms),
        "query": guard.query,
        "every": None if every is None else duration_text(every * 1000),
        "for": None if guard.for_seconds is None else duration_text(guard.for_seconds * 1000),
        "on_breach": None if guard.on_breach == "rollback" else guard.on_breach,
        "on_no_data": None if guard.on_no_data == "hold" else guard.on_no_data,
        "on_shared": None if guard.on_shared == "rollback" else guard.on_shared,
        "observe": guard.observe or None,
    }
    return {key: value for key, value in written.items() if value is not None}
