"""The processes of the race tests: what each does, round by round."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from flaggate.errors import ConflictError, MoveError, OvertakenError
from flaggate.rollout.state import Status, Verb
from flaggate.stores.base import Store
from flaggate.stores.record import read_flag
from tests.runtime.control_plans import act, control_of
from tests.stores.children import Pipe

__all__ = ["Round", "kill_rounds", "meetings", "move_rounds", "read_rounds", "switch_rounds"]


class Round(NamedTuple):
    """How one round went for one process."""

    version: int
    """What it had looked at."""
    has_won: bool
    meanwhile: list[tuple[int, str]]
    """The ids and actors of the events it was told of, when it lost."""
    is_close: bool = False
    """Whether it lost in the compare-and-set, and not at a look just before."""


def meetings() -> tuple[Callable[[], object], Callable[[], object]]:
    """For each of two processes: a call that returns once the other has called too."""
    pipes = Pipe(), Pipe()

    def meet(mine: Pipe, others: Pipe) -> None:
        mine.send()
        others.receive(1)

    return lambda: meet(*pipes), lambda: meet(*reversed(pipes))


def switch_rounds(store: Store, actor: str, meet: Callable[[], object], rounds: int, result: Path) -> None:
    """Look at the switch, wait until the other has looked too, then turn it the other way."""
    results = []
    for _ in range(rounds):
        seen = read_flag(store, "banner")
        meet()
        verb = Verb.OFF if seen.rollout.status is Status.ON else Verb.ON
        try:
            control_of(store).act(verb, "banner", actor=actor, expected_version=seen.version)
        except OvertakenError as lost:
            told = [(event.id, event.actor) for event in lost.meanwhile]
            results.append(Round(seen.version, False, told, isinstance(lost.__cause__, ConflictError)))
        else:
            results.append(Round(seen.version, True, []))
    result.write_text(json.dumps(results))


def read_rounds(result: Path) -> list[Round]:
    """What `switch_rounds` wrote."""
    rounds = [Round(*fields) for fields in json.loads(result.read_text())]
    return [one._replace(meanwhile=[(number, actor) for number, actor in one.meanwhile]) for one in rounds]


def move_rounds(store: Store, meet: Callable[[], object], rounds: int) -> None:
    """Advance or step back, whichever is next; a kill that was faster is no mistake."""
    for _ in range(rounds):
        meet()
        verb = Verb.ADVANCE if read_flag(store, "checkout").rollout.stage == 1 else Verb.STEP_BACK
        try:
            act(store, verb, actor="mover")
        except OvertakenError as lost:
            _expect_kill(lost)
        except MoveError:
            assert read_flag(store, "checkout").rollout.killed
        meet()


def _expect_kill(lost: OvertakenError) -> None:
    assert [event.verb for event in lost.meanwhile] == [Verb.KILL]


def kill_rounds(store: Store, meet: Callable[[], object], rounds: int) -> None:
    """Kill while the other moves, see that it holds, and make ready for the next round."""
    for _ in range(rounds):
        meet()
        outcome = act(store, Verb.KILL, actor="killer", reason=None)
        assert outcome.event is not None
        assert read_flag(store, "checkout").rollout.killed
        meet()
        rollout = read_flag(store, "checkout").rollout
        assert rollout.killed
        act(store, Verb.UNKILL, actor="killer")
        if rollout.status is Status.PAUSED:
            act(store, Verb.RESUME, actor="killer")
