"""What a process keeps on this machine's disk: a copy of the last snapshot, and the `off` file."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Final

from flaggate.errors import FlaggateError
from flaggate.stores.base import Changes, Row

__all__ = ["EVERYTHING", "DiskCopy", "OffSwitch"]

_FORMAT: Final = 1

EVERYTHING: Final = "*"


class DiskCopy:
    """The rows of the last snapshot, for a start while the store is gone."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "snapshot.json"

    def save(self, changes: Changes) -> None:
        """Write all rows, whole or not at all. Raises OSError."""
        rows = [[row.kind, row.name, row.version, row.document] for row in changes.rows]
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".snapshot-")
        try:
            with open(handle, "w", encoding="utf-8") as file:
                json.dump({"format": _FORMAT, "revision": changes.revision, "rows": rows}, file)
            os.replace(name, self.path)
        except BaseException:
            os.unlink(name)
            raise

    def load(self) -> Changes | None:
        """The rows that were saved last; None if there are none. Raises FlaggateError for a file of another shape."""
        try:
            written = json.loads(self.path.read_text(encoding="utf-8"))
            if written["format"] != _FORMAT:
                raise ValueError(f"format {written['format']}, not {_FORMAT}")
            return Changes(int(written["revision"]), tuple(Row(*columns) for columns in written["rows"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FlaggateError(f"{self.path}: this copy cannot be read: {error!r}") from error


class OffSwitch:
    """The kill that needs no store: FLAGGATE_OFF in the environment, and a file `off`.

    Both hold flag names with commas or white space between them, or `*`. An empty file, and one that
    cannot be read, mean `*`: who made it wanted something off.
    """

    def __init__(self, directory: Path | None) -> None:
        self.path = None if directory is None else directory / "off"
        self.problem: str | None = None
        """Why nobody can tell whether there is an `off` file; what was known of it stays."""
        self._stamp: tuple[int, ...] | None = None
        self._from_file: frozenset[str] = frozenset()

    def names(self) -> frozenset[str]:
        """The flags that are off in this process, `*` for all; one stat, and a read where the file changed."""
        if self.path is not None:
            self._look(self.path)
        return self._from_file | _names(os.environ.get("FLAGGATE_OFF", ""))

    def _look(self, path: Path) -> None:
        self.problem = None
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._from_file, self._stamp = frozenset(), None
            return
        except OSError as error:  # a directory that this user may not enter is no wish to turn everything off
            self.problem = f"nobody can tell whether there is an off file: {error}"
            return
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            try:
                self._from_file = _names(path.read_text(encoding="utf-8")) or frozenset({EVERYTHING})
                self._stamp = stamp
            except (OSError, ValueError):
                self._from_file, self._stamp = frozenset({EVERYTHING}), None


def _names(text: str) -> frozenset[str]:
    return frozenset(text.replace(",", " ").split())
