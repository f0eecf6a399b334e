"""The edges of latency histograms. A module without imports: processes that only count need no more."""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["EDGES_MS", "edge_at_least"]

EDGES_MS: tuple[float, ...] = tuple(
    round(step * power, 1)  # 8.2 * 100 is not 820
    for power in (1, 10, 100, 1_000, 10_000)
    for step in (
        1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2.0, 2.2, 2.4, 2.7, 3.0, 3.3, 3.6, 3.9, 4.3, 4.7, 5.1, 5.6, 6.2, 6.8, 7.5, 8.2, 9.1
    )
    if step * power <= 60_000
)  # fmt: skip
"""Upper edges, a tenth apart (IEC 60063's E24), to a minute. Guards' limits come on top."""


def edge_at_least(milliseconds: float) -> float:
    """The next edge from there on; infinity above the last one."""
    index = bisect_left(EDGES_MS, milliseconds)
    return EDGES_MS[index] if index < len(EDGES_MS) else float("inf")
