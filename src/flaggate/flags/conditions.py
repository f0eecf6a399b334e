"""Audiences as people write them: a table = all of its keys, a list of tables = any of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from ipaddress import ip_network
from typing import Any, Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from flaggate.errors import closest
from flaggate.flags.audience import ATTRIBUTES, Audience, Condition
from flaggate.flags.fields import NAME, NAME_PATTERN
from flaggate.flags.place import Kind, Place, read_list

__all__ = ["AUDIENCE", "SEGMENT_AUDIENCE", "audience_to_json"]

_COUNTRY_PATTERN: Final = "^[A-Z]{2}$"
_KIND_NAMES: Final = {str: "text in quotes", bool: "true or false", int: "a whole number"}
_MISNAMED: Final = {"groups": "group", "users": "user", "accounts": "account", "is_staff": "staff", "cities": "city",
                    "countries": "country", "segments": "segment", "ip_address": "ip"}  # fmt: skip


def _plain(value: object) -> Any:
    """A number as the app will give it: TOML's decimals were kept exact for shares only."""
    return float(value) if isinstance(value, Decimal) else value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool) and math.isfinite(value)


def _is_scalar(attribute: str, value: object) -> bool:
    if attribute not in ATTRIBUTES:
        return isinstance(value, (str, bool)) or _is_number(value)
    if ATTRIBUTES[attribute] is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if attribute == "country":
        return isinstance(value, str) and re.fullmatch(_COUNTRY_PATTERN, value) is not None
    return isinstance(value, ATTRIBUTES[attribute])


def _allowed_scalar(attribute: str, value: object) -> str:
    if attribute == "country":
        hint = '; the United Kingdom is "GB"' if value in ("UK", "uk") else ""
        return f'an ISO 3166 code of two capital letters: "GB"{hint}'
    if attribute in ATTRIBUTES:
        return _KIND_NAMES[ATTRIBUTES[attribute]]
    return "text, a number, true or false"


def _read_values(attribute: str, value: object, place: Place) -> tuple[Any, ...] | None:
    """One value or a list of values, as a tuple."""
    items = value if isinstance(value, list) and ATTRIBUTES.get(attribute) is not bool else [value]
    if not items:
        place.wrong("an empty list matches nobody", "name at least one value, or leave the key out")
        return None
    before = len(place.mistakes)
    for index, item in enumerate(items):
        if not _is_scalar(attribute, item):
            at = place.item(index) if items is value else place
            at.wrong_value(item, _allowed_scalar(attribute, item))
    return tuple(_plain(item) for item in items) if len(place.mistakes) == before else None


def _read_number(value: object, place: Place) -> Any:
    if _is_number(value):
        return _plain(value)
    place.wrong_value(value, "a number")
    return None


def _read_part(value: object, place: Place) -> Any:
    if isinstance(value, str) and value:
        return value
    place.wrong_value(value, "text that is not empty, in quotes")
    return None


def _read_version(value: object, place: Place) -> Any:
    try:
        if isinstance(value, str) and value.strip():
            return SpecifierSet(value)
    except InvalidSpecifier:
        pass  # answered below, with everything else that is no version
    place.wrong_value(value, 'versions (PEP 440): ">=2.1", ">=2.1,<3"')
    return None


def _read_networks(value: object, place: Place) -> Any:
    networks = []
    for item in value if isinstance(value, list) and value else [value]:
        try:
            networks.append(ip_network(item if isinstance(item, str) else ""))
        except ValueError:
            place.wrong_value(item, 'a network in CIDR form, without host bits: "10.0.0.0/8", "2001:db8::/32"')
            return None
    return tuple(networks)


