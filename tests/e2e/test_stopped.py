"""Whatever a rollout is doing, a breach and a kill end it: asked of the served app, not of where it is said to stand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from flaggate.errors import MoveError, OvertakenError
from flaggate.flags.document import parse
from flaggate.flags.model import guards_judged_in
from flaggate.rollout.state import Status, Verb
from flaggate.rollout.verdict import Answer, Judgement, Verdict
from flaggate.runtime.control import Control
from flaggate.runtime.ticker import Ticker
from flaggate.stores import open_store
from flaggate.stores.record import Record, read_flag
from tests.e2e.servers import Server, serving
from tests.e2e.sites import signed_in
from tests.runtime.scenes import until
from tests.seed import SEED

FLAG: Final = "new-invoicing"
OWNER: Final = "release-owner@example.com"
STAFF: Final = {"Cookie": signed_in({"user": "ada", "staff": True})}
WORKERS: Final = 2


class Scene:
    """The seed plan, a server with two workers, and a ticker whose verdicts are made up."""

    def __init__(self, folder: Path) -> None:
        self.store = open_store(f"sqlite:///{folder}/flags.db")
        self.control = Control(self.store)
        self.control.apply(parse(SEED.read_text()), actor=OWNER)
        self.answer = Answer.OK
        self.ticker = Ticker(self.store, judge=self._judge)
        self.server: Server

    def _judge(self, record: Record, _kept: Mapping[str, Any] | None, _now: datetime) -> Judgement:
        rollout, flag = record.rollout, record.flag
        guards = guards_judged_in(flag, flag.stages[rollout.stage - 1])
        verdicts = tuple(Verdict(guard, self.answer) for guard in guards)
        return Judgement(rollout.attempt, rollout.stage, rollout.revision, verdicts, 10_000)

    def act(self, *verbs: Verb) -> None:
        for verb in verbs:
            self.control.act(verb, FLAG, actor=OWNER, reason="for the test")

    def tick(self, answer: Answer = Answer.OK) -> None:
        self.answer = answer
        assert self.ticker.tick(self.store.changes().rows) is not None

    def begins(self, stage: int, *then: Verb) -> None:
        """A new attempt that got this far, and is served."""
        status = read_flag(self.store, FLAG).rollout.status
        self.act(Verb.START if status is Status.DRAFT else Verb.RESTART, *[Verb.ADVANCE] * (stage - 1), *then)
        self.is_served(True)

    def is_served(self, is_on: bool) -> None:
        """By every worker, at the revision that stands now."""
        revision, seen = self.store.revision(), dict[int, bool]()

        def all_do() -> bool:
            told = self.server.ask("/nobody/x", STAFF).json()
            if told["revision"] == revision:
                seen[told["pid"]] = told["is_on"]
            return len(seen) == WORKERS

        until(all_do, f"both workers serve revision {revision}")
        assert set(seen.values()) == {is_on}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("stopped")
    made = Scene(folder)
    # The test looks; the workers' own keepers are to leave the lease alone.
    with serving("gunicorn, two workers", made.store.url, folder / "server", SITE_TICK_SECONDS="3600") as made.server:
        yield made
    made.store.close()


@pytest.fixture(autouse=True)
def _over(scene: Scene) -> Iterator[None]:
    yield
    if read_flag(scene.store, FLAG).rollout.killed:
        scene.act(Verb.UNKILL)
    if read_flag(scene.store, FLAG).rollout.status not in {Status.ROLLED_BACK, Status.DRAFT}:
        scene.act(Verb.ROLLBACK)


SITUATIONS: Final = {
    "soaking": (1, ()),
    "paused": (2, (Verb.PAUSE,)),
    "waiting for approval": (4, ()),
    "the owner away": (2, (Verb.OWNER_AWAY,)),
    "watching": (5, ()),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_breach_takes_it_off(scene: Scene, situation: str) -> None:
    stage, then = SITUATIONS[situation]
    scene.begins(stage, *then)
    scene.tick(Answer.OK)
    scene.is_served(True)
    scene.tick(Answer.BREACH)
    scene.is_served(False)
    scene.tick(Answer.OK)
    scene.is_served(False)
    assert read_flag(scene.store, FLAG).rollout.breach is not None


def test_a_rollback_waits_for_no_lease(scene: Scene) -> None:
    scene.begins(2)
    scene.ticker.release()
    assert scene.store.take_lease("another", "host:1", 15)
    assert scene.ticker.tick(scene.store.changes().rows) is None
    scene.act(Verb.ROLLBACK)
    scene.is_served(False)
    scene.store.release_lease("another")


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_kill_takes_it_off_and_no_tick_brings_it_back(scene: Scene, situation: str) -> None:
    stage, then = SITUATIONS[situation]
    scene.begins(stage, *then)
    scene.control.act(Verb.KILL, FLAG, actor="oncall@example.com")
    scene.is_served(False)
    for answer in (Answer.OK, Answer.BREACH):
        scene.tick(answer)
        scene.is_served(False)


def test_a_kill_of_what_is_completed(scene: Scene) -> None:
    scene.begins(5, Verb.COMPLETE)
    scene.control.act(Verb.KILL, FLAG, actor="oncall@example.com")
    scene.is_served(False)
    scene.tick()
    scene.is_served(False)
    scene.act(Verb.UNKILL)
    scene.is_served(True)
    # A completed one stays so: for the tests to come it is declared anew.
    declared = parse(SEED.read_text())
    scene.control.apply(replace(declared, flags={}), actor=OWNER, prune=True)
    scene.control.apply(declared, actor=OWNER)
    scene.is_served(False)


def test_a_kill_of_what_nobody_has_lets_nobody_in(scene: Scene) -> None:
    """A draft, or one that was rolled back by the test before."""
    scene.control.act(Verb.KILL, FLAG, actor="oncall@example.com")
    with pytest.raises(MoveError, match="unkill comes first"):
        scene.act(Verb.START if read_flag(scene.store, FLAG).rollout.status is Status.DRAFT else Verb.RESTART)
    scene.tick()
    scene.is_served(False)


@pytest.mark.parametrize("_attempt", range(3))
def test_a_kill_in_a_race_with_ticks_and_people(scene: Scene, _attempt: int) -> None:
    """Looks that advance, and a person who goes back and forth, as fast as they can; and one kill in between."""
    scene.begins(1)
    has_ended = threading.Event()

    def again_and_again(do: Callable[[], object]) -> None:
        while not has_ended.is_set():
            with suppress(MoveError, OvertakenError):
                do()

    def looks() -> None:
        scene.ticker.tick(scene.store.changes().rows)

    threads = [threading.Thread(target=again_and_again, args=(looks,))]
    for verb in (Verb.ADVANCE, Verb.STEP_BACK, Verb.RESUME):
        threads.append(threading.Thread(target=again_and_again, args=(partial(scene.act, verb),)))
    for thread in threads:
        thread.start()
    try:
        scene.control.act(Verb.KILL, FLAG, actor="oncall@example.com")
    finally:
        has_ended.set()
        for thread in threads:
            thread.join()
    scene.is_served(False)
    scene.tick()
    scene.is_served(False)
