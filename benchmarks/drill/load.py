"""Steady load on a served app: so many requests a second, whatever comes back, each on a connection of its own."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from time import monotonic
from typing import Final, NamedTuple

from benchmarks.drill.plan import ROLLOUT
from tests import oracle

__all__ = ["Answer", "Failure", "Load"]

USERS: Final = 100
IN_MANCHESTER: Final = "81.2.69.142"
IN_LEEDS: Final = "90.203.17.5"
_PATIENCE_SECONDS: Final = 30.0
_THREADS: Final = 12


class Answer(NamedTuple):
    """What one request was answered."""

    sent: float
    """By monotonic(), as `got`."""
    got: float
    number: int
    pid: int
    revision: int
    is_on: bool
    arm: str | None
    switch: bool
    local: bool

    def is_as_planned(self) -> bool:
        """Whether the rollout, at half of all users, answered as its bucket says."""
        is_on = oracle.bucket(ROLLOUT, user(self.number)) < 50_000
        return (self.is_on, self.arm) == (is_on, "treatment" if is_on else "control")


class Failure(NamedTuple):
    """A request that was not answered with 200."""

    sent: float
    got: float
    words: str


def user(number: int) -> str:
    """Who sends the request of this number."""
    return f"user-{number % USERS}"


def is_in_manchester(number: int) -> bool:
    """Whether the request of this number comes from there."""
    return number % 2 == 0


class Load:
    """So many requests a second at most, from `begin` to `end`.

    Args:
        port: Of the server, on the loopback.
        per_second: Who asks waits for its turn; where the server does not keep up it is less, and `rate` says so.
    """

    def __init__(self, port: int, per_second: float) -> None:
        self._port = port
        self._per_second = per_second
        self._lock = threading.Lock()
        self._next = 0
        self._is_over = threading.Event()
        self._begun = self._ended = monotonic()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(_THREADS)]
        self.answers: list[Answer] = []
        self.failures: list[Failure] = []

    def begin(self) -> None:
        self._begun = self._ended = monotonic()
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """No more requests; those under way are waited for."""
        self._is_over.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        if self._ended == self._begun:
            self._ended = monotonic()

    @property
    def rate(self) -> float:
        """How many were sent a second, once it has ended."""
        return (len(self.answers) + len(self.failures)) / (self._ended - self._begun)

    def slowest(self) -> float:
        """How many seconds the slowest answer took."""
        return max((answer.got - answer.sent for answer in self.answers), default=0.0)

    def sent(self, answers: Iterable[Answer] | None = None) -> Counter[str]:
        """How many were answered, by arm, as a store counts them."""
        sums = Counter[str]()
        for answer in self.answers if answers is None else answers:
            sums["on" if answer.is_on else "off"] += 1
            if answer.arm is not None:
                sums[answer.arm] += 1
        return sums

    def _run(self) -> None:
        while not self._is_over.is_set():
            with self._lock:
                number, self._next = self._next, self._next + 1
            if self._is_over.wait(max(0.0, self._begun + number / self._per_second - monotonic())):
                return
            self._ask(number)

    def _ask(self, number: int) -> None:
        sent = monotonic()
        place = IN_MANCHESTER if is_in_manchester(number) else IN_LEEDS
        try:
            with closing(HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE_SECONDS)) as connection:
                connection.request("GET", "/", headers={"X-User": user(number), "X-Forwarded-For": place})
                response = connection.getresponse()
                body = response.read()
            if response.status != 200:
                raise HTTPException(f"status {response.status}")
            self.answers.append(Answer(sent, monotonic(), number, **json.loads(body)))
        except (OSError, HTTPException, ValueError) as error:
            self.failures.append(Failure(sent, monotonic(), repr(error)))
