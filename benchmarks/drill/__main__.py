"""Runs the drills, each in a process of its own that ends in time, and says what each one saw."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from benchmarks.drill import files, processes, stores
from benchmarks.drill.report import Result, line, table
from benchmarks.drill.seen import Drill, Seen
from benchmarks.drill.servers import SERVERS

DRILLS: Final[tuple[Drill, ...]] = (*stores.DRILLS, *processes.DRILLS, *files.DRILLS)
ALL_SECONDS: Final = 360.0
"""For all of them together; what has not run by then has failed."""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drill", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="one drill; more than once for several")
    parser.add_argument("--on", action="append", choices=SERVERS, help="one store; more than once for several")
    parser.add_argument("--list", action="store_true", help="what there is")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="so many at once (2)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table there, too")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.run:
        return _run_here(*asked.run)
    unknown = {*(asked.only or ())} - {drill.name for drill in DRILLS}
    if unknown:
        parser.error(f"no such drill: {', '.join(sorted(unknown))}; --list names them")
    chosen = [
        (drill, store)
        for drill in DRILLS
        for store in drill.stores
        if drill.name in (asked.only or [drill.name]) and store in (asked.on or [store])
    ]
    if asked.list:
        for drill in dict.fromkeys(drill for drill, _ in chosen):
            print(f"{drill.name} ({', '.join(drill.stores)}): {drill.promise}")
        return 0
    results = _results(chosen, asked.jobs)
    if asked.table:
        asked.table.write_text(table(results) + "\n", encoding="utf-8")
    broken = sum(not result.is_kept for result in results)
    print(f"{len(results)} drills, {broken} broken" if broken else f"{len(results)} drills, all promises kept")
    return 1 if broken else 0


def _results(chosen: Sequence[tuple[Drill, str]], jobs: int) -> list[Result]:
    deadline = time.monotonic() + ALL_SECONDS

    def one(what: tuple[Drill, str]) -> Result:
        found = result(*what, min(what[0].seconds, deadline - time.monotonic()))
        print(line(found), flush=True)
        return found

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, chosen))


def result(drill: Drill, store: str, seconds: float) -> Result:
    """In a process of its own: whatever hangs in it, it ends, and all that it started."""
    begun = time.monotonic()
    missing = SERVERS[store].missing() or drill.needs(store)
    if missing is not None:
        return Result(drill, store, f"not run: {missing}", (f"not run: {missing}",), 0.0)
    if seconds <= 0:
        return Result(drill, store, "not run: the time is over", ("not run: the time is over",), 0.0)
    command = [sys.executable, "-m", "benchmarks.drill", "--run", drill.name, store]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            said = json.dumps({"seen": f"not over after {seconds:.0f} s", "broken": ["it was stopped"]})
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    told = json.loads(said.splitlines()[-1])
    return Result(drill, store, told["seen"], tuple(told["broken"]), time.monotonic() - begun)


def _run_here(name: str, store: str) -> int:
    (drill,) = [drill for drill in DRILLS if drill.name == name]
    seen = Seen()
    with tempfile.TemporaryDirectory(prefix="flaggate-drill-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # PostgreSQL is another user
        try:
            drill.run(SERVERS[store], Path(folder), seen)
        except Exception as error:
            traceback.print_exc()
            seen.say(f"it ended with {error!r}", False)
    print(json.dumps({"seen": str(seen), "broken": seen.broken}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
