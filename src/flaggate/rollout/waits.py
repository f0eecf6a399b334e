"""What a flag waits for, whoever it is that has to do something: the clock, traffic, guards or people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from flaggate.flags.model import Flag
from flaggate.flags.words import span_words
from flaggate.rollout.holds import Hold, HoldKind, holds
from flaggate.rollout.progress import LEASE_SECONDS, WATCH_SECONDS, Progress, progress_from_json, progress_of
from flaggate.rollout.state import Rollout, Status, current_stage
from flaggate.rollout.verdict import Judgement, judgement_from_json

__all__ = ["Wait", "as_running", "holds_by", "progress_in", "wait_to_json", "wait_words", "waits", "waits_after"]

_BY_GUARDS: Final = frozenset({HoldKind.UNJUDGED, HoldKind.BLIND, HoldKind.BREACH})
_BY_HAND: Final = {Status.DRAFT: "start", Status.PAUSED: "resume"}


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing that it waits for: a hold of a running rollout, the watch, or what a person has to do."""

    kind: str
    why: str
    ends: str | None = None
    """What would end it; None = just that."""
    since: datetime | None = None
    """None = nobody knows."""
    done: float | None = None
    of: float | None = None


def progress_in(kept: Mapping[str, Any] | None, rollout: Rollout) -> Progress:
    """What was observed where the rollout stands, by what the lease's holder keeps of it."""
    return progress_of(rollout, progress_from_json(kept))


def waits(flag: Flag, rollout: Rollout, kept: Mapping[str, Any] | None, now: datetime) -> tuple[Wait, ...]:
    """What it waits for, by what the lease's holder keeps; in a tick's order."""
    found = holds_by(kept, flag, as_running(rollout), now)
    return waits_after(rollout, progress_in(kept, rollout), found)


def holds_by(written: Mapping[str, Any] | None, flag: Flag, rollout: Rollout, now: datetime) -> tuple[Hold, ...]:
    """What a rollout waits for, by what the lease's holder kept. What it saw long ago says nothing about now."""
    known = progress_from_json(written)
    stage = current_stage(flag, rollout)
    judgement: Judgement | None = None
    if written is not None and known is not None and stage is not None and known.looked_at is not None:
        is_fresh = abs((now - known.looked_at).total_seconds()) < LEASE_SECONDS
        judgement = judgement_from_json(written.get("judgement"), flag, stage) if is_fresh else None
    return holds(flag, rollout, progress_of(rollout, known), judgement, now)


def waits_after(rollout: Rollout, progress: Progress, found: Iterable[Hold]) -> tuple[Wait, ...]:
    """The same by the holds that it has, or would have if it ran."""
    if rollout.killed:
        return (Wait("killed", "unkill"),)
    if rollout.status in _BY_HAND:
        return (Wait(rollout.status, _BY_HAND[rollout.status]),)
    held = (
        Wait(hold.kind, hold.why, hold.ends, progress.holds.get(hold.kind), hold.done, hold.of)
        for hold in found
        if rollout.status is Status.RUNNING or hold.kind in _BY_GUARDS
    )
    if rollout.status is Status.RUNNING:
        return tuple(held)
    return (*held, _watch(progress)) if rollout.status is Status.WATCHING else ()


def as_running(rollout: Rollout) -> Rollout:
    """A watch ends by the same guards that hold a running rollout."""
    return replace(rollout, status=Status.RUNNING) if rollout.status is Status.WATCHING else rollout


def _watch(progress: Progress) -> Wait:
    observed, whole = progress.observed_seconds, float(WATCH_SECONDS)
    left = max(0.0, whole - observed)
    ends = f"{span_words(left)} more that are observed, or somebody completes it"
    return Wait("watch", f"watch {span_words(observed)} of {span_words(whole)}", ends, None, observed, whole)


def wait_words(wait: Wait, at: Callable[[datetime], str]) -> str:
    """soak 3 h of 24 h, since ...; ends it: 21 h more that are observed."""
    since = "" if wait.since is None else f", since {at(wait.since)}"
    return f"{wait.why}{since}" + ("" if wait.ends is None else f"; ends it: {wait.ends}")


def wait_to_json(wait: Wait) -> dict[str, Any]:
    """In JSON's types."""
    return asdict(wait) | {"since": None if wait.since is None else wait.since.isoformat()}
