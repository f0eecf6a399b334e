"""Notices: people are told what happens. The list of events is the queue; what is kept beside it says how far it was told.

Nothing is sent before it was kept, and what came of it is kept with the next look: so each message is sent at least
once, and exactly once unless a process dies in between, or stands still for so long that another takes its place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

from flaggate.errors import StoreError, UnreadableError
from flaggate.flags.model import Flag
from flaggate.rollout.holds import HoldKind
from flaggate.rollout.moves import AUTOMATIC
from flaggate.rollout.state import Event
from flaggate.rollout.verdict import Answer, Verdict
from flaggate.runtime.applying import APPLY, PRUNE
from flaggate.runtime.kept_notices import TOO_LATE, Kept, Seen, kept_from_json
from flaggate.runtime.notice_words import Message, burst_message, edits_message, event_message, hold_message
from flaggate.runtime.sender import LIMIT_SECONDS, Sender
from flaggate.runtime.ticker import NOTICES, Looked
from flaggate.runtime.told import told_of_event, told_of_hold
from flaggate.stores.base import Store
from flaggate.stores.record import Record, record_of

__all__ = ["Notifier"]

_MOST_EVENTS: Final = 1000
_MOST_SAID: Final = 1000
_MOST_ALONE: Final = 3
"""So many events of one act, by one person, one after the other, are a message each."""
_QUIET: Final = timedelta(minutes=30)
"""A hold that was away for so long is told anew; one that comes and goes is not."""
_BESIDE_APPROVAL: Final = frozenset(
    {HoldKind.APPROVAL, HoldKind.OWNER, HoldKind.DATE, HoldKind.HOURS, HoldKind.UNJUDGED}
)
"""What else may hold a rollout when an approval is asked for: people and the clock, but no guard, time or traffic. Whoever
is asked is to see the whole evidence. Nobody judges where it is not judged."""


class _Noted(NamedTuple):
    """What one look came to. Once it is kept, it holds."""

    state: Kept
    due: Sequence[tuple[Message, frozenset[str]]]
    results: int
    """So many of the sender's results are in it."""
    revision: int
    store: str
    """Its identity."""


class Notifier:
    """Tells people by Apprise. For one process, which holds the lease.

    Args:
        config: An Apprise configuration, of which the tags are the recipients.
        say: Tells an operator.
        limit_seconds: How long one service may take for one message.
    """

    def __init__(
        self, config: str | os.PathLike[str], say: Callable[[str], None], *, limit_seconds: float = LIMIT_SECONDS
    ) -> None:
        self._sender = Sender(Path(config), say, limit_seconds=limit_seconds)
        self._say = say
        self._said: set[str] = set()
        self._noted: _Noted | None = None
        self._revision: int | None = None
        self._has_pending = False

    def is_idle(self, store: Store, revision: int) -> bool:
        """Whether nobody is to be told anything, as of this revision of the store. Raises nothing."""
        if self.is_busy():
            return False
        if revision == self._revision and not self._has_pending:
            return True
        try:  # without a write: another may have told them all
            kept = kept_from_json(store.progress().get(NOTICES))
            is_idle = kept is not None and not kept.pending and not store.history(after=kept.upto, limit=1)
        except StoreError:  # whoever looks now will say so
            return False
        if is_idle:
            self._revision, self._has_pending = revision, False
        return is_idle

    def is_busy(self) -> bool:
        """Whether something is being sent, or was and that is not kept yet."""
        return bool(self._sender.under_way())

    def noted(
        self,
        store: Store,
        kept: Mapping[str, Any] | None,
        looked: Sequence[Looked] | None,
        revision: int,
        now: datetime,
    ) -> Mapping[str, Any] | None:
        """What is to be kept now: who is still to be told what. Raises nothing.

        Args:
            kept: What was kept.
            looked: What came of this look at the rollouts; None = nobody has looked.
            revision: Of the store, before the look.

        Returns:
            None: what was kept stays.
        """
        self._noted = None
        try:
            results = self._sender.results()
            known = kept_from_json(kept)
            state = _begun(store, looked or (), now) if known is None else known
            state.merge(results, now)
            _add_events(state, store, now)
            if looked is not None:
                _add_holds(state, looked, now)
        except Exception as error:  # whatever it is, the rollouts go on (invariant I18), and the next look tries again
            self._say_once(f"nobody is told anything: {error!r}")
            return None
        over = {result.id for result in results if result.what == "over"}
        due = state.due(now, self._sender.under_way() - over)
        self._noted = _Noted(state, due, len(results), revision, store.identity)
        return state.to_json()

    def send(self, seconds: float) -> None:
        """That was kept: tell them, and wait for nothing. Nothing is begun once so many seconds are over."""
        noted, self._noted = self._noted, None
        if noted is None:
            return
        state, self._revision = noted.state, noted.revision
        self._has_pending = bool(state.pending)
        self._sender.taken_over(noted.results)
        for failure in state.last:
            why = re.sub(r"\d+ tries", "tries", failure["why"])
            self._say_once(f"{failure['what']}: not told: {failure['why']}", f"not told: {why}")
        for pending in state.pending.values():
            if pending.why:
                self._say_once(f"{pending.message.title}: {pending.why}; it is tried again", pending.why)
        self._sender.take(noted.due, seconds, salt=noted.store)

    def wait(self, seconds: float) -> None:
        """Until nothing is being sent, but not longer."""
        self._sender.wait(seconds)

    def before_fork(self) -> bool:
        """As of the sender."""
        return self._sender.before_fork()

    def after_fork(self) -> None:
        """As of the sender."""
        self._sender.after_fork()

    def _say_once(self, message: str, about: str | None = None) -> None:
        about = about or message
        if about not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(about)
            self._say(message)


