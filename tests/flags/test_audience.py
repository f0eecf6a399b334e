"""The operators, each with what matches, what does not, and what it does not understand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from flaggate.flags.audience import OPERATORS, Condition, attributes_of, segments_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NETWORKS = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
NAN = float("nan")


class NoZone(tzinfo):
    """A zone that does not know its offset: a datetime in it is naive."""

    def utcoffset(self, when: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


MATCHES: dict[str, list[tuple[Any, Any]]] = {
    "equals": [
        ("gold", ("gold",)),
        ("gold", ("silver", "gold")),
        (2, (2,)),
        (2.0, (2,)),
        (Decimal("0.5"), (0.5,)),
        (True, (True,)),
        (False, (True, False)),
        ("", ("",)),
    ],
    "not": [("gold", ("silver",)), ("gold", ("Gold", "gold ")), (True, (1,)), (1, (True,)), (0, (False,)), ("1", (1,))],
    "at_least": [(5, 5), (5.5, 5), (10**400, 5.0), (Decimal("5.1"), 5), (-1, -1.5)],
    "below": [(4, 5), (4.999, 5), (-(10**400), 5.0), (Decimal("4.9"), 5.0), (0, 0.1)],
    "prefix": [("abc", "a"), ("abc", "abc"), ("Ärzte", "Ä")],
    "suffix": [("abc", "c"), ("abc", "abc"), ("a@example.com", "@example.com")],
    "contains": [("abc", "b"), ("abc", "abc")],
    "version": [
        ("2.1", SpecifierSet(">=2.1")),
        ("2.1.0", SpecifierSet("==2.1")),
        ("v2.5", SpecifierSet(">=2.1,<3")),
        ("3.0rc1", SpecifierSet(">=2.1")),  # a prerelease is a version like any other
        ("3.0.dev3", SpecifierSet(">2.9")),
    ],
    "in_network": [
        ("10.1.2.3", NETWORKS),
        ("::ffff:10.1.2.3", NETWORKS),  # IPv4 as a dual-stack socket shows it
        ("2001:db8::1", NETWORKS),
        ("2001:DB8::1", NETWORKS),
    ],
    "before": [
        (NOON - timedelta(seconds=1), NOON),
        ("2026-01-01T11:59:59Z", NOON),
        (datetime(2026, 1, 1, 13, 59, tzinfo=timezone(timedelta(hours=2))), NOON),
        ("0001-01-01T00:00:00+14:00", NOON),
    ],
    "after": [
        (NOON + timedelta(seconds=1), NOON),
        ("2026-01-01T14:00:01+02:00", NOON),
        ("9999-12-31T23:59:59-14:00", NOON),
    ],
}

NO_MATCH: dict[str, list[tuple[Any, Any]]] = {
    "equals": [
        ("Gold", ("gold",)),
        (True, (1,)),
        (1, (True,)),
        (False, (0, "")),
        ("1", (1,)),
        (NAN, (NAN,)),
        ([], ("a",)),
    ],
    "not": [("gold", ("gold",)), ("gold", ("silver", "gold")), (True, (True,)), (2.0, (2,))],
    "at_least": [(4, 5), (True, 1), ("5", 5), (NAN, 5), (Decimal("NaN"), 5), (Decimal("sNaN"), 5), ([6], 5), (NOON, 5)],
    "below": [(5, 5), (False, 1), ("4", 5), (NAN, 5), (Decimal("NaN"), 5), ({}, 5)],
    "prefix": [("abc", "b"), ("abc", "A"), (5, "5"), (["abc"], "a"), (b"abc", "a")],
    "suffix": [("abc", "b"), ("abc", "C"), (5, "5"), (["abc"], "c")],
    "contains": [("abc", "d"), ("abc", "B"), (["b"], "b"), ({"b": 1}, "b")],
    "version": [
        ("2.0.9", SpecifierSet(">=2.1")),
        ("2.1rc1", SpecifierSet(">=2.1")),
        ("3.0", SpecifierSet(">=2.1,<3")),
        ("latest", SpecifierSet(">=2.1")),
        ("", SpecifierSet(">=2.1")),
        (2.5, SpecifierSet(">=2.1")),
        ("9" * 5000, SpecifierSet(">=2.1")),  # more digits than int() reads
    ],
    "in_network": [
        ("11.0.0.1", NETWORKS),
        ("::ffff:11.0.0.1", NETWORKS),
        ("2001:db9::1", NETWORKS),
        ("10.0.0.1:443", NETWORKS),
        ("localhost", NETWORKS),
        ("", NETWORKS),
        (167772161, NETWORKS),  # 10.0.0.1 as a number is no address
    ],
    "before": [
        (NOON, NOON),
        (NOON + timedelta(seconds=1), NOON),
        (datetime(2025, 1, 1), NOON),  # without a zone it is no moment
        ("2025-01-01T00:00:00", NOON),
        (datetime(2025, 1, 1, tzinfo=NoZone()), NOON),
        ("yesterday", NOON),
        (1735689600, NOON),
        (NOON.date(), NOON),
    ],
    "after": [
        (NOON, NOON),
        (NOON - timedelta(seconds=1), NOON),
        (datetime(2027, 1, 1), NOON),
        ("2027-01-01", NOON),
        (1830297600, NOON),
    ],
}


def cases(table: dict[str, list[tuple[Any, Any]]]) -> list[Any]:
    return [
        pytest.param(operator, value, operand, id=f"{operator}-{index}")
        for operator, pairs in table.items()
        for index, (value, operand) in enumerate(pairs)
    ]


@pytest.mark.parametrize(("operator", "value", "operand"), cases(MATCHES))
def test_matches(operator: str, value: Any, operand: Any) -> None:
    assert OPERATORS[operator](value, operand) is True


@pytest.mark.parametrize(("operator", "value", "operand"), cases(NO_MATCH))
def test_does_not_match(operator: str, value: Any, operand: Any) -> None:
    assert OPERATORS[operator](value, operand) is False


def test_every_operator_has_its_cases() -> None:
    assert set(MATCHES) == set(NO_MATCH) == set(OPERATORS)


def test_conditions_are_equal_when_they_mean_the_same() -> None:
    one = Condition("seats", "equals", (1,))
    assert one == Condition("seats", "equals", (1.0,))
    assert hash(one) == hash(Condition("seats", "equals", (1.0,)))
    assert one != Condition("seats", "equals", (True,))
    assert one != Condition("seats", "not", (1,))
    assert one != (1,)


def test_an_audience_tells_what_it_reads() -> None:
    audience = (
        (Condition("city", "equals", ("Manchester",)), Condition("segment", "segment", ("pilots", "friends"))),
        (Condition("seats", "at_least", 5),),
    )
    assert attributes_of(audience) == {"city", "seats"}
    assert segments_of(audience) == {"pilots", "friends"}
    assert attributes_of(()) == segments_of(()) == frozenset()
