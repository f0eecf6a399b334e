"""One request or job from start to end: it holds the context and the snapshot, keeps the answers, and is counted."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from contextvars import Token
from time import perf_counter
from typing import TYPE_CHECKING, Any

from flaggate.decide.context import NOBODY, Context
from flaggate.decide.decision import Decision

if TYPE_CHECKING:
    from types import TracebackType

    from flaggate.runtime.gate import Gate
    from flaggate.runtime.snapshot import Snapshot

__all__ = ["Visit"]


class Visit:
    """What `Gate.visit` returns; a context manager, in sync and in async code.

    All answers come from the snapshot of its start, and each flag is decided once: a change that
    arrives meanwhile is seen by the next visit. An exception that leaves it counts as a failure of
    the flags that were asked.
    """

    snapshot: Snapshot
    """What it answers from."""
    begun: float
    """When it was entered, by perf_counter()."""
    is_ended = False
    """From then on, in a task that outlives its request, each question is answered as things stand."""
    is_counted = False
    """Whether its answers are among the counts: once, however often it is entered."""
    _answers: dict[str, Decision]
    """To the flags that were asked."""
    # Defaults of the class: most visits need none of these, and pay nothing for them.
    _seen: dict[str, Decision] | None = None
    """Answers that were only listed: they stay what they are, and are not counted."""
    _earlier: dict[str, Decision] | None = None
    """Answers from before `identify`, to flags that read what it changed."""
    _differs: set[str] | None = None
    """Flags that answered differently in the course of the visit: they are not counted."""
    _tokens: list[Token[Visit | None]] | None = None
    is_failed = False
    """Whether the app said that it failed."""
    measured: frozenset[str] = frozenset()
    """What the app measured in it, by name."""

    def __init__(self, gate: Gate, snapshot: Snapshot, context: Context | None) -> None:
        self._gate = gate
        self.snapshot = snapshot
        self._context = context
        self._answers = {}

    @property
    def context(self) -> Context:
        """Who asks; replaced by `identify`."""
        assert self._context is not None  # subclasses make theirs when it is asked for
        return self._context

    def __enter__(self) -> Visit:
        if self._tokens is None:
            self._tokens = []
            self.begun = perf_counter()
        self.is_ended = False
        self._tokens.append(self._gate.current.set(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._tokens  # __enter__ came before
        # A generator may end in another context than it began in (a thread pool, a loop that closes):
        # that one went away with the value in it.
        with suppress(ValueError):
            self._gate.current.reset(self._tokens.pop())
        self.is_ended = not self._tokens
        if self.is_ended and (self._answers or self._earlier):
            # An exit, an interrupt or a cancellation is no failure.
            is_error = self.is_failed or (kind is not None and issubclass(kind, Exception))
            self._gate.meter.count(self, is_error, (perf_counter() - self.begun) * 1000)

    def is_on(self, name: str) -> bool:
        """Whether the flag is on in this visit."""
        try:
            decision = self._answers.get(name)  # as `decide` does, without a call in between
        except TypeError:
            return self.decide(name).is_on
        if decision is None or self.is_ended:
            decision = self._ask(name)
        return decision.is_on

    def __getitem__(self, name: str) -> bool:
        return self.decide(name).is_on

    def decide(self, name: str) -> Decision:
        """The decision of this visit."""
        try:
            decision = self._answers.get(name)
        except TypeError:  # no name at all
            return self._gate.decided(self.snapshot, name, NOBODY)
        if decision is None or self.is_ended:
            return self._ask(name)
        return decision

    def look(self, name: str) -> Decision:
        """The decision of this visit, for a list or an explanation: it does not count as asking."""
        known = self._answers.get(name)
        if known is None:
            if self._seen is None:
                self._seen = {}
            known = self._seen.get(name)
            if known is None:
                known = self._seen[name] = self._decided(name, self.snapshot)
        return known

    def fail(self) -> None:
        """The app knows that this failed, whatever its status says: an error of the flags that are asked in it."""
        self.is_failed = True

    def measure(self, name: str) -> None:
        """Count something that a guard names as its metric; once, however often it is said."""
        self.measured = self.measured | {name}

    def unit_key(self, unit: str) -> str | None:
        """The key of the unit as far as it is known: nothing is looked up for what is only counted."""
        return None if self._context is None else self._context.peek(unit)

    def asked(self) -> Collection[Decision]:
        """The answers to be counted."""
        if self._earlier is None:
            return list(self._answers.values())  # a copy: one that hangs may ask on while the keeper counts it
        answers = self._earlier | self._answers
        return [decision for name, decision in answers.items() if name not in (self._differs or ())]

    def identify(self, **changes: Any) -> None:
        """The app learned who it is (`user=...`, `groups=...`): flags that read what changed are decided again.

        Takes the words of `Context`; the snapshot stays.
        """
        old = self.context
        self._context = old.replace(**changes)
        self._forget(_changed(old, self._context, changes))

    def _ask(self, name: str) -> Decision:
        """The first time that the flag is asked, or again since it was forgotten."""
        if self.is_ended:
            return self._decided(name, self._gate.begun())
        decision = self._seen.pop(name, None) if self._seen else None
        if decision is None:
            decision = self._decided(name, self.snapshot)
        earlier = self._earlier.get(name) if self._earlier else None
        if earlier is not None and (earlier.is_on, earlier.arm) != (decision.is_on, decision.arm):
            self._differs = {name}.union(self._differs or ())
        self._answers[name] = decision
        if self._gate.on_asked is not None:
            self._gate.told(decision)
        return decision

    def _decided(self, name: str, snapshot: Snapshot) -> Decision:
        return self._gate.decided(snapshot, name, self.context)

    def _forget(self, changed: Collection[str]) -> None:
        """Decide again, when they are asked again, the flags that read any of these attributes."""
        self._seen = None
        for name in list(self._answers):
            entry = self.snapshot.entries.get(name)
            if entry is not None and not entry.compiled.reads.isdisjoint(changed):
                if self._earlier is None:
                    self._earlier = {}
                self._earlier[name] = self._answers.pop(name)


def _changed(old: Context, new: Context, names: Iterable[str]) -> set[str]:
    """The attributes that differ, of those that may, by the names that audiences use."""
    changed = {name for name in names if getattr(old, name) != getattr(new, name)}
    if "groups" in changed:
        changed.add("group")
    if "attributes" in changed or ("attributes" in names and old.attributes is not new.attributes):
        own = {*old.attributes, *new.attributes}
        changed |= {name for name in own if _differs(old.attributes.get(name), new.attributes.get(name))}
    return changed


def _differs(old: object, new: object) -> bool:
    """Whether an audience may tell them apart: True is not 1."""
    return type(old) is not type(new) or old != new
