"""The connection on which a PostgreSQL store hears of commits. It may break at any time: then the poll is as good."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import uniform
from time import monotonic
from typing import Any, Final, Protocol

__all__ = ["Ear"]

_SLICE_SECONDS: Final = 0.25
"""How long nobody looks whether it is over."""
_PAUSE_SECONDS: Final = 1.0, 30.0
"""Before it is opened again: at first, and at most."""


class Listening(Protocol):
    """psycopg's connection, as far as this goes."""

    def notifies(self, *, timeout: float | None = None, stop_after: int | None = None) -> Any:
        """What came."""

    def close(self) -> None:
        """It is not needed any more."""


class Ear:
    """Waits for what somebody else commits.

    Args:
        listen: Opens the connection.
    """

    def __init__(self, listen: Callable[[], Listening]) -> None:
        self._listen = listen
        self._connection: Listening | None = None
        self._opens_at = 0.0
        self._pause = _PAUSE_SECONDS[0]

    def wait(self, seconds: float, is_over: threading.Event) -> bool:
        """As a store's. After it was opened it counts as heard: something may have been missed."""
        until = monotonic() + seconds
        try:
            if self._connection is None:
                if monotonic() < self._opens_at:
                    is_over.wait(seconds)
                    return False
                self._connection = self._listen()
                self._pause = _PAUSE_SECONDS[0]
                return True
            while not is_over.is_set() and (left := until - monotonic()) > 0:
                for _ in self._connection.notifies(timeout=min(left, _SLICE_SECONDS), stop_after=1):
                    return True
            return False
        except Exception:  # the poll says what is wrong, if anything is
            self.close()
            # Jitter, and longer each time: not all come back at once to a server that has just started.
            self._opens_at = monotonic() + self._pause * uniform(0.5, 1.5)  # noqa: S311  # no secret
            self._pause = min(2 * self._pause, _PAUSE_SECONDS[1])
            is_over.wait(max(0.0, until - monotonic()))
            return False

    def close(self) -> None:
        """It may be opened again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
