"""Runs the peers one after the other, each case in a process of its own, and prints the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.peers.measure import CASES, peer_of
from benchmarks.peers.peer import Peer

__all__ = ["main"]

MODULES = (
    "ours", "ours_decide", "eppo", "statsig", "launchdarkly", "growthbook", "unleash", "featurevisor", "openfeature", "flagd",
    "posthog", "litestar_flags", "django_flags", "waffle", "flask_featureflags",
)  # fmt: skip
RUNS, QUICK_RUNS = 20, 5
LOADS, QUICK_LOADS = 3, 1
IMPORTS, QUICK_IMPORTS = 5, 3
CASE_TIMEOUT_SECONDS = 120
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Of each process: what is imported from this folder is compiled once, too, and not each time."""

LEFT_OUT = {
    "Flipt (flipt-client 1.4.5)": "its engine fetches its state from a Flipt server when it starts; without one, with its "
    "fallback and a snapshot, it aborted the process",
    "LaunchDarkly's TestData": "it knows no shares; its file source takes its place",
}
"""What cannot be measured here, and why."""

Figures = dict[str, Any]


class CaseError(Exception):
    """A peer's process failed; the text is the last line it said."""


def _run(*arguments: str) -> str:
    return _output([sys.executable, "-m", "benchmarks.peers.measure", *arguments])


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=CASE_TIMEOUT_SECONDS, env=ENVIRONMENT
        )
    except subprocess.TimeoutExpired as error:
        raise CaseError(f"no answer in {CASE_TIMEOUT_SECONDS} s") from error
    if done.returncode:
        raise CaseError((done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1])
    return done.stdout


def figures_of(module: str, peer: Peer, is_quick: bool) -> Figures:
    """All that is measured of one peer."""
    runs, loads = (QUICK_RUNS, QUICK_LOADS) if is_quick else (RUNS, LOADS)
    found: Figures = {"import": _import_seconds(peer.imports, QUICK_IMPORTS if is_quick else IMPORTS)}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if case == "segment" and not peer.has_segments:
                continue
            arguments = (module, case, folder, str(runs))
            if case != "load":
                _run(*arguments)  # lays down what it starts from
                found[case] = json.loads(_run(*arguments).splitlines()[-1])
                continue
            starts = [found["many"], *(json.loads(_run(*arguments).splitlines()[-1]) for _ in range(loads - 1))]
            for key in ("load", "bytes"):  # over those of one flag: without what is imported, and what opens a file
                found[key] = statistics.median(start[key] for start in starts) - found["decide"][key]
    return found


def _import_seconds(statements: str, runs: int) -> float:
    """CPU seconds of whole processes that import it, over those of bare ones; in turn."""

    def took(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _output([sys.executable, "-c", code])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    took(statements or "pass")  # compiles
    return statistics.median(took(statements) - took("pass") for _ in range(runs))


# --- the table --------------------------------------------------------------------------------

HEAD = (
    "", "ready context", "from a dict", "one of 2,000", "100,000 members", "all of 100", "load 2,000",
    "memory of 2,000", "import",
)  # fmt: skip


QUESTIONS = (("decide", "decide"), ("decide", "of_row"), ("many", "many"), ("segment", "segment"), ("all", "all"))
"""The cases, and what of them is compared with the function by hand, in the table's order."""


def cells(peer: Peer, found: Figures) -> list[str]:
    """One row. In brackets: how many times as long as by hand."""
    shown = [f"{peer.name} ({version(peer.distribution)})"]
    for case, key in QUESTIONS:
        one = found[case][key] if case in found else None
        shown.append("-" if one is None else f"{_time(one['seconds'])} ({_times(one['ratio'])})")
    load = "under 5 ms" if found["load"] < 0.005 else _time(found["load"])
    memory = f"{found['bytes'] / 2**20:.1f} MB" if sys.platform == "linux" else "-"
    return [*shown, load, memory, f"{found['import'] * 1_000:.0f} ms"]


def cells_by_hand(all_found: Sequence[Figures]) -> list[str]:
    """The row of the function by hand: the median of those that it was measured beside."""
    shown = ["by hand"]
    for case, key in QUESTIONS:
        times = [found[case][key]["by_hand"] for found in all_found if case in found]
        shown.append(_time(statistics.median(times)) if times else "-")
    return [*shown, *["-"] * (len(HEAD) - len(shown))]


def _time(seconds: float) -> str:
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= unit:
            value = seconds / unit
            return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {name}"
    return f"{seconds * 1e9:.0f} ns"


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:,.0f}x"


def _line(shown: Sequence[str]) -> str:
    first, *rest = shown
    return f"| {first:<38} | " + " | ".join(f"{cell:>18}" for cell in rest) + " |"


def main() -> None:
    """Print the table; the notes of the rows are below it. Fails if a peer did."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("--only", metavar="NAME", choices=MODULES, action="append", help=", ".join(MODULES))
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores\n\n{_line(HEAD)}")
    print("|---" * len(HEAD) + "|", flush=True)
    notes, failures, measured = [], [], []
    for module in options.only or MODULES:
        try:
            peer = peer_of(module)
            measured.append(figures_of(module, peer, options.quick))
            print(_line(cells(peer, measured[-1])), flush=True)
            notes.append(f"- {peer.name}: {peer.note}")
        except CaseError as error:
            failures.append(f"{module}: {error}")
    if measured:
        print(_line(cells_by_hand(measured)))
    print(
        "\nIn brackets: how many times as long as by hand, in the same run. Each row's answers were held against the plan.\n"
    )
    print("\n".join(notes))
    print("\nLeft out:\n")
    print("\n".join(f"- {words}: {why}." for words, why in LEFT_OUT.items()))
    print("\nWhat the middleware adds to a request: benchmarks/middleware.py.")
    if failures:
        sys.exit("\n".join(["", "No row, because of a failure:", *failures]))
