"""The clock: looks at every rollout while this process holds the store's lease, and writes what comes of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from uuid import uuid4

from flaggate.errors import ConflictError, LeaseError, UnreadableError
from flaggate.rollout.progress import LEASE_SECONDS, progress_from_json, progress_of
from flaggate.rollout.state import Verb
from flaggate.rollout.tick import Look, is_looked_at, tick
from flaggate.rollout.verdict import Judgement, judgement_to_json
from flaggate.runtime.control import Control, utc_now
from flaggate.stores.base import Row, Store
from flaggate.stores.record import Record, flag_row, record_of

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


class Notices(Protocol):
    """Who tells people: `flaggate.runtime.notices`."""

    def is_idle(self, revision: int) -> bool:
        """Whether nobody is to be told anything, as of this revision of the store."""

    def noted(self, kept: Mapping[str, Any] | None, looked: Sequence[Looked], revision: int) -> Mapping[str, Any]:
        """What is to be kept now: who is still to be told what."""

    def send(self) -> None:
        """That was kept: tell them, and wait for nothing."""


class Ticker:
    """Looks, if it holds the lease.

    Args:
        store: Where the rollouts are.
        judge: Says what the guards say; None = they are not judged.
        notices: Tells people; None = nobody is told by this process.
        now: The clock, an aware datetime.
    """

    def __init__(
        self,
        store: Store,
        *,
        judge: Judge | None = None,
        notices: Notices | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.store = store
        self.holder = uuid4().hex
        self._control = Control(store, now=now)
        self._judge = judge
        self._notices = notices
        self._now = now

    def tick(self, rows: Iterable[Row]) -> list[Looked] | None:
        """One look at each rollout. Returns what came of it; None if another process holds the lease.

        Args:
            rows: Of the store, as of a moment ago: what changed since is seen by the compare-and-set.

        Raises:
            StoreError: nothing is lost: the next look begins where this one did.
        """
        records = [record for record in _records(rows) if is_looked_at(record.rollout)]
        revision = self.store.revision()
        if not records and (self._notices is None or self._notices.is_idle(revision)):
            return []
        try:
            return self._looked(records, revision) if self._has_lease() else None
        except LeaseError:  # robbed, as after a long sleep: whoever has it now looks
            return None

    def release(self) -> None:
        """Let the next process look at once. Raises StoreError."""
        self.store.release_lease(self.holder)

    def _has_lease(self) -> bool:
        held = self.store.lease()
        if held is not None and held.holder != self.holder:
            return False  # without a write: thirty-nine of forty workers ask no more than this
        return self.store.take_lease(self.holder, f"{socket.gethostname()}:{os.getpid()}", LEASE_SECONDS)

    def _looked(self, records: Sequence[Record], revision: int) -> list[Looked]:
        kept, now = self.store.progress(), self._now()
        looked = [self._look(record, kept.get(record.flag.name), now) for record in records]
        documents: dict[str, Any] = {one.record.flag.name: _kept(one, now) for one in looked}
        if self._notices is not None:
            documents[NOTICES] = self._notices.noted(kept.get(NOTICES), looked, revision)
        self.store.save_progress(documents, holder=self.holder)
        if self._notices is not None:
            self._notices.send()
        return looked

    def _look(self, record: Record, kept: Mapping[str, Any] | None, now: datetime) -> Looked:
        judgement, problem = None, None
        if self._judge is not None:
            try:
                judgement = self._judge(record, kept, now)
            except Exception as error:  # one rollout's guards are not to keep the others waiting
                problem = f"its guards cannot be judged: {error!r}"
        known = progress_from_json(kept)
        look = tick(record.flag, record.rollout, known, judgement, now)
        for _ in range(_TRIES):
            if look.moved is None:
                break
            try:
                return Looked(record, self._written(record, look), judgement, problem)
            except ConflictError:
                # A person was faster. A rollback is tried again until it wins; anything else may not be right any more.
                if look.moved[1].verb != Verb.ROLLBACK:
                    return Looked(record, replace(look, moved=None), judgement, "somebody else was faster")
                record = record_of(flag_row(self.store, record.flag.name))
                look = tick(record.flag, record.rollout, known, judgement, now)
        return Looked(record, look, judgement, problem)

    def _written(self, record: Record, look: Look) -> Look:
        assert look.moved is not None  # as the caller saw
        event = look.moved[1]
        holder = None if event.verb == Verb.ROLLBACK else self.holder  # it waits for nobody
        row = flag_row(self.store, record.flag.name)
        if row.version != record.version:
            raise ConflictError(self.store.url, "flag", row.name, expected=record.version, found=row.version)
        self._control.write(row, event, holder=holder)
        return look


def _records(rows: Iterable[Row]) -> Iterator[Record]:
    """The flags that can be read; of the others their own processes tell."""
    for row in rows:
        if row.kind == "flag" and row.document is not None:
            with suppress(UnreadableError):
                yield record_of(row)


def _kept(one: Looked, now: datetime) -> dict[str, Any]:
    """What the next look begins with."""
    if one.look.moved is not None:
        return progress_of(one.look.moved[0]).looked(now, is_observed=False).to_json()
    judgement = None if one.judgement is None else judgement_to_json(one.judgement)
    return one.look.progress.to_json() | {"judgement": judgement}
