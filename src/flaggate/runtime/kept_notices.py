"""What is kept of notices beside the rollouts: how far events were told, and who is still to be told what. Pure.

Bounded in every part: a service that is down for a day fills no disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from flaggate.flags.words import moment_words
from flaggate.runtime.notice_words import URGENCIES, Message, plain
from flaggate.runtime.sender import Result

__all__ = ["TOO_LATE", "Kept", "Pending", "Seen", "kept_from_json", "notices_words"]

TOO_LATE: Final = timedelta(hours=24)
"""What was not told by then is not told any more."""
_FIRST_PAUSE: Final = timedelta(seconds=10)
_LONGEST_PAUSE: Final = timedelta(minutes=10)
_MOST_PENDING: Final = 200
_MOST_UNANSWERED: Final = 5
"""A service that was asked so often for one message, and never answered, has perhaps heard it each time."""
_LAST_FAILURES: Final = 5
_MOST_NAMED: Final = 10


@dataclass(slots=True)
class Pending:
    """A message that did not reach everybody yet."""

    message: Message
    done: frozenset[str] = frozenset()
    """The keys of the services that have delivered it, or were asked often enough."""
    unanswered: dict[str, int] = field(default_factory=dict)
    """How often a service was asked and did not answer, by its key."""
    tries: int = 0
    next_at: datetime | None = None
    """When it is tried again; None = it was not tried yet."""
    why: str = ""
    """Why it did not reach everybody, the last time."""

    def is_due(self, now: datetime) -> bool:
        """Whether it is to be tried now. A clock that was turned back puts nothing off."""
        return self.next_at is None or not now < self.next_at <= now + _LONGEST_PAUSE

    def put_off(self, now: datetime) -> None:
        """After a try that failed."""
        self.next_at = now + min(_FIRST_PAUSE * 2 ** min(self.tries, 10), _LONGEST_PAUSE)
        self.tries += 1


@dataclass(frozen=True, slots=True)
class Seen:
    """What people were told of that holds a flag's rollout, or is feared for it, and that is so still."""

    place: tuple[int, int, int]
    """Attempt, stage and revision."""
    at: Mapping[str, datetime]
    """When each was seen last."""


@dataclass(slots=True)
class Kept:
    """Of one store."""

    upto: int
    """The id of the last event that was looked at."""
    since: int | None = None
    """The last event before anybody told: people are told of those after it. None = not known any more."""
    pending: dict[str, Pending] = field(default_factory=dict)
    """By message, oldest first."""
    told: dict[str, Seen] = field(default_factory=dict)
    """By flag."""
    failures: int = 0
    """How often somebody was not told for good."""
    last: list[dict[str, str]] = field(default_factory=list)
    """The last few of them, with the reason."""

    def add(self, message: Message, now: datetime) -> None:
        """Have it sent."""
        self.pending[message.id] = Pending(message)
        while len(self.pending) > _MOST_PENDING:
            least = min(
                self.pending, key=lambda id: URGENCIES.index(self.pending[id].message.urgency)
            )  # the oldest of them
            self.fail(self.pending.pop(least).message.title, f"more than {_MOST_PENDING} messages wait", now)

    def fail(self, what: str, why: str, now: datetime, *, count: int = 1) -> None:
        """Count what somebody was not told."""
        self.failures += count
        self.last = [*self.last, {"at": now.isoformat(), "what": plain(what), "why": plain(why)}][-_LAST_FAILURES:]

    def merge(self, results: Iterable[Result], now: datetime) -> None:
        """Take over what came of messages. Of those that somebody else has done with meanwhile nothing is said."""
        for result in results:
            if (pending := self.pending.get(result.id)) is not None:
                _RESULTS[result.what](self, pending, result, now)

    def due(self, now: datetime, under_way: frozenset[str]) -> list[tuple[Message, frozenset[str]]]:
        """The messages that are to be sent now, each with the services that have done."""
        return [
            (pending.message, pending.done)
            for name, pending in self.pending.items()
            if name not in under_way and pending.is_due(now)
        ]

    def to_json(self) -> dict[str, Any]:
        """In JSON's types."""
        return {
            "upto": self.upto,
            "since": self.since,
            "pending": [_pending_to_json(pending) for pending in self.pending.values()],
            "told": {name: _seen_to_json(seen) for name, seen in self.told.items()},
            "failures": self.failures,
            "last": self.last,
        }


def _delivered(_kept: Kept, pending: Pending, result: Result, _now: datetime) -> None:
    pending.done |= {result.key}


def _failed(_kept: Kept, pending: Pending, result: Result, _now: datetime) -> None:
    pending.why = plain(f"{result.about} {result.why}")


def _unanswered(kept: Kept, pending: Pending, result: Result, now: datetime) -> None:
    _failed(kept, pending, result, now)
    count = pending.unanswered[result.key] = pending.unanswered.get(result.key, 0) + 1
    if count >= _MOST_UNANSWERED and result.key not in pending.done:
        pending.done |= {result.key}
        kept.fail(pending.message.title, f"{pending.why}, {count} times; whether it was told nobody knows", now)


def _unread(_kept: Kept, pending: Pending, result: Result, _now: datetime) -> None:
    pending.why = plain(result.why)


