"""A store, an app of four workers on it, load, and somebody who keeps writing: what each drill begins with and ends by."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Final

from benchmarks.drill.load import Answer, Load, is_in_manchester
from benchmarks.drill.plan import LOCAL, OWNER, PLAN, ROLLOUT, SPARE, SWITCH, WHERE
from benchmarks.drill.seen import Seen
from benchmarks.drill.servers import Server, children, kill_all
from flaggate.errors import OvertakenError, StoreError
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores import open_store
from tests.e2e.outages import Wire
from tests.e2e.servers import LOCAL as HERE
from tests.e2e.servers import ask, free_port
from tests.runtime.scenes import ROOT, until
from tests.web.city_files import city_file

__all__ = ["WORKERS", "Acts", "Scene", "Site", "scene"]

WORKERS: Final = 4
_COUNTED_SECONDS: Final = 10.0
"""Flushes are 2 s apart; those that were refused come back a little later."""


class Site:
    """The app under gunicorn, with four workers that answer one request at a time."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def workers(self) -> list[int]:
        """The ids of those that are there now."""
        return children(self.process.pid)

    def where(self) -> dict[str, object]:
        """What one of the workers says of itself."""
        told: dict[str, object] = ask(self.port, WHERE).json()
        return told

    def end(self) -> None:
        """Its workers hand over what they have counted."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


class Acts:
    """Somebody who turns a switch on and off, five times a second, and remembers what the store confirmed."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._number = 0
        self.confirmed: list[str] = []
        """The reasons that were given."""
        self.refused = 0

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._is_over.set()
        if self._thread.ident is not None:
            self._thread.join(30)

    def _run(self) -> None:
        while not self._is_over.wait(0.2):
            self._number += 1
            reason = f"act {self._number}"
            verb = Verb.ON if self._number % 2 else Verb.OFF
            try:
                outcome = self._control.act(verb, SPARE, actor=OWNER, reason=reason)
            except (StoreError, OvertakenError):
                self.refused += 1
            else:
                if outcome.event is not None:
                    self.confirmed.append(reason)


