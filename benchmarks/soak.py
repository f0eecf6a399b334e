"""Whether an app under a steady load, with changes every few seconds, keeps its memory, threads, files and counts.

    python -m benchmarks.soak --minutes 60 --store sqlite

The Flask example under gunicorn with four workers; clients here; one hand that starts, kills, unkills, edits, advances and
rolls back. It ends with 1 if a worker was lost, or grows after the warm-up, or a count is not what was sent. Linux only: it
reads /proc.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from importlib import import_module
from pathlib import Path
from random import Random
from statistics import linear_regression, median
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

from flaggate.errors import BusyError, OvertakenError
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores import open_store
from flaggate.stores.base import Store
from tests.e2e.browser import Browser
from tests.e2e.servers import LOCAL, Server, serving
from tests.runtime.scenes import ROOT, until

__all__ = ["Soaked", "Span", "soak"]

FLAG: Final = "new-invoicing"
OWNER: Final = "release-owner@example.com"
PAGE: Final = "/invoices"
SAID: Final = "X-Soak"
"""The header in which the app says what it was answered: attempt, stage, arm."""
PEOPLE: Final = range(1, 13)
WORKERS: Final = 4
PLAN: Final = """
[flags.new-invoicing]
description = "The overhauled invoicing system, edit {edit}"
owner = "release-owner@example.com"
stages = [
    {{ name = "some", share = {share}, soak = "24h" }},
    {{ name = "most", share = 80, soak = "24h" }},
    {{ name = "everyone" }},
]
guards = [{{ metric = "errors", limit = "{limit}%" }}, {{ metric = "slow", slower_than = "9s", limit = "90%" }}]
"""
WARM_UP: Final = 0.25
"""Of the time: until caches are full, and each worker has met each act."""
MB_AN_HOUR: Final = 4.0
"""What resident memory may grow by: 40 bytes for each of a worker's requests, at 100 a second."""
NOISE_MB: Final = 4.0
"""What it may grow by in any time: SQLite's cache (2 MB a connection, as its file grows), the sources of 1024 compiled flags
and malloc's arenas fill whenever they like, and are level then."""
_A_SAMPLE: Final = 0.5
"""Seconds."""

# --- the app, as gunicorn imports it ----------------------------------------------------------


def flask_app() -> Any:
    """The example, which says at each page what it was answered."""
    sys.path.insert(0, str(ROOT / "example_apps" / "flask_invoicing"))
    from flask import request

    from flaggate.contrib.flask import flags_from

    app = import_module("app").create_app()

    @app.after_request  # type: ignore[untyped-decorator]  # of an app that is known when this runs
    def say(response: Any) -> Any:
        if request.path == PAGE:
            visit = flags_from(request)
            entry, decision = visit.snapshot.entries.get(FLAG), visit.decide(FLAG)
            if entry is not None:
                arm = decision.arm or "-"
                response.headers[SAID] = f"{entry.attempt} {entry.stage} {'on' if decision.is_on else 'off'} {arm}"
        return response

    return app


# --- clients ----------------------------------------------------------------------------------

Counts: TypeAlias = Counter[tuple[int, int, str]]
"""Requests by attempt, stage and arm."""


class Clients:
    """Twelve people who look at their invoices, and count what they were told."""

    def __init__(self, port: int, per_second: float) -> None:
        self._port = port
        self._per_second = per_second
        self._lock = threading.Lock()
        self._number = 0
        self._begun = monotonic()
        self.sent: Counts = Counter()
        self._cookies = [self._signed_in(person) for person in PEOPLE]

    def _signed_in(self, person: int) -> str:
        with Browser(f"http://{LOCAL}:{self._port}") as browser:
            browser.sign_in(f"user-{person}")
            return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())

    def browse(self, is_over: threading.Event) -> None:
        """One after the other, at this pace, in one of some threads."""
        while not is_over.is_set():
            with self._lock:
                number = self._number
                self._number += 1
            is_over.wait(self._begun + number / self._per_second - monotonic())
            said = self._ask(self._cookies[number % len(self._cookies)])
            with self._lock:
                self.sent.update(said)

    def _ask(self, cookie: str) -> list[tuple[int, int, str]]:
        with closing(HTTPConnection(LOCAL, self._port, timeout=60)) as connection:
            connection.request("GET", PAGE, headers={"Cookie": cookie})
            response = connection.getresponse()
            body = response.read()
        assert response.status == 200, (response.status, body)
        attempt, stage, is_on, arm = response.headers[SAID].split()
        look = b"overhauled" if is_on == "on" else b"old"
        assert b'data-invoicing="' + look + b'"' in body, "the page is not what was decided"
        return [(int(attempt), int(stage), each) for each in (is_on, arm) if each != "-"]