def _missing(kept: Kept, pending: Pending, result: Result, now: datetime) -> None:
    if result.about in pending.message.to:
        to = tuple(who for who in pending.message.to if who != result.about)
        pending.message = replace(pending.message, to=to)
        kept.fail(pending.message.title, result.why, now)


def _over(kept: Kept, pending: Pending, result: Result, now: datetime) -> None:
    if not result.why:
        del kept.pending[result.id]
    elif now - pending.message.at >= TOO_LATE:
        del kept.pending[result.id]
        kept.fail(pending.message.title, f"{pending.why}, for {pending.tries + 1} tries", now)
    else:
        pending.put_off(now)


_RESULTS: Final[Mapping[str, Callable[[Kept, Pending, Result, datetime], None]]] = {
    "delivered": _delivered,
    "failed": _failed,
    "unanswered": _unanswered,
    "unread": _unread,
    "missing": _missing,
    "over": _over,
}


def _seen_to_json(seen: Seen) -> dict[str, Any]:
    return {"place": list(seen.place), "at": {key: at.isoformat() for key, at in seen.at.items()}}


def _seen_from_json(written: Mapping[str, Any]) -> Seen:
    attempt, stage, revision = written["place"]
    return Seen((attempt, stage, revision), {key: datetime.fromisoformat(at) for key, at in written["at"].items()})


def _pending_to_json(pending: Pending) -> dict[str, Any]:
    message = asdict(pending.message) | {"to": list(pending.message.to), "at": pending.message.at.isoformat()}
    next_at = None if pending.next_at is None else pending.next_at.isoformat()
    rest = {"tries": pending.tries, "next_at": next_at, "why": pending.why}
    return {"message": message, "done": sorted(pending.done), "unanswered": pending.unanswered} | rest


def _pending_from_json(written: Mapping[str, Any]) -> Pending:
    message = written["message"]
    known = {name: message[name] for name in Message.__slots__}
    times = {"to": tuple(message["to"]), "at": datetime.fromisoformat(message["at"])}
    next_at = None if written["next_at"] is None else datetime.fromisoformat(written["next_at"])
    unanswered = {key: int(count) for key, count in written.get("unanswered", {}).items()}  # an older one's has none
    done = frozenset(written["done"])  # an older one's has names: whoever is behind them is told once more
    return Pending(Message(**known | times), done, unanswered, written["tries"], next_at, written["why"])


def kept_from_json(written: Mapping[str, Any] | None) -> Kept | None:
    """The opposite of `to_json`. None for nothing, and for what cannot be read."""
    try:
        assert written is not None
        pending = [_pending_from_json(one) for one in written["pending"]]
        told = {name: _seen_from_json(one) for name, one in written["told"].items()}
        by_id = {one.message.id: one for one in pending}
        since = written.get("since")  # an older one's has none
        last = [dict(one) for one in written["last"]]
        return Kept(
            int(written["upto"]), None if since is None else int(since), by_id, told, int(written["failures"]), last
        )
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError):
        return None


def notices_words(
    written: Mapping[str, Any] | None, newest: int | None = None, *, is_told: bool = False
) -> Iterator[str]:
    """For people who look: whether anybody is told, what waits, and what failed.

    Args:
        is_told: Whether the process that looks now tells people.
        written: What is kept under NOTICES.
        newest: The id of the last event of all; None = not asked.
    """
    kept = kept_from_json(written)
    if kept is None:
        yield "nobody is told anything: no process with notify= has looked yet"
        return
    is_behind = newest is not None and newest > kept.upto
    if is_behind:
        then = "the next look tells them" if is_told else "for that a process with notify= has to look"
        yield f"events since {kept.upto} are still to be told: {then}"
    waiting = [pending for pending in kept.pending.values() if pending.why]
    for pending in waiting[:_LAST_FAILURES]:
        tries = f"{pending.tries} tries" if pending.tries > 1 else "1 try"
        yield f"{pending.message.title}: not told to everybody yet, after {tries}: {pending.why}"
    shown = [pending.message.id for pending in waiting[:_LAST_FAILURES]]
    if more := [pending.message for id, pending in kept.pending.items() if id not in shown]:
        yield f"{len(more)} {'messages wait' if len(more) > 1 else 'message waits'} to be sent, to {_names(more)}"
    if kept.failures:
        yield f"{kept.failures} {'times' if kept.failures > 1 else 'time'} somebody was not told; the last:"
        for one in reversed(kept.last):
            yield f"{moment_words(datetime.fromisoformat(one['at']))} {one['what']}: {one['why']}"
    if not kept.pending and not kept.failures and not is_behind:
        yield _all_told(kept)


def _names(messages: Iterable[Message]) -> str:
    to = [*dict.fromkeys(who for message in messages for who in message.to)]
    more = f" and {len(to) - _MOST_NAMED} more" if len(to) > _MOST_NAMED else ""
    return plain(", ".join(to[:_MOST_NAMED])) + more


def _all_told(kept: Kept) -> str:
    told = f"everybody was told, up to event {kept.upto}"
    if not kept.since:
        return told
    first = kept.since + 1
    is_new = kept.upto == kept.since
    return (
        f"people are told from event {first} on; none came yet"
        if is_new
        else f"{told}; of nothing before event {first}"
    )