class Scene:
    """All of it, while it runs."""

    def __init__(
        self, server: Server, wire: Wire | None, url: str, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.server = server
        self.folder = folder
        self.directory = folder / "beside"
        """What the machine keeps beside the store."""
        self.cities = folder / "cities.mmdb"
        self.store = open_store(server.url())
        self.control = Control(self.store)
        self.acts = Acts(Control(open_store(server.url())))
        self.site: Site
        self.load: Load
        self.places_until = float("inf")
        """From then on (monotonic) the City file says something else."""
        self._wire = wire
        self._url = url
        self._environment = environment

    @property
    def wire(self) -> Wire:
        """The app's way to the store."""
        assert self._wire is not None  # by the drill
        return self._wire

    def declare(self, plan: str) -> None:
        """What stands when a drill begins."""
        self.cities.write_bytes(city_file())
        self.control.apply(parse(plan), actor=OWNER)
        self.control.act(Verb.START, ROLLOUT, actor=OWNER)
        for name in (SWITCH, LOCAL):
            self.control.act(Verb.ON, name, actor=OWNER)

    @contextmanager
    def another_site(self, **environment: str) -> Iterator[Site]:
        """Served until the block ends."""
        port, log = free_port(), self.folder / f"site-{len(list(self.folder.glob('site-*')))}.log"
        known = {name: value for name, value in os.environ.items() if not name.startswith("FLAGGATE_")}
        told = {"FLAGGATE_STORE": self._url, "DRILL_DIRECTORY": str(self.directory), "DRILL_CITIES": str(self.cities)}
        # A stopped worker is not to be killed by gunicorn while a drill has it asleep.
        words = [f"--bind=127.0.0.1:{port}", f"--workers={WORKERS}", "--timeout=120", "--graceful-timeout=20"]
        paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), known.get("PYTHONPATH", "")])}
        with log.open("wb") as written:
            process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *words, "benchmarks.drill.app:app"],
                env=known | told | paths | dict(self._environment) | environment,
                stdout=written,
                stderr=written,
            )
        site = Site(process, port, log)
        try:
            until(lambda: site.workers() and _answers(site), "the app answers")
            yield site
        finally:
            workers = site.workers()
            process.terminate()
            try:
                process.wait(25)
            except subprocess.TimeoutExpired:
                kill_all([process.pid])
            kill_all(workers)

    # --- waiting and seeing -----------------------------------------------------------------

    def passes(self, seconds: float) -> None:
        """Load goes on meanwhile."""
        threading.Event().wait(seconds)

    def all_answer(self, is_so: Callable[[Answer], bool], since: float, seconds: float = 20.0) -> float | None:
        """How long after `since` (monotonic) the last worker that is there answered so; None if one did not in time."""
        first = dict[int, float]()
        looked = 0

        def all_did() -> bool:
            nonlocal looked
            answers = self.load.answers
            for answer in answers[looked : (until_now := len(answers))]:
                if answer.got >= since and is_so(answer):
                    first.setdefault(answer.pid, answer.got - since)
            looked = until_now
            workers = self.site.workers()
            return len(workers) >= WORKERS and all(pid in first for pid in workers)

        try:
            until(all_did, "all workers answer so", seconds)
        except AssertionError:
            return None
        return max(first[pid] for pid in self.site.workers() if pid in first)

    def warm_up(self) -> None:
        """Until each worker has its first snapshot: before, it would answer that all is off."""
        served = dict[object, object]()
        revision = self.store.revision()

        def look(_: int) -> None:
            with suppress(OSError):
                told = self.site.where()
                served[told["pid"]] = told["revision"]

        def all_do() -> bool:
            list(pool.map(look, range(2 * WORKERS)))
            return sum(each == revision for each in served.values()) == WORKERS

        with ThreadPoolExecutor(2 * WORKERS) as pool:
            until(all_do, "all workers have the flags")

    def await_workers(self) -> None:
        """Until each of them has answered by what the store holds."""
        revision = self.store.revision()
        found = self.all_answer(lambda answer: answer.revision >= revision, monotonic(), 40)
        assert found is not None, f"the workers follow the store: {self.site.log.read_text()[-2000:]}"

    def act_until_done(self, verb: Verb, name: str, seconds: float = 15.0) -> int:
        """Whatever the store answers meanwhile. Returns the revision with it in."""
        deadline = monotonic() + seconds
        while True:
            try:
                revision = self.control.act(verb, name, actor=OWNER, reason="for the drill").revision
            except (StoreError, OvertakenError):
                if monotonic() > deadline:
                    raise
            else:
                return self.store.revision() if revision is None else revision

    def next_change(self, seen: Seen, within: float, since: float, what: str = "its return") -> None:
        """A kill as soon as the store takes it, and how long after `since` every worker is off."""
        revision = self.act_until_done(Verb.KILL, SWITCH)
        took = self.all_answer(lambda answer: answer.revision >= revision and not answer.switch, since)
        said = f"no later than {took:.2f} s after {what}" if took is not None else f"not within 20 s of {what}"
        seen.say(f"the next kill served by all workers {said}", took is not None and took <= within)

    # --- what is held against what was sent -------------------------------------------------

    def finish(
        self, seen: Seen, *, may_fail: int = 0, lost_by: Iterable[Answer] = (), may_change: bool = False
    ) -> None:
        """Load ends; what was sent, counted and written is held against each other.

        Args:
            may_fail: So many requests, as the promise says.
            lost_by: The answers whose counts may be lost.
            may_change: Whether the rollout may answer otherwise than at its first stage.
        """
        self.acts.end()
        self.load.end()
        self._say_requests(seen, may_fail, may_change=may_change)
        self._say_counts(seen, list(lost_by))
        self._say_events(seen)

    def _say_requests(self, seen: Seen, may_fail: int, *, may_change: bool) -> None:
        load = self.load
        failed = f"{len(load.failures)} failed" if load.failures else "none failed"
        why = f" ({load.failures[0].words})" if load.failures else ""
        seen.say(
            f"{len(load.answers) + len(load.failures):,} requests at {load.rate:.0f}/s, {failed}{why}, the slowest "
            f"{load.slowest():.2f} s",
            len(load.failures) <= may_fail,
        )
        changed = 0 if may_change else sum(not answer.is_as_planned() for answer in load.answers)
        changed += sum(
            answer.local is not is_in_manchester(answer.number)
            for answer in load.answers
            if answer.got < self.places_until
        )
        seen.say("answers unchanged" if not changed else f"{changed} answers were others", not changed)

    def _say_counts(self, seen: Seen, lost_by: list[Answer]) -> None:
        sent = self.load.sent()
        deadline = monotonic() + (0.0 if lost_by else _COUNTED_SECONDS)
        while (stored := self._stored()) != sent and monotonic() < deadline:
            self.passes(0.1)
        if stored != sent:
            self.site.end()  # whoever has some still hands them over
            stored = self._stored()
        most = self.load.sent(lost_by)
        lost = {arm: sent[arm] - stored[arm] for arm in sent | stored if sent[arm] != stored[arm]}
        is_kept = all(0 <= missing <= most[arm] for arm, missing in lost.items())
        whole = sent["on"] + sent["off"]
        missing = whole - stored["on"] - stored["off"]
        if not lost:
            seen.say(f"counted {whole:,} of {whole:,}")
        else:
            bound = f", at most {len(lost_by):,} may be" if lost_by else ""
            seen.say(f"counted {whole - missing:,} of {whole:,}: {missing:,} not{bound}", is_kept)

    def _stored(self) -> Counter[str]:
        try:
            counts = self.store.counts(ROLLOUT)
        except StoreError:
            return Counter()
        sums = Counter[str]()
        for count in counts:
            sums[count.arm] += count.requests
        return +sums

    def _say_events(self, seen: Seen) -> None:
        events = self.store.history(limit=100_000)
        found = Counter(event.reason for event in events if event.name == SPARE)
        lost = [reason for reason in self.acts.confirmed if found[reason] != 1]
        refused = f", {self.acts.refused} refused" if self.acts.refused else ""
        if self.acts.confirmed or self.acts.refused:
            words = f"{len(lost)} lost" if lost else "all in the history"
            seen.say(f"{len(self.acts.confirmed)} acts confirmed, {words}{refused}", not lost)
        rolled_back = sum(event.verb == Verb.ROLLBACK for event in events)
        seen.say("no rollback" if not rolled_back else f"{rolled_back} rolled back", not rolled_back)


@contextmanager
def scene(
    kind: type[Server],
    folder: Path,
    *,
    per_second: float = 50,
    plan: str = PLAN,
    wired: bool = False,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Scene]:
    """Served, under load, and written to.

    Args:
        wired: Whether the app's way to the store can be cut; who acts has another one.
        environment: Of the workers.
    """
    with ExitStack() as stack:
        server = kind(folder / "store")
        server.start()
        stack.callback(server.stop)
        wire = Wire((HERE, server.port)) if wired else None
        if wire is not None:
            stack.callback(wire.close)
        url = server.url(None if wire is None else wire.port)
        made = Scene(server, wire, url, folder, environment)
        stack.callback(made.store.close)
        made.declare(plan)
        made.site = stack.enter_context(made.another_site())
        made.warm_up()
        made.load = Load(made.site.port, per_second)
        stack.callback(made.load.end)
        made.load.begin()
        made.await_workers()
        yield made


def _answers(site: Site) -> bool:
    assert site.process.poll() is None, site.log.read_text()[-2000:]
    try:
        return ask(site.port, WHERE).status == 200
    except OSError:
        return False
