"""What the seed plan (tests/seed.py) must answer, read from the plan by eye.

Independent of the package on purpose: it imports nothing of it, and has a MurmurHash3 of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

FLAG = "new-invoicing"
STAGES = ("internal", "manchester", "beta", "tenth", "everyone")

Answer: TypeAlias = tuple[bool, str | None, str | None, str]
"""is_on, the stage that let it in, the arm, the reason."""
Standing: TypeAlias = Literal["as started", "killed", "rolled_back"]


@dataclass(frozen=True)
class Person:
    """Who asks; None = not known."""

    user: str | None
    account: str | None = None
    staff: bool = False
    groups: tuple[str, ...] = ()
    tier: str | None = None
    city: str | None = None
    country: str | None = None


def expected(stage: int, person: Person, standing: Standing = "as started") -> Answer:
    """The answer at a stage, 0 (draft) to 5 (everyone)."""
    if standing == "killed":
        return False, None, None, "killed"
    if person.account == "acme-de":
        return False, None, None, "denied"
    if standing == "rolled_back":
        return False, None, None, "rolled_back"
    if stage == 0:
        return False, None, None, "not_started"
    place = bucket(FLAG, person.user) if person.user else None
    is_manchester = stage >= 2 and person.city == "Manchester" and person.country == "GB"
    if person.staff:
        return True, "internal", None, "stage"
    if is_manchester and place is not None and place < 50_000:
        return True, "manchester", "treatment" if stage == 2 else None, "stage"
    if stage >= 3 and ("beta" in person.groups or person.tier == "enterprise"):
        return True, "beta", None, "stage"
    if stage >= 4 and place is not None and place < 10_000:
        return True, "tenth", "treatment" if stage == 4 else None, "stage"
    if stage == 5:
        return True, "everyone", None, "stage"
    if not is_manchester and stage < 4:
        return False, None, None, "no_match"
    if place is None:
        return False, None, None, "no_unit"
    is_control = stage == 2 or (stage == 4 and not is_manchester)
    return False, None, "control" if is_control else None, "stage"


def make_people(count: int, seed: int) -> list[Person]:
    """Random people of every kind that the plan tells apart; the same for the same seed."""
    dice = random.Random(seed)
    places = (
        *((("Manchester", "GB"),) * 3),
        ("Manchester", "US"),
        ("Manchester", None),
        ("Leeds", "GB"),
        ("Berlin", "DE"),
        (None, "GB"),
        (None, None),
    )
    people = []
    for number in range(count):
        city, country = dice.choice(places)
        people.append(
            Person(
                user=dice.choices((f"u-{number}", str(dice.getrandbits(40)), None), (60, 34, 6))[0],
                account=dice.choices((None, f"firm-{number % 700}", "acme-de"), (20, 74, 6))[0],
                staff=dice.random() < 0.05,
                groups=dice.choices(((), ("beta",), ("early", "beta"), ("early",)), (80, 6, 4, 10))[0],
                tier=dice.choices((None, "free", "pro", "enterprise"), (20, 40, 30, 10))[0],
                city=city,
                country=country,
            )
        )
    return people


@cache
def bucket(salt: str, key: str) -> int:
    """The place of a key, 0..99 999."""
    return murmur3(f"{salt}:{key}".encode()) * 100_000 // 2**32


def murmur3(data: bytes) -> int:
    """MurmurHash3_x86_32 with seed 0, unsigned, after Austin Appleby's description."""
    state = 0
    whole = len(data) // 4 * 4
    for start in range(0, whole, 4):
        state ^= _scrambled(int.from_bytes(data[start : start + 4], "little"))
        state = (_rotated(state, 13) * 5 + 0xE6546B64) % 2**32
    state ^= _scrambled(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B % 2**32
    state = (state ^ state >> 13) * 0xC2B2AE35 % 2**32
    return state ^ state >> 16


def _scrambled(block: int) -> int:
    return _rotated(block * 0xCC9E2D51 % 2**32, 15) * 0x1B873593 % 2**32


def _rotated(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) % 2**32
