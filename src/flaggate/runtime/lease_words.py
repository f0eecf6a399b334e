"""Who looks at the rollouts, in words and for programs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from flaggate.rollout.progress import LEASE_TICKS
from flaggate.stores.base import Lease

__all__ = ["TELLS_NOBODY", "lease_to_json", "lease_words", "looks_words", "tells"]

TELLS_NOBODY: Final = " (tells nobody)"
"""Behind who holds the lease, where that process has nobody to tell by."""


def tells(lease: Lease | None) -> bool:
    """Whether whoever looks now tells people, too."""
    return lease is not None and not lease.who.endswith(TELLS_NOBODY)


def lease_words(lease: Lease) -> str:
    """web-1:4711 holds the lease and looks every 5 s."""
    return f"{lease.who} holds the lease and looks every {_every(lease):g} s"


def looks_words(lease: Lease | None, looked_at: datetime | None, at: Callable[[datetime], str], program: str) -> str:
    """Who looks, and when it did last.

    Args:
        looked_at: When somebody looked last, for where nobody holds the lease; None = not known.
        at: A moment on the reader's clock.
        program: What the reader calls the command.
    """
    if lease is not None:
        return f"{lease_words(lease)}, last at {at(_renewed(lease))}"
    last = "" if looked_at is None else f" (last at {at(looked_at)})"
    return f"nobody looks now{last}: no process of the app is there, and no {program} run"


def lease_to_json(lease: Lease | None) -> dict[str, Any] | None:
    """In JSON's types; None = nobody holds it."""
    if lease is None:
        return None
    return {"who": lease.who, "every_seconds": _every(lease), "looked_at": _renewed(lease).isoformat()}


def _every(lease: Lease) -> float:
    return round(lease.seconds / LEASE_TICKS, 3)


def _renewed(lease: Lease) -> datetime:
    return datetime.fromtimestamp(lease.renewed_at, UTC)
