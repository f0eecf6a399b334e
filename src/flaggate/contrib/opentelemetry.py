"""Each answer as an event of the span in which it was asked, by OpenTelemetry's conventions for feature flags.

opentelemetry.io/docs/specs/semconv/feature-flags: the event `feature_flag.evaluation`, once for a flag in a visit. No
key of a user goes into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opentelemetry import trace

from flaggate.decide.decision import Decision
from flaggate.runtime.gate import Gate

__all__ = ["EVENT", "instrument", "uninstrument"]

EVENT: Final = "feature_flag.evaluation"
# What the conventions call our reasons; each that is not here matched, or not, who asks.
_REASONS: Final[Mapping[str, str]] = {
    "killed": "disabled",
    "rolled_back": "disabled",
    "off": "disabled",
    "not_started": "disabled",
    "on": "static",
    "override": "static",
    "no_match": "default",
    "no_unit": "default",
    "unknown": "error",
    "fault": "error",
}
_ERRORS: Final[Mapping[str, str]] = {"unknown": "flag_not_found", "fault": "general"}


def instrument(gate: Gate) -> None:
    """From now on each flag that is asked in a visit is told to the span of the moment, if that is recorded."""
    gate.on_asked = _tell


def uninstrument(gate: Gate) -> None:
    """Tell no more."""
    gate.on_asked = None


def _tell(decision: Decision) -> None:
    span = trace.get_current_span()
    if not span.is_recording():
        return
    attributes = {
        "feature_flag.key": decision.flag,
        "feature_flag.provider.name": "flaggate",
        "feature_flag.result.variant": "on" if decision.is_on else "off",
        "feature_flag.result.reason": _reason(decision),
    }
    if decision.reason in _ERRORS:
        attributes["error.type"] = _ERRORS[decision.reason]
    span.add_event(EVENT, attributes)


def _reason(decision: Decision) -> str:
    if decision.arm is not None:
        return "split"
    return _REASONS.get(decision.reason, "targeting_match")
