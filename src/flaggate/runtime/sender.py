"""The threads that send messages, so that nobody waits for a service.

One service is asked for one thing at a time, in order, and never again while it still hangs: so there are never more
threads than services. They are daemons, and there only while there is something to send.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from flaggate.errors import SettingError

if TYPE_CHECKING:
    from flaggate.runtime.apprise import Service
    from flaggate.runtime.notice_words import Message

__all__ = ["LIMIT_SECONDS", "UNANSWERED", "Result", "Sender"]

LIMIT_SECONDS: Final = 30.0
"""How long one service may take for one message. Apprise's limits are of each read by itself."""
UNANSWERED: Final = "it was asked, and did not answer in time"
_STILL_HANGS: Final = "still does not answer what it was asked before"
_NO_TAG: Final = re.compile(r"[\[\];,\s]")
"""Where Apprise ends a tag."""
_MOST_AT_ONCE: Final = 8
"""So many services are asked at once, beside those that hang."""

What: TypeAlias = Literal["delivered", "failed", "unanswered", "missing", "unread", "over"]


class Result(NamedTuple):
    """Something that became of a message."""

    id: str
    what: What
    """Delivered to a service, or failed there; unanswered: failed, but it may have heard it; a recipient that no service
    is tagged with is missing; unread: the configuration could not be; over: nothing more comes of this try, and `why`
    says whether any of it failed."""
    about: str = ""
    """The service or the recipient."""
    why: str = ""
    key: str = ""
    """Of the service."""


class _Job(NamedTuple):
    message: Message
    service: Service


@dataclass(slots=True)
class _Turn:
    """What a service is asked for just now."""

    job: _Job
    began: float
    is_late: bool = False
    """Whether it was said to have failed, because it took too long."""


