"""Every error that flaggate raises on purpose. Each carries its data as attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "BusyError",
    "CarryError",
    "ConflictError",
    "DocumentError",
    "FlaggateError",
    "ForbiddenError",
    "LeaseError",
    "Mistake",
    "MoveError",
    "NoStoreError",
    "OvertakenError",
    "RevisionError",
    "SettingError",
    "StoreError",
    "UnknownFlagError",
    "UnreadableError",
    "closest",
]


class FlaggateError(Exception):
    """The parent of every error of this package."""


class Mistake(NamedTuple):
    """One thing that a person wrote wrong: where, what, and what is allowed there."""

    source: str
    """The file, or `<text>`."""
    path: str
    """The place inside it: `flags.new-invoicing.stages.tenth.share`; empty = the file as a whole."""
    problem: str
    """What is wrong, with the value as written."""
    allowed: str
    """What may stand there, or what to do instead."""

    def __str__(self) -> str:
        where = f"{self.source}: {self.path}" if self.path else self.source
        return f"{where}: {self.problem}; {self.allowed}"


class DocumentError(FlaggateError):
    """A definitions file with mistakes. All of them are in `mistakes`; nothing was applied."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class UnreadableError(FlaggateError):
    """A stored flag or segment that this version of flaggate does not understand."""

    def __init__(self, kind: str, name: str, problem: str) -> None:
        self.kind = kind
        self.name = name
        self.problem = problem
        super().__init__(f"the stored {kind} {name} cannot be read: {problem}")


class SettingError(FlaggateError):
    """A setting of the app that cannot be used: its name, the value, and what is allowed."""

    def __init__(self, setting: str, value: object, allowed: str) -> None:
        self.setting = setting
        self.value = value
        self.allowed = allowed
        shown = value if isinstance(value, str) and value and value.isprintable() else repr(value)
        super().__init__(f"{setting}: {shown}; allowed: {allowed}")


class UnknownFlagError(FlaggateError):
    """No flag of this `name` is in the store; `suggestion` is the closest one that is."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.suggestion = closest(name, known)
        hint = f'; did you mean "{self.suggestion}"?' if self.suggestion else ""
        super().__init__(f'there is no flag "{name}"{hint}')


class MoveError(FlaggateError):
    """An act that may not be done now: `why`, and the verbs in `legal` that may."""

    def __init__(self, flag: str, verb: str, why: str, legal: Sequence[str]) -> None:
        self.flag = flag
        self.verb = verb
        self.why = why
        self.legal = tuple(legal)
        instead = "" if verb in self.legal else f" Legal now: {', '.join(self.legal)}."
        super().__init__(f"{flag}: {verb} refused: {why}.{instead}")


class ForbiddenError(FlaggateError):
    """An act that the actor has no right to; `rights` names those of which any one would do."""

    def __init__(self, actor: str, verb: str, rights: Sequence[str]) -> None:
        self.actor = actor
        self.verb = verb
        self.rights = tuple(rights)
        super().__init__(f"{actor} may not {verb}: it takes the right to {' or '.join(self.rights)}")


class RevisionError(FlaggateError):
    """An edit that a rollout in progress does not take; `refusals` names each, and what to do first."""

    def __init__(self, refusals: Sequence[str]) -> None:
        self.refusals = tuple(refusals)
        super().__init__("\n".join(self.refusals))


class CarryError(FlaggateError):
    """What one store keeps is not to be carried to another one now; `refusals` say why, and what to do first."""

    def __init__(self, refusals: Sequence[str]) -> None:
        self.refusals = tuple(refusals)
        super().__init__("\n".join(self.refusals))


class StoreError(FlaggateError):
    """The store did not do what was asked; the driver's exception is the `__cause__`."""

    def __init__(self, url: str, problem: str) -> None:
        self.url = url
        self.problem = problem
        super().__init__(f"{url}: {problem}")


class NoStoreError(StoreError):
    """The database is there, and nothing of flaggate in it yet."""


class BusyError(StoreError):
    """Somebody else is writing, and did not end in time. Nothing was written; try again."""


class LeaseError(StoreError):
    """This process holds the lease no longer, and may not write what only its holder writes. Nothing was written."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "another process holds the lease, or nobody does")


class ConflictError(StoreError):
    """A compare-and-set that lost: `name` is at version `found`, not `expected`. Nothing was written."""

    def __init__(self, url: str, kind: str, name: str, *, expected: int, found: int) -> None:
        self.kind = kind
        self.name = name
        self.expected = expected
        self.found = found
        super().__init__(url, f"{kind} {name} is at version {found}, not {expected}")


class OvertakenError(FlaggateError):
    """Somebody else changed `name` first; `meanwhile` holds their events. Look, and decide again."""

    def __init__(self, name: str, meanwhile: Sequence[Any]) -> None:
        self.name = name
        self.meanwhile = tuple(meanwhile)
        what = "; ".join(str(event) for event in self.meanwhile) or "no event of it is kept"
        super().__init__(f"{name} was changed meanwhile ({what}). Nothing was done: look, and decide again.")


def closest(word: str, known: Iterable[str]) -> str | None:
    """The word of `known` that `word` most likely was meant to be, or None."""
    import difflib  # 8 ms that only an error needs

    if len(word) > 100:  # no name is; and the search takes the product of the lengths
        return None
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None
