"""What changed, in words for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from flaggate.flags.place import show
from flaggate.flags.words import counted
from flaggate.rollout.state import Event

__all__ = ["change_words", "event_words"]

_SAID_ELSEWHERE: Final = frozenset({"since", "asked_by"})
"""By the event's own time and actor."""
_NOBODY: Final = frozenset({"accepted_by", "deputies", "approval"})


def event_words(event: Event, at: Callable[[datetime], str]) -> str:
    """When, who, what and why, on one line."""
    return f"{at(event.at)} {event.actor} {event.verb}" + (f": {event.reason}" if event.reason else "")


def change_words(event: Event) -> str:
    """What is different in where the flag stands, in a few words."""
    if event.before is None or event.after is None:
        return "new" if event.before is None else "removed"
    before, after = event.before, event.after
    keys = [key for key in after if key not in _SAID_ELSEWHERE and before.get(key) != after[key]]
    words = [f"{key.replace('_', ' ')} {_value(key, before)} -> {_value(key, after)}" for key in keys]
    words += [f"passed over {item}" for item in event.evidence.get("passed_over", ())]
    words += [f"{path}: {_edited(was)} -> {_edited(now)}" for path, was, now in event.evidence.get("difference", ())]
    words += [f"{counted(event.evidence[key], 'member')} {key}" for key in ("added", "gone") if event.evidence.get(key)]
    words += ["break-glass"] if event.evidence.get("break_glass") else []
    return ", ".join(words)


def _value(key: str, state: Mapping[str, Any]) -> str:
    """A value of where it stands."""
    value = state.get(key)
    if value is None or value == []:
        return "nobody" if key in _NOBODY else "no" if key == "breach" else "(not there)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "breach":
        return "latched"
    if key == "approval" and isinstance(value, Mapping):
        return f"by {value.get('by')}"
    if key == "deputies":
        return ", ".join(value)
    return value.replace("_", " ") if key == "status" else value if isinstance(value, str) else show(value)


def _edited(value: Any) -> str:
    """A value of the plan."""
    return "(not there)" if value is None else show(value)
