"""A rollout with guards of every kind, and visits of made-up people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from flaggate import Context, Gate
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores.base import Store
from tests.runtime.scenes import OWNER

__all__ = ["PLAN", "WHOLE", "Clock", "begin", "visit", "visits"]

PLAN = """
[flags.checkout]
description = "A new checkout"
owner = "owner@example.com"
stages = [
    { name = "half", share = 50, soak = "1h" },
    { name = "everyone" },
]
guards = [
    { metric = "errors", limit = "2%" },
    { metric = "errors", vs_control = 1.5 },
    { metric = "slow", slower_than = "400ms", limit = "5%" },
    { metric = "slow", vs_control = 1.2, on_breach = "hold" },
    { metric = "checkout_failed", limit = "2%", on_breach = "warn" },
    { metric = "checkout_done", at_least = "10%", observe = true },
]
"""


WHOLE = "\n".join(line for line in PLAN.replace("share = 50, soak", "soak").splitlines() if "vs_control" not in line)
"""The same for everyone at once: nobody is in control."""


class Clock:
    """A made-up one."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def unix(self) -> float:
        return self.now.timestamp()

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def begin(store: Store, plan: str = PLAN, now: Callable[[], datetime] | None = None) -> Control:
    """The rollout runs, in its first stage."""
    control = Control(store) if now is None else Control(store, now=now)
    control.apply(parse(plan), actor=OWNER)
    control.act(Verb.START, "checkout", actor=OWNER)
    return control


def visit(gate: Gate, user: str | None, *, fails: bool = False, measures: Iterable[str] = ()) -> bool:
    """One visit. Returns whether it had the feature."""
    with gate.visit(Context(user)) as made:
        is_on = made.is_on("checkout")
        for name in measures:
            made.measure(name)
        if fails:
            made.fail()
    return is_on


def visits(gate: Gate, users: Iterable[int], *, fail: Callable[[int, bool], bool] = lambda _user, _on: False) -> None:
    """One visit of each; those fail of whom it says so."""
    for number in users:
        with gate.visit(Context(f"u{number}")) as made:
            if fail(number, made.is_on("checkout")):
                made.fail()
