"""What the tests of this folder share: flags on real SQLite files, scripts, and waiting with a deadline.

Scripts import it too, so nothing here may load pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flaggate.flags.document import parse
from flaggate.rollout.state import Event, Verb
from flaggate.runtime.control import Applied, Control, Outcome
from flaggate.runtime.gate import Gate
from flaggate.stores.base import (
    Arm,
    Changes,
    Contents,
    Count,
    Kind,
    Lease,
    Presence,
    Report,
    Row,
    Store,
    UnitSum,
    Window,
    Write,
)

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
OWNER = "owner@example.com"

FLAGS = """
[flags.banner]
description = "A switch"
owner = "owner@example.com"

[flags.tiered]
description = "A switch for some tiers"
owner = "owner@example.com"
audience = { tier = ["pro", "team"] }

[flags.half]
description = "A rollout that starts with half of everyone"
owner = "owner@example.com"
stages = [
    { name = "some", share = 50, soak = "0s" },
    { name = "everyone" },
]
guards = [{ metric = "errors", limit = "1%" }]
"""

FRIENDS = """
[segments.friends]
unit = "user"
members = ["ada"]

[flags.friendly]
description = "A switch for our friends"
owner = "owner@example.com"
audience = { segment = "friends" }
"""


def until(is_so: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait until it is so; fail once the time is over."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.005)


def control_of(store: Store) -> Control:
    return Control(store, now=lambda: NOW)


def bring(store: Store, text: str = FLAGS) -> Applied:
    """Apply definitions."""
    return control_of(store).apply(parse(text), actor=OWNER)


def turn(store: Store, verb: Verb, name: str) -> Outcome:
    """Do one thing to one flag, as its owner."""
    return control_of(store).act(verb, name, actor=OWNER, reason="for the test")


def put(store: Store, kind: Kind, name: str, document: dict[str, Any]) -> None:
    """Store a row past everything that validates it."""
    row = store.get(kind, name)
    store.commit([Write(kind, name, 0 if row is None else row.version, document)], [])


def seen(gate: Gate) -> dict[tuple[str, int, int, Arm], tuple[int, int]]:
    """Requests and errors that were counted so far, by flag, attempt, stage and arm."""
    gate.flush()
    counts = gate.store.counts()
    return {(count.flag, count.attempt, count.stage, count.arm): (count.requests, count.errors) for count in counts}


def run(directory: Path, script: str, *arguments: object, **environment: str) -> str:
    """Run a script in an interpreter of its own and return what it printed; it must end well, and say nothing else."""
    path = directory / "script.py"
    path.write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(path), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])} | environment,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def reap(*children: int) -> None:
    """Wait for forked children; fail if one does not end well, or not in time."""
    for child in children:
        ended = 0, 0

        def has_ended(child: int = child) -> bool:
            nonlocal ended
            ended = os.waitpid(child, os.WNOHANG)
            return ended[0] == child

        until(has_ended, f"child {child} ends")
        assert ended[1] == 0, f"child {child} ended with status {ended[1]}"


def fork(act: Callable[[], None]) -> int:
    """Do something in a forked child. Returns its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            act()
            status = 0
        except BaseException as error:
            os.write(2, repr(error).encode())
        finally:
            os._exit(status)
    return child


class UnreliableStore:
    """A store of our own in front of another: it raises `error`, and keeps callers waiting while it is not `open`."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.url = inner.url
        self.poll_seconds = 0.01
        self.identity = inner.identity
        self.salt = inner.salt
        self.directory = inner.directory
        self.error: Exception | None = None
        self.is_open = threading.Event()
        self.is_open.set()
        self.asked = threading.Event()
        self.before_commit: Callable[[], object] | None = None
        """Called once, just before the next commit."""
        self.after_counts: Callable[[], object] | None = None
        """Called once, just after the next counts were added."""
        self.reports: list[Report] = []
        """All that were handed over, taken or not."""

    def _pass(self) -> Store:
        self.asked.set()
        self.is_open.wait(60)
        if self.error is not None:
            raise self.error
        return self.inner

    def revision(self) -> int:
        return self._pass().revision()

    def wait(self, seconds: float, is_over: threading.Event) -> bool:
        is_over.wait(seconds)
        return False

    def changes(self, since: int = 0) -> Changes:
        return self._pass().changes(since)

    def get(self, kind: Kind, name: str) -> Row | None:
        return self._pass().get(kind, name)

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        before, self.before_commit = self.before_commit, None
        if before is not None:
            before()
        return self._pass().commit(writes, events, holder=holder)

    def history(self, name: str | None = None, *, limit: int = 100, after: int = 0) -> list[Event]:
        return self._pass().history(name, limit=limit, after=after)

    def add_counts(self, report: Report) -> None:
        self.reports.append(report)
        self._pass().add_counts(report)
        after, self.after_counts = self.after_counts, None
        if after is not None:
            after()

    def counts(self, flag: str | None = None) -> list[Count]:
        return self._pass().counts(flag)

    def windows(self, flag: str, since: float) -> list[Window]:
        return self._pass().windows(flag, since)

    def units(self, flag: str, attempt: int, stage: int) -> list[UnitSum]:
        return self._pass().units(flag, attempt, stage)

    def pulse(self) -> int:
        return self._pass().pulse()

    def take_lease(self, holder: str, who: str, seconds: float) -> bool:
        return self._pass().take_lease(holder, who, seconds)

    def lease(self) -> Lease | None:
        return self._pass().lease()

    def release_lease(self, holder: str) -> None:
        self._pass().release_lease(holder)

    def progress(self) -> dict[str, Mapping[str, Any]]:
        return self._pass().progress()

    def save_progress(self, documents: Mapping[str, Mapping[str, Any] | None], *, holder: str) -> None:
        self._pass().save_progress(documents, holder=holder)

    def say(self, presence: Presence) -> None:
        self._pass().say(presence)

    def presences(self) -> list[Presence]:
        return self._pass().presences()

    def unsay(self, process: str) -> None:
        self._pass().unsay(process)

    def contents(self) -> Contents:
        return self._pass().contents()

    def fill(self, contents: Contents) -> None:
        self._pass().fill(contents)

    def before_fork(self) -> None:
        self.inner.before_fork()

    def after_fork(self, *, in_child: bool) -> None:
        self.inner.after_fork(in_child=in_child)

    def close(self) -> None:
        self.inner.close()
