"""What was seen of a flag, in words: requests, errors and how slow, with the feature and without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from flaggate.cli.render import line, print_table
from flaggate.flags.model import Flag
from flaggate.rollout.edges import EDGES_MS
from flaggate.rollout.state import Rollout, current_stage
from flaggate.stores.base import Arm, Count

__all__ = ["counts_to_json", "print_counts"]

_ARMS: Final[tuple[Arm, ...]] = ("on", "treatment", "control", "off")
_MOST: Final = 95
"""How slow: so many percent took no longer."""


def counts_to_json(counts: Iterable[Count], flag: str) -> list[dict[str, Any]]:
    """All counts of a flag, of older attempts and stages too."""
    return [asdict(count) for count in counts if count.flag == flag]


def print_counts(flag: Flag, rollout: Rollout, counts: Sequence[Count]) -> None:
    """What was seen where the flag stands now."""
    here = {count.arm: count for count in counts if (count.attempt, count.stage) == (rollout.attempt, rollout.stage)}
    rows = [_row(here[arm]) for arm in _ARMS if arm in here and here[arm].requests]
    where = _where(flag, rollout)
    if rows:
        line(f"seen{where}:")
        print_table(("", "requests", "errors", "how slow"), rows)
    else:
        line(f"no request was counted{' in this stage' if rollout.stage else where} yet")


def _where(flag: Flag, rollout: Rollout) -> str:
    if flag.is_switch:
        return ""
    if not rollout.attempt:
        return " before the start"
    stage = current_stage(flag, rollout)
    name = "" if stage is None else f" ({stage.name})"
    return f" in stage {rollout.stage}{name}, attempt {rollout.attempt}"


def _row(count: Count) -> tuple[str, str, str, str]:
    errors = f"{count.errors:,}" + (f" ({_percent(count.errors, count.requests)})" if count.errors else "")
    return count.arm, f"{count.requests:,}", errors, _how_slow(count.histogram)


def _percent(part: int, whole: int) -> str:
    percent = 100 * part / whole
    if percent < 0.01:
        return "under 0.01 %"
    return f"{percent:.1f} %" if percent >= 1 else f"{percent:.2f} %"


def _how_slow(histogram: Mapping[str, int]) -> str:
    """95 % within 390 ms: the upper edge under which they all are."""
    total, so_far = sum(histogram.values()), 0
    for edge in sorted(histogram, key=float):
        so_far += histogram[edge]
        if so_far * 100 >= total * _MOST > 0:
            return f"over {_time(EDGES_MS[-1])}" if edge == "inf" else f"{_MOST} % within {_time(float(edge))}"
    return "-"


def _time(milliseconds: float) -> str:
    return f"{milliseconds:g} ms" if milliseconds < 1000 else f"{milliseconds / 1000:g} s"
