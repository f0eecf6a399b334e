"""The demo's made-up people, and who of them should have the feature: written by hand from plan.toml."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

from flaggate.decide.bucket import bucket

__all__ = ["STAGES", "Person", "make_people", "should_have_it"]

STAGES: Final = ("internal", "manchester", "beta", "tenth", "everyone")
_PLACES: Final = (
    ("Manchester", "GB"), ("Manchester", "US"), ("Leeds", "GB"), ("London", "GB"), ("Berlin", "DE"), (None, None),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who uses the app; the fields are the words of Context."""

    user: str
    account: str
    staff: bool
    groups: tuple[str, ...]
    tier: str
    city: str | None
    country: str | None

    def context(self) -> dict[str, Any]:
        """The arguments of a Context, in JSON's types."""
        return asdict(self)


def make_people(count: int, seed: int) -> list[Person]:
    """So many people, the same ones for the same seed."""
    dice = Random(seed)  # noqa: S311  # people, not secrets
    people = []
    for number in range(1, count + 1):
        city, country = dice.choices(_PLACES, weights=(12, 4, 20, 40, 14, 10))[0]
        people.append(
            Person(
                user=f"user-{number}",
                account="acme-de" if country == "DE" and dice.random() < 0.2 else f"account-{dice.randint(1, 90)}",
                staff=dice.random() < 0.03,
                groups=("beta",) if dice.random() < 0.06 else (),
                tier=dice.choices(("free", "team", "enterprise"), weights=(70, 25, 5))[0],
                city=city,
                country=country,
            )
        )
    return people


def should_have_it(person: Person, stage: int) -> bool:
    """Whether the plan gives it to this person at stages 1..stage (0 = not started, or killed)."""
    place = bucket("new-invoicing", person.user)
    if person.account == "acme-de":
        return False
    return (
        (stage >= 1 and person.staff)
        or (stage >= 2 and person.city == "Manchester" and person.country == "GB" and place < 50_000)
        or (stage >= 3 and ("beta" in person.groups or person.tier == "enterprise"))
        or (stage >= 4 and place < 10_000)
        or stage >= 5
    )
