"""One figure of one peer, in a process of its own: `python -m benchmarks.peers.measure MODULE CASE FOLDER RUNS`.

The first call lays down in the folder what the peer starts from; the next one measures, and prints a line of JSON. Times
are the thread's CPU seconds; each run is taken in turn with the function by hand, and a ratio is the median of the pairs'
ratios.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import statistics
import sys
import time
import timeit
from collections.abc import Callable
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks.peers import plan
from benchmarks.peers.peer import Peer

__all__ = ["CASES", "MANY", "peer_of"]

MANY, SOME, MEMBERS = 2_000, 100, 100_000
RUN_SECONDS = 0.005
"""How long a run takes, at least."""
CASE_SECONDS = 2.0
"""How long a comparison takes, at most, if that leaves five runs."""
PASS_SECONDS = 0.2
"""How long it takes to ask about all of them once; with a slower peer it is the first few."""

Names = dict[str, Any]


def peer_of(module: str) -> Peer:
    """The peer that the module brings."""
    peer: Peer = import_module(f"benchmarks.peers.{module}").peer
    return peer


# --- timing -----------------------------------------------------------------------------------


def compare(call: str, reference: str, each: int, runs: int, names: Names) -> dict[str, float]:
    """Seconds of the call and of the reference for one of the `each` questions that they hold, and the ratio."""
    timers = [timeit.Timer(text, timer=time.thread_time, globals=names) for text in (call, reference)]
    once = [min(timer.timeit(1), timer.timeit(1)) for timer in timers]
    loops = [max(1, ceil(RUN_SECONDS / max(seconds, 1e-6))) for seconds in once]
    one_run = sum(seconds * number for seconds, number in zip(once, loops, strict=True))
    runs = min(runs, max(5, int(CASE_SECONDS / one_run)))
    pairs = [
        [timer.timeit(number) / number / each for timer, number in zip(timers, loops, strict=True)] for _ in range(runs)
    ]
    return {
        "seconds": statistics.median(theirs for theirs, _ in pairs),
        "ratio": statistics.median(theirs / by_hand for theirs, by_hand in pairs),
        "by_hand": statistics.median(by_hand for _, by_hand in pairs),
    }


def decided(peer: Peer, names: Names, runs: int, by_hand: str = "by_hand(person)") -> dict[str, float]:
    """The thousand, asked about one flag with their contexts ready."""
    call = f"for context in contexts: {peer.ask}"
    return compare(call, f"for person in persons: {by_hand}", len(names["rows"]), runs, names)


# --- the cases --------------------------------------------------------------------------------


def started(peer: Peer, folder: Path, flags: int, members: int = 0) -> tuple[Names, dict[str, float]]:
    """The peer with that many flags; with the CPU seconds that this took in all threads, and the memory after it."""
    rows = () if flags == MANY else plan.PERSONS
    exec(peer.imports, {})
    begun = time.process_time()
    names = peer.load(folder, rows)
    seconds = time.process_time() - begun
    size = _resident_bytes()
    names |= {
        "flag": plan.PILOT if members else plan.FLAG,
        "flags": plan.names(flags),
        "by_hand": plan.by_hand,
        "by_hand_of_row": plan.by_hand_of_row,
        "MEMBERS": frozenset(plan.members(members)),
    }
    return names, {"load": seconds, "bytes": size}


def _asker(peer: Peer, names: Names) -> Callable[[plan.Row], bool]:
    """A question about a row, for checking."""
    lines = f"def asked(row):\n    context = {peer.context}\n    return bool({peer.ask})"
    exec(lines, names)
    asked: Callable[[plan.Row], bool] = names["asked"]
    return asked


def _choose(peer: Peer, names: Names) -> None:
    """Whom to ask about: all, or as many as there is time for."""
    asked, begun = _asker(peer, names), time.thread_time()
    few = plan.PERSONS[:10]
    for row in few:
        asked(row)
    seconds = (time.thread_time() - begun) / len(few)
    rows = plan.PERSONS[: max(len(few), int(PASS_SECONDS / seconds))]
    names |= {"rows": rows, "persons": [plan.person_of(row) for row in rows]}
    names["contexts"] = eval(f"[{peer.context} for row in rows]", names)


def decide(peer: Peer, folder: Path, runs: int) -> dict[str, Any]:
    """One flag: are the answers right, and what does one cost, with a ready context and from a plain dict?"""
    names, begun = started(peer, folder, 1)
    plan.answers_are_right(_asker(peer, names))
    _choose(peer, names)
    of_row = compare(
        f"for row in rows:\n    context = {peer.context}\n    {peer.ask}",
        "for row in rows: by_hand_of_row(row)",
        len(names["rows"]),
        runs,
        names,
    )
    return {"decide": decided(peer, names, runs), "of_row": of_row, **begun}


def many(peer: Peer, folder: Path, runs: int) -> dict[str, Any]:
    """Two thousand flags: what do they take, and what does one of them cost?"""
    names, begun = started(peer, folder, MANY)
    _choose(peer, names)
    return {"many": decided(peer, names, runs), **begun}


def load(peer: Peer, folder: Path, _runs: int) -> dict[str, Any]:
    """The two thousand once more."""
    return started(peer, folder, MANY)[1]


def segment(peer: Peer, folder: Path, runs: int) -> dict[str, Any]:
    """A flag for 100 000 members."""
    names, _ = started(peer, folder, 1, MEMBERS)
    asked = _asker(peer, names)
    _choose(peer, names)
    for row in names["rows"]:
        assert asked(row) is (row["user"] in names["MEMBERS"]), f"{row['user']} is not in the right place"
    return {"segment": decided(peer, names, runs, "person.user in MEMBERS")}


def everything(peer: Peer, folder: Path, runs: int) -> dict[str, Any]:
    """A hundred flags for one context, whom none of the plan's rules decides."""
    names, _ = started(peer, folder, SOME)
    row = next(row for row in plan.PERSONS if row["city"] == "Leeds" and not plan.by_hand_of_row(row))
    names |= {"row": row, "person": plan.person_of(row)}
    each = f"{{flag: {peer.ask} for flag in flags}}"
    names["context"] = eval(peer.context, names)
    found = eval(peer.all or each, names)
    assert set(found) == set(names["flags"]), "all of them are not all"
    assert peer.is_dice or {flag: bool(on) for flag, on in found.items()} == eval(
        f"{{flag: bool({peer.ask}) for flag in flags}}", names
    ), "all of them are answered otherwise than each"
    reference = "{flag: by_hand(person) for flag in flags}"
    return {"all": compare(peer.all or each, reference, 1, runs, names)}


