"""What the demo says: while it happens, at the end, and to who stays."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any, Final

from rich.progress import BarColumn, Progress, TextColumn

from flaggate.cli.demo.pages import ConsoleServer
from flaggate.cli.demo.people import one_of_each_kind
from flaggate.cli.demo.walk import FLAG, OWNER, Requests, Row, Walk, Where
from flaggate.cli.render import console, line, print_table
from flaggate.stores.base import Arm

__all__ = ["SOAK_HOURS", "Teller", "print_end", "print_stay", "stay_to_json", "walk_to_json"]

SOAK_HOURS: Final = 24
_HEARD_SECONDS: Final = 15.0
_ARMS: Final[dict[Arm, str]] = {
    "on": "with the feature (on)",
    "off": "without it (off)",
    "treatment": "let in by this stage's 10 % (treatment)",
    "control": "left out by it (control)",
}


class Teller:
    """Says what happens while it happens.

    Args:
        pace: Seconds for a day of soak.
        seconds: How long it takes, roughly.
        is_quiet: Whether it says nothing, and JSON comes at the end.
    """

    def __init__(self, people: int, pace: float, seconds: int, *, is_quiet: bool) -> None:
        self._pace = pace
        self._is_quiet = is_quiet
        self._has_bars = not is_quiet and console().is_terminal
        self._last = [False] * people
        if not is_quiet:
            line(f"{people:,} people, 2 processes that serve them a Flask app, 1 SQLite file; takes about {seconds} s")
            line()

    def row(self, walk: Walk, row: Row, words: str) -> None:
        if not self._is_quiet:
            line(f"{row.name:<16} {words}")
            new = sum(now and not was for now, was in zip(row.should, self._last, strict=True))
            if new:
                line(f"{'':<16} {new:,} more people, such as {walk.why(row, self._last)}")
        if any(row.should):
            self._last = row.should

    def fall(self, walk: Walk) -> None:
        """How it failed, was rolled back, and what the owner was told."""
        if self._is_quiet:
            return
        line(f"{'':<16} now the new page fails for whoever's invoices are in euros")
        line(f"{'':<16} {walk.failed:,} pages failed; rolled back by itself within {walk.fall_seconds:.1f} s")
        rollback = next(
            (event for event in reversed(walk.control.store.history(FLAG)) if event.verb == "rollback"), None
        )
        for words in (f"why: {rollback.reason}" if rollback else "", *_told(walk)):
            if words:
                line(f"{'':<16} {words}")

    def soak(self, stage: str) -> None:
        if self._pace == 0:
            return
        columns = TextColumn(f"  {stage} soaks"), BarColumn(), TextColumn("{task.completed:.0f} of 24 h")
        with Progress(*columns, console=console(), transient=True, disable=not self._has_bars) as progress:
            task = progress.add_task("", total=SOAK_HOURS)
            for _ in range(SOAK_HOURS):
                sleep(self._pace / SOAK_HOURS)
                progress.advance(task)


def _told(walk: Walk) -> Iterator[str]:
    """What the owner's webhook heard of it; it may come a moment later."""
    deadline = monotonic() + _HEARD_SECONDS
    while monotonic() < deadline:
        for title, text in list(walk.heard):
            if "rolled back" in title:
                yield f"{OWNER} was told: {title}"
                yield from (
                    f"  {words}" for words in text.splitlines() if "sure" in words or words.startswith("It stays")
                )
                return
        sleep(0.1)
    yield f"{OWNER} was not told"


# --- at the end -------------------------------------------------------------------------------


def print_end(walk: Walk) -> None:
    """Who was served the new page, and what was counted."""
    line()
    rows = [
        (row.name, f"{sum(row.should):,}", *(f"{sum(has):,}" for has in row.has), "ok" if row.is_right() else "WRONG")
        for row in walk.rows
    ]
    print_table(("stage", "should have it", "has it (process 1)", "has it (process 2)", ""), rows)
    line()
    wrong = list(_wrong_rows(walk))
    if not wrong:
        line(f"All {walk.pages():,} pages were as predicted.")
    for words in wrong:
        line(words)
    line()
    _print_counts(walk)


