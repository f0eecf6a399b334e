"""What a process costs its store, and what that adds up to at 100, 1,000 and 10,000 processes. Takes about a minute.

    python -m benchmarks.scale [sqlite | postgresql | redis | valkey]

A server is started for it, on the same machine as its clients. Each act of a process is timed alone, and then
by as many clients as give the most a second: with how many processes the store is busy is worked out from that, and from
how often a process does it.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple
from uuid import uuid4

from benchmarks.propagation import server
from flaggate.errors import BusyError
from flaggate.flags.document import parse
from flaggate.runtime.control import Control
from flaggate.runtime.duties import BEAT_SECONDS, FLUSH_SECONDS, PRESENCE_SECONDS
from flaggate.stores import open_store
from flaggate.stores.base import Count, Presence, Report, Store, UnitCount

CLIENTS = (1, 4, 8)
SECONDS = 2.0
FLEETS = (100, 1_000, 10_000)
WORKERS = (10, 40, 100)
"""On SQLite, which has one machine."""
FLAGS = 20
"""Flags that requests ask, in each process."""
UNITS = 50
"""Units that a process meets anew between two flushes."""
DEFINITIONS = "".join(
    f'[flags.flag-{number}]\ndescription = "A switch"\nowner = "owner@example.com"\n' for number in range(FLAGS)
)
Act = Callable[[Store, int, str], object]


class Row(NamedTuple):
    """One thing that each process does."""

    name: str
    act: Act
    every_seconds: float | None
    """How often; None = by how the store polls."""


def report(number: int, process: str, *, with_units: bool) -> Report:
    histogram = {"10": 40, "25": 8, "100": 2}
    counts = [Count(f"flag-{flag}", 1, 1, arm, 50, 0, histogram) for flag in range(FLAGS) for arm in ("on", "off")]
    units = [
        UnitCount("flag-0", 1, 1, "treatment", "requests", f"{number * UNITS + unit:016x}") for unit in range(UNITS)
    ]
    return Report(process, number, tuple(counts), tuple(units) if with_units else ())


ROWS = [
    Row("a poll: is there anything new?", lambda store, _n, _p: store.revision(), None),
    Row(
        f"a flush: {2 * FLAGS} counts",
        lambda store, number, process: store.add_counts(report(number, process, with_units=False)),
        FLUSH_SECONDS,
    ),
    Row(
        f"a flush: {2 * FLAGS} counts, {UNITS} new units of a judged stage",
        lambda store, number, process: store.add_counts(report(number, process, with_units=True)),
        FLUSH_SECONDS,
    ),
    Row("saying that it is there", lambda store, _n, process: store.say(presence(process)), PRESENCE_SECONDS),
    Row("asking for the lease", lambda store, _n, process: store.take_lease(process, "host:1", 15.0), BEAT_SECONDS / 3),
    Row("one change, read", lambda store, _n, _p: store.changes(store.revision() - 1), None),
]


def presence(process: str) -> Presence:
    return Presence(process, "host:1", 1, 0.1, PRESENCE_SECONDS)


# --- in each client -----------------------------------------------------------------------------


def hammer(url: str, index: int, begin: Any, done: Any) -> None:
    """Do it for some seconds; tell how often, how long each took and what it cost here."""
    store = open_store(url)
    process, act = uuid4().hex, ROWS[index].act
    numbers = count(1)
    store.revision()  # it is connected
    begin.wait()
    took: list[float] = []
    until, cpu = time.monotonic() + SECONDS, time.process_time()
    while (begun := time.monotonic()) < until:
        with suppress(BusyError):  # another writer: what is handed over again
            act(store, next(numbers), process)
            took.append(time.monotonic() - begun)
    done.put((took, time.process_time() - cpu))
    store.close()


# --- in the parent ------------------------------------------------------------------------------


def measured(url: str, index: int, clients: int) -> tuple[float, float, float]:
    """How many a second, how long one takes in the middle (ms), and what it costs its process (CPU ms)."""
    context = multiprocessing.get_context("spawn")
    begin, done = context.Event(), context.Queue()
    processes = [context.Process(target=hammer, args=(url, index, begin, done)) for _ in range(clients)]
    for process in processes:
        process.start()
    time.sleep(1.5)
    begin.set()
    answers = [done.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    took = [one for each, _ in answers for one in each]
    cpu = sum(seconds for _, seconds in answers)
    return len(took) / SECONDS, statistics.median(took) * 1000, cpu / max(len(took), 1) * 1000


def main() -> None:
    kind = sys.argv[1] if sys.argv[1:] else "sqlite"
    with server(kind) as url:
        store = open_store(url)
        Control(store).apply(parse(DEFINITIONS), actor="owner@example.com")
        print(f"{kind}: polled each {store.poll_seconds:g} s\n")
        sizes = WORKERS if kind == "sqlite" else FLEETS
        fleets = " | ".join(f"{fleet:,} processes" for fleet in sizes)
        print(f"| of each process | every | takes | its CPU | at most a second | {fleets} |")
        print("|---|---|---|---|---|" + "---|" * len(sizes))
        for index, row in enumerate(ROWS):
            by_clients = [measured(url, index, clients) for clients in CLIENTS]
            _, alone, cpu = by_clients[0]
            most = max(rate for rate, _, _ in by_clients)
            every = row.every_seconds or store.poll_seconds
            if row.name == "one change, read":
                cells, often = [f"{1000 * fleet / most:.0f} ms for all" for fleet in sizes], "a change"
            else:
                cells, often = [f"{100 * fleet / every / most:.1f} %" for fleet in sizes], f"{every:g} s"
            figures = f"{alone:.2f} ms | {cpu:.2f} ms | {most:,.0f}"
            print(f"| {row.name} | {often} | {figures} | " + " | ".join(cells) + " |", flush=True)
        store.close()


if __name__ == "__main__":
    main()