class Sender:
    """Sends by the services of one Apprise configuration, which it reads when there is something to send.

    Args:
        config: The file; it is read again when it has changed.
        say: Tells an operator.
    """

    def __init__(self, config: Path, say: Callable[[str], None], *, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._config = config
        self._say = say
        self._limit_seconds = limit_seconds
        self._changed = threading.Condition()
        self._until = 0.0
        """Nothing is begun after this: by then another process may have been given the right to."""
        self._salt = ""
        self._inbox: deque[tuple[Message, frozenset[str]]] = deque()
        self._is_dealing = False
        self._workers = 0
        self._jobs: dict[str, deque[_Job]] = {}
        self._turns: dict[str, _Turn] = {}
        self._open: dict[str, set[str]] = {}
        """For each message the services that it is still to be, or being, sent by."""
        self._failed: set[str] = set()
        self._dropped: set[str] = set()
        """Of those that are open: what was not begun of them will not be."""
        self._under_way: set[str] = set()
        """The messages of which a result is to come, or was not taken over yet."""
        self._log: list[Result] = []
        self._reading = threading.Lock()
        self._read: tuple[object, tuple[Service, ...]] | None = None

    # --- for the keeper ---------------------------------------------------------------------

    def take(self, messages: Iterable[tuple[Message, frozenset[str]]], seconds: float, *, salt: str = "") -> None:
        """Send these by whatever services reach their recipients, but not by those whose keys are beside them, which have
        done. Waits for nothing. What is under way already goes on; nothing is begun once so many seconds are over.

        Args:
            salt: Of the services' keys.
        """
        with self._changed:
            self._salt = salt
            self._until = monotonic() + seconds
            for message, done in messages:
                if message.id not in self._under_way:
                    self._under_way.add(message.id)
                    self._inbox.append((message, done))
            if self._inbox and not self._is_dealing:
                self._is_dealing = self._starts(self._deal, "flaggate-notices")
                if not self._is_dealing:
                    self._forget_inbox()
            self._start_workers()

    def under_way(self) -> frozenset[str]:
        """The messages of which results are to come, or to be taken over."""
        with self._changed:
            return frozenset(self._under_way)

    def results(self) -> tuple[Result, ...]:
        """All that were not taken over yet, in order."""
        with self._changed:
            self._look_for_hangs()
            return tuple(self._log)

    def taken_over(self, count: int) -> None:
        """The first of the results are kept now."""
        with self._changed:
            for result in self._log[:count]:
                if result.what == "over":
                    self._under_way.discard(result.id)
            del self._log[:count]

    def wait(self, seconds: float) -> None:
        """Until nothing is being sent, but not longer."""
        deadline = monotonic() + seconds
        with self._changed:
            while (self._inbox or self._is_dealing or self._open) and (left := deadline - monotonic()) > 0:
                self._changed.wait(min([left, *self._limits()]))
                self._look_for_hangs()

    def before_fork(self) -> bool:
        """Have nothing half imported, if possible; not for ever. Returns whether `after_fork` is to be called."""
        return self._reading.acquire(timeout=1.0)

    def after_fork(self) -> None:
        """In the parent. A child makes a sender of its own: the threads of this one are not there."""
        self._reading.release()

    # --- the threads ------------------------------------------------------------------------

    def _starts(self, run: Callable[[], None], name: str) -> bool:
        try:
            threading.Thread(target=run, name=name, daemon=True).start()
        except RuntimeError:  # too many threads, or the interpreter ends: whoever looks next tries again
            return False
        return True

    def _forget_inbox(self) -> None:
        self._under_way.difference_update(message.id for message, _ in self._inbox)
        self._inbox.clear()

    def _deal(self) -> None:
        """Find the services of each message."""
        while True:
            with self._changed:
                if not self._inbox:
                    self._is_dealing = False
                    self._changed.notify_all()
                    return
                message, done = self._inbox.popleft()
            try:
                services, problem = self._services(), ""
            except Exception as error:  # supervised: a file that is wrong, or a plugin of Apprise
                services, problem = (), str(error) if isinstance(error, SettingError) else type(error).__name__
            with self._changed:
                if problem:
                    self._log += [Result(message.id, "unread", why=problem), Result(message.id, "over", why=problem)]
                else:
                    self._deal_out(message, services, done)
                self._start_workers()

    def _services(self) -> Sequence[Service]:
        """Raises SettingError."""
        with self._reading:
            from flaggate.runtime.apprise import load  # 0.3 s, and what it imports then another second

            salt = self._salt
            state = _state(self._config), salt
            if self._read is None or self._read[0] != state:
                loaded = load(self._config, salt)
                self._read = state, loaded.services
                if loaded.refused is not None:
                    self._say(f"{self._config}: {loaded.refused}; whoever is behind that is not told")
            return self._read[1]

    def _deal_out(self, message: Message, services: Sequence[Service], done: frozenset[str]) -> None:
        found: dict[str, Service] = {}
        for recipient in message.to:
            reached = [service for service in services if service.reaches(recipient)]
            found |= {service.key: service for service in reached}
            if not reached:
                why = f"no service in {self._config.name} has the tag {recipient}{_why_none(recipient)}"
                self._log.append(Result(message.id, "missing", recipient, why))
        left = {key: service for key, service in found.items() if key not in done}
        self._open[message.id] = set(left)
        for key, service in left.items():
            turn = self._turns.get(key)
            if turn is not None and turn.is_late:
                self._answered(message.id, service, _STILL_HANGS)
            else:
                self._jobs.setdefault(key, deque()).append(_Job(message, service))
        self._close_if_over(message.id)

    def _start_workers(self) -> None:
        waiting = sum(bool(jobs) and key not in self._turns for key, jobs in self._jobs.items())
        for _ in range(min(waiting, _MOST_AT_ONCE - self._workers)):
            self._workers += self._starts(self._work, "flaggate-notice")

    def _work(self) -> None:
        while (job := self._next()) is not None:
            why = job.service.send(job.message.title, job.message.body, job.message.urgency)
            with self._changed:
                turn = self._turns.pop(job.service.key)
                if not turn.is_late:
                    self._answered(job.message.id, job.service, why)
                    self._close_if_over(job.message.id)
                    if why == UNANSWERED:
                        self._fail_behind(job.service.key, _STILL_HANGS)
                    continue
                if why is None or why == UNANSWERED:  # after all: nobody is to be told twice
                    self._log.append(_result(job.message.id, job.service, why))
                return  # another took its place

    def _next(self) -> _Job | None:
        with self._changed:
            if monotonic() > self._until:
                self._drop_jobs()
            for key, jobs in self._jobs.items():
                if jobs and key not in self._turns:
                    job = jobs.popleft()
                    self._turns[key] = _Turn(job, monotonic())
                    return job
            self._workers -= 1  # whoever asked ends
            self._changed.notify_all()
        return None

    def _drop_jobs(self) -> None:
        """What was not begun is left to whoever has the right to now."""
        for key, jobs in self._jobs.items():
            for job in jobs:
                self._dropped.add(job.message.id)
                self._open[job.message.id].discard(key)
                self._close_if_over(job.message.id)
            jobs.clear()

    def _limits(self) -> list[float]:
        """How long those that are being sent may still take."""
        over = monotonic() - self._limit_seconds
        return [max(0.0, turn.began - over) for turn in self._turns.values() if not turn.is_late]

    def _look_for_hangs(self) -> None:
        over = monotonic() - self._limit_seconds
        for key, turn in self._turns.items():
            if turn.is_late or turn.began > over:
                continue
            turn.is_late = True
            self._workers -= 1
            self._jobs.setdefault(key, deque()).appendleft(turn.job)
            self._fail_behind(key, f"has not answered for {self._limit_seconds:.0f} s")
        self._start_workers()

    def _fail_behind(self, key: str, why: str) -> None:
        """All that waits for a service that hangs: each would take as long."""
        jobs = [*self._jobs.get(key, ())]
        self._jobs.pop(key, None)
        for job in jobs:
            self._answered(job.message.id, job.service, why)
            self._close_if_over(job.message.id)

    def _answered(self, message: str, service: Service, why: str | None) -> None:
        if why is not None:
            self._failed.add(message)
        self._log.append(_result(message, service, why))
        self._open[message].discard(service.key)

    def _close_if_over(self, message: str) -> None:
        if self._open[message]:
            return
        del self._open[message]
        if message in self._dropped:
            self._under_way.discard(message)
        else:
            self._log.append(Result(message, "over", why="failed" if message in self._failed else ""))
        self._failed.discard(message)
        self._dropped.discard(message)
        self._changed.notify_all()


def _result(message: str, service: Service, why: str | None) -> Result:
    what: What = "delivered" if why is None else "unanswered" if why == UNANSWERED else "failed"
    return Result(message, what, service.name, why or "", service.key)


def _why_none(recipient: str) -> str:
    """What whoever looks into the file would not find out there."""
    is_split = _NO_TAG.search(recipient) is not None
    return ", nor can it: Apprise ends a tag at a space, comma, semicolon or bracket" if is_split else ""


def _state(path: Path) -> object:
    """What changes when the file does; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
