"""What a drill is, and what came of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks.drill.servers import Server

__all__ = ["Drill", "Run", "Seen"]


class Seen:
    """What was seen, sentence by sentence, and what of it breaks the promise."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.broken: list[str] = []

    def say(self, words: str, is_kept: bool = True) -> None:
        """With its numbers."""
        self.words.append(words)
        if not is_kept:
            self.broken.append(words)

    def __str__(self) -> str:
        return "; ".join(self.words)


Run: TypeAlias = Callable[[type[Server], Path, Seen], None]
"""On a store of this kind, in an empty folder: says what it sees."""


@dataclass(frozen=True, slots=True)
class Drill:
    """One thing that goes wrong."""

    name: str
    promise: str
    """One sentence, with its number."""
    run: Run
    stores: Sequence[str] = ("sqlite", "postgresql", "redis")
    seconds: float = 60.0
    """Then it is stopped, and has failed."""
    needs: Callable[[str], str | None] = lambda store: None  # noqa: ARG005  # nothing
    """What it lacks on a store, beside its server."""
