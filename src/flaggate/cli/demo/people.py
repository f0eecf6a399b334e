"""The demo's made-up people, and who of them should have the feature: written by hand from plan.toml."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from flaggate.cli.demo.places import PLACES, Place
from flaggate.decide.bucket import bucket
from flaggate.decide.decision import Arm

__all__ = ["STAGES", "Person", "arm_of", "bucket_of", "make_people", "one_of_each_kind", "should_have_it"]

STAGES: Final = ("internal", "manchester", "beta", "tenth", "everyone")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who uses the app."""

    user: str
    account: str
    staff: bool
    groups: tuple[str, ...]
    tier: str
    place: Place
    address: str

    def profile(self) -> dict[str, Any]:
        """What the app knows of them, in JSON's types."""
        words = "user", "account", "staff", "groups", "tier"
        return {"name": self.name(), "currency": self.currency(), **{word: getattr(self, word) for word in words}}

    def name(self) -> str:
        """As people know them."""
        return f"Person {self.user.removeprefix('user-')}"

    def context(self) -> dict[str, Any]:
        """The arguments of a Context, in JSON's types."""
        known = {word: value for word, value in self.profile().items() if word not in ("name", "currency")}
        return known | {"city": self.place.city, "country": self.place.country}

    def currency(self) -> str:
        """Of their invoices."""
        return {"GB": "GBP", "US": "USD"}.get(self.place.country or "", "EUR")

    def is_denied(self) -> bool:
        return self.account == "acme-de"

    def is_in_manchester(self) -> bool:
        """The one in Great Britain."""
        return self.place.city == "Manchester" and self.place.country == "GB"

    def is_in_beta(self) -> bool:
        return "beta" in self.groups or self.tier == "enterprise"


def make_people(count: int, seed: int) -> list[Person]:
    """So many people, the same ones for the same seed."""
    dice = Random(seed)  # noqa: S311  # people, not secrets
    people = []
    for number in range(1, count + 1):
        place = dice.choices(PLACES, weights=[place.weight for place in PLACES])[0]
        is_ours_in_berlin = place.country == "DE" and dice.random() < 0.2
        people.append(
            Person(
                user=f"user-{number}",
                account="acme-de" if is_ours_in_berlin else f"account-{dice.randint(1, 90)}",
                staff=dice.random() < 0.03,
                groups=("beta",) if dice.random() < 0.06 else (),
                tier=dice.choices(("free", "team", "enterprise"), weights=(70, 25, 5))[0],
                place=place,
                address=place.address(number),
            )
        )
    return people


def bucket_of(person: Person) -> int:
    """Their place in the rollout, 0..99 999."""
    return bucket("new-invoicing", person.user)


_KINDS: Final[dict[str, Callable[[Person], bool]]] = {
    "the new pages: staff": lambda person: person.staff and not person.is_denied(),
    "the new pages: in the half of Manchester that has them": lambda person: (
        _is_plain(person) and 10_000 <= bucket_of(person) < 50_000
    ),
    "the old pages: in the other half of Manchester": lambda person: _is_plain(person) and bucket_of(person) >= 50_000,
    "the new pages: in that half too, but in the beta group or on the Enterprise tier": lambda person: (
        person.is_in_beta() and bucket_of(person) >= 50_000 and not (person.staff or person.is_denied())
    ),
    "the old pages, always: this account is denied": Person.is_denied,
}
"""At stage tenth, for whoever looks from this machine."""


def _is_plain(person: Person) -> bool:
    return not (person.staff or person.is_in_beta() or person.is_denied())


def one_of_each_kind(people: Sequence[Person]) -> dict[str, Person]:
    """The first one of each kind that the plan tells apart."""
    found = ((words, next(filter(is_one, people), None)) for words, is_one in _KINDS.items())
    return {words: person for words, person in found if person is not None}


def should_have_it(person: Person, stage: int) -> bool:
    """Whether the plan gives it to this person at stages 1..stage (0 = not started, or killed)."""
    if person.is_denied():
        return False
    return (
        (stage >= 1 and person.staff)
        or (stage >= 2 and person.is_in_manchester() and bucket_of(person) < 50_000)
        or (stage >= 3 and person.is_in_beta())
        or (stage >= 4 and bucket_of(person) < 10_000)
        or stage >= 5
    )


def arm_of(person: Person, stage: int) -> Arm | None:
    """Whether the share of this very stage decides for them, and how; nobody who got more before has an arm."""
    if person.is_denied() or person.staff:
        return None
    if stage == 2 and person.is_in_manchester():
        return "treatment" if bucket_of(person) < 50_000 else "control"
    if stage == 4 and not person.is_in_manchester() and not person.is_in_beta():
        return "treatment" if bucket_of(person) < 10_000 else "control"
    return None
