"""What changed between two canonical documents, place by place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Change", "difference"]


@dataclass(frozen=True, slots=True)
class Change:
    """One place that differs; None = not there."""

    path: str
    before: Any
    after: Any


def difference(before: Any, after: Any, path: str = "") -> Iterator[Change]:
    """Every place that differs. Lists of named tables (stages) are compared name by name."""
    if _is_same(before, after):
        return
    if _is_named(before) and _is_named(after):
        names = [table["name"] for table in before], [table["name"] for table in after]
        if [n for n in names[0] if n in names[1]] != [n for n in names[1] if n in names[0]]:
            yield Change(f"{path} (order)", names[0], names[1])
        before = {table["name"]: table for table in before}
        after = {table["name"]: table for table in after}
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from difference(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    else:
        yield Change(path, before, after)


def _is_same(before: Any, after: Any) -> bool:
    """Equal, and true is not 1."""
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(_is_same(item, after[key]) for key, item in before.items())
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_is_same, before, after))
    return isinstance(before, bool) is isinstance(after, bool) and bool(before == after)


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) and "name" in item for item in value)
