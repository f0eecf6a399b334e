"""The one background thread of a process. It never dies of an exception, and keeps no script alive."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from flaggate.runtime.process import importing

if TYPE_CHECKING:
    from collections.abc import Callable
    from weakref import ReferenceType

__all__ = ["Keeper", "Kept"]

_PAUSE_SECONDS: Final = 0.02, 0.1
"""For so long the rest of a round waits at least and at most, where there was a change."""


class Kept(Protocol):
    """What a keeper keeps up: a gate."""

    def serve(self, *, is_heard: bool) -> bool:
        """Take over what changed, and answer from it.

        Args:
            is_heard: The store told that something was written.

        Returns:
            Whether anything had changed.
        """

    def is_cut_off(self) -> bool:
        """Whether the store did not answer, the last time."""

    def rest(self) -> None:
        """All that can wait a moment: hand over what was counted, look at the rollouts. Raises nothing."""


class Keeper:
    """Calls `serve` and `rest` every `poll_seconds`, a tenth more or less, until it is stopped or its gate is gone; twice as
    often while the store does not answer, so that its return is seen within that time. After a
    change the rest waits a moment: the other processes of this machine have it to serve, too.

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
        self._last: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, name="flaggate-keeper", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def stop(self, last: Callable[[], None], timeout: float) -> bool:
        """End the thread: in the round that is under way it does a last thing, which raises nothing.

        Args:
            last: What. Where the thread has ended, or asks for it itself, it is done at once.
            timeout: How many seconds to wait: who is kept waiting by a store goes on alone.

        Returns:
            Whether it is done.
        """
        self._last = last
        self._is_stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
        self._do_last()
        return True

    def _do_last(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last()

    def _run(self) -> None:
        self._keep_up()
        self._do_last()

    def _keep_up(self) -> None:
        with importing():
            from random import uniform  # 2 ms that can wait for the thread

        is_heard, rests_at = False, monotonic()
        while (gate := self._gate()) is not None:
            # Jitter, so that forty workers that start together do not ask together for ever.
            seconds = self._poll_seconds * uniform(0.9, 1.1)  # noqa: S311  # no secret
            try:
                is_new = gate.serve(is_heard=is_heard)
                if is_new and rests_at <= monotonic():
                    rests_at = monotonic() + uniform(*_PAUSE_SECONDS)  # noqa: S311  # no secret
                if rests_at <= monotonic():
                    gate.rest()
                else:
                    seconds = min(seconds, rests_at - monotonic())
                if gate.is_cut_off():
                    seconds /= 2
                self.failure = None
            except Exception as error:  # supervised: whatever it is, the next round comes
                self.failure = repr(error)
            del gate  # or the wait would keep it alive
            is_heard = self._waited(seconds)
            if self._is_stopped.is_set():
                return

    def _waited(self, seconds: float) -> bool:
        try:
            return self._wait(seconds, self._is_stopped)
        except Exception as error:  # supervised: a store that cannot wait is asked again after that time
            self.failure = repr(error)
            self._is_stopped.wait(seconds)
            return False
