"""What a peer has to bring: one Protocol."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks.peers.plan import Row

__all__ = ["Peer", "answered"]


class Peer(Protocol):
    """One way to ask flags, used as its documentation says and without a network.

    What is timed is written out as expressions, so that no wrapper's price is added. They see what `load` returned, and
    `flag`, `context`, `row` or `flags`.
    """

    @property
    def name(self) -> str:
        """As the table has it."""

    @property
    def distribution(self) -> str:
        """What is installed; its version is shown. Empty = nothing."""

    @property
    def imports(self) -> str:
        """The statements that an app imports it with."""

    @property
    def context(self) -> str:
        """The peer's context of `row`."""

    @property
    def ask(self) -> str:
        """Whether `flag` is on for `context`."""

    @property
    def all(self) -> str:
        """All of `flags` for `context`: a dict by name. Empty = there is no call for that, and each is asked."""

    @property
    def note(self) -> str:
        """What of the plan is the app's own code, and what else to know of the row. May be empty."""

    @property
    def has_segments(self) -> bool:
        """Whether a flag can ask for members in a list."""

    @property
    def is_dice(self) -> bool:
        """Whether a share is drawn anew each time, so that an answer is not repeated."""

    def write(self, folder: Path, flags: Sequence[str], members: Sequence[str]) -> None:
        """Lay down in the folder what the peer starts from: each flag with the seed plan, and if there are members, the
        flag `plan.PILOT` for them alone."""

    def load(self, folder: Path, rows: Sequence[Row]) -> dict[str, Any]:
        """Start from what `write` laid down, so that each flag can be asked; returns the names for the expressions. The
        rows are who will be asked about, for those that keep people in a database."""


def answered(call: Coroutine[Any, Any, Any]) -> Any:
    """What an async call returns that has nothing to wait for: the cheapest way to ask it."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the peer waits for something")
