"""run: a process of its own that looks at the rollouts, in the foreground, until it is told to end."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import uniform
from time import monotonic
from typing import Any, Final

import click

from flaggate.cli.ending import ended_by_signals, wait
from flaggate.cli.history import ALL, event_line, event_to_json
from flaggate.cli.options import as_json, definitions_option, notify_option, prometheus_option, store_of_definitions
from flaggate.cli.render import line, local_time, print_json_line
from flaggate.errors import StoreError
from flaggate.runtime.definitions import load
from flaggate.runtime.duties import TICK_SECONDS
from flaggate.runtime.gate import Gate
from flaggate.runtime.lease_words import lease_to_json, lease_words
from flaggate.stores.base import Store

__all__ = ["run"]

_SHORTEST: Final = 0.1
_LONGEST: Final = 10.0
"""With a look less often some of the time would not count as observed."""
_SELF: Final = "holds the lease"
_NOBODY: Final = "nothing to look at: no rollout is running, paused or watching"


def _seconds(_context: click.Context, parameter: click.Parameter, written: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s)", written)
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1) if found else 0.0
    if not _SHORTEST <= seconds <= _LONGEST:
        allowed = f"allowed: {_SHORTEST:g}s to {_LONGEST:g}s, such as 5s or 200ms"
        raise click.BadParameter(f"{written!r}; {allowed}", param=parameter)
    return seconds


@click.command(
    help="Look at every rollout again and again, and move what may move, until SIGTERM or Ctrl-C: a process of its own, "
    "for systemd or a container. Prints a line for each event, of whomever."
)
@definitions_option("Bring this file into the store, at once and whenever it changes.")
@notify_option
@prometheus_option
@click.option(
    "--every", "every_seconds", metavar="TIME", default=f"{TICK_SECONDS:g}s", show_default=True, callback=_seconds,
    help="How often to look, 0.1s to 10s. Who does not look for three times as long is replaced by another process.",
)  # fmt: skip
@store_of_definitions
@as_json
def run(
    definitions: str | None,
    notify: Path | None,
    prometheus: str | None,
    every_seconds: float,
    store: Store,
    is_json: bool,
) -> None:
    """Run until it is told to end."""
    if definitions is not None:
        load(definitions)  # a file that is wrong from the start is wrong input; later it is said, and looked at again
    store.revision()  # as is a store that is not there
    with ExitStack() as stack:
        teller = _Teller(store, every_seconds, is_json=is_json)
        stack.enter_context(_said_by(teller.problem))
        is_ended = stack.enter_context(ended_by_signals())
        gate = Gate.open(
            store,
            definitions=definitions,
            background=False,
            notify=notify,
            prometheus=prometheus,
            tick_seconds=every_seconds,
        )
        stack.callback(gate.close)
        teller.begin()
        _run(gate, teller, min(store.poll_seconds, every_seconds), is_ended)
    teller.end()


def _run(gate: Gate, teller: _Teller, poll_seconds: float, is_ended: Callable[[], bool]) -> None:
    """A keeper's rounds, and what they bring is told."""
    gate.pull()
    gate.tick()
    teller.tell(gate)
    while not is_ended():
        wait(poll_seconds * uniform(0.9, 1.1), is_ended)  # noqa: S311  # no secret; apart from other processes
        gate.keep()
        teller.tell(gate)


@contextmanager
def _said_by(say: Callable[[str], None]) -> Iterator[None]:
    """What flaggate logs goes there."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    logger, handler = logging.getLogger("flaggate"), Handler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Teller:
    """Says what happens while it happens, each thing once."""

    def __init__(self, store: Store, every_seconds: float, *, is_json: bool) -> None:
        self._store = store
        self._every_seconds = every_seconds
        self._is_json = is_json
        self._revision = -1
        self._last_id = 0
        self._looks = ""
        self._asked_at = 0.0
        self._problem: str | None = None
        """What keeps it from its work, since when it first did."""
        self._said = ""

    def begin(self) -> None:
        """What happened before is not told. Raises StoreError."""
        self._last_id = max((event.id for event in self._store.history(limit=1)), default=0)
        self._say(f"looks at {self._store.url} every {self._every_seconds:g} s", begins=self._store.url)

    def end(self) -> None:
        """It was told to."""
        self._say("ended: another process may look", ends=self._store.url)

    def tell(self, gate: Gate) -> None:
        """After a round: what happened, who looks, and whether the store is there."""
        health = gate.health()
        if self._problem is not None and health.problem is None:
            self._say(f"over: {self._problem}", over=self._problem)
            self._problem = None
        self._problem = self._problem or health.problem
        with suppress(StoreError):  # the gate has said so, and the next round comes
            if health.revision != self._revision:
                self._tell_events(health.revision)
            self._tell_who_looks(has_lease=gate.has_lease)

    def problem(self, words: str) -> None:
        """What an operator should read; for people on standard error."""
        if self._said and self._said in words and self._said != words:
            return  # what does not go for want of the same thing
        self._said = words
        if self._is_json:
            print_json_line({"at": datetime.now(UTC).isoformat(), "problem": words})
        else:
            line(f"{local_time(datetime.now(UTC))} {words}", err=True)

    def _tell_events(self, revision: int) -> None:
        if revision < self._revision:  # another store was put in its place
            self._last_id = max((event.id for event in self._store.history(limit=1)), default=0)
        for event in self._store.history(after=self._last_id, limit=ALL):
            self._last_id = event.id
            if self._is_json:
                print_json_line(event_to_json(event))
            else:
                line(event_line(event))
        self._revision = revision

    def _tell_who_looks(self, *, has_lease: bool) -> None:
        """Asked when it may have changed."""
        if has_lease is (self._looks == _SELF) and monotonic() - self._asked_at < self._every_seconds:
            return
        lease = self._store.lease()
        self._asked_at = monotonic()
        if lease is None and self._looks not in ("", _SELF):
            return  # the other has ended: at its next look this process takes over, if there is anything to look at
        looks = _SELF if has_lease else _NOBODY if lease is None else f"waits: {lease_words(lease)}"
        if looks != self._looks:
            self._looks = looks
            self._say(looks, has_lease=has_lease, lease=lease_to_json(lease))

    def _say(self, words: str, **document: Any) -> None:
        now = datetime.now(UTC)
        if self._is_json:
            print_json_line({"at": now.isoformat(), **document})
        else:
            line(f"{local_time(now)} {words}")
