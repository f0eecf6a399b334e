"""The one background thread of a process. It never dies of an exception, and keeps no script alive."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from weakref import ReferenceType

__all__ = ["Keeper", "Kept"]


class Kept(Protocol):
    """What a keeper keeps up: a gate."""

    def keep(self) -> None:
        """One round: take over what changed, hand over what was counted. Raises nothing."""


class Keeper:
    """Calls `keep` every `poll_seconds`, a tenth more or less, until it is stopped or its gate is gone.

    Args:
        gate: What is kept up; it may go.
        wait: A store's: returns after so many seconds, or as soon as there may be something new or the event is set.
    """

    def __init__(
        self, gate: ReferenceType[Kept], wait: Callable[[float, threading.Event], bool], poll_seconds: float
    ) -> None:
        self._gate = gate
        self._wait = wait
        self._poll_seconds = poll_seconds
        self.failure: str | None = None
        """The exception that the last round ended with, though it should raise nothing."""
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flaggate-keeper", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def stop(self, timeout: float = 1.0) -> None:
        """Ask the thread to end, and wait for it so many seconds at most."""
        self._is_stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def _run(self) -> None:
        import random  # 2 ms that can wait for the thread

        while (gate := self._gate()) is not None:
            try:
                gate.keep()
                self.failure = None
            except Exception as error:  # supervised: whatever it is, the next round comes
                self.failure = repr(error)
            del gate  # or the wait would keep it alive
            # Jitter, so that forty workers that start together do not ask together for ever.
            seconds = self._poll_seconds * random.uniform(0.9, 1.1)  # noqa: S311  # no secret
            try:
                self._wait(seconds, self._is_stopped)
            except Exception as error:  # supervised: a store that cannot wait is asked again after that time
                self.failure = repr(error)
                self._is_stopped.wait(seconds)
            if self._is_stopped.is_set():
                return
