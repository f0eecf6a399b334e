"""Audiences: conditions on the context, and the operators that they are made of.

An operator here is a plain function `(value, operand) -> bool`. It is called with a value that is
present; a value of a kind that it does not understand does not match. Equality and membership of
text are inlined by `flaggate.decide.compile` and have no function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

__all__ = [
    "ATTRIBUTES",
    "EVERYONE",
    "OPERATORS",
    "Audience",
    "Condition",
    "Operator",
    "attributes_of",
    "segments_of",
]

Operator: TypeAlias = Literal[
    "equals", "not", "at_least", "below", "prefix", "suffix", "contains", "version", "in_network", "before", "after",
    "exists", "segment",
]  # fmt: skip

ATTRIBUTES: Final[dict[str, type]] = {
    "user": str, "account": str, "visitor": str, "staff": bool, "group": str, "tier": str, "city": str,
    "city_id": int, "region": str, "country": str, "ip": str,
}  # fmt: skip
"""The context attributes that an audience may name, with the type of their values; any other name
is one of the app's own attributes."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on one attribute."""

    attribute: str
    operator: Operator
    operand: Any
    """equals, not: a tuple of values (one of them, none of them); segment: a tuple of names;
    in_network: a tuple of networks; version: a SpecifierSet; before, after: an aware datetime; exists: a bool;
    else one value."""

    def __eq__(self, other: object) -> bool:
        """Equal in meaning: a condition on True is not one on 1, which Python would take for the same."""
        return self._meaning() == other._meaning() if isinstance(other, Condition) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._meaning())

    def _meaning(self) -> tuple[Any, ...]:
        values = self.operand if isinstance(self.operand, tuple) else ()
        return self.attribute, self.operator, self.operand, tuple(isinstance(value, bool) for value in values)


Audience: TypeAlias = tuple[tuple[Condition, ...], ...]
"""Any of the tables; in a table all of its conditions."""

EVERYONE: Final[Audience] = ()


def attributes_of(audience: Audience) -> frozenset[str]:
    """The attributes that the audience names itself (those of its segments not included)."""
    return frozenset(c.attribute for table in audience for c in table if c.operator != "segment")


def segments_of(audience: Audience) -> frozenset[str]:
    """The names of the segments that the audience asks."""
    return frozenset(name for table in audience for c in table if c.operator == "segment" for name in c.operand)


def _is_number(value: object) -> bool:
    if isinstance(value, Decimal):
        return not value.is_nan()  # which would raise when compared, unlike a float's
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def equals_one_of(value: object, operand: tuple[Any, ...]) -> bool:
    """Equal to one of the operand's values and of the same kind: True is not 1, "1" is not 1."""
    for wanted in operand:
        if isinstance(wanted, bool) or isinstance(value, bool):
            if value is wanted:
                return True
        elif value == wanted:
            return True
    return False


def equals_none_of(value: object, operand: tuple[Any, ...]) -> bool:
    """The opposite of `equals_one_of`, for a value that is present."""
    return not equals_one_of(value, operand)


def at_least(value: Any, operand: float) -> bool:
    """A number that is the operand or more."""
    return _is_number(value) and bool(value >= operand)


def below(value: Any, operand: float) -> bool:
    """A number less than the operand."""
    return _is_number(value) and bool(value < operand)


def prefix(value: object, operand: str) -> bool:
    """Text that starts with the operand."""
    return isinstance(value, str) and value.startswith(operand)


def suffix(value: object, operand: str) -> bool:
    """Text that ends with the operand."""
    return isinstance(value, str) and value.endswith(operand)


def contains(value: object, operand: str) -> bool:
    """Text that has the operand somewhere inside."""
    return isinstance(value, str) and operand in value


def version(value: object, operand: Any) -> bool:
    """A version (PEP 440) inside the operand, a `packaging.specifiers.SpecifierSet`."""
    from packaging.version import Version  # 21 ms that only this operator needs

    if not isinstance(value, str):
        return False
    try:
        parsed = Version(value)
    except ValueError:  # InvalidVersion, or more digits than int() takes
        return False
    return bool(operand.contains(parsed, prereleases=True))


def in_network(value: object, operand: Any) -> bool:
    """An IP address in one of the operand's networks; an IPv4 address mapped into IPv6 counts as IPv4."""
    from ipaddress import ip_address  # only this operator needs it

    if not isinstance(value, str):
        return False
    try:
        address = ip_address(value)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in operand)


def _moment(value: object) -> datetime | None:
    """An aware datetime, or RFC 3339 text of one; a time without a zone is no moment."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, datetime) and value.utcoffset() is not None else None


def before(value: object, operand: datetime) -> bool:
    """A moment earlier than the operand."""
    moment = _moment(value)
    return moment is not None and moment < operand


def after(value: object, operand: datetime) -> bool:
    """A moment later than the operand."""
    moment = _moment(value)
    return moment is not None and moment > operand


OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "equals": equals_one_of, "not": equals_none_of, "at_least": at_least, "below": below, "prefix": prefix,
    "suffix": suffix, "contains": contains, "version": version, "in_network": in_network, "before": before,
    "after": after,
}  # fmt: skip
"""The operators that ask a present value; `exists` and `segment` are built in `flaggate.decide.compile`."""
