"""What is off on this machine by the kill that needs no store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from flaggate.cli.options import directory_of
from flaggate.cli.render import line
from flaggate.runtime.off_switch import EVERYTHING, OffSwitch
from flaggate.stores.base import Store

__all__ = ["OffHere", "hint", "off_here"]


@dataclass(frozen=True, slots=True)
class OffHere:
    """What FLAGGATE_OFF and the off file say here and now."""

    names: frozenset[str]
    problem: str | None

    def covers(self, flag: str) -> bool:
        """Whether a process started here answers off for the flag."""
        return flag in self.names or EVERYTHING in self.names

    def say(self, known: Collection[str]) -> None:
        """Say it on standard error, and which of its words are no flags: it is not in the store that is shown."""
        if self.problem is not None:
            line(self.problem, err=True)
        if self.names:
            names = ", ".join(sorted(self.names))
            line(f"off on this machine, whatever is below: {names} (FLAGGATE_OFF or the off file)", err=True)
        strange = sorted(self.names - {EVERYTHING, *known})
        if strange:
            line(f"no such flag: {', '.join(strange)}", err=True)


def off_here(store: Store, directory: Path | None = None) -> OffHere:
    """Look where an app with this store looks, and this directory if it has one of its own."""
    switch = OffSwitch(directory_of(store, directory))
    return OffHere(switch.names(), switch.problem)


def hint(store: Store, flag: str) -> str:
    """How to turn a flag, or * for all, off without the store."""
    path = OffSwitch(directory_of(store, None)).path
    file = "" if path is None else f"write {flag} into the file {path.absolute()}, or "
    what = "all flags off on a machine" if flag == EVERYTHING else "it off without the store"
    return f"To turn {what}: {file}start the app with FLAGGATE_OFF={flag}."
