"""The demo's way through the plan: what is done to the flag, what people are served then, and what was counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Final, NamedTuple, TypeAlias, TypeVar

from flaggate.cli.demo.people import Person, arm_of, should_have_it
from flaggate.cli.demo.server import AppServer, Browser
from flaggate.decide.context import Context
from flaggate.decide.explain import explain
from flaggate.errors import FlaggateError
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores.base import Arm
from flaggate.stores.record import read_flag

__all__ = ["BROKEN", "COUNTED_SECONDS", "FALL_SECONDS", "FLAG", "OWNER", "Requests", "Row", "Walk", "Where"]

FLAG: Final = "new-invoicing"
BROKEN: Final = "broken"
OWNER: Final = "release-owner@example.com"
FALL_SECONDS: Final = 60.0
"""How long a feature that fails may last."""
COUNTED_SECONDS: Final = 15.0
"""How long the processes may take to hand over what they counted; they do so every two seconds."""
_LOOK_AGAIN_SECONDS: Final = 0.005
"""People who look while a page fails leave its process room to see that it does."""

_Found = TypeVar("_Found")


class Where(NamedTuple):
    """Where a request belongs that asked the flag."""

    attempt: int
    stage: int
    arm: Arm


Requests: TypeAlias = Counter[Where]


@dataclass(slots=True)
class Row:
    """What was seen at one point of the plan."""

    name: str
    attempt: int
    stage: int
    should: list[bool]
    has: list[list[bool]]
    """One list for each process, in the order of the people: whether they were served the new page."""

    def is_right(self) -> bool:
        return all(answers == self.should for answers in self.has)


@dataclass(slots=True)
class Walk:
    """A rollout on its way, and who looks at it."""

    people: Sequence[Person]
    control: Control
    servers: Sequence[AppServer]
    threads: ThreadPoolExecutor
    """One for each server."""
    heard: Sequence[tuple[str, str]]
    """What the owner was told: titles and texts."""
    broken: Path
    """While this file is there the overhauled page fails for whoever's invoices are in euros."""
    cookies: list[str] = field(default_factory=list)
    """In the order of the people."""
    rows: list[Row] = field(default_factory=list)
    kill_seconds: list[float] = field(default_factory=list)
    """From the call of kill to the first old page of each process."""
    fall_seconds: float = 0.0
    """From the first look at the page that fails to the last process that said that it was rolled back."""
    failed: int = 0
    """How many pages failed until then."""
    sent: Requests = field(default_factory=Counter)
    counted: Requests = field(default_factory=Counter)

    def sign_in(self) -> None:
        """Sign everybody in: half of them here, half of them there. Their cookies are good for both."""

        def sign_in_part(server: AppServer) -> dict[int, str]:
            first = self.servers.index(server)
            with Browser(server) as browser:
                return {
                    number: browser.sign_in(self.people[number].user)
                    for number in range(first, len(self.people), len(self.servers))
                }

        cookies = {number: cookie for part in self._of_each(sign_in_part) for number, cookie in part.items()}
        self.cookies = [cookies[number] for number in range(len(self.people))]

    def act(self, verb: Verb, reason: str | None = None) -> None:
        self.control.act(verb, FLAG, actor=OWNER, reason=reason)

    def look(self, name: str, stage: int) -> Row:
        """Send everybody's request to every process, once it serves what the store holds."""
        revision = self.control.store.revision()
        rollout = read_flag(self.control.store, FLAG).rollout

        def served(server: AppServer) -> list[bool]:
            server.await_revision(revision)
            with Browser(server) as browser:
                return [self._is_served_new(browser, number) for number in range(len(self.people))]

        should = [should_have_it(person, stage) for person in self.people]
        row = Row(name, rollout.attempt, rollout.stage, should, self._of_each(served))
        for answers in row.has:
            for person, is_new in zip(self.people, answers, strict=True):
                self._note(row, is_new, arm_of(person, stage))
        self.rows.append(row)
        return row

    def kill(self) -> None:
        """Kill it while somebody who has it looks at both processes, again and again."""
        before = self.rows[-1]
        watched = before.should.index(True)

        def watch(server: AppServer) -> tuple[int, float]:
            new_pages = 0
            with Browser(server) as browser:
                while self._is_served_new(browser, watched):
                    new_pages += 1
            return new_pages, perf_counter()

        watches = [self.threads.submit(watch, server) for server in self.servers]
        called = perf_counter()
        self.act(Verb.KILL)
        for new_pages, ended in [each.result() for each in watches]:
            self.kill_seconds.append(ended - called)
            for _ in range(new_pages):
                self._note(before, True, arm_of(self.people[watched], before.stage))
            self._note(before, False, None)

    def browse_until_rolled_back(self) -> None:
        """Everybody looks at both processes, again and again, until each of them says that it was rolled back."""
        before, begun = self.rows[-1], perf_counter()

        def browse(server: AppServer) -> tuple[Requests, int]:
            found, failed = Counter[Where](), 0
            with Browser(server) as browser:
                while perf_counter() - begun < FALL_SECONDS:
                    for number, person in enumerate(self.people):
                        page = browser.visit(self.cookies[number], person.address)
                        # From then on nobody has an arm.
                        arm = None if page.is_rolled_back else arm_of(person, before.stage)
                        found.update(_places(before, page.is_new, arm))
                        failed += page.is_failed
                        if page.is_rolled_back:
                            return found, failed
                        sleep(_LOOK_AGAIN_SECONDS)
            raise FlaggateError(f"the demo's feature fails, and was not rolled back within {FALL_SECONDS:g} s")

        for found, failed in self._of_each(browse):
            self.sent.update(found)
            self.failed += failed
        self.fall_seconds = perf_counter() - begun

    def count(self) -> None:
        """Wait until the store holds as many requests as were sent."""
        deadline = monotonic() + COUNTED_SECONDS
        while True:
            counts = self.control.store.counts(FLAG)
            self.counted = Counter({Where(each.attempt, each.stage, each.arm): each.requests for each in counts})
            if self.counted == self.sent or monotonic() > deadline:
                return
            sleep(0.02)

    def pages(self) -> int:
        """How many pages were held against the plan."""
        return sum(len(answers) for row in self.rows for answers in row.has)

    def is_right(self) -> bool:
        return all(row.is_right() for row in self.rows) and self.counted == self.sent

    def why(self, row: Row, before: Sequence[bool]) -> str:
        """The end of the trace for the first one who is new at this point."""
        index = next(i for i, (now, was) in enumerate(zip(row.should, before, strict=True)) if now and not was)
        person = self.people[index]
        record = read_flag(self.control.store, FLAG)
        words = explain(record.flag, record.rollout, Context(**person.context()), {}).steps[-1]
        return f"{person.name()} ({words})"

    def _is_served_new(self, browser: Browser, number: int) -> bool:
        return browser.is_served_the_new_page(self.cookies[number], self.people[number].address)

    def _note(self, row: Row, is_new: bool, arm: Arm | None) -> None:
        """A request was sent, and this is how it should be counted."""
        self.sent.update(_places(row, is_new, arm))

    def _of_each(self, ask: Callable[[AppServer], _Found]) -> list[_Found]:
        """What each server has to say, asked at the same time."""
        return list(self.threads.map(ask, self.servers))


def _places(row: Row, is_new: bool, arm: Arm | None) -> list[Where]:
    """Under what a request is counted."""
    arms: list[Arm] = ["on" if is_new else "off", *([] if arm is None else [arm])]
    return [Where(row.attempt, row.stage, each) for each in arms]
