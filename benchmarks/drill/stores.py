"""What goes wrong with the store, and with the way to it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

from benchmarks.drill.plan import OWNER, SWITCH
from benchmarks.drill.scene import Scene, scene
from benchmarks.drill.seen import Drill, Seen
from benchmarks.drill.servers import Redis, Server
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb

__all__ = ["DRILLS"]

_BACK_SECONDS: Final = 2.0
_SWITCH: Final = '[flags.flag-{number}]\ndescription = "Number {number}"\nowner = "owner@example.com"\n'


def killed(kind: type[Server], folder: Path, seen: Seen) -> None:
    """In the middle of load and of acts."""
    with scene(kind, folder, per_second=200) as made:
        made.acts.begin()
        made.passes(2)
        made.server.kill()
        gone_at = monotonic()
        made.passes(4)
        made.server.restart()
        back_at = monotonic()
        seen.say(f"away for {back_at - gone_at:.1f} s")
        made.next_change(seen, _BACK_SECONDS, back_at)
        made.passes(1)
        made.finish(seen)


def slow(kind: type[Server], folder: Path, seen: Seen) -> None:
    with scene(kind, folder, wired=True) as made:
        made.acts.begin()
        made.wire.delay_seconds = 1.0
        made.passes(6)
        made.wire.delay_seconds = 0.0
        made.next_change(seen, _BACK_SECONDS, monotonic(), "the last slow answer")
        made.finish(seen)


def locked(kind: type[Server], folder: Path, seen: Seen) -> None:
    """SQLite has no way to it: slow is a writer that does not end."""
    with scene(kind, folder) as made:
        other = sqlite3.connect(made.server.folder / "flags.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        made.passes(6)
        other.execute("ROLLBACK")
        other.close()
        made.next_change(seen, _BACK_SECONDS, monotonic(), "the other writer's end")
        made.finish(seen)


def cut(kind: type[Server], folder: Path, seen: Seen) -> None:
    _without_network(kind, folder, seen, is_silent=False)


def swallowed(kind: type[Server], folder: Path, seen: Seen) -> None:
    _without_network(kind, folder, seen, is_silent=True)


def _without_network(kind: type[Server], folder: Path, seen: Seen, *, is_silent: bool) -> None:
    """Who acts has another way to the store: what was killed meanwhile is seen once the app's way is back."""
    with scene(kind, folder, wired=True) as made:
        made.acts.begin()
        with made.wire.silent() if is_silent else _severed(made):
            made.passes(4)
            revision = made.act_until_done(Verb.KILL, SWITCH)
            made.passes(2)
        took = made.all_answer(lambda answer: answer.revision >= revision and not answer.switch, monotonic())
        words = "not within 20 s" if took is None else f"{took:.2f} s after"
        seen.say(
            f"a kill during the outage served by all workers {words} its end",
            took is not None and took <= _BACK_SECONDS,
        )
        made.finish(seen)


@contextmanager
def _severed(made: Scene) -> Iterator[None]:
    made.wire.cut()
    yield
    made.wire.mend()


def full(kind: type[Server], folder: Path, seen: Seen) -> None:
    """Nothing can be written, all can be read."""
    with _small_disk(kind, folder), scene(kind, folder) as made:
        made.acts.begin()
        made.passes(1)
        with _filled(made):
            began = len(made.acts.confirmed)
            made.passes(5)
            seen.say(f"{made.acts.refused} acts refused while it was full, {len(made.acts.confirmed) - began} taken")
        made.next_change(seen, _BACK_SECONDS, monotonic(), "there was room again")
        made.finish(seen)


def _no_disk(store: str) -> str | None:
    return "a small file system is mounted by root alone" if store != Redis.name and os.getuid() else None


@contextmanager
def _small_disk(kind: type[Server], folder: Path) -> Iterator[None]:
    """A file system of its own for what is on disk, where one may be mounted."""
    if kind is Redis:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=755", "drill", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def _filled(made: Scene) -> Iterator[None]:
    if isinstance(made.server, Redis):
        made.server.do("CONFIG", "SET", "maxmemory", "1")
        yield
        made.server.do("CONFIG", "SET", "maxmemory", "0")
        return
    rest = made.folder / "rest"
    with rest.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    yield
    rest.unlink()


def burst(kind: type[Server], folder: Path, seen: Seen) -> None:
    """A thousand flags in one act, and two hundred acts one after the other."""
    names = [f"flag-{number}" for number in range(1000)]
    with scene(kind, folder) as made:
        declared = parse("".join(_SWITCH.format(number=number) for number in range(1000)))
        since = monotonic()
        applied = made.control.apply(declared, actor=OWNER)
        done = monotonic()
        assert applied.revision is not None
        first = applied.revision
        took = made.all_answer(lambda answer: answer.revision >= first, done)
        words = "not within 20 s" if took is None else f"{took:.2f} s after it was written ({done - since:.1f} s)"
        seen.say(f"1,000 flags in one act served by all workers {words}", took is not None and took <= _BACK_SECONDS)
        since = monotonic()
        for name in names[:200]:
            last = made.control.act(Verb.ON, name, actor=OWNER).revision
        assert last is not None
        revision, done = last, monotonic()
        took = made.all_answer(lambda answer: answer.revision >= revision, done)
        words = "not within 20 s" if took is None else f"{took:.2f} s after it"
        acts = f"200 acts in {done - since:.1f} s: the last served by all workers {words}"
        seen.say(acts, took is not None and took <= _BACK_SECONDS)
        events = [event.name for event in made.store.history(limit=10_000) if event.name in set(names)]
        seen.say(f"{len(events):,} of 1,200 events", len(events) == 1200)
        made.finish(seen)


_NETWORKED: Final[Sequence[str]] = ("postgresql", "redis")
_WHOLE: Final = "no request fails, answers stay what they were, no count and no confirmed act is lost"
DRILLS: Final = (
    Drill(
        "store-killed",
        "Store killed (SIGKILL; SQLite: its folder moved away) and brought back under 200 requests/s on four workers: "
        f"{_WHOLE}, the next change is served within 2 s of its return",
        killed,
    ),
    Drill(
        "store-slow",
        f"Each answer of the store takes 2 s longer: {_WHOLE}, and a change is served within 2 s of its end",
        slow,
        _NETWORKED,
    ),
    Drill(
        "store-locked",
        f"Another writer holds the file for 6 s: {_WHOLE}, and a change is served within 2 s of its end",
        locked,
        ("sqlite",),
    ),
    Drill(
        "store-full",
        f"The store takes nothing more for 5 s: {_WHOLE}, and a change is served within 2 s once there is room",
        full,
        needs=_no_disk,
    ),
    Drill(
        "network-cut",
        f"Each connection to the store is reset for 6 s: {_WHOLE}, and a kill of that time is served within 2 s of its end",
        cut,
        _NETWORKED,
    ),
    Drill(
        "network-silent",
        f"What goes to the store vanishes for 6 s: {_WHOLE}, and a kill of that time is served within 2 s of its end",
        swallowed,
        _NETWORKED,
    ),
    Drill(
        "burst",
        "1,000 flags changed in one act, then 200 acts one by one: no request fails, one event each, the last one is served by "
        "all workers within 2 s",
        burst,
    ),
)
