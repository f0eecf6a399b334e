"""Commands that go on until they are told to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from types import FrameType
from typing import Any, Final

__all__ = ["ended_by_signals", "wait"]

_SLICE_SECONDS: Final = 0.1
"""How soon one sees that it is to end."""


def wait(seconds: float, is_ended: Callable[[], bool]) -> None:
    """For so long, unless it is told to end meanwhile."""
    deadline = monotonic() + seconds
    while (left := deadline - monotonic()) > 0 and not is_ended():
        sleep(min(left, _SLICE_SECONDS))


@contextmanager
def ended_by_signals() -> Iterator[Callable[[], bool]]:
    """Gives whether SIGTERM or SIGINT came; a second one ends the process at once, as if nobody listened."""
    came: list[int] = []
    before: dict[int, Any] = {}
    """Handlers, by signal."""

    def end(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():  # no other may listen
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.getsignal(number)
            signal.signal(number, end)
    try:
        yield lambda: bool(came)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
