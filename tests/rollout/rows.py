"""What GUARDS asks a simulation to show, row by row: in which worlds, with which guards, and what came of a stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from statistics import median
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np

from flaggate import Guard
from flaggate.rollout.evidence import CRIES, sure
from flaggate.rollout.verdict import Answer
from tests.rollout.rules import argo, evidence_of, flagger, may_have_vanished, oracle, reverse_of, z_test
from tests.rollout.worlds import SIGMA, SLOW_MS, Numbers, Stream, World, judged

__all__ = [
    "AGAINST_CONTROL",
    "AGAINST_LIMIT",
    "BOTH",
    "HOUR",
    "SLOW",
    "SLOWER",
    "SURE",
    "Cell",
    "Outcome",
    "alike",
    "at_400_ms",
    "broken",
    "crashing",
    "healthy",
    "middle",
    "outage",
    "outcome",
    "slower",
    "stuck",
]

AGAINST_LIMIT: Final = Guard("errors", limit=Decimal("0.01"))
AGAINST_CONTROL: Final = Guard("errors", vs_control=Decimal("1.25"))
BOTH: Final = (AGAINST_CONTROL, AGAINST_LIMIT)
SLOW: Final = Guard("slow", limit=Decimal("0.05"), slower_than_ms=SLOW_MS)
SLOWER: Final = Guard("slow", vs_control=Decimal("1.2"))
SURE: Final = 0.97
"""What a healthy feature should not be told."""
HOUR: Final = 3600.0
_MANY: Final = 50_000
"""So many users that nearly every request is of another one: requests are independent."""
_LEAST_REQUESTS: Final = 500


class Cell(NamedTuple):
    """One cell of the table."""

    row: str
    what: str
    world: Callable[[int], World]
    """By the stage's number."""
    guards: Sequence[Guard]
    hours: float = 48.0
    every: float = 5.0
    """Seconds from look to look."""


class Outcome(NamedTuple):
    """What came of one stage."""

    why: str | None = None
    """Why it was rolled back: `breach`, `shared`, `vanished`; None = it was not."""
    exposed: int | None = None
    """Exposed requests since it was broken until then."""
    sure: float = 0.0
    """What was shown at most."""
    is_safe: bool = False
    """Whether any guard was ever said to be safe."""
    oracle: int | None = None
    others: tuple[int | None, ...] = ()
    """Exposed requests since then until Flagger, Argo and the z-test roll back; negative = before."""


def outcome(cell: Cell, number: int, *, is_screened: bool = False) -> Outcome:
    """Let one stage happen.

    Args:
        is_screened: Where the closed form says that no guard comes near a rollback, the judge is not asked.
    """
    world = cell.world(number)
    stream = Stream(world, (crc32(f"{cell.row} {cell.what}".encode()), number), cell.hours * HOUR, cell.every)
    exposed = stream.requests[0]
    others = (flagger(stream, 0.01), argo(stream, 0.01), z_test(stream)) if cell.guards[0].metric == "errors" else ()
    since, treatment, control = world.phases[-1]
    allowed = max(float(guard.vs_control or 0) for guard in cell.guards)
    best = oracle(stream, treatment, control, allowed, since) if treatment > control * allowed > 0 else None
    before = int(exposed[int(since / cell.every) - 1]) if since else 0
    found = Outcome(oracle=best, others=tuple(None if at is None else int(exposed[at]) - before for at in others))
    if is_screened and (quiet := _quiet(cell, stream)) is not None:
        return found._replace(sure=quiet[0], is_safe=quiet[1])
    for look, judgement in enumerate(judged(stream, *cell.guards)):
        shown = max(verdict.numbers["sure"] for verdict in judgement.verdicts)
        is_safe = any(verdict.answer is Answer.SAFE for verdict in judgement.verdicts)
        found = found._replace(sure=max(found.sure, shown), is_safe=found.is_safe or is_safe)
        for verdict in judgement.verdicts:
            if verdict.rolls_back:
                why = verdict.numbers.get("why", "breach")
                return found._replace(why=why, exposed=int(exposed[look]) - before)
    return found


def _quiet(cell: Cell, stream: Stream) -> tuple[float, bool] | None:
    """What is shown where nothing comes near a rollback; None where something does, or the closed form does not know."""
    if any(guard.metric != "errors" for guard in cell.guards) or may_have_vanished(stream):
        return None
    each = [evidence_of(guard, stream, 1 / len(cell.guards)) for guard in cell.guards]
    if np.sum(each, axis=0).max() >= 0.999 * CRIES:
        return None
    can_tell: Numbers = stream.requests[0] >= _LEAST_REQUESTS
    safe = [
        can_tell & (evidence < 3) & (reverse_of(guard, stream) >= 20)
        for guard, evidence in zip(cell.guards, each, strict=True)
    ]
    return sure(float(np.max(each))), bool(np.any(safe))


def middle(exposed: Iterable[float | None]) -> float:
    """The median; whoever never came to an end comes last."""
    return median([float("inf") if one is None else one for one in exposed])


# --- worlds -----------------------------------------------------------------------------------


def alike(world: World) -> Callable[[int], World]:
    """The same for each stage."""
    return lambda number: world


def healthy(
    share: float = 0.5, treatment: float = 0.005, control: float = 0.005, users: int = _MANY
) -> Callable[[int], World]:
    """Requests that fail independently of each other."""
    return alike(World(share=share, users=users, phases=((0.0, treatment, control),)))


def stuck(share: float = 0.5, rate: float = 0.005) -> Callable[[int], World]:
    """Unequal users, nights, and 30 % of all errors of users who are stuck in a loop."""
    return alike(World(share=share, unequal=1.5, has_nights=True, looped=3 / 7, phases=((0.0, rate, rate),)))


def outage(earliest: float, latest: float) -> Callable[[int], World]:
    """Ten minutes in which 50 to 100 % of all requests fail, in either arm; from some second on."""

    def world(number: int) -> World:
        rng = np.random.default_rng((3, number))
        begins, rate = rng.uniform(earliest, latest), rng.uniform(0.5, 1.0)
        share, unequal = rng.choice([0.1, 0.5, 0.9]), rng.choice([0.0, 1.5])
        phases = ((0.0, 0.005, 0.005), (begins, rate, rate), (begins + 600, 0.005, 0.005))
        return World(share=float(share), unequal=float(unequal), phases=phases)

    return world


def broken(
    times: float, rate: float, share: float = 0.5, per_second: float = 10.0, after: float = 0.0
) -> Callable[[int], World]:
    """So many times as many requests fail with the feature; after so many hours, in some minute of the next."""

    def world(number: int) -> World:
        begins = after * HOUR + number * 977 % HOUR if after else 0.0
        before = ((0.0, rate, rate),) if after else ()
        phases = (*before, (begins, times * rate, rate))
        return World(share=share, users=2 * _MANY, per_second=per_second, phases=phases)

    return world


def crashing(share: float) -> Callable[[int], World]:
    """Every request with the feature fails, and no other; about one comes from look to look."""
    return alike(World(share=share, users=_MANY, per_second=1.0, phases=((0.0, 1.0, 0.0),)))


def slower(times: float, users: int = 2_000) -> Callable[[int], World]:
    """Requests with the feature take so many times as long."""
    return alike(World(times_slower=times, users=users))


def at_400_ms(times_slower: float) -> Callable[[int], World]:
    """One in twenty takes longer than 400 ms; that many times."""
    return alike(World(times_slower=times_slower, median_ms=SLOW_MS / float(np.exp(SIGMA * 1.644854))))
