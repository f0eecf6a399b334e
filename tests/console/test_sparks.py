"""The board's small lines follow the counts, whatever was read of them before."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flaggate.console.sparks import Sparks
from flaggate.stores.base import Count, Report, Store, Write
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore
from tests.runtime.guarded import Clock

HOUR = 3600


class Board:
    """Flags that are served, and what is seen of it."""

    def __init__(self, clock: Clock, store: Store | None = None) -> None:
        self.clock = clock
        self.store = store or MemoryStore(clock=clock.unix)
        self.sparks = Sparks(self.store)
        self.reports = 0

    def serve(self, requests: int, *names: str) -> None:
        """So many requests have each of them."""
        self.reports += 1
        counts = tuple(
            Count(name, 1, 1, arm, requests, 0, {"10": requests})
            for name in names
            for arm in ("on", "treatment", "off")
        )
        self.store.add_counts(Report("p", self.reports, counts))

    def look(self, *names: str) -> list[int | None]:
        """How many requests each line speaks of; None = there is no line."""
        lines = self.sparks.of(names, names, self.clock.now)
        return [_said(lines[name]) if name in lines else None for name in names]


def _said(line: str) -> int:
    found = re.search(r"([\d,]+) requests had it in the last 24 hours", line)
    return int(found[1].replace(",", "")) if found else 0


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(clock)


def test_what_comes_later_is_seen_and_what_is_long_ago_is_not(board: Board, clock: Clock) -> None:
    assert board.look("a") == [0]
    board.serve(100, "a")
    assert board.look("a") == [100]
    board.serve(10, "a")  # in the same ten minutes
    assert board.look("a") == [110]
    for _ in range(3):
        clock.passes(10 * HOUR)
        board.serve(1, "a")
        board.look("a")
    assert board.look("a") == [3], "of the last day"


def test_of_many_flags_the_lines_come_by_and_by(board: Board) -> None:
    names = [f"flag-{number:02}" for number in range(12)]
    board.serve(7, *names)
    assert board.look(*names) == [7] * 5 + [None] * 7, "those that need somebody most"
    assert board.look(*names) == [7] * 10 + [None] * 2
    assert board.look(*names) == [7] * 12
    board.serve(1, *names)
    looks = [board.look(*names) for _ in range(3)]
    assert looks[-1] == [8] * 12, "none is left behind"


def test_a_flag_that_is_made_anew(board: Board) -> None:
    board.serve(7, "a", "b")
    assert board.look("a", "b") == [7, 7]
    board.store.commit([Write("flag", "a", 0, {})], [])
    board.store.commit([Write("flag", "a", 1, None)], [])
    assert board.look("b") == [7]
    assert board.look("a", "b") == [0, 7]


def test_another_store_in_its_place(clock: Clock, tmp_path: Path) -> None:
    board = Board(clock, SqlStore(f"sqlite:///{tmp_path}/flags.db", clock=clock.unix))
    board.serve(7, "a")
    assert board.look("a") == [7]
    restored = SqlStore(f"sqlite:///{tmp_path}/restored.db", clock=clock.unix)
    assert restored.revision() == 0
    restored.close()
    board.store.close()
    (tmp_path / "restored.db").replace(tmp_path / "flags.db")
    assert board.store.revision() == 0
    assert board.look("a") == [0]
    board.store.close()
