"""What many flags cost a process: one change among 100 and among 10,000, load time and memory. Takes some minutes.

    python -m benchmarks.many_flags [--profile]

On an SQLite file. A change is a kill or an unkill of one flag by the terminal's code; what is timed is the pull with which
a process takes it over, on the CPU clock of its thread: with the copy on disk that every pull after a change writes,
and without. Loading is in processes of their own that have imported everything. `--profile` shows where a pull's time goes.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from flaggate import Context, Gate
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores.base import Write
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore

PLAN: Final = (Path(__file__).parents[1] / "src" / "flaggate" / "cli" / "demo" / "plan.toml").read_text()
NAME: Final = "new-invoicing"
FEW, MANY = 100, 10_000
CHANGES: Final = 30
LOADS: Final = 3
SOUGHT: Final = 2.0
"""Times as much among many as among few, at most."""


def fill(path: Path, flags: int) -> str:
    """A store of so many copies of the demo's plan, each in its fourth stage. Returns its URL."""
    control = Control(MemoryStore())
    control.apply(parse(PLAN), actor="bench")
    control.act(Verb.START, NAME, actor="release-owner@example.com")
    for _ in range(3):
        control.act(Verb.ADVANCE, NAME, actor="bench", reason="bench")
    row = control.store.get("flag", NAME)
    assert row is not None
    text, names = json.dumps(row.document), [f"flag-{number}" for number in range(flags)]
    url = f"sqlite:///{path}"
    with closing(SqlStore(url)) as store:
        store.commit([Write("flag", name, 0, json.loads(text.replace(NAME, name))) for name in names], [])
    return url


def gate_on(url: str, *, has_copy: bool) -> Gate:
    store = SqlStore(url, create=False)
    if not has_copy:
        store.directory = None
    return Gate(store, background=False)


# --- one change -----------------------------------------------------------------------------


def change(url: str) -> Callable[[], None]:
    """What kills a flag, or takes the kill back, at each call."""
    control, verbs = Control(SqlStore(url, create=False)), [Verb.KILL, Verb.UNKILL]

    def changed() -> None:
        control.act(verbs[0], "flag-7", actor="release-owner@example.com", reason="bench")
        verbs.reverse()

    return changed


def pulls(url: str, *, has_copy: bool) -> tuple[float, float, float]:
    """Milliseconds of a pull after a change, on the CPU and on the wall; and of one that finds nothing new, on the CPU."""
    changed, found, idle = change(url), list[tuple[float, float]](), list[float]()
    with closing(gate_on(url, has_copy=has_copy)) as gate:
        gate.refresh()
        for _ in range(CHANGES):
            changed()
            before = gate.health().revision
            cpu, wall = time.thread_time(), time.perf_counter()
            gate.pull()
            found.append((time.thread_time() - cpu, time.perf_counter() - wall))
            assert gate.health().revision == before + 1
            cpu = time.thread_time()
            gate.pull()
            idle.append(time.thread_time() - cpu)
    on_cpu, on_wall = (statistics.median(column) * 1000 for column in zip(*found, strict=True))
    return on_cpu, on_wall, statistics.median(idle) * 1000


def profile(url: str, *, has_copy: bool) -> None:
    """The 15 functions in which a pull after a change spends most, by themselves."""
    changed, profiler = change(url), cProfile.Profile()
    with closing(gate_on(url, has_copy=has_copy)) as gate:
        gate.refresh()
        for _ in range(CHANGES):
            changed()
            profiler.enable()
            gate.pull()
            profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(15)


# --- loading --------------------------------------------------------------------------------


def load(url: str, what: str) -> dict[str, float]:
    """In this process: seconds, or megabytes, of the first snapshot."""
    with closing(Gate(MemoryStore(), background=False)) as nothing:
        nothing.is_on("nothing", Context())
        Control(nothing.store).apply(parse(PLAN), actor="bench")
        nothing.refresh()  # so that all is imported
    if what == "traced":
        tracemalloc.start()
    before, cpu, wall = _resident(), time.thread_time(), time.perf_counter()
    gate = gate_on(url, has_copy=what == "copy")
    gate.pull()
    found = {"cpu": time.thread_time() - cpu, "wall": time.perf_counter() - wall, "resident": _resident() - before}
    if what == "traced":
        found["traced"], found["peak"] = (size / 2**20 for size in tracemalloc.get_traced_memory())
        tracemalloc.stop()
    assert gate.is_on("flag-7", Context("ada", staff=True))
    gate.close()
    return found


def _resident() -> float:
    """Megabytes that this process has in memory. Of Linux."""
    words = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
    return int(words[0]) / 1024


def loads(url: str, what: str) -> dict[str, float]:
    """Medians over processes of their own."""
    command = [sys.executable, "-m", "benchmarks.many_flags", "--load", url, what]
    found = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(LOADS)]
    return {key: statistics.median(one[key] for one in found) for key in found[0]}


# --- the report -----------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--load"]:
        print(json.dumps(load(*arguments[1:])))
        return
    with tempfile.TemporaryDirectory() as directory:
        few, many = (fill(Path(directory, f"{flags}.db"), flags) for flags in (FEW, MANY))
        if arguments == ["--profile"]:
            for has_copy in (False, True):
                print(f"--- {MANY:,} flags, {CHANGES} pulls {'with' if has_copy else 'without'} the copy on disk")
                profile(many, has_copy=has_copy)
            return
        print(f"Python {sys.version.split()[0]}; sought: a ratio of {SOUGHT:g} at most\n")
        print(f"| a pull | {FEW} flags | {MANY:,} flags | ratio |\n|---|---|---|---|")
        for has_copy in (False, True):
            copy = "with the copy on disk" if has_copy else "without the copy on disk"
            columns = zip(pulls(few, has_copy=has_copy), pulls(many, has_copy=has_copy), strict=True)
            for words, (small, large) in zip(("CPU", "wall", "nothing new, CPU"), columns, strict=True):
                print(f"| {copy}: {words} | {small:.3f} ms | {large:.3f} ms | {large / small:.1f} |")
        bare, copied, traced = (loads(many, what) for what in ("bare", "copy", "traced"))
        print(f"\nLoading {MANY:,} flags: {bare['wall']:.2f} s ({bare['cpu']:.2f} s on the CPU), ", end="")
        print(f"and with the copy on disk {copied['wall']:.2f} s ({copied['cpu']:.2f} s).")
        print(f"Memory: {bare['resident']:.0f} MB resident, {copied['resident']:.0f} MB with the copy; ", end="")
        print(f"tracemalloc {traced['traced']:.0f} MB, at most {traced['peak']:.0f} MB meanwhile.")


if __name__ == "__main__":
    main(sys.argv[1:])
