"""The drills see what they are there to see: what was lost, counted twice, answered otherwise or rolled back by mistake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mmdb_writer", reason="pip install mmdb-writer")
from benchmarks.drill import scene
from benchmarks.drill.load import Answer, Failure, Load, is_in_manchester, user
from benchmarks.drill.plan import OWNER, PLAN, ROLLOUT, SPARE
from benchmarks.drill.scene import Scene, Site
from benchmarks.drill.seen import Seen
from benchmarks.drill.servers import SqliteFile
from flaggate.rollout.state import Verb
from flaggate.stores.base import Arm, Count, Report
from tests import oracle

SENT = 40


class Ended(Site):
    """A site whose workers have nothing more to hand over."""

    def __init__(self) -> None:
        """No process."""

    def end(self) -> None:
        """At once."""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Forty requests that were answered as planned and counted, and two acts that were confirmed."""
    monkeypatch.setattr(scene, "_COUNTED_SECONDS", 0.0)
    server = SqliteFile(tmp_path / "store")
    made = Scene(server, None, server.url(), tmp_path, {})
    made.declare(PLAN)
    made.site, made.load = Ended(), Load(1, 1.0)
    made.load.answers += [answer(number) for number in range(SENT)]
    hand_over(made, 1)
    for number, verb in enumerate((Verb.ON, Verb.OFF)):
        made.control.act(verb, SPARE, actor=OWNER, reason=f"act {number}")
        made.acts.confirmed.append(f"act {number}")
    yield made
    made.store.close()


def answer(number: int) -> Answer:
    is_on = oracle.bucket(ROLLOUT, user(number)) < 50_000
    arm = "treatment" if is_on else "control"
    return Answer(0.0, 0.5, number, 7, 3, is_on, arm, True, is_in_manchester(number))


def hand_over(made: Scene, times: int) -> None:
    """Count all answers so often."""
    arms: tuple[Arm, ...] = ("on", "off", "treatment", "control")
    sums = made.load.sent()
    counts = tuple(Count(ROLLOUT, 1, 1, arm, times * sums[arm], 0, {}) for arm in arms)
    made.store.add_counts(Report(f"{times:032}", 1, counts))


def broken(made: Scene, **allowed: int) -> str:
    seen = Seen()
    made.finish(seen, **allowed)  # type: ignore[arg-type]  # by the tests below
    return "; ".join(seen.broken)


def test_where_all_is_well_nothing_is_broken(made: Scene) -> None:
    assert not broken(made)


def test_a_request_that_failed(made: Scene) -> None:
    made.load.failures.append(Failure(0.0, 0.1, "refused"))
    assert "1 failed (refused)" in broken(made)
    assert not broken(made, may_fail=1)


def test_an_answer_that_changed(made: Scene) -> None:
    made.load.answers[3] = answer(3)._replace(local=not is_in_manchester(3))
    assert broken(made) == "1 answers were others"


def test_counts_that_were_lost(made: Scene) -> None:
    made.load.answers.append(answer(SENT))
    assert broken(made) == f"counted {SENT} of {SENT + 1}: 1 not"
    seen = Seen()
    made.finish(seen, lost_by=made.load.answers[-1:])
    assert not seen.broken
    assert "1 not, at most 1 may be" in str(seen)


def test_counts_that_were_added_twice(made: Scene) -> None:
    hand_over(made, 2)
    assert broken(made) == f"counted {3 * SENT} of {SENT}: {-2 * SENT} not"
    seen = Seen()
    made.finish(seen, lost_by=made.load.answers)
    assert seen.broken, "whatever may be lost"


def test_an_act_that_was_confirmed_and_is_not_there(made: Scene) -> None:
    made.acts.confirmed.append("act 3")
    assert broken(made) == "3 acts confirmed, 1 lost"


def test_a_rollback(made: Scene) -> None:
    made.control.act(Verb.ROLLBACK, ROLLOUT, actor=OWNER, reason="for the test")
    assert broken(made) == "1 rolled back"


def test_a_change_that_no_worker_serves(made: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ended, "workers", lambda self: [1, 2, 3, 4])
    assert made.all_answer(lambda each: each.revision >= 3, 0.0, 0.1) is None
    made.load.answers += [answer(pid)._replace(pid=pid) for pid in (1, 2, 3, 4)]
    assert made.all_answer(lambda each: each.revision >= 3, 0.0, 0.1) == 0.5
