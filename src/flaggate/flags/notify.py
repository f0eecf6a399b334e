"""Who is told of what: the table `notify` of a flag."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from flaggate.flags.fields import choice
from flaggate.flags.model import Flag, Recipient
from flaggate.flags.place import Kind, Place, show

__all__ = ["DEPUTIES", "KINDS", "NOTIFY", "OWNER", "notify_to_json", "told"]

OWNER: Final = "owner"
DEPUTIES: Final = "deputies"
"""These two stand for the rollout's own people, whoever they are when it happens."""
_EVERYTHING: Final = "all"
KINDS: Final = (
    "start", "advance", "step-back", "pause", "resume", "restart", "rollback", "complete", "on", "off", "kill", "unkill",
    "approve", "owner", "edit", "approval", "blind", "breach",
)  # fmt: skip
"""The verbs as `flaggate.rollout.state` has them, what is done about owners and by edits, and what a rollout waits for."""
_TAG_PATTERN: Final = r"^[^\s,]{1,200}$"  # Apprise splits tags at these
_KIND: Final = choice(KINDS)


def _read_notify(value: object, place: Place) -> tuple[Recipient, ...] | None:
    if not isinstance(value, dict):
        place.wrong_value(value, f'a table of recipients: {{ {OWNER} = "all", oncall = ["rollback", "kill"] }}')
        return None
    found: list[Recipient] = []
    for to, kinds in value.items():
        at = place.key(to)
        if not re.fullmatch(_TAG_PATTERN, to):
            allowed = (
                f"allowed: {OWNER}, {DEPUTIES}, or a tag of the Apprise configuration, without white space or commas"
            )
            at.wrong(f"{show(to)} is no recipient", allowed)
        found.append(Recipient(to, _read_kinds(kinds, at)))
    return tuple(sorted(found, key=lambda recipient: recipient.to))  # the order of keys means nothing


def _read_kinds(value: object, place: Place) -> tuple[str, ...] | None:
    if value == _EVERYTHING:
        return None
    if not isinstance(value, list) or not value:
        place.wrong_value(value, f'"{_EVERYTHING}", or a list of what to tell: ["rollback", "kill"]')
        return None
    kinds = [kind for index, item in enumerate(value) if (kind := _KIND.read(item, place.item(index))) is not None]
    for kind, count in Counter(kinds).items():
        if count > 1:
            place.wrong(f"{show(kind)} stands here {'twice' if count == 2 else f'{count} times'}", "name each once")
    return tuple(kinds)


NOTIFY: Final = Kind(
    _read_notify,
    {
        "type": "object",
        "propertyNames": {"pattern": _TAG_PATTERN},
        "additionalProperties": {
            "anyOf": [
                {"const": _EVERYTHING},
                {"type": "array", "minItems": 1, "uniqueItems": True, "items": _KIND.schema},
            ]
        },
    },
)


def notify_to_json(flag: Flag) -> dict[str, Any] | None:
    """The table as it is written; None if there is none."""
    if flag.notify is None:
        return None
    return {one.to: _EVERYTHING if one.kinds is None else list(one.kinds) for one in flag.notify}


def told(flag: Flag | None, kinds: frozenset[str]) -> Iterator[str]:
    """Who is to be told of something that is of these kinds; None = of a flag of which no plan is known."""
    plan = None if flag is None else flag.notify
    for one in (Recipient(OWNER), Recipient(DEPUTIES)) if plan is None else plan:
        if one.kinds is None or kinds.intersection(one.kinds):
            yield one.to