# --- the hand ---------------------------------------------------------------------------------


class Hand:
    """Does one thing after the other to the rollout, for ever."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._control = Control(store)
        self._random = Random(9)
        self.done: Counter[str] = Counter()
        self._edit = 0
        self._apply(50)

    def act(self, is_over: threading.Event, every: float) -> None:
        """Until it is over, one each so many seconds."""
        steps = self._steps()
        while not is_over.wait(every):
            name, step = next(steps)
            until(lambda: self._has_done(name, step), f"{name} is done")  # noqa: B023  # called before the next one

    def _has_done(self, name: str, step: Callable[[], object]) -> bool:
        try:
            step()
        except (OvertakenError, BusyError):  # a worker that looks was faster
            self.done[f"{name}, again"] += 1
            return False
        self.done[name] += 1
        return True

    def _steps(self) -> Iterator[tuple[str, Callable[[], object]]]:
        begin = Verb.START
        while True:
            share = self._random.randint(40, 60)
            yield "apply", lambda share=share: self._apply(share)  # type: ignore[misc]  # a lambda's default
            yield from self._verbs(begin, Verb.KILL, Verb.UNKILL)
            yield "edit of the share", lambda share=share: self._apply(share - 10)  # type: ignore[misc]  # the same
            yield from self._verbs(Verb.ADVANCE, Verb.PAUSE, Verb.RESUME, Verb.KILL, Verb.UNKILL)
            yield "apply", lambda share=share: self._apply(share - 20)  # type: ignore[misc]  # the same
            yield from self._verbs(Verb.ADVANCE, Verb.ROLLBACK)
            begin = Verb.RESTART

    def _verbs(self, *verbs: Verb) -> Iterator[tuple[str, Callable[[], object]]]:
        for verb in verbs:
            yield (
                str(verb),
                lambda verb=verb: self._control.act(verb, FLAG, actor=OWNER, reason="for the soak"),  # type: ignore[misc]
            )

    def _apply(self, share: int) -> None:
        self._edit += 1
        limit = self._random.randint(80, 95)
        self._control.apply(parse(PLAN.format(edit=self._edit, share=share, limit=limit)), actor=OWNER)

    def counted(self) -> Counts:
        """What the store holds."""
        return Counter({(each.attempt, each.stage, each.arm): each.requests for each in self._store.counts(FLAG)})


# --- what the workers hold --------------------------------------------------------------------


class Sample(NamedTuple):
    """Of one worker at one moment."""

    at: float
    """Seconds since the load began."""
    rss_mb: float
    threads: int
    files: int


def _sample(pid: int, at: float) -> Sample:
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        if ":" in line
    )
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(at, int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), files)


def workers_of(server: Server) -> set[int]:
    """Their ids."""
    pid = server.process.pid
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()}


class Span(NamedTuple):
    """How a worker's samples went, after the warm-up."""

    samples: Sequence[Sample]

    @property
    def hours(self) -> float:
        return (self.samples[-1].at - self.samples[0].at) / 3600

    @property
    def mb_an_hour(self) -> float:
        """The slope of its resident memory."""
        return (
            3600 * linear_regression([each.at for each in self.samples], [each.rss_mb for each in self.samples]).slope
        )

    def quarters(self) -> list[float]:
        """The median of its resident memory in each: what fills up becomes level."""
        length = -(-len(self.samples) // 4)
        parts = (self.samples[begun : begun + length] for begun in range(0, len(self.samples), length))
        return [median(each.rss_mb for each in part) for part in parts]

    @property
    def may_grow_mb(self) -> float:
        """In this time."""
        return max(NOISE_MB, MB_AN_HOUR * self.hours)

    def least(self, what: str) -> tuple[int, int]:
        """The least number of these in the first and in the last third: what comes and goes is in neither."""
        third = max(1, len(self.samples) // 3)
        first, last = (
            min(getattr(each, what) for each in part) for part in (self.samples[:third], self.samples[-third:])
        )
        return first, last

    def problems(self) -> Iterator[str]:
        """In what it grew."""
        grown = self.mb_an_hour * self.hours
        if grown > self.may_grow_mb:
            yield f"memory grew by {grown:.1f} MB in {self.hours * 60:.1f} min; {self.may_grow_mb:.1f} are allowed"
        for what in ("threads", "files"):
            first, last = self.least(what)
            if last > first:
                yield f"{what} grew from {first} to {last}"


# --- the whole --------------------------------------------------------------------------------


@dataclass
class Soaked:
    """What came of it."""

    seconds: float
    sent: Counts
    counted: Counts
    done: Mapping[str, int]
    workers: Mapping[int, Span]
    problems: list[str] = field(default_factory=list)

    def requests(self) -> int:
        """How many were sent."""
        return sum(count for (_, _, arm), count in self.sent.items() if arm in ("on", "off"))

    def lines(self) -> Iterator[str]:
        """A report."""
        yield f"{self.requests():,} requests in {self.seconds / 60:.1f} min; changes: {sum(self.done.values()):,}"
        yield ", ".join(f"{name} {count}" for name, count in sorted(self.done.items()))
        arms = Counter[str]()
        for (_, _, arm), count in self.sent.items():
            arms[arm] += count
        cells = f"{len(self.sent)} of attempt, stage and arm"
        is_equal = "each as sent" if self.sent == self.counted else "NOT as sent"
        yield f"counts ({cells}; {', '.join(f'{arm} {count:,}' for arm, count in sorted(arms.items()))}): {is_equal}"
        yield "| worker | RSS after the warm-up, in each quarter | slope | threads | files |\n|---|---|---|---|---|"
        for pid, span in self.workers.items():
            first, last = span.samples[0], span.samples[-1]
            yield (
                f"| {pid} | {', '.join(f'{each:.1f}' for each in span.quarters())} MB | {span.mb_an_hour:+.1f} MB/h "
                f"| {first.threads}, {last.threads} | {first.files}, {last.files} |"
            )
        yield from (f"PROBLEM: {problem}" for problem in self.problems)


def soak(url: str, folder: Path, seconds: float, *, per_second: float = 100.0, every: float = 3.0) -> Soaked:
    """Do it.

    Args:
        url: Of the store; "sqlite" = a file in the folder.
        seconds: How long, warm-up included.
        per_second: Requests.
        every: So many seconds a change.
    """
    url = f"sqlite:///{folder}/flags.db" if url == "sqlite" else url
    samples: dict[int, list[Sample]] = {}
    with closing(open_store(url, create=True)) as store:
        hand = Hand(store)
        with _served(url, folder) as server:
            workers = workers_of(server)
            clients, is_over, begun = Clients(server.port, per_second), threading.Event(), monotonic()
            with ThreadPoolExecutor(2 * WORKERS + 1) as pool:
                jobs = [pool.submit(clients.browse, is_over) for _ in range(2 * WORKERS)]
                jobs.append(pool.submit(hand.act, is_over, every))
                try:
                    while (at := monotonic() - begun) < seconds and not any(job.done() for job in jobs):
                        for pid in workers & workers_of(server):
                            samples.setdefault(pid, []).append(_sample(pid, at))
                        is_over.wait(_A_SAMPLE)
                finally:
                    is_over.set()
                for job in jobs:
                    job.result()
            problems = [] if workers_of(server) == workers else ["workers came or went"]
            try:
                until(lambda: hand.counted() == clients.sent, "all that was sent is counted", 60)
            except AssertionError as error:
                problems.append(str(error))
        soaked = Soaked(at, clients.sent, hand.counted(), hand.done, _after_warm_up(samples, seconds), problems)
    for pid, span in soaked.workers.items():
        problems += [f"worker {pid}: {problem}" for problem in span.problems()]
    return soaked


def _after_warm_up(samples: Mapping[int, Sequence[Sample]], seconds: float) -> dict[int, Span]:
    return {
        pid: Span([each for each in found if each.at >= WARM_UP * seconds]) for pid, found in sorted(samples.items())
    }


@contextmanager
def _served(url: str, folder: Path) -> Iterator[Server]:
    more = {"FLASK_FLAGGATE_STORE": url, "FLASK_SECRET_KEY": "the key of the app"}
    with serving("gunicorn", url, folder / "server", app="benchmarks.soak:flask_app()", **more) as server:
        until(lambda: len(workers_of(server)) == WORKERS, "all workers are there")
        yield server


def main() -> None:
    """Print what came of it; end with 1 if that is not well."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--minutes", type=float, default=60)
    words.add_argument("--store", default="sqlite", help="sqlite, or the URL of a store")
    words.add_argument("--rate", type=float, default=100, help="requests a second")
    words.add_argument("--every", type=float, default=3, help="seconds between changes")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soaked = soak(given.store, Path(folder), 60 * given.minutes, per_second=given.rate, every=given.every)
    print("\n".join(soaked.lines()))
    sys.exit(bool(soaked.problems))


if __name__ == "__main__":
    main()
