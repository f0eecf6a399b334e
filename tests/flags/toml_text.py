"""JSON's types as TOML, everything inline: the library reads TOML only."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["toml_text"]


def toml_text(document: dict[str, Any]) -> str:
    """The document as the text of a TOML file."""
    return "".join(f"{_value(key)} = {_value(value)}\n" for key, value in document.items())


def _value(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{_value(key)} = {_value(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return json.dumps(value)
