"""What a process does for all beside answering: hands over its counts, and looks at the rollouts if it has the lease."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from flaggate.errors import BusyError, FlaggateError
from flaggate.runtime.process import importing
from flaggate.runtime.trouble import Trouble, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flaggate.runtime.judging import Samples
    from flaggate.runtime.meter import Meter
    from flaggate.runtime.ticker import Looked, Notices, Ticker
    from flaggate.stores.base import Presence, Row, Store

__all__ = ["FLUSH_SECONDS", "LAST_FLUSH_SECONDS", "TICK_SECONDS", "Duties"]

FLUSH_SECONDS: Final = 2.0
"""How often a process hands its counts to the store; the keeper's jitter keeps forty workers apart."""

TICK_SECONDS: Final = 5.0
"""How often the process that holds the lease looks at the rollouts; the lease lasts three times as long."""

BEAT_SECONDS: Final = 15.0
"""How often a process says that it is there, while a rollout is judged and it has counted nothing."""

PRESENCE_SECONDS: Final = 15.0
"""How often a process says that it serves flags, and of which revision; at once, where that has changed."""

LAST_FLUSH_SECONDS: Final = 4.0
"""How long a process that ends tries to, and waits until people are told."""

BUSY_SECONDS: Final = 60.0
"""How long other writers may keep the counts waiting before it is said: on a busy machine a round or two pass by."""

_PATIENCE: Final = 1.5
_MOST_PATIENCE: Final = 15.0
"""A flush that other writers kept waiting comes back after so many times as long as the last time, up to so many times
the usual: many processes on one file are too many only for a while if each of them gives way."""


