"""How soon a kill is seen by other processes: twelve idle ones on one SQLite file. Takes about a minute.

    python benchmarks/propagation.py

Each process opens a gate of its own and then waits on its standard input, as an idle server does on a
socket; what it spends is the keeper's. A change counts from the moment its commit returned (time.time)
to the moment the process serves it. The pauses between changes are random, so that changes fall into
all moments of the polls.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from flaggate import Context, Gate
from flaggate.flags.document import parse
from flaggate.rollout.state import Event, Verb
from flaggate.runtime.control import Control
from flaggate.runtime.snapshot import Snapshot
from flaggate.stores.base import Write
from flaggate.stores.sql import SqlStore

PROCESSES = 12
CHANGES = 100
IDLE_SECONDS = 10.0
PAUSE_SECONDS = (0.15, 0.4)
TARGET_MS, WORST_MS = 250.0, 2000.0
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


def serve(url: str) -> None:
    """Answer each line of the parent: with the CPU seconds so far, or at last with what was served when."""
    gate = WatchedGate(SqlStore(url))
    gate.served = []
    gate.is_on(FLAG, Context())
    for line in sys.stdin:
        answer: Any = time.process_time() if line == "cpu\n" else gate.served
        print(json.dumps(answer), flush=True)
    gate.close()


# --- in the parent --------------------------------------------------------------------------


class TimedStore(SqlStore):
    """Notes when each commit returned."""

    committed: dict[int, float]
    """By revision (time.time)."""

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        revision = super().commit(writes, events, holder=holder)
        self.committed[revision] = time.time()
        return revision


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


def change(store: TimedStore) -> None:
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


def report(delays: list[float], idle: list[float]) -> None:
    cuts = statistics.quantiles(delays, n=100, method="inclusive")
    figures = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": delays[-1]}
    print(f"{CHANGES} changes, {PROCESSES} processes, {len(delays)} sightings")
    print("seen after  " + "   ".join(f"{name} {value:.0f} ms" for name, value in figures.items()))
    for limit in (TARGET_MS, WORST_MS):
        print(f"later than {limit:.0f} ms: {sum(delay > limit for delay in delays)}")
    print("idle CPU of each process, in % of a core: " + " ".join(f"{percent:.2f}" for percent in sorted(idle)))
    is_met = figures["p95"] <= TARGET_MS and figures["max"] <= WORST_MS
    print(
        f"target (95 of 100 within {TARGET_MS:.0f} ms, all within {WORST_MS:.0f} ms): {'met' if is_met else 'MISSED'}"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = TimedStore(f"sqlite:///{directory}/flags.db")
        store.committed = {}
        Control(store).apply(parse(DEFINITIONS), actor="owner@example.com")
        command = [sys.executable, __file__, store.url]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        ask(processes, "cpu\n")  # answered once the first question was
        time.sleep(1)
        idle = idle_percent(processes)
        store.committed.clear()
        change(store)
        time.sleep(WORST_MS / 1000)
        served = ask(processes, "served\n")
        for process in processes:
            process.communicate()
        store.close()
    report(delays_ms(store.committed, served), idle)


if __name__ == "__main__":
    if sys.argv[1:]:
        serve(sys.argv[1])
    else:
        main()
