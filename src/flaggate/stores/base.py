"""What a store is: versioned rows, one revision over all of them, and an append-only list of events."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from flaggate.rollout.state import Event

__all__ = ["Changes", "Kind", "Row", "Store", "Write", "without_password"]

Kind: TypeAlias = Literal["flag", "segment", "definitions"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it is stored."""

    kind: Kind
    name: str
    version: int
    """Grows by one with each write, over removals too."""
    document: Mapping[str, Any] | None
    """In JSON's types; None = removed."""


@dataclass(frozen=True, slots=True)
class Write:
    """A row to be written if it is at the expected version still."""

    kind: Kind
    name: str
    expected: int
    """The version that was read; 0 = the row is not there."""
    document: Mapping[str, Any] | None
    """None removes the row."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The rows written after some revision, removed ones included, as of `revision`."""

    revision: int
    rows: tuple[Row, ...]


def without_password(url: str) -> str:
    """A store's URL as people may see it, also one that no driver understands."""
    return re.sub(r"(//[^/:@]*:).*@", r"\1***@", url)


class Store(Protocol):
    """Where flags are kept. Safe to use from several threads; raises StoreError and nothing else.

    Constructing one opens nothing. `flaggate.testing.StoreContract` holds what an implementation
    has to keep.
    """

    url: str
    """What people are shown: without a password."""
    poll_seconds: float
    """How often a process asks for the revision."""
    identity: str
    """Which store this is: another one that was put in its place (restored, made anew) has another. Known
    once the store was asked for anything."""
    directory: str | None
    """Where this machine keeps the copy of the last snapshot and looks for the `off` file, unless the
    gate is told otherwise; None = nowhere."""

    def revision(self) -> int:
        """A number that grows with each commit; 0 = nothing was ever written. As cheap as can be."""

    def changes(self, since: int = 0) -> Changes:
        """The rows written after that revision, in one consistent view."""

    def get(self, kind: Kind, name: str) -> Row | None:
        """One row; None if it is not there or was removed."""

    def commit(self, writes: Sequence[Write], events: Sequence[Event]) -> int:
        """Write all rows and events, or nothing. Returns the new revision.

        Raises:
            ConflictError: a row is not at the version that was expected.
        """

    def history(self, name: str | None = None, *, limit: int = 100, after: int = 0) -> list[Event]:
        """The newest events, oldest first: of one flag or segment, or of all; only those with a greater id."""

    def before_fork(self) -> None:
        """In the parent, just before a fork: let nothing be open that a child must not inherit."""

    def after_fork(self, *, in_child: bool) -> None:
        """Just after a fork, on both sides."""

    def close(self) -> None:
        """Let go of every connection. The store may be used again."""
