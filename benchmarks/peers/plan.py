"""The seed plan at its stage "tenth", who is asked about, the plan by hand, and whether a peer's answers are right."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Protocol

import mmh3

__all__ = [
    "FLAG", "PERSONS", "PILOT", "Person", "Row", "answers_are_right", "by_hand", "by_hand_of_row", "half", "members",
    "names", "person_of", "tenth",
]  # fmt: skip

FLAG = "new-invoicing"
PILOT = "pilot"
"""A flag without stages, on for the members of one segment."""

Row = dict[str, Any]
"""A person as an app has it in hand: user, account, staff, city, country, groups (a list), tier."""


class Who(Protocol):
    """What the plan reads of a person."""

    @property
    def user(self) -> str | None: ...
    @property
    def account(self) -> str | None: ...
    @property
    def staff(self) -> bool: ...
    @property
    def city(self) -> str | None: ...
    @property
    def country(self) -> str | None: ...
    @property
    def groups(self) -> frozenset[str]: ...
    @property
    def tier(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Person:
    """The same, ready for the function by hand."""

    user: str
    account: str
    staff: bool
    city: str
    country: str
    groups: frozenset[str]
    tier: str


def person_of(row: Row) -> Person:
    """The row as a person."""
    return Person(**(row | {"groups": frozenset(row["groups"])}))


# --- what an app would write by hand: settings that an operator can change, and the plan -------

KILLED = False
STAGE = 4
DENIED = frozenset({"acme-de"})


def by_hand(context: Who) -> bool:
    """The seed plan for somebody."""
    if KILLED or STAGE == 0:
        return False
    if context.account in DENIED:
        return False
    if context.staff:
        return True
    if STAGE >= 2 and context.city == "Manchester" and context.country == "GB" and _bucket(context.user) < 50_000:
        return True
    if STAGE >= 3 and ("beta" in context.groups or context.tier == "enterprise"):
        return True
    return STAGE >= 5 or (STAGE >= 4 and _bucket(context.user) < 10_000)


def by_hand_of_row(row: Row) -> bool:
    """The same, straight from the dict."""
    if KILLED or STAGE == 0:
        return False
    if row["account"] in DENIED:
        return False
    if row["staff"]:
        return True
    if STAGE >= 2 and row["city"] == "Manchester" and row["country"] == "GB" and _bucket(row["user"]) < 50_000:
        return True
    if STAGE >= 3 and ("beta" in row["groups"] or row["tier"] == "enterprise"):
        return True
    return STAGE >= 5 or (STAGE >= 4 and _bucket(row["user"]) < 10_000)


def half(user: str) -> bool:
    """Manchester's share, where the app itself has to say it."""
    return _bucket(user) < 50_000


def tenth(user: str) -> bool:
    """Everyone's share, where the app itself has to say it."""
    return _bucket(user) < 10_000


def _bucket(user: str | None) -> int:
    return 100_000 if user is None else mmh3.hash("new-invoicing:" + user, 0, False) * 100_000 >> 32


# --- who is asked about -----------------------------------------------------------------------


def _rows(count: int, prefix: str, **fixed: Any) -> Iterator[Row]:
    dice = random.Random(prefix)
    for number in range(count):
        row = {
            "user": f"{prefix}-{number}",
            "account": "acme-de" if dice.random() < 0.03 else f"account-{number % 200}",
            "staff": dice.random() < 0.05,
            "city": dice.choice(["Manchester", "Leeds", "Leeds", "Hamburg", "Hamburg"]),
            "country": "GB",
            "groups": ["beta", "print"] if dice.random() < 0.1 else dice.choice([[], ["print"]]),
            "tier": dice.choice(["free", "free", "team", "team", "team", "team", "team", "team", "team", "enterprise"]),
        }
        row["country"] = "DE" if row["city"] == "Hamburg" else "GB"
        yield row | fixed


PERSONS: Sequence[Row] = tuple(_rows(1_000, "user"))
"""A thousand: a few of our own staff, a fifth in Manchester, some in the beta group, some of the Enterprise tier."""


def names(count: int) -> tuple[str, ...]:
    """Names of flags that all have the seed plan; the first is the one that is asked."""
    return (FLAG, *(f"other-{number}" for number in range(count - 1)))


def members(count: int) -> tuple[str, ...]:
    """Half of the thousand, and people who are not asked about."""
    return tuple(f"user-{number}" if number < len(PERSONS) else f"member-{number}" for number in range(0, count * 2, 2))


# --- whether the answers are right -------------------------------------------------------------

_PLAIN = {"account": "account-1", "staff": False, "groups": ["print"], "tier": "team"}
_SHARES: Mapping[str, tuple[float, Sequence[Row]]] = {
    "Manchester's half": (0.5, tuple(_rows(2_000, "mancunian", **_PLAIN, city="Manchester", country="GB"))),
    "everyone's tenth": (0.1, tuple(_rows(2_000, "other", **_PLAIN, city="Leeds", country="GB"))),
}


def _rule_decides(row: Row) -> bool | None:
    """What the plan's rules say; None where a share does."""
    if row["account"] in DENIED:
        return False
    if row["staff"] or "beta" in row["groups"] or row["tier"] == "enterprise":
        return True
    return None


def answers_are_right(is_on: Callable[[Row], bool]) -> None:
    """Hold a peer's answers against the plan: exactly where a rule decides, and by number where a share does.

    Raises:
        AssertionError: naming the first that is wrong.
    """
    for row in PERSONS:
        expected = _rule_decides(row)
        assert expected is None or is_on(row) is expected, f"{row} is not {expected}"
    for words, (share, rows) in _SHARES.items():
        found = sum(is_on(row) for row in rows)
        sought, sigma = share * len(rows), sqrt(len(rows) * share * (1 - share))
        assert abs(found - sought) <= 5 * sigma, f"{words}: {found} of {len(rows)} are in, not about {sought:.0f}"