def _read_moment(value: object, place: Place) -> Any:
    if isinstance(value, str):
        with suppress(ValueError):  # answered below, with everything else that is no moment
            value = datetime.fromisoformat(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    place.wrong_value(value, "a date and time with its zone: 2026-01-01T00:00:00Z")
    return None


def _read_bool(value: object, place: Place) -> Any:
    if isinstance(value, bool):
        return (value,)
    place.wrong_value(value, "true or false")
    return None


_OPERATORS: Final[dict[str, Callable[[Any, Place], Any]]] = {
    "at_least": _read_number, "below": _read_number, "prefix": _read_part, "suffix": _read_part,
    "contains": _read_part, "version": _read_version, "in_network": _read_networks, "before": _read_moment,
    "after": _read_moment, "exists": _read_bool,
}  # fmt: skip
_ON_TEXT: Final = ("not", "prefix", "suffix", "contains", "exists")


def _operators_of(attribute: str) -> tuple[str, ...]:
    if attribute not in ATTRIBUTES:
        return ("not", *(operator for operator in _OPERATORS if operator != "in_network"))
    if attribute == "ip":
        return ("not", "in_network", "exists")
    if ATTRIBUTES[attribute] is str:
        return _ON_TEXT
    return ("not", "exists") if ATTRIBUTES[attribute] is int else ("not",)


def _read_operators(attribute: str, value: dict[str, Any], place: Place) -> tuple[Condition, ...]:
    allowed = _operators_of(attribute)
    if not value:
        place.wrong("an empty table matches nobody", f"allowed: {', '.join(allowed)}")
    found: list[Condition] = []
    for operator, operand in value.items():
        at = place.key(operator)
        if operator not in allowed:
            meant = closest(operator, allowed)
            hint = f'did you mean "{meant}"? ' if meant else ""
            at.wrong(f'"{operator}" does not apply to "{attribute}"', f"{hint}allowed: {', '.join(allowed)}")
            continue
        read = _read_values(attribute, operand, at) if operator == "not" else _OPERATORS[operator](operand, at)
        if read is not None:
            plain = read[0] if operator == "exists" else read
            found.append(Condition(attribute, operator, plain))  # type: ignore[arg-type]  # one of `allowed`
    return tuple(found)


def _read_segments(value: object, place: Place) -> tuple[Condition, ...]:
    names = read_list(value, place, NAME, "segment names") if isinstance(value, list) else (NAME.read(value, place),)
    if isinstance(value, list) and not value:
        place.wrong("an empty list matches nobody", "name at least one segment, or leave the key out")
    return (Condition("segment", "segment", names),) if names and None not in names else ()


def _read_key(key: str, value: object, place: Place) -> tuple[Condition, ...]:
    if key in _MISNAMED:
        place.wrong(
            f'unknown key "{key}"', f'did you mean "{_MISNAMED[key]}"? allowed: {", ".join(ATTRIBUTES)}, segment'
        )
        return ()
    if key == "segment":
        return _read_segments(value, place)
    if isinstance(value, dict):
        return _read_operators(key, value, place)
    values = _read_values(key, value, place)
    return () if values is None else (Condition(key, "equals", values),)


def _read_audience(value: object, place: Place) -> Audience | None:
    if not isinstance(value, (dict, list)) or not value:
        place.wrong_value(value, "a table of conditions, or a list of such tables; leave it out for everyone")
        return None
    tables = value if isinstance(value, list) else [value]
    found = []
    for index, table in enumerate(tables):
        at = place.item(index) if isinstance(value, list) else place
        if isinstance(table, dict) and table:
            found.append(tuple(c for key, item in table.items() for c in _read_key(key, item, at.key(key))))
        else:
            at.wrong_value(table, "a table with at least one condition")
    return tuple(found)


def _read_segment_audience(value: object, place: Place) -> Audience | None:
    audience = _read_audience(value, place)
    if any(c.operator == "segment" for table in audience or () for c in table):
        place.wrong("a segment may not ask another segment", "write the conditions here")
    return audience


def _values_to_json(values: tuple[Any, ...]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def _operand_to_json(condition: Condition) -> Any:
    match condition.operator:
        case "equals" | "not":
            return _values_to_json(condition.operand)
        case "version":
            return str(condition.operand)
        case "in_network":
            return _values_to_json(tuple(str(network) for network in condition.operand))
        case "before" | "after":
            return condition.operand.isoformat()
    return condition.operand


def audience_to_json(audience: Audience) -> Any:
    """The audience as a person would write it, in JSON's types."""
    tables = []
    for table in audience:
        written: dict[str, Any] = {}
        for c in table:
            if c.operator == "segment":
                written["segment"] = _values_to_json(c.operand)
            elif c.operator == "equals":
                written[c.attribute] = _operand_to_json(c)
            else:
                written.setdefault(c.attribute, {})[c.operator] = _operand_to_json(c)
        tables.append(written)
    return _values_to_json(tuple(tables))


def _one_or_many(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1}]}


_TEXT: Final = {"type": "string", "minLength": 1}
_MOMENT: Final = {"type": "string", "format": "date-time"}
_OPERATOR_SCHEMAS: Final[dict[str, Any]] = {
    "at_least": {"type": "number"}, "below": {"type": "number"}, "prefix": _TEXT, "suffix": _TEXT, "contains": _TEXT,
    "version": _TEXT, "in_network": _one_or_many(_TEXT), "before": _MOMENT, "after": _MOMENT,
    "exists": {"type": "boolean"},
}  # fmt: skip


def _scalar_schema(attribute: str) -> dict[str, Any]:
    if attribute == "country":
        return {"type": "string", "pattern": _COUNTRY_PATTERN}
    types = {str: "string", bool: "boolean", int: "integer"}
    if attribute in ATTRIBUTES:
        return {"type": types[ATTRIBUTES[attribute]]}
    return {"type": ["string", "number", "boolean"]}


def _condition_schema(attribute: str) -> dict[str, Any]:
    scalar = _scalar_schema(attribute)
    values = scalar if ATTRIBUTES.get(attribute) is bool else _one_or_many(scalar)
    operators = {name: values if name == "not" else _OPERATOR_SCHEMAS[name] for name in _operators_of(attribute)}
    table = {"type": "object", "minProperties": 1, "additionalProperties": False, "properties": operators}
    return {"anyOf": [values, table]}


def _audience_schema(*, has_segments: bool) -> dict[str, Any]:
    table: dict[str, Any] = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"not": {"enum": [*_MISNAMED, *([] if has_segments else ["segment"])]}},
        "properties": {attribute: _condition_schema(attribute) for attribute in ATTRIBUTES},
        "additionalProperties": _condition_schema("(an attribute of the app)"),
    }
    if has_segments:
        table["properties"]["segment"] = _one_or_many({"type": "string", "pattern": NAME_PATTERN})
    return _one_or_many(table)


AUDIENCE: Final = Kind(_read_audience, _audience_schema(has_segments=True))
SEGMENT_AUDIENCE: Final = Kind(_read_segment_audience, _audience_schema(has_segments=False))
