"""The numbers that a verdict comes with, in JSON's types, and in words."""

from __future__ import annotations

from typing import Any, Final

from flaggate.flags.model import Guard
from flaggate.rollout.evidence import interval, sure
from flaggate.rollout.looks import exposed_units
from flaggate.rollout.memory import GuardMemory
from flaggate.rollout.seen import Seen, Units, most_bad

__all__ = ["numbers_of", "split_words"]

_NONE: Final = Units()


def numbers_of(guard: Guard, memory: GuardMemory, seen: Seen) -> dict[str, Any]:
    """What the guard has seen since its evidence began.

    Fractions are 0..1; `low` and `high` are their 95 % interval; `units` had something bad.
    """
    if guard.key is None:
        sample = seen.samples.get(guard.query or "")
        limit = guard.limit if guard.limit is not None else guard.at_least
        return {"value": None if sample is None else sample.value, "limit": None if limit is None else float(limit)}
    requests, bad, in_control, bad_in_control = (
        max(0, now - then) for now, then in zip(memory.counts, memory.begun, strict=True)
    )
    low, high = interval(bad, requests)
    value = memory.evidence.value
    return {
        "requests": requests,
        "bad": bad,
        "rate": bad / requests if requests else None,
        "low": low,
        "high": high,
        "limit": most_bad(guard) if guard.vs_control is None else None,
        "vs_control": None if guard.vs_control is None else float(guard.vs_control),
        "control_requests": in_control,
        "control_bad": bad_in_control,
        "control_rate": bad_in_control / in_control if in_control else None,
        "units": max(0, exposed_units(guard, seen) - memory.units_begun[0]),
        "control_units": max(0, seen.set(guard.key).get("control", _NONE).units - memory.units_begun[1]),
        "evidence": value,
        "sure": sure(value),
    }


def split_words(treatment: int, control: int, share: float) -> str:
    """Units with and without the feature, against the share."""
    return f"{treatment:,} units with and {control:,} without, where {share:.3g} of them were to have it"
