"""Where in a document the reader stands, and the mistakes that it found there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from itertools import islice
from typing import Any, Final

from flaggate.errors import Mistake, closest

__all__ = ["Kind", "Place", "read_list", "read_table", "show", "table_schema", "unknown_word"]

_LONGEST: Final = 60
"""How much of a value or a key a mistake shows, in characters."""
_BARE: Final = re.compile("[A-Za-z0-9_-]+")


class _Document:
    """What the places of a document share."""

    __slots__ = ("asked", "mistakes", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.mistakes: list[Mistake] = []
        self.asked: list[tuple[str, Place]] = []


class Place:
    """One place in a document. It shares what was found so far with the places inside it."""

    # Its path is put together only for a mistake: of ten thousand flags that a store kept hardly one has any.
    __slots__ = ("_outer", "_step", "document")

    def __init__(self, source: str, path: str = "") -> None:
        self.document = _Document(source)
        self._outer: Place | None = None
        self._step: str | int = path

    @property
    def path(self) -> str:
        """From the document's beginning: `flags.invoicing.stages[0].share`."""
        step, outer = self._step, self._outer
        if outer is None:
            return str(step)
        if isinstance(step, int):
            return f"{outer.path}[{step}]"
        written = step if len(step) <= _LONGEST and _BARE.fullmatch(step) else show(step)
        return f"{path}.{written}" if (path := outer.path) else written

    @property
    def mistakes(self) -> list[Mistake]:
        """Those of the document, so far."""
        return self.document.mistakes

    @property
    def asked(self) -> list[tuple[str, Place]]:
        """The segments that audiences name, and where: only the whole document tells whether they exist."""
        return self.document.asked

    def key(self, key: str) -> Place:
        """The place of one key of the table that stands here; quoted unless it is a bare key of TOML."""
        place = _new(Place)
        place.document, place._outer, place._step = self.document, self, key
        return place

    def item(self, index: int) -> Place:
        """The place of one item of the list that stands here; 0 is the first."""
        place = _new(Place)
        place.document, place._outer, place._step = self.document, self, index
        return place

    def wrong(self, problem: str, allowed: str) -> None:
        """Note a mistake here."""
        self.mistakes.append(Mistake(self.document.source, self.path, problem, allowed))

    def wrong_value(self, value: object, allowed: str) -> None:
        """Note that the value that stands here is not one of those allowed."""
        self.wrong(f"{show(value)} is not allowed", f"allowed: {allowed}")


_new: Final[Callable[[type[Place]], Place]] = object.__new__


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value: how it is read, and how an editor is told about it (JSON Schema)."""

    read: Callable[[Any, Place], Any]
    """Returns what the model holds; notes a mistake at the place and returns None if it cannot."""
    schema: dict[str, Any]


def show(value: object) -> str:
    """A value as a person wrote it, cut after 60 characters."""
    text = _written(value, depth=4)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _written(value: object, depth: int) -> str:
    """Enough of the value to show: a document may hold more, and deeper, than json.dumps takes."""
    match value:
        case str():
            return json.dumps(value[:_LONGEST], ensure_ascii=False)
        case dict() if depth:
            pairs = ((_written(key, 0), _written(item, depth - 1)) for key, item in islice(value.items(), _LONGEST))
            return "{" + ", ".join(f"{key}: {item}" for key, item in pairs) + "}"
        case list() if depth:
            return "[" + ", ".join(_written(item, depth - 1) for item in islice(value, _LONGEST)) + "]"
        case dict() | list():
            return "..."
        case None | bool():
            return json.dumps(value)
        case int() if value.bit_length() > 1000:
            return f"a number of {value.bit_length()} bits"  # str() refuses it, or takes long
        case date() | time():
            return value.isoformat()
    return str(value)


def unknown_word(word: str, known: Sequence[str]) -> str:
    """What is allowed in place of a word that is not known, with the one that was meant, if that is clear."""
    meant = closest(word, known)
    return (f'did you mean "{meant}"? ' if meant else "") + f"allowed: {', '.join(known)}"


def read_table(
    value: object, place: Place, kinds: Mapping[str, Kind], *, what: str = "", required: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Read the keys of a table that are known; unknown, missing and wrong ones become mistakes.

    `what` the table is called where it misses one of those `required`.
    """
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
            place.key(key).wrong(f"unknown key {show(key)}", unknown_word(key, tuple(kinds)))
    for key in required:
        if key not in value:
            place.wrong(f'"{key}" is missing', f"every {what} has one")
    return found


def table_schema(kinds: Mapping[str, Kind], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """How an editor is told about a table that is read by these kinds."""
    properties = {key: kind.schema for key, kind in kinds.items()}
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | ({"required": list(required)} if required else {})


def read_list(value: object, place: Place, kind: Kind, what: str) -> tuple[Any, ...]:
    """Read every item of a list by the same kind."""
    if not isinstance(value, list):
        place.wrong_value(value, f"a list of {what}")
        return ()
    items = (kind.read(item, place.item(index)) for index, item in enumerate(value))
    return tuple(item for item in items if item is not None)
