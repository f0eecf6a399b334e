"""What goes wrong with processes: they are killed, they stand still, and their clock is set."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Final

from benchmarks.drill.plan import OWNER, PLAN
from benchmarks.drill.scene import WORKERS, Scene, scene
from benchmarks.drill.seen import Drill, Seen
from benchmarks.drill.servers import Server
from flaggate.rollout.state import Verb
from flaggate.runtime.duties import FLUSH_SECONDS
from tests.runtime.scenes import until

__all__ = ["DRILLS"]

_MOVING: Final = "moving"
_STAGES: Final = 20
_TICK_SECONDS: Final = 1.0
_LEASE_SECONDS: Final = 3 * _TICK_SECONDS


def _moving_plan(soak: str) -> str:
    """With a rollout that the clock moves, and nobody asks."""
    stages = ", ".join(
        f'{{ name = "stage-{number}", share = {number}, soak = "{soak}" }}' for number in range(1, _STAGES + 1)
    )
    return f"""{PLAN}
[flags.{_MOVING}]
description = "A rollout that moves by itself"
owner = "{OWNER}"
stages = [{stages}, {{ name = "all" }}]
guards = [{{ metric = "errors", limit = "1%", on_no_data = "ignore" }}]
"""


def killed(kind: type[Server], folder: Path, seen: Seen) -> None:
    """One after the other; gunicorn puts another one in each one's place."""
    with scene(kind, folder) as made:
        made.acts.begin()
        gone = dict[int, float]()
        for _ in range(WORKERS):
            made.passes(2)
            pid = next(pid for pid in made.site.workers() if pid not in gone)
            os.kill(pid, signal.SIGKILL)
            gone[pid] = monotonic()
            until(lambda pid=pid: pid not in made.site.workers(), "it has gone")  # type: ignore[misc]  # mypy knows no default of a lambda
            made.await_workers()
        made.acts.end()
        made.load.end()
        # Its last flush was at most so long ago: the keeper looks whether one is due once a poll.
        unflushed = FLUSH_SECONDS + 1.1 * made.store.poll_seconds + 0.2
        lost_by = [each for each in made.load.answers if each.pid in gone and each.got > gone[each.pid] - unflushed]
        made.finish(seen, may_fail=len(gone), lost_by=lost_by)


def stopped(kind: type[Server], folder: Path, seen: Seen) -> None:
    """The process that looks at the rollouts stands still, another takes over, and it wakes up."""
    with scene(kind, folder, plan=_moving_plan("1s"), environment={"DRILL_TICK_SECONDS": str(_TICK_SECONDS)}) as made:
        made.control.act(Verb.START, _MOVING, actor=OWNER)
        until(lambda: made.store.lease() is not None, "one of the workers looks")
        holder, pid = _holder(made)
        os.kill(pid, signal.SIGSTOP)
        since = monotonic()
        until(lambda: _holder(made)[0] not in (holder, ""), "another one looks")
        took = monotonic() - since
        within = _LEASE_SECONDS + 2 * _TICK_SECONDS
        seen.say(f"another worker looked {took:.1f} s after the holder was stopped", took <= within)
        made.passes(2)
        os.kill(pid, signal.SIGCONT)
        new = _holder(made)[0]
        made.passes(4)
        seen.say("the one that woke up took nothing back", _holder(made)[0] == new)
        _say_moves(made, seen)
        made.await_workers()
        made.finish(seen)


def _holder(made: Scene) -> tuple[str, int]:
    """Its id as such, and as the system's; empty where nobody has the lease just now."""
    lease = made.store.lease()
    return ("", 0) if lease is None else (lease.holder, int(lease.who.partition(":")[2].split()[0].rstrip(",;")))


def _say_moves(made: Scene, seen: Seen) -> None:
    """Each stage is entered once, in order."""
    events = [event for event in made.store.history(_MOVING, limit=1000) if event.verb == Verb.ADVANCE]
    entered = [event.after["stage"] for event in events if event.after is not None]
    is_kept = bool(entered) and entered == list(range(2, 2 + len(entered)))
    seen.say(f"{len(entered)} stages entered, each once" if is_kept else f"entered the stages {entered}", is_kept)


def clock(kind: type[Server], folder: Path, seen: Seen) -> None:
    """The workers' clock, which libfaketime sets: an hour ahead, and an hour back from where it was."""
    said = folder / "clock"
    said.write_text("+0")
    faked = {
        "LD_PRELOAD": _faketime(),
        "FAKETIME_TIMESTAMP_FILE": str(said),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with scene(
        kind, folder, plan=_moving_plan("60s"), environment={"DRILL_TICK_SECONDS": str(_TICK_SECONDS)} | faked
    ) as made:
        made.acts.begin()
        made.control.act(Verb.START, _MOVING, actor=OWNER)
        until(lambda: _looked_at(made), "one of the workers looks")
        for shift, words in ((3600, "an hour ahead"), (-3600, "an hour back")):
            with _looked_again(made, seen, words):
                draft = folder / "clock.new"
                draft.write_text(f"{shift:+d}")
                draft.replace(said)
            made.passes(2)
        observed = made.store.progress()[_MOVING]["observed_seconds"]
        stage = len([event for event in made.store.history(_MOVING) if event.verb == Verb.ADVANCE]) + 1
        seen.say(f"soaked {observed:.0f} s of 60 in stage {stage}", stage == 1)
        made.next_change(seen, 2.0, monotonic(), "the clock was set")
        made.finish(seen)


@contextmanager
def _looked_again(made: Scene, seen: Seen, words: str) -> Iterator[None]:
    before, since = _looked_at(made), monotonic()
    yield
    until(lambda: _looked_at(made) != before, "somebody looks")
    before = _looked_at(made)  # it may have been under way
    until(lambda: _looked_at(made) != before, "somebody looks again")
    took = monotonic() - since
    seen.say(f"{words}: looked at again after {took:.1f} s", took <= _LEASE_SECONDS + 3 * _TICK_SECONDS)


def _looked_at(made: Scene) -> str | None:
    found: str | None = made.store.progress().get(_MOVING, {}).get("looked_at")
    return found


def _faketime() -> str:
    """The library in the wheel `libfaketime`; empty if it is not there."""
    found = find_spec("libfaketime")
    if found is None or found.origin is None:
        return ""
    library = Path(found.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    return str(library) if library.exists() else ""


def _no_clock(_store: str) -> str | None:
    return None if _faketime() else "pip install libfaketime"


DRILLS: Final = (
    Drill(
        "workers-killed",
        "Each of four workers killed (SIGKILL) under load: only the request that it was answering fails, only the counts of "
        f"its last {FLUSH_SECONDS:.0f} s and one poll are lost, and none is counted twice",
        killed,
    ),
    Drill(
        "lease-holder-stopped",
        f"The process that looks, every {_TICK_SECONDS:.0f} s, stopped (SIGSTOP) and woken: another one looks after three such "
        "spans and no more than two later, each stage is entered once, no request fails",
        stopped,
    ),
    Drill(
        "clock-stepped",
        "The machine's clock set an hour ahead, then an hour back: no soak ends by it (one look observes 15 s at most), no "
        "rollback, the looks go on, no count is lost",
        clock,
        needs=_no_clock,
    ),
)
