"""What is kept from look to look is small, is JSON, and is refused where it is about something else."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final

import pytest

from flaggate import Guard
from flaggate.rollout.memory import begun, memory_from_json
from tests.rollout.looker import Looker, entered, plan
from tests.rollout.worlds import SLOW_MS, Stream, World, judged

LIMIT: Final = Guard("errors", limit=Decimal("0.01"))
CONTROL: Final = Guard("errors", vs_control=Decimal("1.25"))
SLOW: Final = Guard("slow", limit=Decimal("0.05"), slower_than_ms=SLOW_MS)
SLOWER: Final = Guard("slow", vs_control=Decimal("1.2"))
QUERY: Final = Guard("queue", limit=Decimal(10), query="queue_length", every_seconds=15)
WARNING: Final = Guard("errors", limit=Decimal("0.02"), on_breach="warn")
ALL: Final = (LIMIT, CONTROL, SLOW, SLOWER, WARNING, QUERY)


def test_guards_that_act_share_one_weight_and_the_others_have_one_each() -> None:
    memory = begun(ALL, entered(plan(0.5, *ALL)), 0.0, has_control=True)
    assert [guard.evidence.weight for guard in memory.guards] == [0.25, 0.25, 0.25, 0.25, 1.0, 1.0]
    assert [guard.blame is not None for guard in memory.guards] == [True, False, True, False, True, False]
    alone = begun((LIMIT,), entered(plan(1, LIMIT)), 0.0, has_control=False)
    assert (alone.guards[0].evidence.weight, alone.guards[0].blame) == (1.0, None)


def test_it_comes_back_as_it_was() -> None:
    looker = Looker(*ALL)
    for number in range(300):
        for arm in ("treatment", "control"):
            looker.count(
                arm, 40, errors=number % 2, took={"100": 36, "220": 3, "910": 1}, bad={"slower": 3, "slow 400": 1}
            )
        looker.look(61)
    memory = memory_from_json(looker.kept, ALL)
    assert memory is not None
    assert memory.is_of(looker.rollout)
    assert json.loads(json.dumps(memory.to_json())) == looker.kept


def written(guards: tuple[Guard, ...] = (LIMIT,)) -> dict[str, Any]:
    memory = begun(guards, entered(plan(0.5, *guards)), 0.0, has_control=True)
    found = json.loads(json.dumps(memory.to_json()))
    assert isinstance(found, dict)
    return found


def test_what_cannot_be_read_is_refused() -> None:
    whole: dict[str, Any] = {"whole": [0.5] * 8, "late": [0.0] * 8, "weight": 1.0, "minutes": 0}
    assert memory_from_json(written(), (LIMIT,)) is not None
    wrong: list[Any] = [None, [], "x", {}, {"guards": 3}, written() | {"guards": [{}]}, written() | {"more": 1}]
    for part in (
        {"evidence": whole | {"whole": [0.5] * 7}},
        {"evidence": whole | {"late": ["x"] * 8}},
        {"evidence": whole | {"minutes": None}},
        {"evidence": None},
        {"reverse": {"parts": [1.0] * 5}},
        {"reverse": {"whole": [1.0] * 5, "hourly": [1.0] * 4}},
        {"blame": whole | {"weight": "x"}},
        {"of another version": 1},
    ):
        wrong.append(written() | {"guards": [written()["guards"][0] | part]})
    for one in wrong:
        assert memory_from_json(one, (LIMIT,)) is None, one


def test_that_of_other_guards_is_refused() -> None:
    assert memory_from_json(written(), (LIMIT, CONTROL)) is None
    assert memory_from_json(written((LIMIT, CONTROL)), (LIMIT,)) is None


@pytest.mark.parametrize("guard", [LIMIT, CONTROL, SLOW, SLOWER], ids=["limit", "control", "slow", "slower"])
def test_t11_two_kilobytes_are_enough_for_a_guard(guard: Guard) -> None:
    """After three hours of real enough times: 60 edges of the histograms are in use."""
    stream = Stream(World(per_second=20, times_slower=1.0), (11, 0), 10_800, 60)
    *_, last = judged(stream, guard)
    assert len(stream.edges) > 55
    assert len(json.dumps(last.kept)) <= 2048
