"""The clock: looks at every rollout while this process holds the store's lease, and writes what comes of it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from json import dumps
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from uuid import uuid4

from flaggate.errors import BusyError, ConflictError, LeaseError, StoreError, UnknownFlagError, UnreadableError
from flaggate.rollout.progress import LEASE_SECONDS, LEASE_TICKS, progress_from_json, progress_of
from flaggate.rollout.state import Verb
from flaggate.rollout.tick import Look, is_looked_at, tick
from flaggate.rollout.verdict import Judgement, judgement_to_json
from flaggate.runtime.control import Control, utc_now
from flaggate.runtime.judging import unjudged
from flaggate.runtime.lease_words import TELLS_NOBODY
from flaggate.stores.base import Row, Store
from flaggate.stores.record import Record, flag_row, record_of, rollout_of

__all__ = ["NOTICES", "Judge", "Looked", "Notices", "Ticker"]

Judge: TypeAlias = Callable[[Record, Mapping[str, Any] | None, datetime], Judgement | None]
"""What the guards of a rollout say now, given what was kept of it; None = nobody judges."""

NOTICES: Final = ":notices"
"""Under this name the store keeps whom to tell what: no flag has a colon in its name."""
_TRIES: Final = 20


class Looked(NamedTuple):
    """One rollout, and what came of the look."""

    record: Record
    look: Look
    judgement: Judgement | None = None
    problem: str | None = None
    """Why nothing could be said of its guards, or nothing written."""
    is_lost: bool = False
    """Whether nothing is to be kept of this look."""


class Notices(Protocol):
    """Who tells people: `flaggate.runtime.notices`. None of it raises anything: the rollouts go on."""

    def is_idle(self, store: Store, revision: int) -> bool:
        """Whether nobody is to be told anything, as of this revision of the store."""

    def is_busy(self) -> bool:
        """Whether something is being sent, or was and that is not kept yet."""

    def noted(
        self,
        store: Store,
        kept: Mapping[str, Any] | None,
        looked: Sequence[Looked] | None,
        revision: int,
        now: datetime,
    ) -> Mapping[str, Any] | None:
        """What is to be kept now: who is still to be told what; None = what is kept.

        Args:
            looked: What came of this look; None = nobody has looked.
            revision: Of the store, before the look.
        """

    def send(self, seconds: float) -> None:
        """That was kept: tell them, and wait for nothing. Nothing is begun once so many seconds are over."""

    def wait(self, seconds: float) -> None:
        """Until nothing is being sent, but not longer."""

    def before_fork(self) -> bool:
        """In the parent, just before a fork. Returns whether `after_fork` is to be called."""

    def after_fork(self) -> None:
        """In the parent, just after it."""


class Ticker:
    """Looks, if it holds the lease.

    Args:
        store: Where the rollouts are.
        judge: Says what the guards say; None = they are not judged.
        notices: Tells people; None = nobody is told by this process.
        every_seconds: How often it is asked to look. The lease lasts three times as long: after so long without a
            look another process takes over.
        now: The clock, an aware datetime.
    """

    def __init__(
        self,
        store: Store,
        *,
        judge: Judge | None = None,
        notices: Notices | None = None,
        every_seconds: float = LEASE_SECONDS / LEASE_TICKS,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.store = store
        self.holder = uuid4().hex
        self.has_lease = False
        """Whether this process looks, as of the last time that the store said so."""
        self._lease_seconds = LEASE_TICKS * every_seconds
        self._leased_until = 0.0
        """At least, by the monotonic clock, which goes on while the process stands still."""
        self._control = Control(store, now=now)
        self._judge = judge
        self._notices = notices
        self._now = now
        self._is_held = False
        self._read: dict[str, tuple[Row, Record]] = {}
        """As of the last look: most plans stay what they are for days."""
        self._looking = threading.Lock()
        """The keeper may look still while the process ends."""

    def tick(self, rows: Iterable[Row]) -> list[Looked] | None:
        """One look at each rollout. Returns what came of it; None if another process holds the lease.

        Args:
            rows: Of the store, as of a moment ago: what changed since is seen by the compare-and-set.

        Raises:
            StoreError: nothing is lost: the next look begins where this one did.
        """
        records = list(self._looked_at(rows))
        revision = self.store.revision()
        if not records and (self._notices is None or self._notices.is_idle(self.store, revision)):
            self.release()
            return []
        try:
            return self._looked(records, revision) if self._take_lease() else None
        except LeaseError:  # robbed, as after a long sleep: whoever has it now looks
            self.has_lease = False
            return None

    def _looked_at(self, rows: Iterable[Row]) -> Iterator[Record]:
        """The flags that the clock may move. Where nothing can be read the processes that ask it say so."""
        read, self._read = self._read, {}
        for row in rows:
            if row.kind == "flag" and row.document is not None:
                with suppress(UnreadableError):
                    if is_looked_at(rollout_of(row)):  # before the plan, which takes longer to read
                        known, record = read.get(row.name, (None, None))
                        if record is None or known is not row:
                            record = record_of(row)
                        self._read[row.name] = row, record
                        yield record

    def release(self) -> None:
        """Let the next process look at once, if this one has the lease. Raises StoreError."""
        if self.has_lease:
            self.store.release_lease(self.holder)
            self.has_lease = False

    def before_fork(self) -> None:
        """In the parent, just before a fork."""
        self._is_held = self._notices is not None and self._notices.before_fork()

    def after_fork(self) -> None:
        """In the parent, just after it. A child makes its own."""
        if self._notices is not None and self._is_held:
            self._notices.after_fork()

    def _take_lease(self) -> bool:
        """Take or renew it; without a write where another has it: thirty-nine of forty workers ask no more than this."""
        self._leased_until = monotonic() + self._lease_seconds
        held = self.store.lease()
        is_free = held is None or held.holder == self.holder
        tells = "" if self._notices is not None else TELLS_NOBODY
        who = f"{socket.gethostname()}:{os.getpid()}{tells}"
        self.has_lease = is_free and self.store.take_lease(self.holder, who, self._lease_seconds)
        return self.has_lease

    def _looked(self, records: Sequence[Record], revision: int) -> list[Looked]:
        with self._looking:
            kept, now = self.store.progress(), self._now()
            looked = [self._safe_look(record, kept.get(record.flag.name), now) for record in records]
            documents: dict[str, Any] = {one.record.flag.name: _kept(one, now) for one in looked if not one.is_lost}
            self._save(documents | self._noted(kept, looked, revision, now))
            return looked

    def _noted(
        self, kept: Mapping[str, Any], looked: Sequence[Looked] | None, revision: int, now: datetime
    ) -> dict[str, Any]:
        if self._notices is None:
            return {}
        noted = self._notices.noted(self.store, kept.get(NOTICES), looked, revision, now)
        return {} if noted is None or noted == kept.get(NOTICES) else {NOTICES: noted}

    def _save(self, documents: Mapping[str, Any], *, is_last: bool = False) -> None:
        self.store.save_progress(documents, holder=self.holder)
        if self._notices is not None:
            self._notices.send(0.0 if is_last else self._leased_until - monotonic())

    def tell(self, seconds: float) -> None:
        """Wait until everybody was told who is to be told now, but not longer, and keep what came of it.

        For a process that does not look again: without it the next one would tell them once more. Raises StoreError.
        """
        deadline = monotonic() + seconds
        if not self._looking.acquire(timeout=seconds):
            return
        try:
            while self._notices is not None and self._notices.is_busy() and self.has_lease:
                left = max(0.0, deadline - monotonic())
                self._notices.wait(min(self._lease_seconds / LEASE_TICKS, left))
                try:
                    self._keep_told(is_last=not left)
                except BusyError:
                    if not left:
                        raise
                if not left:
                    return
        finally:
            self._looking.release()

    def _keep_told(self, *, is_last: bool) -> None:
        if self._take_lease():
            noted = self._noted(self.store.progress(), None, self.store.revision(), self._now())
            self._save(noted, is_last=is_last)

    def _safe_look(self, record: Record, kept: Mapping[str, Any] | None, now: datetime) -> Looked:
        """One rollout that cannot be looked at, whatever stands in it, is not to keep the others from being rolled back."""
        try:
            looked = self._look(record, kept, now)
            dumps(_kept(looked, now), allow_nan=False)  # or nothing could be kept of any
        except StoreError:
            raise
        except Exception as error:
            look = Look(progress_of(record.rollout))
            return Looked(record, look, problem=f"it cannot be looked at: {error!r}", is_lost=True)
        return looked

    def _look(self, record: Record, kept: Mapping[str, Any] | None, now: datetime) -> Looked:
        judgement, problem = None, None
        if self._judge is not None:
            try:
                judgement = self._judge(record, kept, now)
            except Exception as error:  # one rollout's guards are not to keep the others waiting
                problem = f"its guards cannot be judged: {error!r}"
                judgement = unjudged(record, kept, problem)
        known = progress_from_json(kept)
        look = tick(record.flag, record.rollout, known, judgement, now)
        try:
            for _ in range(_TRIES):
                if look.moved is None:
                    return Looked(record, look, judgement, problem)
                try:
                    return Looked(record, self._written(record, look), judgement, problem)
                except ConflictError:
                    # A person was faster. A rollback is tried again until it wins; else it may not be right any more.
                    if look.moved[1].verb != Verb.ROLLBACK:
                        break
                record = record_of(flag_row(self.store, record.flag.name))
                look = tick(record.flag, record.rollout, known, judgement, now)
        except (UnknownFlagError, UnreadableError) as error:  # since the rows were read
            return Looked(record, replace(look, moved=None), judgement, str(error))
        return Looked(record, replace(look, moved=None), judgement, "somebody else was faster")

    def _written(self, record: Record, look: Look) -> Look:
        assert look.moved is not None  # as the caller saw
        event = look.moved[1]
        holder = None if event.verb == Verb.ROLLBACK else self.holder  # it waits for nobody
        row = flag_row(self.store, record.flag.name)
        if row.version != record.version:
            raise ConflictError(self.store.url, "flag", row.name, expected=record.version, found=row.version)
        self._control.write(row, event, holder=holder)
        return look


def _kept(one: Looked, now: datetime) -> dict[str, Any]:
    """What the next look begins with."""
    if one.look.moved is not None:
        return progress_of(one.look.moved[0]).looked(now, since=now, is_observed=False).to_json()
    judgement = None if one.judgement is None else judgement_to_json(one.judgement)
    return one.look.progress.to_json() | {"judgement": judgement}