class Duties:
    """None of them raises anything: what went wrong is in `problem`, and the next round comes.

    Args:
        store: The gate's.
        meter: What was counted.
        trouble: Where it is said.
        notify: The file of an Apprise configuration, or None.
        prometheus: The address of a server to ask, or None.
        tick_seconds: How often to look.
    """

    def __init__(
        self,
        store: Store,
        meter: Meter,
        trouble: Trouble,
        *,
        notify: str | os.PathLike[str] | None,
        prometheus: str | None,
        tick_seconds: float,
    ) -> None:
        self._store = store
        self._meter = meter
        self._trouble = trouble
        self._notify = notify
        self._prometheus = prometheus
        self._tick_seconds = tick_seconds
        self._flushed_at = self._reported_at = self._ticked_at = monotonic()
        self._begin()

    def _begin(self) -> None:
        self._unflushed: str | None = None
        self._busy_since: float | None = None
        self._patience = 1.0
        self._unticked: str | None = None
        self._unsaid: str | None = None
        self._says_in_vain = 0
        self._process = ""
        self._said: tuple[int, float] | None = None
        self.ticker: Ticker | None = None
        """Once it has looked for the first time."""
        self._making = threading.Lock()

    @property
    def problem(self) -> str | None:
        """Why counts wait, nobody looks, or others do not see this process; None = none of that."""
        return self._unflushed or self._unticked or self._unsaid

    def is_time_to_flush(self) -> bool:
        """Whether the counts are due."""
        return monotonic() - self._flushed_at >= FLUSH_SECONDS * self._patience

    def is_time_to_tick(self) -> bool:
        """Whether a look is due."""
        return monotonic() - self._ticked_at >= self._tick_seconds

    def flush(self, *, is_judged: bool = False, is_last: bool = False) -> None:
        """Hand this process's counts to the store now. What it did not take is tried again, the last time at once,
        for as long as another writer keeps it busy, but not for more than five seconds.

        Args:
            is_judged: Whether this process serves anything that is judged: then it says that it is there, too.
            is_last: Whether it ends.
        """
        self._flushed_at = now = monotonic()
        is_there = is_judged and now - self._reported_at >= BEAT_SECONDS
        if is_there or self._meter.has_counts():
            self._reported_at = now
        try:
            wait_seconds = LAST_FLUSH_SECONDS if is_last else 0.0
            self._meter.flush(self._store, wait_seconds=wait_seconds, is_there=is_there)
            self._unflushed, self._busy_since, self._patience = None, None, 1.0
        except Exception as error:  # supervised: the counts are kept, and the next round comes
            if isinstance(error, BusyError) and not is_last:
                self._busy_since = now if self._busy_since is None else self._busy_since
                self._patience = min(self._patience * _PATIENCE, _MOST_PATIENCE)
                if now - self._busy_since < BUSY_SECONDS:
                    return
            self._unflushed = f"counts wait to be written: {error}"
            self._trouble.say_once(self._unflushed)

    def say(self, revision: int, asked_seconds: float) -> None:
        """Say to the others that this process is there, if it is time or the revision is another one.

        Args:
            revision: Of what it answers from.
            asked_seconds: How long ago the store confirmed it.
        """
        now = monotonic()
        if self._said is not None and self._said[0] == revision and now - self._said[1] < PRESENCE_SECONDS:
            return
        try:
            self._store.say(self._presence(revision, asked_seconds))
            self._said, self._unsaid, self._says_in_vain = (revision, now), None, 0
        except BusyError:  # somebody writes: the next round says it
            pass
        except Exception as error:  # supervised
            self._says_in_vain += 1
            if self._says_in_vain > 1:  # else the next pull may say what it is
                self._said = (revision, now)  # not in each round
                self._unsaid = f"others cannot see that this process is there: {error}"
                self._trouble.say_once(self._unsaid)

    def _presence(self, revision: int, asked_seconds: float) -> Presence:
        with importing():
            import socket  # none of this for a process that only imports the package
            from uuid import uuid4

            from flaggate.stores.base import Presence

        self._process = self._process or uuid4().hex  # drawn here: a fork has its own
        who = f"{socket.gethostname()}:{os.getpid()}"
        return Presence(self._process, who, revision, asked_seconds, PRESENCE_SECONDS)

    def tick(self, rows: Iterable[Row]) -> list[Looked] | None:
        """Look at every rollout now, if this process holds the lease or can have it.

        Returns:
            What came of each look; None if another process has the lease, or the store does not answer.
        """
        self._ticked_at = monotonic()
        looked, self._unticked = None, None
        try:
            looked = self._made_ticker().tick(rows)
        except BusyError as error:  # somebody writes: the next round looks
            self._ticked_at -= self._tick_seconds
            self._unticked = f"no look at the rollouts: {error}"
        except Exception as error:  # supervised: nothing is half done, and the next look comes
            self._unticked = f"no look at the rollouts: {error}"
            self._trouble.say_once(self._unticked)
        return looked

    def end(self) -> None:
        """This process looks no more, and counts no more. A store that took no counts is not asked for more."""
        until = monotonic() + LAST_FLUSH_SECONDS
        self.flush(is_last=True)
        if self._unflushed is not None:
            return
        if self._said is not None:
            with suppress(Exception):  # it is forgotten by itself
                self._store.unsay(self._process)
        if self.ticker is not None:
            with suppress(FlaggateError):  # whoever looks next tells them again
                self.ticker.tell(max(0.0, until - monotonic()))
            with suppress(FlaggateError):  # the lease ends by itself
                self.ticker.release()

    def _made_ticker(self) -> Ticker:
        with importing():
            from flaggate.runtime.judging import Judging  # with all that moves rollouts: not for those who only ask
            from flaggate.runtime.ticker import Ticker

        with self._making:  # the keeper and a caller of `Gate.tick` may both come for it
            if self.ticker is None:
                judge, notices = Judging(self._store, self._samples()), self._notices()
                self.ticker = Ticker(self._store, judge=judge, notices=notices, every_seconds=self._tick_seconds)
        return self.ticker

    def _samples(self) -> Samples | None:
        if self._prometheus is None:
            return None
        with importing():
            from flaggate.runtime.prometheus import Prometheus  # for those who ask one

        return Prometheus(self._prometheus).samples

    def _notices(self) -> Notices | None:
        if self._notify is None:
            return None
        with importing():
            from flaggate.runtime.notices import Notifier  # for those who tell

        return Notifier(self._notify, say)

    def before_fork(self) -> None:
        """In the parent, just before a fork."""
        if self.ticker is not None:
            self.ticker.before_fork()

    def after_fork(self, *, in_child: bool) -> None:
        """On either side. The lease is the parent's."""
        if in_child:
            self._begin()
        elif self.ticker is not None:
            self.ticker.after_fork()
