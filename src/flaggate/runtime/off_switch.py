"""The kill that needs no store: what the environment and the `off` file of this machine say."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

__all__ = ["EVERYTHING", "OffSwitch"]

EVERYTHING: Final = "*"
_NAME: Final = r"[a-z][a-z0-9-]*|\*"


class OffSwitch:
    """The kill that needs no store: FLAGGATE_OFF in the environment, and a file `off`.

    Both hold flag names with commas or white space between them, or `*`; what follows a `#` on its
    line is a remark. A file without a name, one with a word that can be no name, and one that cannot be
    read mean `*`: who made it wanted something off.
    """

    def __init__(self, directory: str | os.PathLike[str] | None) -> None:
        self.path = None if directory is None else Path(directory) / "off"
        self.problem: str | None = None
        """What is wrong with what says "off": nobody can read it, or it holds no name."""
        self._stamp: tuple[int, ...] | None = None
        self._from_file: frozenset[str] = frozenset()
        self._file_problem: str | None = None

    def names(self) -> frozenset[str]:
        """The flags that are off in this process, `*` for all; one stat, and a read where the file changed."""
        if self.path is not None:
            self._look(self.path)
        self.problem = self._file_problem
        names = self._from_file | _words(os.environ.get("FLAGGATE_OFF", ""))
        odd = sorted(name for name in names if not re.fullmatch(_NAME, name))
        if odd:
            self.problem = (
                f"FLAGGATE_OFF or the off file holds {odd[0]!r}, which is no flag's name: everything is off here"
            )
            return frozenset({EVERYTHING})
        return names

    def _look(self, path: Path) -> None:
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._from_file, self._stamp, self._file_problem = frozenset(), None, None
            return
        except OSError as error:  # a directory that this user may not enter is no wish to turn everything off
            self._file_problem = f"nobody can tell whether there is an off file: {error}"
            return
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            self._file_problem = None
            try:
                self._from_file, self._stamp = self._read(path, found.st_mode), stamp
            except (OSError, ValueError) as error:
                self._off_without_names(f"cannot be read ({error})")
            if not self._from_file:
                self._off_without_names("names no flag")

    def _read(self, path: Path, mode: int) -> frozenset[str]:
        if not stat.S_ISREG(mode):  # reading a pipe could wait for ever
            raise ValueError("it is no regular file")
        return _words(path.read_text(encoding="utf-8-sig"))

    def _off_without_names(self, why: str) -> None:
        self._from_file = frozenset({EVERYTHING})
        self._file_problem = f"the off file {why}: everything is off here"


def _words(text: str) -> frozenset[str]:
    return frozenset(re.sub("#.*", "", text).replace(",", " ").split())
