"""flaggate demo: 500 people go through the whole plan, two other processes answer for them."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click
from rich.progress import BarColumn, Progress, TextColumn

from flaggate.cli.demo.people import STAGES, Person, make_people, should_have_it
from flaggate.cli.demo.process import AppProcess
from flaggate.cli.options import as_json
from flaggate.cli.render import console, line, print_json, print_table, stage_words
from flaggate.decide.context import Context
from flaggate.decide.explain import explain
from flaggate.errors import FlaggateError
from flaggate.flags.document import Definitions, parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores import open_store
from flaggate.stores.record import read_flag

__all__ = ["demo"]

_FLAG: Final = "new-invoicing"
_OWNER: Final = "release-owner@example.com"
_SOAK_HOURS: Final = 24


@dataclass(slots=True)
class _Row:
    """What was seen at one point of the plan."""

    name: str
    should: list[bool]
    has: list[list[bool]]
    """One list for each process, in the order of the people."""

    def is_right(self) -> bool:
        return all(answers == self.should for answers in self.has)


@dataclass(slots=True)
class _Demo:
    """A run of the demo."""

    people: list[Person]
    control: Control
    processes: list[AppProcess]
    rows: list[_Row] = field(default_factory=list)
    kill_seconds: list[float] = field(default_factory=list)
    """From the call of kill to the first answer "off" of each process."""

    def act(self, verb: Verb, reason: str | None = None) -> None:
        self.control.act(verb, _FLAG, actor=_OWNER, reason=reason)

    def look(self, name: str, stage: int) -> _Row:
        revision = self.control.store.revision()
        should = [should_have_it(person, stage) for person in self.people]
        row = _Row(name, should, [process.who_has_it(revision) for process in self.processes])
        self.rows.append(row)
        return row

    def kill(self, stage: int) -> None:
        """Kill it while both processes keep asking for somebody who has it."""
        watched = next(i for i, person in enumerate(self.people) if should_have_it(person, stage))
        for process in self.processes:
            process.tell({"watch": watched})
        for process in self.processes:
            process.answer()
        called = time.time()
        self.act(Verb.KILL)
        self.kill_seconds = [process.answer() - called for process in self.processes]

    def is_right(self) -> bool:
        return all(row.is_right() for row in self.rows)

    def why(self, row: _Row, before: list[bool]) -> str:
        """The end of the trace for the first one who is new at this point."""
        index = next(i for i, (now, was) in enumerate(zip(row.should, before, strict=True)) if now and not was)
        person = self.people[index]
        record = read_flag(self.control.store, _FLAG)
        words = explain(record.flag, record.rollout, Context(**person.context()), {}).steps[-1]
        return f"{person.user}: {words}"


@click.command(help="500 made-up people go through a whole rollout; two other processes answer for them.")
@click.option("--people", type=click.IntRange(min=100), default=500, show_default=True, help="How many.")
@click.option("--seed", type=int, default=1, show_default=True, help="Other people for another number.")
@click.option("--pace", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Seconds for a day of soak.")
@as_json
def demo(people: int, seed: int, pace: float, is_json: bool) -> int:
    """Run the demo. Exit code 0 only if every answer was as predicted."""
    crowd = make_people(people, seed)
    plan = files("flaggate.cli.demo").joinpath("plan.toml").read_text(encoding="utf-8")
    definitions = parse(plan, source="plan.toml")
    try:
        run = _run(crowd, definitions, pace, is_quiet=is_json)
    except OSError as error:
        raise FlaggateError(f"the demo does not run here: {error}") from error
    if is_json:
        print_json(_as_json(run))
    else:
        _print_end(run)
    return 0 if run.is_right() else 1


def _run(crowd: list[Person], definitions: Definitions, pace: float, *, is_quiet: bool) -> _Demo:
    """All of it, in a folder and with processes that end with it."""
    with ExitStack() as stack:
        stack.enter_context(_ended_by_sigterm())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="flaggate-demo-"))
        store = open_store(f"sqlite:///{Path(folder) / 'flags.db'}")
        stack.callback(store.close)
        control = Control(store)
        control.apply(definitions, actor=_OWNER)
        processes = [stack.enter_context(closing(AppProcess(store.url))) for _ in range(2)]
        for process in processes:
            process.tell([person.context() for person in crowd])
        run = _Demo(crowd, control, processes)
        _walk(run, pace, is_quiet)
    return run


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM as an exception, so that what was made for the demo goes with it."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        sys.exit(128 + signal.SIGTERM)  # as a shell says it

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _walk(run: _Demo, pace: float, is_quiet: bool) -> None:
    """From draft to completed, with a kill on the way."""
    flag = read_flag(run.control.store, _FLAG).flag
    say = _Teller(run, pace, is_quiet)
    say.row(run.look("draft", 0), "nobody: it has not started")
    for number, name in enumerate(STAGES, 1):
        if number == 1:
            run.act(Verb.START)
        else:
            run.act(Verb.ADVANCE, f"demo: {_SOAK_HOURS} h of soak went by in {pace:g} s")
        say.row(run.look(name, number), stage_words(flag.stages[number - 1]))
        if name == "tenth":
            run.kill(number)
            say.row(run.look(f"{name}, killed", 0), say.kill_words())
            run.act(Verb.UNKILL, "demo: a false alarm")
            say.row(run.look(f"{name}, unkilled", number), "the same people as before the kill")
        if number < len(STAGES):
            say.soak(name)
    run.act(Verb.COMPLETE, "demo: 48 h went by in no time")
    say.row(run.look("completed", len(STAGES)), "everyone but the denied account")


class _Teller:
    """Says what happens while it happens."""

    def __init__(self, run: _Demo, pace: float, is_quiet: bool) -> None:
        self._run = run
        self._pace = pace
        self._is_quiet = is_quiet
        self._last = [False] * len(run.people)
        if not is_quiet:
            line(f"{len(run.people)} people, 2 processes that answer for them, 1 SQLite file")
            line()

    def row(self, row: _Row, words: str) -> None:
        if not self._is_quiet:
            line(f"{row.name:<16} {words}")
            new = sum(now and not was for now, was in zip(row.should, self._last, strict=True))
            if new:
                line(f"{'':<16} {new} more people, such as {self._run.why(row, self._last)}")
        if any(row.should):
            self._last = row.should

    def kill_words(self) -> str:
        times = " and ".join(f"{seconds * 1000:.0f} ms" for seconds in self._run.kill_seconds)
        return f"nobody; the other processes saw the kill after {times}"

    def soak(self, stage: str) -> None:
        if self._pace == 0:
            return
        columns = TextColumn(f"  {stage} soaks"), BarColumn(), TextColumn("{task.completed:.0f} of 24 h")
        with Progress(*columns, console=console(), transient=True, disable=self._is_quiet) as progress:
            task = progress.add_task("", total=_SOAK_HOURS)
            for _ in range(_SOAK_HOURS):
                time.sleep(self._pace / _SOAK_HOURS)
                progress.advance(task)


def _print_end(run: _Demo) -> None:
    line()
    rows = [
        (row.name, str(sum(row.should)), *(str(sum(has)) for has in row.has), "ok" if row.is_right() else "WRONG")
        for row in run.rows
    ]
    print_table(("stage", "should have it", "has it (process 1)", "has it (process 2)", ""), rows)
    answers = sum(len(has) for row in run.rows for has in row.has)
    if run.is_right():
        line()
        line(f"All {answers} answers were as predicted.")
        return
    for row in run.rows:
        for number, has in enumerate(row.has, 1):
            wrong = [person.user for person, a, b in zip(run.people, row.should, has, strict=True) if a != b]
            if wrong:
                line()
                line(f"{row.name}, process {number}: wrong for {', '.join(wrong[:10])} ({len(wrong)} in all)")


def _as_json(run: _Demo) -> dict[str, Any]:
    return {
        "people": [person.context() for person in run.people],
        "rows": [{"name": row.name, "should": row.should, "has": row.has} for row in run.rows],
        "kill_seconds": run.kill_seconds,
        "right": run.is_right(),
    }
