"""The guards' rule by simulation: rows T1 to T11, beside what others do on the same streams. Prints tables.

    python -m benchmarks.guards [--rows T1,T4] [--stages 200] [--processes 2]

From a checkout. All of it at 2,000 stages takes hours; a row of 48-hour stages costs a tenth of a second a stage. Every
stage is seeded by its row and number: more stages are the same ones and further ones.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from math import isinf
from multiprocessing import Pool
from typing import Final

from flaggate import Guard
from flaggate.rollout.judge import judge
from tests.rollout.looker import entered, plan
from tests.rollout.rows import (
    AGAINST_CONTROL,
    AGAINST_LIMIT,
    BOTH,
    HOUR,
    SLOW,
    SLOWER,
    SURE,
    Cell,
    Outcome,
    at_400_ms,
    broken,
    crashing,
    healthy,
    middle,
    outage,
    outcome,
    slower,
    stuck,
)
from tests.rollout.rules import lower_bound
from tests.rollout.worlds import Stream, World, judged

ABSOLUTE, RELATIVE = (AGAINST_LIMIT,), (AGAINST_CONTROL,)

FALSE: Final = (
    Cell("T1", "healthy, 0.5 % fail, 50/50", healthy(), BOTH),
    Cell("T1", "healthy, 10 % exposed", healthy(0.1), BOTH),
    Cell("T1", "healthy, 90 % exposed", healthy(0.9), BOTH),
    Cell("T1", "exactly at the limit, 50/50", healthy(0.5, 0.01, 0.01), BOTH),
    Cell("T1", "exactly 1.25 times control's, 50/50", healthy(0.5, 0.005, 0.004), BOTH),
    Cell("T2", "loops, nights, unequal users, 0.7 % fail, 50/50", stuck(), BOTH),
    Cell("T2", "the same, 10 % exposed", stuck(0.1), BOTH),
    Cell("T2", "the same, 1 % fail: at the limit", stuck(0.5, 0.007), BOTH),
)
OUTAGES: Final = (
    Cell("T3", "in the first hour, limit alone", outage(60, HOUR), ABSOLUTE, 1.5),
    Cell("T3", "in the first hour, both guards", outage(60, HOUR), BOTH, 1.5),
    Cell("T3", "in the fourth hour, both guards", outage(3 * HOUR, 4 * HOUR), BOTH, 4.5),
)
SAFE: Final = (
    Cell("T10", "errors exactly at the limit", healthy(0.5, 0.01, 0.01), ABSOLUTE),
    Cell("T10", "errors exactly 1.25 times control's", healthy(0.5, 0.005, 0.004), RELATIVE),
    Cell("T10", "the same, 2,000 users", healthy(0.5, 0.005, 0.004, 2_000), RELATIVE),
    Cell("T8, T10", "p95 exactly 1.2 times control's", slower(1.2), (SLOWER,), every=60),
    Cell("T8, T10", "exactly 5 % over 400 ms", at_400_ms(1.0), (SLOW,), every=60),
)
DELAYS: Final = (
    *(
        Cell("T4", f"{times} times {rate:.1%}, {share:.0%} exposed", broken(times, rate, share), RELATIVE, hours)
        for share in (0.5, 0.1)
        for times, rate, hours in ((2, 0.005, 5), (2, 0.02, 2), (3, 0.005, 3), (5, 0.005, 2), (10, 0.005, 1))
    ),
    *(
        Cell("T5", f"after 24 h {times} times {rate:.1%}, {per_second:g}/s, {share:.0%} exposed", broken(times, rate, share, per_second, 24), RELATIVE, 28)
        for times, rate, per_second, share in (
            (2, 0.02, 10, 0.5), (3, 0.005, 10, 0.5), (5, 0.005, 10, 0.5), (5, 0.005, 10, 0.1), (5, 0.005, 2, 0.5), (10, 0.005, 2, 0.5),
        )
    ),
    Cell("T6", "all fail, 50 % exposed", crashing(0.5), RELATIVE, 0.5, 1),
    Cell("T6", "all fail, 10 % exposed", crashing(0.1), RELATIVE, 0.5, 1),
    Cell("T6", "all fail, 90 % exposed", crashing(0.9), RELATIVE, 0.5, 1),
    Cell("T6", "all fail, everyone, limit", crashing(1.0), ABSOLUTE, 0.5, 1),
    Cell("T6", "all fail, 50 % exposed, limit", crashing(0.5), ABSOLUTE, 0.5, 1),
    Cell("T7", "5 times 0.2 %, 10 % exposed", broken(5, 0.002, 0.1), RELATIVE, 4),
    Cell("T7", "5 times 0.2 %, 50 % exposed", broken(5, 0.002, 0.5), RELATIVE, 2),
    Cell("T8", "50 % slower, 50 % exposed", slower(1.5), (SLOWER,), 2),
    Cell("T8", "the same, against 5 % over 400 ms", at_400_ms(1.5), (SLOW,), 2),
)  # fmt: skip


def outcomes(cells: Sequence[Cell], arguments: argparse.Namespace) -> Iterator[tuple[Cell, list[Outcome]]]:
    """Of the rows that were asked for."""
    asked = arguments.rows.split(",") if arguments.rows else None
    for cell in cells:
        if asked is None or any(row in asked for row in cell.row.split(", ")):
            with Pool(arguments.processes, _begin, (cell,)) as pool:
                yield cell, pool.map(_one, range(arguments.stages), chunksize=8)


_CELL: list[Cell] = []


def _begin(cell: Cell) -> None:
    _CELL[:] = [cell]  # it holds functions, which go to a fork and not through a pipe


def _one(number: int) -> Outcome:
    return outcome(_CELL[0], number, is_screened=True)


# --- tables -----------------------------------------------------------------------------------


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(*names: str) -> None:
    print()
    row(*names)
    row(*["---"] * len(names))


def share_of(found: int, of: int) -> str:
    return f"{found / of:.2%}".replace("%", " %") if of else "-"


def counted(found: int, of: int) -> str:
    return f"{found} ({share_of(found, of)}, at least {100 * lower_bound(found, of):.2f} %)" if found else "0"


def false_alarms(arguments: argparse.Namespace) -> None:
    names = ("Flagger", "Argo", "z-test")
    head("row", "48 hours, a look each 5 s", "stages", "rolled back", "97 % sure was shown (T9)", *names)
    for cell, found in outcomes(FALSE, arguments):
        many = len(found)
        others = [share_of(sum(one.others[which] is not None for one in found), many) for which in range(len(names))]
        rolled, told = sum(one.why is not None for one in found), sum(one.sure >= SURE for one in found)
        row(cell.row, cell.what, many, counted(rolled, many), counted(told, many), *others)


def outages(arguments: argparse.Namespace) -> None:
    head("row", "both arms out for 10 minutes", "stages", "blamed", "rolled back as shared", "only held")
    for cell, found in outcomes(OUTAGES, arguments):
        why = Counter(one.why for one in found)
        blamed = len(found) - why["shared"] - why[None]
        row(cell.row, cell.what, len(found), counted(blamed, len(found)), why["shared"], why[None])


def safe(arguments: argparse.Namespace) -> None:
    head("row", "48 hours at the limit", "stages", "ever said to be safe", "rolled back")
    for cell, found in outcomes(SAFE, arguments):
        many = len(found)
        rolled = sum(one.why is not None for one in found)
        row(cell.row, cell.what, many, counted(sum(one.is_safe for one in found), many), counted(rolled, many))


def delays(arguments: argparse.Namespace) -> None:
    names = ("Flagger", "Argo", "z-test")
    head(
        "row", "exposed requests until it is rolled back", "stages", "median", "90 %", "most", "oracle", "ratio", *names
    )
    for cell, found in outcomes(DELAYS, arguments):
        exposed = sorted(float("inf") if one.exposed is None else one.exposed for one in found)
        best = middle(one.oracle for one in found) if found[0].oracle is not None else 0
        others = [_others(middle(each)) for each in zip(*(one.others for one in found), strict=True)] or ["-"] * 3
        ours = middle(exposed)
        ratio = f"{ours / best:.2f}" if best and not isinf(best) else "-"
        points = (_number(exposed[int(part * (len(exposed) - 1))]) for part in (0.9, 1))
        row(cell.row, cell.what, len(found), _number(ours), *points, _number(best) if best else "-", ratio, *others)


def _number(value: float) -> str:
    return "never" if isinf(value) else f"{value:,.0f}"


def _others(value: float) -> str:
    return "before it broke" if value < 0 else _number(value)


# --- what a look costs -------------------------------------------------------------------------


def costs() -> None:
    """A tight loop over looks of a stage that runs, the best of many; and what is kept."""
    stream = Stream(World(times_slower=1.0), (11, 1), HOUR, 5.0)  # 57 edges of its histograms are in use
    head("T11: guards", "a look", "of it for each guard", "kept as JSON")
    for name, guards in {
        "errors against control": RELATIVE,
        "errors against a limit": ABSOLUTE,
        "slow against a limit": (SLOW,),
        "slow against control": (SLOWER,),
        "errors both ways, slow against a limit": (*BOTH, SLOW),
        "all four": (*BOTH, SLOW, SLOWER),
    }.items():
        micros, kept = _cost(stream, guards)
        row(name, f"{micros:.0f} us", f"{micros / len(guards):.0f} us", f"{kept:,} bytes")


def _cost(stream: Stream, guards: Sequence[Guard]) -> tuple[float, int]:
    flag = plan(stream.world.share, *guards)
    rollout, looks, said = entered(flag), list(stream.seen()), list(judged(stream, *guards))
    late = [(seen, before.kept, now) for (now, seen), before in zip(looks[1:], said, strict=False)][-40:]
    best = float("inf")
    for _ in range(100):
        begun = time.perf_counter()
        for seen, kept, now in late:
            judge(flag, rollout, seen, kept, now, is_soaked=True)
        best = min(best, time.perf_counter() - begun)
    return best / len(late) * 1e6, len(json.dumps(said[-1].kept))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", help="such as T1,T4; all if not given")
    parser.add_argument("--stages", type=int, default=2_000)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    for table in (false_alarms, outages, safe, delays):
        table(arguments)
    if arguments.rows is None or "T11" in arguments.rows.split(","):
        costs()


if __name__ == "__main__":
    main()
