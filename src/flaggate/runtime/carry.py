"""From one store to another: everything that it keeps, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Final

from flaggate.errors import CarryError, StoreError
from flaggate.flags.words import counted
from flaggate.runtime.lease_words import lease_words
from flaggate.stores.base import NOT_EMPTY, Contents, Store

__all__ = ["Carried", "carry"]

_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Carried:
    """What is in the other store now, and was read back from it."""

    contents: Contents
    users: tuple[str, ...]
    """Who goes on using the old one, in words: what they write there is lost."""
    meanwhile: str | None
    """What was written to the old one while it was read, in words; None = nothing."""


def carry(source: Store, target: Store, *, anyway: bool = False) -> Carried:
    """Carry all of it, and read it back. The old store is left as it is.

    Args:
        anyway: Also while processes use the old one.

    Raises:
        CarryError: It is in use or empty; the other one is not empty; or something was written to the old one meanwhile,
            and the other has it not.
        StoreError: One of them did not do it: the other one is as empty as it was. Or it took what it does not give back.
    """
    users = tuple(_users_of(source))
    if users and not anyway:
        raise CarryError((*users, _stop_them(source)))
    pulse, contents = source.pulse(), source.contents()
    if not contents.revision and not contents.counts:
        raise CarryError([f"there is nothing in {source.url}: nothing was ever written to it"])
    try:
        target.fill(contents)
    except StoreError as error:
        if error.problem != NOT_EMPTY:
            raise
        raise CarryError([str(error)]) from error
    _check(target, contents)
    meanwhile = _meanwhile(source, contents.revision, pulse)
    if meanwhile is not None and not anyway:
        raise CarryError([meanwhile, f"{target.url} has it not: make that anew, and move again"])
    return Carried(contents, users, meanwhile)


def _users_of(store: Store) -> Iterator[str]:
    presences = store.presences()
    for presence in presences[:_MOST_NAMED]:
        yield f"{presence.who} serves flags from {store.url}"
    if len(presences) > _MOST_NAMED:
        yield f"and so {'do' if len(presences) > _MOST_NAMED + 1 else 'does'} {counted(len(presences) - _MOST_NAMED, 'other')}"
    lease = store.lease()
    if lease is not None:
        yield f"{lease_words(lease)} there"


def _stop_them(store: Store) -> str:
    return (
        f"stop them first: what they go on writing to {store.url} would be lost, a kill too; one that was killed is named "
        "until it has said nothing for 45 s. --anyway moves all the same"
    )


def _meanwhile(source: Store, revision: int, pulse: int) -> str | None:
    """What came after what was read."""
    found = source.revision()
    if found != revision:
        return f"{source.url} was written to meanwhile: it is at revision {found}, and {revision} was carried"
    if source.pulse() != pulse:
        return f"processes counted into {source.url} meanwhile"
    return None


def _check(target: Store, contents: Contents) -> None:
    found, given = _as_compared(target.contents()), _as_compared(contents)
    different = [field.name for field in fields(Contents) if getattr(found, field.name) != getattr(given, field.name)]
    if different:
        words = ", ".join(different)
        raise StoreError(target.url, f"what is read back is not what was carried there ({words}): do not use it")


def _as_compared(contents: Contents) -> Contents:
    """A set without a unit is none."""
    return replace(contents, units=tuple(units for units in contents.units if units.units))
