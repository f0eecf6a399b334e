"""Where in a document the reader stands, and the mistakes that it found there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flaggate.errors import Mistake, closest

__all__ = ["Kind", "Place", "read_list", "read_table", "show"]


class Place:
    """One place in a document. Its children share one list of mistakes."""

    __slots__ = ("mistakes", "path", "source")

    def __init__(self, source: str, path: str = "", mistakes: list[Mistake] | None = None) -> None:
        self.source = source
        self.path = path
        self.mistakes: list[Mistake] = [] if mistakes is None else mistakes

    def key(self, key: str) -> Place:
        """The place of one key of the table that stands here."""
        return Place(self.source, f"{self.path}.{key}" if self.path else key, self.mistakes)

    def item(self, index: int) -> Place:
        """The place of one item of the list that stands here; 0 is the first."""
        return Place(self.source, f"{self.path}[{index}]", self.mistakes)

    def wrong(self, problem: str, allowed: str) -> None:
        """Note a mistake here."""
        self.mistakes.append(Mistake(self.source, self.path, problem, allowed))

    def wrong_value(self, value: object, allowed: str) -> None:
        """Note that the value that stands here is not one of those allowed."""
        self.wrong(f"{show(value)} is not allowed", f"allowed: {allowed}")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value: how it is read, and how an editor is told about it (JSON Schema)."""

    read: Callable[[Any, Place], Any]
    """Returns what the model holds; notes a mistake at the place and returns None if it cannot."""
    schema: dict[str, Any]


def show(value: object) -> str:
    """A value as a person wrote it, cut after 60 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_table(
    value: object, place: Place, kinds: Mapping[str, Kind], required: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Read the keys of a table that are known; unknown, missing and wrong ones become mistakes."""
    if not isinstance(value, dict):
        place.wrong_value(value, "a table")
        return {}
    found: dict[str, Any] = {}
    for key, item in value.items():
        if key in kinds:
            read = kinds[key].read(item, place.key(key))
            if read is not None:
                found[key] = read
        else:
            meant = closest(key, kinds)
            hint = f'did you mean "{meant}"? ' if meant else ""
            place.key(key).wrong(f'unknown key "{key}"', f"{hint}allowed: {', '.join(kinds)}")
    for key in required:
        if key not in value:
            place.wrong(f'"{key}" is missing', f"every {_what(place)} has one")
    return found


def _what(place: Place) -> str:
    table = place.path.split(".")[0]
    if ".guards" in place.path:
        return "guard"
    if ".stages" in place.path:
        return "stage"
    return {"flags": "flag", "segments": "segment"}.get(table, "definitions file")


def read_list(value: object, place: Place, kind: Kind, what: str) -> tuple[Any, ...]:
    """Read every item of a list by the same kind."""
    if not isinstance(value, list):
        place.wrong_value(value, f"a list of {what}")
        return ()
    items = (kind.read(item, place.item(index)) for index, item in enumerate(value))
    return tuple(item for item in items if item is not None)
