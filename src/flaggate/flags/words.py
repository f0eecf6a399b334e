"""What is declared, in words for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from flaggate.flags.audience import Audience, Condition
from flaggate.flags.canonical import flag_to_json, percent
from flaggate.flags.conditions import audience_to_json
from flaggate.flags.fields import duration_text, number_to_json, percent_text
from flaggate.flags.model import FULL_SHARE, Flag, Guard, Stage

__all__ = [
    "audience_words",
    "condition_words",
    "counted",
    "guard_words",
    "moment_words",
    "span_words",
    "stage_words",
    "value_words",
]


def value_words(value: Any) -> str:
    """A value of a document, on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def audience_words(audience: Audience) -> str:
    """city Manchester and country GB, or tier enterprise."""
    return " or ".join(" and ".join(_condition_words(c) for c in table) for table in audience) or "everyone"


def _condition_words(condition: Condition) -> str:
    written = audience_to_json(((condition,),))
    ((attribute, value),) = written.items()
    if value is True:
        return str(attribute)
    if isinstance(value, dict):
        ((operator, operand),) = value.items()
        return f"{attribute} {operator} {value_words(operand)}"
    words = " or ".join(value_words(item) for item in value) if isinstance(value, list) else value_words(value)
    return f"{attribute} {words}"


def stage_words(stage: Stage) -> str:
    """50 % of city Manchester and country GB."""
    audience = audience_words(stage.audience)
    return audience if stage.share_thousandths == FULL_SHARE else f"{percent(stage.share_thousandths)} % of {audience}"


def condition_words(flag: Flag) -> Iterator[str]:
    """For each stage, what has to be true before it is left: soak 24h, min_sample 500."""
    for written in flag_to_json(flag).get("stages", ()):
        declared = [
            (key, written[key])
            for key in ("soak", "min_sample", "prove", "not_before", "hours", "approval")
            if key in written
        ]
        yield ", ".join(_declared(key, value) for key, value in declared)


def _declared(key: str, value: Any) -> str:
    if key == "approval" and value == "other":
        return "approval by another person"
    if key == "not_before":
        return f"{key} {moment_words(datetime.fromisoformat(value))}"
    return key if value is True else f"{key} {value}"


def guard_words(guard: Guard) -> str:
    """errors at most 1%: rollback on breach, hold on no data."""
    return f"{_judged(guard)}: {', '.join(_acts(guard))}"


def _judged(guard: Guard) -> str:
    if guard.vs_control is not None:
        return f"{guard.metric} at most {float(guard.vs_control):g} times the control's"
    bound = guard.limit if guard.limit is not None else guard.at_least or Decimal(0)
    least = "most" if guard.limit is not None else "least"
    if guard.query is not None:
        asked = duration_text((guard.every_seconds or 0) * 1000)
        lasting = f" for {duration_text(guard.for_seconds * 1000)}" if guard.for_seconds else ""
        return f"{guard.metric} (a query, every {asked}) at {least} {value_words(number_to_json(bound))}{lasting}"
    slow = "" if guard.slower_than_ms is None else f" (over {duration_text(guard.slower_than_ms)})"
    return f"{guard.metric}{slow} at {least} {percent_text(bound)}"


def _acts(guard: Guard) -> Iterator[str]:
    if guard.observe:
        yield "observes, never acts"
        return
    yield f"{guard.on_breach} on breach"
    if guard.on_shared != "rollback":
        yield f"{guard.on_shared} if it is as bad without the feature"
    yield f"{guard.on_no_data} on no data"


def moment_words(moment: datetime) -> str:
    """An aware moment, to the minute: Tue 01 Dec 2026 09:00 UTC."""
    return f"{moment.astimezone(UTC):%a %d %b %Y %H:%M} UTC"


def span_words(seconds: float) -> str:
    """A span of time, in its two largest units: 3 h 12 min, 45 s, 24 h, 5 d."""
    rest, words = int(seconds), []
    days = ((86_400, "d"),) if rest >= 3 * 86_400 else ()  # the soak of a plan is 24h or 48h
    for unit, name in (*days, (3_600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, unit)
        if count:
            words.append(f"{count} {name}")
        if len(words) == 2 or (words and not count):  # 2 d 5 s is 2 d
            break
    return " ".join(words) or "0 s"


def counted(count: int, noun: str, many: str | None = None) -> str:
    """1 flag, 2 flags; 2 processes, if that is said."""
    return f"{count} {noun if count == 1 else many or f'{noun}s'}"
