"""Words, lines and tables for people, JSON for programs. Whatever is printed goes through here."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flaggate.flags.audience import Audience, Condition
from flaggate.flags.canonical import flag_to_json, percent
from flaggate.flags.conditions import audience_to_json
from flaggate.flags.fields import duration_text, percent_text
from flaggate.flags.model import FULL_SHARE, Flag, Guard, Stage
from flaggate.rollout.state import EXPOSING, Rollout, Status, current_stage

__all__ = [
    "OutputError", "audience_words", "condition_words", "console", "counted", "guard_words", "line", "local_time",
    "print_json", "print_table", "printable", "stage_words", "standing", "value_words", "who_has_it",
]  # fmt: skip

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_AS_WIDE_AS_IT_TAKES: Final = 1_000_000


class OutputError(Exception):
    """What was to be said could not be written; the OSError is the `__cause__`."""


def printable(text: str) -> str:
    """The text with whatever a terminal would obey or hide written out: control and format characters, half
    characters, new lines. What people wrote is shown like this and moves no cursor."""
    if text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSEEN else c for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def line(text: str = "", *, err: bool = False) -> None:
    """One line on standard output, or on standard error."""
    _write(printable(text), err=err)


def _write(text: str, *, err: bool = False) -> None:
    try:
        print(text, file=sys.stderr if err else sys.stdout, flush=True)
    except OSError as error:
        raise OutputError(str(error)) from error


def console() -> Console:
    """Standard output; as wide as it takes where neither a terminal nor COLUMNS says how wide it is."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    is_known = is_terminal or "COLUMNS" in os.environ
    return Console(file=sys.stdout, highlight=False, width=None if is_known else _AS_WIDE_AS_IT_TAKES)


def print_json(value: Any) -> None:
    """One JSON document on standard output, in ASCII."""
    _write(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; what people wrote is shown as text, never as markup."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    paper = console()
    with paper.capture() as captured:
        paper.print(table)
    _write(re.sub(" +$", "", captured.get(), flags=re.MULTILINE).rstrip("\n"))


def local_time(moment: datetime) -> str:
    """The time on the reader's clock, with its zone."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def counted(count: int, noun: str) -> str:
    """1 flag, 2 flags."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


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
            (key, written[key]) for key in ("soak", "min_sample", "prove", "hours", "approval") if key in written
        ]
        yield ", ".join(_declared(key, value) for key, value in declared)


def _declared(key: str, value: Any) -> str:
    if key == "approval" and value == "other":
        return "approval by another person"
    return key if value is True else f"{key} {value}"


def guard_words(guard: Guard) -> str:
    """errors at most 1%: rollback on breach, hold on no data."""
    slow = "" if guard.slower_than_ms is None else f" (over {duration_text(guard.slower_than_ms)})"
    if guard.vs_control is not None:
        limit = f"{float(guard.vs_control):g} times the control's"
    else:
        limit = percent_text(guard.limit or Decimal(0))
    return f"{guard.metric}{slow} at most {limit}: {guard.on_breach} on breach, {guard.on_no_data} on no data"


def who_has_it(flag: Flag, rollout: Rollout) -> str | None:
    """staff, 50 % of city Manchester, never account acme-de; None while it is off for everyone."""
    if rollout.killed or rollout.status not in EXPOSING | {Status.ON}:
        return None
    entered = [stage for stage in flag.stages[: rollout.stage] if stage.share_thousandths]
    if flag.is_switch:
        words = audience_words(flag.audience)
    elif any(not stage.audience and stage.share_thousandths == FULL_SHARE for stage in entered):
        words = "everyone"
    else:
        words = ", ".join(stage_words(stage) for stage in entered) or "nobody"
    return f"{words}, never {audience_words(flag.deny)}" if flag.deny else words


def standing(flag: Flag, rollout: Rollout) -> str:
    """running, stage 4 of 5 (tenth), KILLED."""
    words = rollout.status.replace("_", " ")
    stage = current_stage(flag, rollout)
    if stage is not None and rollout.status is not Status.COMPLETED:
        words += f", stage {rollout.stage} of {len(flag.stages)} ({stage.name})"
    return f"{words}, KILLED" if rollout.killed else words