CASES: dict[str, tuple[int, int, Callable[[Peer, Path, int], dict[str, Any]]]] = {
    "decide": (1, 0, decide),
    "many": (MANY, 0, many),
    "load": (MANY, 0, load),
    "segment": (1, MEMBERS, segment),
    "all": (SOME, 0, everything),
}
"""Flags, members, and what is measured."""


def _resident_bytes() -> int:
    """What the process holds, once what it does not use is given back; 0 where that is not known."""
    gc.collect()
    if sys.platform != "linux":
        return 0
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- nothing leaves the machine ----------------------------------------------------------------


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Of what Python does; the engines in Rust are told to stay offline by their own settings."""
    if event in {"socket.connect", "socket.getaddrinfo", "socket.sendto"}:
        raise RuntimeError(f"a peer wanted the network: {event}{arguments[-1:]!r}")


def main() -> None:
    """Lay down or measure, whichever it is time for."""
    module, case, folder, runs = sys.argv[1:]
    peer = peer_of(module)
    flags, members, measured = CASES[case]
    own = Path(folder) / ("many" if case == "load" else case)  # what was laid down for `many` is loaded again
    if not own.exists():
        own.mkdir()
        peer.write(own, plan.names(flags), plan.members(members))
        return
    sys.addaudithook(_refuse_network)
    print(json.dumps(measured(peer, own, int(runs))), flush=True)
    os._exit(0)  # without waiting for a peer's threads


if __name__ == "__main__":
    main()
