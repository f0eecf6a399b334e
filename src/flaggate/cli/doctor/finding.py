"""What was found of one thing."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Finding", "State", "ok", "warning", "wrong"]

State: TypeAlias = Literal["ok", "warning", "wrong"]


class Finding(NamedTuple):
    """One line."""

    subject: str
    state: State
    words: str
    todo: str | None = None
    """What to do about it."""


def ok(subject: str, words: str) -> Finding:
    """As it should be."""
    return Finding(subject, "ok", words)


def warning(subject: str, words: str, todo: str | None = None) -> Finding:
    """It works, and somebody should look."""
    return Finding(subject, "warning", words, todo)


def wrong(subject: str, words: str, todo: str | None = None) -> Finding:
    """It does not work."""
    return Finding(subject, "wrong", words, todo)
