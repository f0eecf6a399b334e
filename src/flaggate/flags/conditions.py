"""Audiences as people write them: a table = all of its keys, a list of tables = any of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from ipaddress import ip_network
from typing import Any, Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from flaggate.flags.audience import ATTRIBUTES, Audience, Condition
from flaggate.flags.fields import MOMENT, NAME, NAME_PATTERN
from flaggate.flags.place import Kind, Place, show, unknown_word

__all__ = ["AUDIENCE", "SEGMENT_AUDIENCE", "audience_to_json"]

_COUNTRY_PATTERN: Final = "^(?!UK$)[A-Z]{2}$"  # GeoIP databases say GB, so UK would match nobody
_KIND_NAMES: Final = {str: "text in quotes", bool: "true or false", int: "a whole number of at most 64 bits"}
_NUMBER: Final = "a number (a whole one of at most 64 bits)"
_LONGEST_VERSIONS: Final = 200
_RANK: Final = {attribute: rank for rank, attribute in enumerate(ATTRIBUTES)}
_MISNAMED: Final = {"groups": "group", "users": "user", "accounts": "account", "is_staff": "staff", "cities": "city",
                    "countries": "country", "segments": "segment", "ip_address": "ip"}  # fmt: skip


def _plain(value: object) -> Any:
    """A number as the app will give it: TOML's decimals were kept exact for shares only."""
    return float(value) if isinstance(value, Decimal) else value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, Decimal) and math.isfinite(value))


def _is_scalar(attribute: str, value: object) -> bool:
    if attribute not in ATTRIBUTES:
        return isinstance(value, (str, bool)) or _is_number(value)
    if ATTRIBUTES[attribute] is int:
        return _is_whole(value)
    if attribute == "country":
        return isinstance(value, str) and re.fullmatch(_COUNTRY_PATTERN, value) is not None
    return isinstance(value, ATTRIBUTES[attribute])


def _allowed_scalar(attribute: str, value: object) -> str:
    if attribute == "country":
        hint = '; the United Kingdom is "GB"' if value in ("UK", "uk") else ""
        return f'an ISO 3166 code of two capital letters: "GB"{hint}'
    if attribute in ATTRIBUTES:
        return _KIND_NAMES[ATTRIBUTES[attribute]]
    return f"text, {_NUMBER}, true or false"


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
    place.wrong_value(value, _NUMBER)
    return None


def _read_part(value: object, place: Place) -> Any:
    if isinstance(value, str) and value:
        return value
    place.wrong_value(value, "text that is not empty, in quotes")
    return None


def _read_version(value: object, place: Place) -> Any:
    if isinstance(value, str) and len(value) <= _LONGEST_VERSIONS:
        with suppress(InvalidSpecifier):  # answered below, with everything else that is no version
            versions = SpecifierSet(value)
            if len(versions):
                return versions
    place.wrong_value(value, 'versions (PEP 440): ">=2.1", ">=2.1,<3"')
    return None


def _read_networks(value: object, place: Place) -> Any:
    items = value if isinstance(value, list) and value else [value]
    networks = []
    for index, item in enumerate(items):
        try:
            networks.append(ip_network(item if isinstance(item, str) else ""))
        except ValueError:
            at = place.item(index) if items is value else place
            at.wrong_value(item, 'a network in CIDR form, without host bits: "10.0.0.0/8", "2001:db8::/32"')
    return tuple(networks) if len(networks) == len(items) else None


def _read_bool(value: object, place: Place) -> Any:
    if isinstance(value, bool):
        return (value,)
    place.wrong_value(value, "true or false")
    return None


