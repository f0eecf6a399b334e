"""Words and tables for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flaggate.flags.audience import Audience, Condition
from flaggate.flags.canonical import percent
from flaggate.flags.conditions import audience_to_json
from flaggate.flags.model import FULL_SHARE, Flag, Stage
from flaggate.rollout.state import Rollout, Status, current_stage

__all__ = [
    "audience_words", "console", "local_time", "print_json", "print_table", "stage_words", "standing", "value_words",
]  # fmt: skip


def console() -> Console:
    """Standard output; 120 columns where neither a terminal nor COLUMNS says how wide it is."""
    is_known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(file=sys.stdout, highlight=False, width=None if is_known else 120)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; what people wrote is shown as text, never as markup."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def local_time(moment: datetime) -> str:
    """The time on the reader's clock."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


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


def standing(flag: Flag, rollout: Rollout) -> str:
    """running, stage 4 of 5 (tenth), KILLED."""
    words = rollout.status.replace("_", " ")
    stage = current_stage(flag, rollout)
    if stage is not None and rollout.status is not Status.COMPLETED:
        words += f", stage {rollout.stage} of {len(flag.stages)} ({stage.name})"
    return f"{words}, KILLED" if rollout.killed else words
