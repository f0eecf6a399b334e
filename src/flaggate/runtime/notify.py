"""The setting `notify`: as much of it as is told at start, without the second that Apprise takes to load."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from flaggate.errors import SettingError

__all__ = ["ALLOWED", "checked_config"]

ALLOWED: Final = "the file of an Apprise configuration, such as apprise.yml"


def checked_config(path: str | os.PathLike[str], *, is_read: bool = True) -> Path:
    """The file, wherever the process goes from here.

    Args:
        is_read: Whether it has to be there. A worker that starts anew while somebody replaces it is to serve all the same.

    Raises:
        SettingError: it is none, cannot be read, or Apprise is not installed.
    """
    if not (isinstance(path, (str, os.PathLike)) and os.fspath(path)):
        raise SettingError("notify", path, ALLOWED)
    found = Path(path).absolute()
    try:
        if is_read:
            found.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8
        raise SettingError("notify", str(path), f"{ALLOWED} ({error})") from error
    if find_spec("apprise") is None:
        raise SettingError("notify", str(path), f"{ALLOWED}, after pip install 'flaggate[notify]'")
    return found