_OPERATORS: Final[dict[str, Callable[[Any, Place], Any]]] = {
    "at_least": _read_number, "below": _read_number, "prefix": _read_part, "suffix": _read_part,
    "contains": _read_part, "version": _read_version, "in_network": _read_networks, "before": MOMENT.read,
    "after": MOMENT.read, "exists": _read_bool,
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
            at.wrong(f"{show(operator)} does not apply to {show(attribute)}", unknown_word(operator, allowed))
            continue
        read = _read_values(attribute, operand, at) if operator == "not" else _OPERATORS[operator](operand, at)
        if read is not None:
            plain = read[0] if operator == "exists" else read
            found.append(Condition(attribute, operator, plain))  # type: ignore[arg-type]  # one of `allowed`
    return tuple(found)


def _read_segments(value: object, place: Place) -> tuple[Condition, ...]:
    if value == []:
        place.wrong("an empty list matches nobody", "name at least one segment, or leave the key out")
        return ()
    places = [(value, place)]
    if isinstance(value, list):
        places = [(item, place.item(index)) for index, item in enumerate(value)]
    names = tuple(NAME.read(item, at) for item, at in places)
    place.asked.extend((name, at) for name, (_, at) in zip(names, places, strict=True) if name is not None)
    return (Condition("segment", "segment", names),)


def _read_key(key: str, value: object, place: Place, *, may_ask: bool) -> tuple[Condition, ...]:
    if key in _MISNAMED:
        place.wrong(
            f'unknown key "{key}"', f'did you mean "{_MISNAMED[key]}"? allowed: {", ".join(ATTRIBUTES)}, segment'
        )
        return ()
    if key == "segment" and not may_ask:
        place.wrong("a segment may not ask another segment", "write the conditions here")
        return ()
    if key == "segment":
        return _read_segments(value, place)
    if isinstance(value, dict):
        return _read_operators(key, value, place)
    values = _read_values(key, value, place)
    return () if values is None else (Condition(key, "equals", values),)


def _read_table(table: dict[str, Any], place: Place, *, may_ask: bool) -> tuple[Condition, ...]:
    """The conditions in one order, whatever the keys' was: tables that mean the same are equal.

    It is ATTRIBUTES', where who comes before the place, which has to be looked up.
    """
    found = (c for key, item in table.items() for c in _read_key(key, item, place.key(key), may_ask=may_ask))
    return tuple(sorted(found, key=lambda c: (_RANK.get(c.attribute, len(_RANK)), c.attribute, c.operator)))


def _read_audience(value: object, place: Place, *, may_ask: bool) -> Audience | None:
    if not isinstance(value, (dict, list)) or not value:
        place.wrong_value(value, "a table of conditions, or a list of such tables; or leave the key out")
        return None
    tables = value if isinstance(value, list) else [value]
    before = len(place.mistakes)
    found = []
    for index, table in enumerate(tables):
        at = place.item(index) if isinstance(value, list) else place
        if isinstance(table, dict) and table:
            found.append(_read_table(table, at, may_ask=may_ask))
        else:
            at.wrong_value(table, "a table with at least one condition")
    return tuple(found) if len(place.mistakes) == before else None


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
_OPERATOR_SCHEMAS: Final[dict[str, Any]] = {
    "at_least": {"type": "number"}, "below": {"type": "number"}, "prefix": _TEXT, "suffix": _TEXT, "contains": _TEXT,
    "version": _TEXT, "in_network": _one_or_many(_TEXT), "before": MOMENT.schema, "after": MOMENT.schema,
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


def _audience_schema(*, may_ask: bool) -> dict[str, Any]:
    table: dict[str, Any] = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"not": {"enum": [*_MISNAMED, *([] if may_ask else ["segment"])]}},
        "properties": {attribute: _condition_schema(attribute) for attribute in ATTRIBUTES},
        "additionalProperties": _condition_schema("(an attribute of the app)"),
    }
    if may_ask:
        table["properties"]["segment"] = _one_or_many({"type": "string", "pattern": NAME_PATTERN})
    return _one_or_many(table)


AUDIENCE: Final = Kind(partial(_read_audience, may_ask=True), _audience_schema(may_ask=True))
SEGMENT_AUDIENCE: Final = Kind(partial(_read_audience, may_ask=False), _audience_schema(may_ask=False))
