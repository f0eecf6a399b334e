"""`flaggate run` as processes of their own: who looks, who takes over, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from flaggate.errors import BusyError
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores.base import Lease
from flaggate.stores.sql import SqlStore
from tests.runtime.scenes import ROOT, until

OWNER = "owner@example.com"
PLAN = f"""
[flags.invoicing]
description = "The overhauled invoicing system"
owner = "{OWNER}"
stages = [
    {{ name = "one", share = 1, soak = "1s" }},
    {{ name = "two", share = 2, soak = "1s", approval = true }},
    {{ name = "half", share = 50, soak = "1s" }},
    {{ name = "everyone" }},
]
guards = [{{ metric = "errors", limit = "1%" }}]
"""
JUDGED = """
import sys

from flaggate.cli.main import run
from flaggate.flags.model import guards_judged_in
from flaggate.rollout.verdict import Answer, Judgement, Verdict
from flaggate.runtime.judging import Judging


def healthy(judging, record, kept, now):
    rollout, flag = record.rollout, record.flag
    verdicts = [Verdict(guard, Answer.OK) for guard in guards_judged_in(flag, flag.stages[rollout.stage - 1])]
    return Judgement(rollout.attempt, rollout.stage, rollout.revision, tuple(verdicts))


Judging.__call__ = healthy
sys.exit(run(sys.argv[1:]))
"""
"""`flaggate` where all is well, and nobody has to ask for anything."""


@dataclass
class Process:
    """A `flaggate run`."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def name(self) -> str:
        """As the lease has it."""
        return f"{os.uname().nodename}:{self.process.pid} (tells nobody)"

    def words(self) -> str:
        """What it has said so far."""
        return self.log.read_text()

    def says(self, *words: str) -> None:
        """Wait until it has said these, in this order."""

        def is_said() -> bool:
            said, at = self.words(), 0
            for each in words:
                if (at := said.find(each, at)) < 0:
                    assert self.process.poll() is None, said
                    return False
            return True

        until(is_said, f"it says {words}")

    def gets(self, number: signal.Signals) -> int:
        """Send it a signal that ends it. Returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


class Place:
    """A store on a disk, and the processes that look at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = SqlStore(f"sqlite:///{folder}/flags.db", busy_seconds=0.2)
        self.control = Control(SqlStore(f"sqlite:///{folder}/flags.db"))
        self.processes: list[Process] = []

    def run(self, *words: str, every: str = "0.2s", is_judged: bool = False) -> Process:
        """Start another one."""
        script = self.folder / "judged.py"
        script.write_text(JUDGED)
        program = [str(script)] if is_judged else ["-m", "flaggate"]
        log = self.folder / f"{len(self.processes)}.log"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("FLAGGATE_")}
        with log.open("wb") as written:
            process = subprocess.Popen(
                [sys.executable, *program, "run", "--every", every, *words],
                cwd=self.folder,
                env=ours | {"FLAGGATE_STORE": "sqlite:///flags.db", "PYTHONPATH": _path(), "TZ": "UTC"},
                stdout=written,
                stderr=written,
            )
        self.processes.append(Process(process, log))
        return self.processes[-1]

    def apply(self) -> None:
        """Bring the plan in."""
        self.control.apply(parse(PLAN), actor=OWNER)

    def start(self) -> None:
        """The same, and begin its rollout."""
        self.apply()
        self.act(Verb.START)

    def act(self, verb: Verb) -> None:
        self.control.act(verb, "invoicing", actor=OWNER, reason="for the test")

    def lease(self) -> Lease:
        """Whoever's it is, once it is somebody's."""
        found: list[Lease] = []

        def is_held() -> bool:
            found[:] = [lease] if (lease := self.store.lease()) is not None else []
            return bool(found)

        until(is_held, "somebody looks")
        return found[0]

    def holder(self) -> tuple[Process, Process]:
        """Of two processes the one that looks, and the other."""
        who = self.lease().who
        one, other = self.processes
        return (one, other) if one.name == who else (other, one)

    def stop(self, process: Process) -> None:
        """Have it stand still; not in the midst of a write, where nobody else could write either."""

        def stands_still() -> bool:
            process.process.send_signal(signal.SIGSTOP)
            try:
                self.store.release_lease("nobody")
                return True
            except BusyError:
                process.process.send_signal(signal.SIGCONT)
                return False

        until(stands_still, "it stands still between two writes")

    def moves(self) -> list[tuple[str, int, int]]:
        """What was moved by the clock: how, from where, to where."""
        events = self.store.history("invoicing", limit=1000)
        states = [(event.verb, event.before or {}, event.after or {}) for event in events if event.actor == "flaggate"]
        return [(verb, before["stage"], after["stage"]) for verb, before, after in states]

    def end(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.process.kill()
            process.process.wait()
        self.store.close()
        self.control.store.close()


def _path() -> str:
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.end()


def test_of_two_one_looks_and_the_other_takes_over_from_one_that_was_killed(place: Place) -> None:
    place.start()
    for _ in range(2):
        place.run()
    first, second = place.holder()
    first.says("holds the lease\n")
    second.says(f"waits: {first.name} holds the lease and looks every 0.2 s\n")
    assert place.lease().seconds == pytest.approx(0.6), "three looks"
    assert first.gets(signal.SIGKILL) == -signal.SIGKILL
    second.says("holds the lease\n")
    assert place.lease().who == second.name
    assert [process.words().count("holds the lease\n") for process in (first, second)] == [1, 1]


def test_one_that_stood_still_notices_that_it_was_robbed_and_replays_nothing(place: Place) -> None:
    place.apply()
    for process in [place.run(is_judged=True) for _ in range(2)]:
        process.says("nothing to look at")
    place.act(Verb.START)
    until(lambda: place.moves() == [("advance", 1, 2)], "it goes on to where somebody has to approve")
    first, second = place.holder()
    second.says("waits: ")
    place.stop(first)
    second.says(f"waits: {first.name} holds the lease", "holds the lease\n")
    place.act(Verb.APPROVE)
    until(lambda: len(place.moves()) > 1, "the other one goes on")
    first.process.send_signal(signal.SIGCONT)
    first.says("holds the lease\n", f"waits: {second.name} holds the lease")
    for process in (first, second):
        process.says("flaggate advance (status running -> watching, stage 3 -> 4): every condition is met\n")
        assert process.words().count("flaggate advance") == 3
    assert place.moves() == [("advance", stage, stage + 1) for stage in (1, 2, 3)], "each once, none left out"
    assert place.lease().who == second.name
    times = [event.at for event in place.store.history("invoicing", limit=1000) if event.verb in ("start", "advance")]
    soaks = [(after - before).total_seconds() for before, after in pairwise(times)]
    assert min(soaks) >= 1.0, "what one has observed is not counted twice"


def test_sigterm_frees_the_lease_at_once(place: Place) -> None:
    """Not after the thirty seconds that it would last."""
    place.start()
    for _ in range(2):
        place.run(every="10s")
    first, second = place.holder()
    second.says("waits: ")
    assert first.gets(signal.SIGTERM) == 0
    assert place.store.lease() is None
    assert first.words().endswith("ended: another process may look\n")
    assert second.gets(signal.SIGINT) == 0


def test_what_happens_is_told_while_it_happens(place: Place) -> None:
    (place.folder / "flags.toml").write_text(PLAN)
    process = place.run("--definitions", "flags.toml")
    process.says(
        "looks at sqlite:///flags.db every 0.2 s\n",
        "invoicing: file flags.toml apply (new)\n",
        "nothing to look at: no rollout is running, paused or watching\n",
    )
    place.act(Verb.START)
    process.says(f"invoicing: {OWNER} start (status draft -> running, ", "holds the lease\n")
    (place.folder / "flags.toml").write_text(PLAN.replace("overhauled", "new"))
    process.says('apply (description: "The overhauled invoicing system" -> "The new invoicing system")\n')
    (place.folder / "flags.toml").write_text(PLAN.replace("owner", "ownr"))
    process.says('flags.toml: flags.invoicing.ownr: unknown key "ownr"')
    (place.folder / "flags.toml").write_text(PLAN)
    process.says(" over: flags.toml: ", '-> "The overhauled invoicing system")\n')
    place.act(Verb.KILL)
    process.says(f"{OWNER} kill (killed no -> yes): for the test\n", "nothing to look at")
    assert place.store.lease() is None
    assert process.gets(signal.SIGTERM) == 0
    assert "Traceback" not in process.words()


def test_a_store_that_is_away_for_a_while(place: Place) -> None:
    """It says so once, and that it is over; what happened meanwhile is told then."""
    place.start()
    process = place.run()
    process.says("holds the lease\n")
    for name in ("flags.db", "flags.db-wal", "flags.db-shm"):
        with suppress(FileNotFoundError):
            (place.folder / name).rename(place.folder / f"away-{name}")
    process.says("No such file or directory")
    for name in ("flags.db-wal", "flags.db-shm", "flags.db"):
        with suppress(FileNotFoundError):
            (place.folder / f"away-{name}").rename(place.folder / name)
    process.says("No such file or directory", " over: sqlite:///flags.db: ")
    place.act(Verb.PAUSE)
    process.says(" over: ", f"{OWNER} pause ")
    said = [line for line in process.words().splitlines() if "No such file" in line and " over: " not in line]
    assert len(said) == 1
    assert process.gets(signal.SIGTERM) == 0


def test_lines_for_programs(place: Place) -> None:
    place.start()
    process = place.run("--json")
    process.says('"has_lease": true')
    place.act(Verb.ADVANCE)
    process.says('"verb": "advance"')
    assert process.gets(signal.SIGTERM) == 0
    begins, looks, event, ends = (json.loads(line) for line in process.words().splitlines())
    assert begins["begins"] == ends["ends"] == "sqlite:///flags.db"
    assert looks["lease"] == {"who": process.name, "every_seconds": 0.2, "looked_at": looks["lease"]["looked_at"]}
    assert (event["name"], event["actor"], event["after"]["stage"]) == ("invoicing", OWNER, 2)
