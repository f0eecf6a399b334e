"""Writes that keep their transaction open."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from flaggate.stores.base import Write

__all__ = ["Slow"]


class Slow(list[Write]):
    """One new flag, until it is let go."""

    def __init__(self) -> None:
        super().__init__([Write("flag", "slow", 0, {})])
        self.is_asked, self.is_released = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Write]:
        self.is_asked.set()
        self.is_released.wait()
        return super().__iter__()
