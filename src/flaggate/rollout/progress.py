"""What was observed of a stage so far. Kept beside the rollout, and never part of its version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from flaggate.rollout.state import Rollout

__all__ = [
    "LEASE_SECONDS",
    "LEASE_TICKS",
    "LONGEST_LOOK_SECONDS",
    "WATCH_SECONDS",
    "Progress",
    "progress_from_json",
    "progress_of",
]

LEASE_SECONDS: Final = 15.0
"""How long a holder that stays away keeps the lease."""
LEASE_TICKS: Final = 3
"""So many looks fit into it."""
LONGEST_LOOK_SECONDS: Final = 15.0
"""What one look observes at most: time in which nobody looked is not observed (invariant I16)."""
WATCH_SECONDS: Final = 48 * 3600


@dataclass(frozen=True, slots=True)
class Progress:
    """Of one stage, in one attempt, under one revision of the plan."""

    attempt: int
    stage: int
    revision: int
    observed_seconds: float = 0.0
    looked_at: datetime | None = None
    """When it was looked at last; None = never."""
    holds: Mapping[str, datetime] = field(default_factory=dict)
    """Since when which kind of hold holds."""

    def looked(self, now: datetime, *, since: datetime, is_observed: bool) -> Progress:
        """As of this look. A clock that was turned back has observed nothing.

        Args:
            since: When the rollout got where it stands: from a pause that nobody looked at, say.
        """
        observed = self.observed_seconds
        if is_observed and self.looked_at is not None:
            passed = (now - max(self.looked_at, since)).total_seconds()
            observed += min(max(passed, 0.0), LONGEST_LOOK_SECONDS)
        return replace(self, observed_seconds=observed, looked_at=now)

    def held(self, kinds: Iterable[str], now: datetime) -> Progress:
        """With what holds now."""
        return replace(self, holds={kind: self.holds.get(kind, now) for kind in kinds})

    def to_json(self) -> dict[str, Any]:
        """In JSON's types."""
        looked_at = None if self.looked_at is None else self.looked_at.isoformat()
        holds = {kind: since.isoformat() for kind, since in self.holds.items()}
        known = {name: getattr(self, name) for name in Progress.__slots__}  # asdict would copy each look's moments
        return known | {"looked_at": looked_at, "holds": holds}


def progress_of(rollout: Rollout, known: Progress | None = None) -> Progress:
    """What is known, if it is of where the rollout stands now; else nothing was observed yet."""
    place = rollout.attempt, rollout.stage, rollout.revision
    if known is not None and (known.attempt, known.stage, known.revision) == place:
        return known
    return Progress(*place)


def progress_from_json(written: Mapping[str, Any] | None) -> Progress | None:
    """The opposite of `to_json`. None for nothing, and for what cannot be read: observed time is earned anew."""
    try:
        known = {name: written[name] for name in Progress.__slots__ if name in written}  # type: ignore[index,operator]  # None is caught, too
        if known["looked_at"] is not None:
            known["looked_at"] = datetime.fromisoformat(known["looked_at"])
        known["holds"] = {kind: datetime.fromisoformat(since) for kind, since in known["holds"].items()}
        known["observed_seconds"] = float(known["observed_seconds"])
        return Progress(**known)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
