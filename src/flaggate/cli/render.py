"""Lines and tables for people, JSON for programs. Whatever is printed goes through here."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = [
    "OutputError",
    "console",
    "line",
    "local_time",
    "print_json",
    "print_json_line",
    "print_table",
    "printable",
]

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


def print_json_line(value: Any) -> None:
    """One line of JSON Lines, in ASCII."""
    _write(json.dumps(value))


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