# --- events ---------------------------------------------------------------------------------


def _begun(store: Store, looked: Sequence[Looked], now: datetime) -> Kept:
    """The first time of all: nobody is told of old events, but of what this very look did."""
    events = store.history(limit=len(looked) + 1)
    newest = max((event.id for event in events if not (event.actor == AUTOMATIC and event.at == now)), default=0)
    return Kept(newest, since=newest)


def _add_events(kept: Kept, store: Store, now: datetime) -> None:
    events = store.history(after=kept.upto, limit=_MOST_EVENTS)
    if not events:
        return
    if len(events) == _MOST_EVENTS and (lost := events[0].id - kept.upto - 1):
        kept.fail(f"{lost} events", f"more than {_MOST_EVENTS} came at once", now, count=lost)
    if old := sum(now - event.at >= TOO_LATE for event in events):
        kept.fail(
            f"{old} {'events' if old > 1 else 'event'}", "older than a day when somebody could tell", now, count=old
        )
    for message in _messages([event for event in events if now - event.at < TOO_LATE], _Records(store)):
        kept.add(message, now)
    kept.upto = events[-1].id


class _Records(dict[str, "Record | None"]):
    """The flags that events name, as they stand now; None for one that is not there, or cannot be read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __missing__(self, name: str) -> Record | None:
        row = self._store.get("flag", name)
        try:
            self[name] = None if row is None else record_of(row)
        except UnreadableError:
            self[name] = None
        return self[name]


def _messages(events: Iterable[Event], records: _Records) -> Iterator[Message]:
    """One for each event; what one apply changed for the same people is one, and so is a burst."""
    for to, group in _groups(events, records):
        flags = {event.name: record.flag for event in group if (record := records[event.name]) is not None}
        is_one = group[0].verb in (APPLY, PRUNE) or len(group) > _MOST_ALONE
        yield from (_message(part, flags, to) for part in ([group] if is_one else [[event] for event in group]))


def _message(events: Sequence[Event], flags: Mapping[str, Flag], to: tuple[str, ...]) -> Message:
    first = events[0]
    try:
        if first.verb in (APPLY, PRUNE):
            return edits_message(events, flags, to)
        if len(events) > 1:
            return burst_message(events, flags, to)
        return event_message(first, flags.get(first.name), to)
    except Exception:  # what a newer flaggate wrote: better said badly than not at all
        return Message(f"event {first.id}", to, f"{first.name}: {first.verb}", str(first), "info", first.at)


def _groups(events: Iterable[Event], records: _Records) -> Iterator[tuple[tuple[str, ...], list[Event]]]:
    """What one apply changed for the same people; and what one actor did to one flag after the other, for them too."""
    groups: dict[object, tuple[tuple[str, ...], list[Event]]] = {}
    run: object = None
    flags: set[str] = set()
    for event in events:
        if not (to := _recipients(event, records)):
            continue
        if event.verb in (APPLY, PRUNE):
            key: object = (event.actor, event.at, event.reason, to)
            run = None
        else:
            key = (event.verb, event.actor, to)
            if key != run or event.name in flags:  # what is done and undone is told in its order
                run, flags, begins = key, set(), event.id
            flags.add(event.name)
            key = begins
        groups.setdefault(key, (to, []))[1].append(event)
    return iter(groups.values())


def _recipients(event: Event, records: _Records) -> tuple[str, ...]:
    if event.kind != "segment":
        record = records[event.name]
        return told_of_event(event, None if record is None else record.flag)
    touched = [record for name in event.evidence.get("touches", ()) if (record := records[name]) is not None]
    found = (told_of_hold("edit", record.flag, record.rollout) for record in touched)
    return tuple(dict.fromkeys(who for to in found for who in to))


# --- holds ----------------------------------------------------------------------------------


def _add_holds(kept: Kept, looked: Sequence[Looked], now: datetime) -> None:
    told: dict[str, Seen] = {}
    for one in looked:
        if one.look.moved is not None:  # it stands somewhere else now
            continue
        rollout = one.record.rollout
        place = rollout.attempt, rollout.stage, rollout.revision
        known = kept.told.get(one.record.flag.name)
        seen = _still(known.at, now) if known is not None and known.place == place else {}
        held = _held(one)
        new = [key for key in held if key not in seen]
        for kind, keys in groupby(new, lambda key: key.partition(" ")[0]):
            verdicts = [verdict for key in keys if (verdict := held[key]) is not None]
            if to := told_of_hold(kind, one.record.flag, rollout):
                kept.add(hold_message(kind, one, verdicts, to, now), now)
        if seen := seen | dict.fromkeys(held, now):
            told[one.record.flag.name] = Seen(place, seen)
    kept.told = told


def _still(seen: Mapping[str, datetime], now: datetime) -> dict[str, datetime]:
    """What was seen not long ago. A clock that was turned back makes nothing new."""
    return {key: at for key, at in seen.items() if now - at < _QUIET}


def _held(one: Looked) -> dict[str, Verdict | None]:
    """What people are told of once: the kind, and of guards which one."""
    kinds = {hold.kind for hold in one.look.holds}
    held: dict[str, Verdict | None] = {}
    if HoldKind.APPROVAL in kinds and kinds <= _BESIDE_APPROVAL:
        held["approval"] = None
    judgement = one.judgement
    if judgement is not None and judgement.is_of(one.record.rollout):
        # What rolls back is an event.
        each = [(number, verdict) for number, verdict in enumerate(judgement.verdicts) if not verdict.rolls_back]
        held |= {f"blind {number}": verdict for number, verdict in each if verdict.is_blind}
        held |= {f"breach {number}": verdict for number, verdict in each if verdict.answer is Answer.BREACH}
    return held
