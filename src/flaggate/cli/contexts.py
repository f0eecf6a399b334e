"""A file of contexts, as people write it for `plan`: one JSON object a line, or one JSON list of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from flaggate.decide.context import Context
from flaggate.errors import DocumentError, Mistake, closest
from flaggate.flags.place import show

__all__ = ["STDIN", "Asking", "read_contexts"]

STDIN: Final = "-"
_SHAPE: Final = 'allowed: one JSON object a line, or one JSON list of objects, such as {"user": "u-1", "staff": true}'


class Asking(NamedTuple):
    """Somebody of the file."""

    number: int
    """Of the line, or of the item in the list, from 1."""
    name: str
    """The first key that is known, as people know them."""
    context: Context


def read_contexts(path: str) -> list[Asking]:
    """Read them all.

    Raises:
        DocumentError: with each line or item that is wrong; and for a file that cannot be read, or that is empty.
    """
    source = "(standard input)" if path == STDIN else path
    try:
        text = _stdin() if path == STDIN else Path(path).read_bytes()
        found = list(_items(text.decode("utf-8-sig"), source))
    except (OSError, UnicodeDecodeError) as error:
        words = f"it cannot be read ({error})"
        raise DocumentError([Mistake(source, "", words, "allowed: UTF-8, one JSON object a line")]) from error
    if not found:
        raise DocumentError([Mistake(source, "", "there is no context in it", _SHAPE)])
    mistakes = [one for one in found if isinstance(one, Mistake)]
    if mistakes:
        raise DocumentError(mistakes)
    return [one for one in found if isinstance(one, Asking)]


def _stdin() -> bytes:
    if sys.stdin is None:  # closed by whoever started this
        raise OSError("there is none")
    return sys.stdin.buffer.read()


def _items(text: str, source: str) -> Iterator[Asking | Mistake]:
    """Everybody, and what is wrong; in the order of the file."""
    if text.lstrip().startswith("["):
        whole = _parsed(text, source, "")
        items = [whole] if isinstance(whole, Mistake) else whole
        written = ((number, f"item {number}", item) for number, item in enumerate(items, 1))
    else:
        lines = ((number, f"line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
        written = ((number, path, _parsed(line, source, path)) for number, path, line in lines)
    for number, path, item in written:
        yield from [item] if isinstance(item, Mistake) else _read(item, number, source, path)


def _parsed(text: str, source: str, path: str) -> Any:
    """The value, or what is wrong with it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return Mistake(source, path, f"this is no JSON ({error})", _SHAPE)


def _read(written: Any, number: int, source: str, path: str) -> Iterator[Asking | Mistake]:
    """One context, or everything that is wrong with it."""
    if not isinstance(written, dict):
        yield Mistake(source, path, f"{show(written)} is no object", _SHAPE)
        return
    mistakes = [Mistake(source, f"{path}: {key}", *wrong) for key, wrong in _wrong(written)]
    if mistakes:
        yield from mistakes
        return
    context = Context(**written)
    key = next((key for key in (context.user, context.account, context.visitor) if key is not None), None)
    yield Asking(number, key or path, context)


def _wrong(written: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The keys that no context takes, with what is wrong and what is allowed."""
    for key, value in written.items():
        if key not in _KEYS:
            meant = closest(key, _KEYS)
            hint = f'did you mean "{meant}"? ' if meant else ""
            yield key, ("there is no such key", f"{hint}allowed: {', '.join(_KEYS)}; your own stand in attributes")
        elif value is not None and not _KEYS[key].is_one(value):
            yield key, (show(value), f"allowed: {_KEYS[key].allowed}")


class _Kind(NamedTuple):
    """What a key may hold."""

    is_one: Callable[[Any], bool]
    allowed: str


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_attributes(value: Any) -> bool:
    return isinstance(value, dict) and not any(isinstance(each, (dict, list)) for each in value.values())


_KEY: Final = _Kind(lambda value: _is_text(value) or _is_number(value), 'text or a whole number, such as "u-1"')
_TEXT: Final = _Kind(_is_text, "text in double quotes")
_KEYS: Final[dict[str, _Kind]] = {
    **dict.fromkeys(("user", "account", "visitor"), _KEY),
    "staff": _Kind(lambda value: isinstance(value, bool), "true or false"),
    "groups": _Kind(_are_texts, 'a list of names, such as ["beta"]'),
    **dict.fromkeys(("tier", "city"), _TEXT),
    "city_id": _Kind(_is_number, "a whole number: the city's GeoNames id"),
    **dict.fromkeys(("region", "country", "ip"), _TEXT),
    "attributes": _Kind(_are_attributes, 'an object of text, numbers, true and false, such as {"seats": 12}'),
}
"""The arguments of a Context."""
