"""The scripts that a Redis server runs for the store: each is sent once, and called by its digest from then on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

__all__ = ["Scripts"]


@cache
def _text(name: str) -> str:
    return files("flaggate.stores").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


@cache
def _digest(name: str) -> str:
    return sha1(_text(name).encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Those of `lua/`, by name. All keys begin with the first one's: a cluster finds them in one slot."""

    def run(self, client: Any, name: str, prefix: str, arguments: Sequence[Any]) -> Any:
        """Raises redis-py's errors."""
        try:
            return client.execute_command("EVALSHA", _digest(name), 1, prefix, *arguments)
        except Exception as error:
            if type(error).__name__ != "NoScriptError":  # by its name: redis-py is not imported here
                raise
        return client.execute_command("EVAL", _text(name), 1, prefix, *arguments)
