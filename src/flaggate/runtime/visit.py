"""One request or job from start to end: it holds the context and the snapshot, and keeps the answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from flaggate.decide.context import Context
from flaggate.decide.decision import Decision

if TYPE_CHECKING:
    from types import TracebackType

    from flaggate.runtime.snapshot import Snapshot

__all__ = ["Visit"]


class Visit:
    """What `Gate.visit` returns; a context manager, in sync and in async code.

    All answers come from the snapshot of its start, and each flag is decided once: a change that
    arrives meanwhile is seen by the next visit.
    """

    __slots__ = ("_answers", "_current", "_decide", "_tokens", "context", "snapshot")

    context: Context
    """Who asks; replaced by `identify`."""
    snapshot: Snapshot
    """What it answers from."""

    def __init__(
        self,
        snapshot: Snapshot,
        context: Context,
        decide: Callable[[Snapshot, str, Context], Decision],
        current: ContextVar[Visit | None],
    ) -> None:
        self.context = context
        self.snapshot = snapshot
        self._decide = decide
        self._current = current
        self._answers: dict[str, Decision] = {}
        self._tokens: list[Token[Visit | None]] = []

    def __enter__(self) -> Visit:
        self._tokens.append(self._current.set(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A generator may end in another context than it began in (a thread pool, a loop that closes):
        # that one went away with the value in it.
        with suppress(ValueError):
            self._current.reset(self._tokens.pop())

    def is_on(self, name: str) -> bool:
        """Whether the flag is on in this visit."""
        return self.decide(name).is_on

    def decide(self, name: str) -> Decision:
        """The decision of this visit."""
        answers = self._answers
        if name in answers:
            return answers[name]
        decision = answers[name] = self._decide(self.snapshot, name, self.context)
        return decision

    def identify(self, **changes: Any) -> None:
        """The app learned who it is (`user=...`, `groups=...`): flags that read what changed are decided again.

        Takes the words of `Context`; the snapshot stays.
        """
        old, self.context = self.context, self.context.replace(**changes)
        changed = _changed(old, self.context)
        for name in list(self._answers):
            entry = self.snapshot.entries.get(name)
            if entry is not None and not changed.isdisjoint(entry.compiled.reads):
                del self._answers[name]


def _changed(old: Context, new: Context) -> set[str]:
    """The attributes that differ, by the names that audiences use."""
    changed = {name for name in Context.__slots__ if getattr(old, name) != getattr(new, name)}
    if "groups" in changed:
        changed.add("group")
    if old.attributes is not new.attributes:
        names = {*old.attributes, *new.attributes}
        changed |= {name for name in names if _differs(old.attributes.get(name), new.attributes.get(name))}
    return changed


def _differs(old: object, new: object) -> bool:
    """Whether an audience may tell them apart: True is not 1."""
    return type(old) is not type(new) or old != new