def _wrong_rows(walk: Walk) -> Iterator[str]:
    for row in walk.rows:
        for number, has in enumerate(row.has, 1):
            wrong = [person.user for person, a, b in zip(walk.people, row.should, has, strict=True) if a != b]
            if wrong:
                yield f"{row.name}, process {number}: wrong for {', '.join(wrong[:10])} ({len(wrong)} in all)"


def _print_counts(walk: Walk) -> None:
    sent, counted = (sum(n for where, n in each.items() if where.arm in ("on", "off")) for each in _both(walk))
    more = f"these {walk.pages():,}, and {sent - walk.pages():,} to see the kill and the rollback arrive"
    line(f"{sent:,} requests asked the flag ({more}), {counted:,} were counted by the app.")
    last = next(row for row in walk.rows if row.name == ("tenth, mended" if _is_mended(walk) else "tenth, unkilled"))
    rows = [
        (words, *(f"{each[Where(last.attempt, last.stage, arm)]:,}" for each in _both(walk)))
        for arm, words in _ARMS.items()
    ]
    line()
    print_table((last.name, "sent", "counted"), rows)
    for where in sorted(walk.sent.keys() | walk.counted.keys()):
        if walk.sent[where] != walk.counted[where]:
            words = f"attempt {where.attempt}, stage {where.stage}, {where.arm}"
            line(f"WRONG: {words}: {walk.sent[where]:,} sent, {walk.counted[where]:,} counted")


def _is_mended(walk: Walk) -> bool:
    return any(row.name == "tenth, mended" for row in walk.rows)


def _both(walk: Walk) -> tuple[Requests, Requests]:
    return walk.sent, walk.counted


def walk_to_json(walk: Walk) -> dict[str, Any]:
    """All that was seen."""
    places = sorted(walk.sent.keys() | walk.counted.keys())
    return {
        "people": [person.context() for person in walk.people],
        "addresses": [person.address for person in walk.people],
        "rows": [{"name": row.name, "should": row.should, "has": row.has} for row in walk.rows],
        "kill_seconds": walk.kill_seconds,
        "fall_seconds": walk.fall_seconds,
        "failed": walk.failed,
        "told": [title for title, _ in walk.heard],
        "requests": [where._asdict() | {"sent": walk.sent[where], "counted": walk.counted[where]} for where in places],
        "right": walk.is_right(),
    }


# --- to who stays -----------------------------------------------------------------------------


def print_stay(walk: Walk) -> None:
    """Where it is, who to be there, and what to try."""
    line()
    line("It stays up at this stage until Ctrl-C. In a browser:")
    for server in walk.servers:
        line(f"  {server.url}")
    line("To sign in on one is to be signed in on both. To the app this machine is in Manchester. Sign in as")
    for words, person in one_of_each_kind(walk.people).items():
        line(f"  {person.name():<11} {words}")
    line("In another terminal:")
    line(f"  export FLAGGATE_STORE={shlex.quote(walk.control.store.url)} FLAGGATE_ACTOR={OWNER}")
    program = "flaggate" if shutil.which("flaggate") else f"{shlex.quote(sys.executable)} -m flaggate"
    for words in (
        f"status {FLAG}",
        f"kill {FLAG}",
        f"unkill {FLAG} --reason 'a false alarm'",
        f"advance {FLAG} --reason 'it looks good'",
    ):
        line(f"  {program} {words}")


def stay_to_json(walk: Walk, page: ConsoleServer | None) -> dict[str, Any]:
    """Where it is."""
    shown = None if page is None else page.url
    return {"urls": [server.url for server in walk.servers], "console": shown, "store": walk.control.store.url}
