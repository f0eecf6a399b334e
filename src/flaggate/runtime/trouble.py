"""What goes wrong in a gate: counted, and said once in the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from flaggate.decide.decision import Decision
from flaggate.errors import closest
from flaggate.runtime.process import importing

__all__ = ["Trouble", "say"]

_MOST_NAMES: Final = 1000
"""So many names are counted and said, whatever is asked: never a leak."""


class Trouble:
    """Of one gate."""

    def __init__(self) -> None:
        self.unknown: Counter[str] = Counter()
        """How often flags were asked that are not there."""
        self.faults: Counter[str] = Counter()
        """How often a rule of a flag failed."""
        self._said: set[str] = set()

    def unknown_flag(self, name: str, why: str, known: Iterable[str]) -> Decision:
        """The decision of a flag that is not there."""
        if name not in self.unknown and (meant := closest(name, known)):
            why = f"{why}; did you mean {meant!r}?"
        _count(self.unknown, name)
        self.say_once(why, f"unknown: {name}")
        return Decision(name, False, "unknown")

    def fault(self, name: str, what: str, error: Exception) -> Decision:
        """The decision where deciding failed: off, counted, and said once."""
        _count(self.faults, name)
        # One line for each kind of failure: what it says may come from whoever asks, and is not to fill the log.
        self.say_once(f"flag {name!r} failed and is off: {what}", f"{name}: {type(error).__name__}")
        return Decision(name, False, "fault")

    def say_once(self, message: str, about: str | None = None) -> None:
        """Log what an operator should read, the first time that it is about this."""
        about = about or message
        if about not in self._said and len(self._said) < _MOST_NAMES:
            self._said.add(about)
            say(message)

    def begin_anew(self) -> None:
        """In a new process, after a fork: what the parent counted is the parent's."""
        self.unknown.clear()
        self.faults.clear()


def say(message: str) -> None:
    """Log what an operator should read."""
    with importing():
        from logging import getLogger  # 4 ms that only trouble needs

    with suppress(Exception):  # a log handler that fails must not fail a request, and there is no other place to say so
        getLogger("flaggate").error(message)


def _count(counter: Counter[str], name: str) -> None:
    if name in counter or len(counter) < _MOST_NAMES:
        counter[name] += 1
