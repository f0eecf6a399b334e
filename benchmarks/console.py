"""What the console's pages take on the server: the board with 1,000 flags, and the page of one with 48 hours of traffic.

    python benchmarks/console.py      # --profile says what takes the time

A store on SQLite, filled by a clock that runs through two days: 1,000 flags, a seventh of them in progress, those with the
ten-minute windows of a day; on one of them 200 acts. The app is called in process, with nothing in between, on the CPU clock:
the first page by itself, for it reads all flags; then one to warm up; then 30. Filling takes half a minute.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flaggate.console import Person, create_console
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.runtime.judging import Judging
from flaggate.runtime.ticker import Ticker
from flaggate.stores.base import REQUESTS, WINDOW_SECONDS, Arm, Count, Report, Store, UnitCount
from flaggate.stores.record import read_flag
from flaggate.stores.sql import SqlStore

FLAGS = 1000
RENDERS = 30
BOARD_HOURS = 24
PAGE_HOURS = 48
EVENTS = 200
OWNER = "owner@example.com"
PAGE = "flag-0007"
TARGETS = {"board": 200.0, "flag": 100.0}
"""Milliseconds."""
SHARES = {
    "running": 10,
    "watching": 2,
    "killed": 1,
    "paused": 1,
    "rolled back": 1,
    "draft": 15,
    "on": 35,
    "completed": 35,
}
"""Percent of the flags; those that somebody served in the last hours come first."""
LAST = {"killed": Verb.KILL, "paused": Verb.PAUSE, "rolled back": Verb.ROLLBACK}
LIVELY = ("running", "watching", "killed", "paused", "rolled back")
ROLLOUT = """
deputies = ["deputy@example.com", "second@example.com"]
deny = { account = ["acme-de"] }
stages = [
    { name = "internal", audience = { staff = true }, soak = "24h" },
    { name = "manchester", audience = { city = "Manchester", country = "GB" }, share = 50, soak = "24h" },
    { name = "tenth", share = 10, soak = "72h", min_sample = 500, approval = true },
    { name = "everyone" },
]
guards = [
    { metric = "errors", limit = "1%" },
    { metric = "errors", vs_control = 1.25 },
    { metric = "slow", slower_than = "400ms", limit = "5%" },
]
"""

# --- filling the store ------------------------------------------------------------------------


class Clock:
    """Some hours ago, to begin with."""

    def __init__(self) -> None:
        self.at = (time.time() // WINDOW_SECONDS) * WINDOW_SECONDS - PAGE_HOURS * 3600

    def unix(self) -> float:
        return self.at

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)


def named() -> dict[str, str]:
    """What each flag is, by its name."""
    kinds = [kind for kind, percent in SHARES.items() for _ in range(percent * FLAGS // 100)]
    return {f"flag-{number:04}": kind for number, kind in enumerate(kinds)}


def filled(url: str, clock: Clock) -> Store:
    store = SqlStore(url, clock=clock.unix)
    control = Control(store, now=clock)
    kinds = named()
    texts = (
        f'[flags.{name}]\ndescription = "The overhauled pages of team {name[-2:]}"\nowner = "{OWNER}"\n'
        + ("" if kind == "on" else ROLLOUT)
        for name, kind in kinds.items()
    )
    control.apply(parse("\n".join(texts)), actor=OWNER)

    def act(verb: Verb, name: str) -> None:
        control.act(verb, name, actor=OWNER, reason="as it was planned")

    for name, kind in kinds.items():
        if kind == "on":
            act(Verb.ON, name)
        elif kind != "draft":
            act(Verb.START, name)
            for _ in range(3 if kind in {"watching", "completed"} else 2):
                act(Verb.ADVANCE, name)
        if kind == "completed":
            act(Verb.COMPLETE, name)
    for window in serve(store, clock, [name for name, kind in kinds.items() if kind in LIVELY]):
        if window < EVENTS - 4:
            act((Verb.PAUSE, Verb.RESUME)[window % 2], PAGE)
    for name, kind in kinds.items():
        if kind in LAST:
            act(LAST[kind], name)
    Ticker(store, judge=Judging(store), now=clock).tick(store.changes().rows)
    return store


def serve(store: Store, clock: Clock, names: list[str]) -> Iterator[int]:
    """One report a window: the page's flag from the beginning, the others in the last hours. Yields each window's number."""
    stages = {name: read_flag(store, name).rollout for name in names}
    windows = PAGE_HOURS * 3600 // WINDOW_SECONDS
    for window in range(windows):
        is_late = window >= windows - BOARD_HOURS * 3600 // WINDOW_SECONDS
        counts, units = [], []
        for name in names if is_late else [PAGE]:
            place = name, stages[name].attempt, stages[name].stage
            counts += [Count(*place, arm, requests, requests // 300, SLOWNESS) for arm, requests in ARMS.items()]
            if name == PAGE:
                units = [
                    UnitCount(*place, "treatment" if number % 10 == 0 else "control", REQUESTS, f"{number:016x}")
                    for number in range(window * 3, window * 3 + 20)
                ]
        store.add_counts(Report("0" * 32, window + 1, tuple(counts), tuple(units)))
        clock.at += WINDOW_SECONDS
        yield window


ARMS: dict[Arm, int] = {"on": 1000, "off": 9000, "treatment": 950, "control": 8550}
SLOWNESS = {f"{edge}": 9 for edge in (10, 20, 30, 50, 80, 120, 200, 300, 400, 600, 1000, 2000)}


# --- measuring --------------------------------------------------------------------------------


async def rendered(app: Any, path: str) -> tuple[float, bytes]:
    """Ask for a page. Returns how long it took, in milliseconds, and the page."""
    path, _, query = path.partition("?")
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "root_path": "", "query_string": query.encode(), "headers": [(b"host", b"console.example")],
        "client": ("127.0.0.1", 4711), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    began = time.process_time()
    await app(scope, receive, send)
    took = 1000 * (time.process_time() - began)
    assert said[0]["status"] == 200, said
    return took, b"".join(message.get("body", b"") for message in said[1:])


async def here(function: Any, *given: Any) -> Any:
    """In this thread, which is profiled."""
    return function(*given)


def pages(store: Store, clock: Clock) -> Iterator[tuple[str, str, Any]]:
    def app() -> Any:
        return create_console(
            store, secret_key="the key of this benchmark", who=lambda _: Person(OWNER), now=clock, in_thread=here
        )

    yield f"board, {FLAGS:,} flags", "/", app()
    yield f"board, one of {FLAGS:,} found", "/?q=0007", app()
    yield f"flag, {PAGE_HOURS} h of windows, {EVENTS} events", f"/flags/{PAGE}", app()


async def measured(app: Any, path: str) -> tuple[float, list[float], int]:
    first, body = await rendered(app, path)
    await rendered(app, path)
    return first, [(await rendered(app, path))[0] for _ in range(RENDERS)], len(body)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        store = filled(f"sqlite:///{folder}/flags.db", clock)
        print("| page | the first | median | 95 % | sought | size |\n|---|---|---|---|---|---|")
        for name, path, app in pages(store, clock):
            first, took, size = asyncio.run(measured(app, path))
            target = TARGETS[name.split(",")[0]]
            cut = statistics.quantiles(took, n=20, method="inclusive")[18]
            cells = f"{first:.0f} ms | {statistics.median(took):.0f} ms | {cut:.0f} ms | {target:.0f} ms | {size / 1000:.0f} kB"
            print(f"| {name} | {cells} |", flush=True)
            if "--profile" in sys.argv:
                with cProfile.Profile() as profile:
                    asyncio.run(measured(app, path))
                pstats.Stats(profile).sort_stats("cumulative").print_stats(40)
        store.close()


if __name__ == "__main__":
    main()
