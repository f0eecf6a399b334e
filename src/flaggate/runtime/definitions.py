"""The definitions file: opened, watched, and applied when its content changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from flaggate.decide.bucket import fingerprint
from flaggate.errors import DocumentError, Mistake, RevisionError
from flaggate.flags.document import Definitions, parse
from flaggate.runtime.control import Applied, Control

__all__ = ["DefinitionsFile", "Loaded", "load"]

_Stamp: TypeAlias = tuple[int, ...] | None
"""What changes when a file does: also when the symlink to it is swapped. None = it is not there."""


class Loaded:
    """A definitions file that was read: what it declares, its fingerprint, and the files it came from."""

    __slots__ = ("definitions", "fingerprint", "stamps")

    def __init__(self, definitions: Definitions, text: str, stamps: dict[Path, _Stamp]) -> None:
        self.definitions = definitions
        self.fingerprint = fingerprint(text)
        self.stamps = stamps


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a definitions file (.json, else TOML) and the members files that it names.

    Raises:
        DocumentError: with every mistake; also for a file that cannot be read.
    """
    return _load(Path(path), {})


def _load(path: Path, stamps: dict[Path, _Stamp]) -> Loaded:
    texts: list[str] = []

    def read(name: Path) -> str:
        stamps[name] = _stamp(name)  # before reading: a change in between is seen as one
        text = name.read_text(encoding="utf-8-sig")
        texts.append(text)
        return text

    try:
        text = read(path)
    except (OSError, ValueError) as error:
        mistake = Mistake(str(path), "", f"it cannot be read ({error})", "allowed: a UTF-8 file, .toml or .json")
        raise DocumentError([mistake]) from error
    syntax = "json" if path.suffix == ".json" else "toml"
    definitions = parse(text, source=str(path), syntax=syntax, read_file=lambda name: read(path.parent / name))  # type: ignore[arg-type]  # a Literal by the line above
    return Loaded(definitions, "\0".join(texts), stamps)


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class DefinitionsFile:
    """A definitions file that is applied when it differs from what was last applied from a file.

    `step` is called at every poll. A file that changed is read once it has stood still for one poll,
    so that one being written is not taken for finished.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._examined: dict[Path, _Stamp] | None = None
        """The files as they were when read last."""
        self._seen: dict[Path, _Stamp] | None = None
        """The files as they were at the poll before, if that differs."""

    def step(self, control: Control) -> Applied | None:
        """Apply the file if it changed. A file with mistakes raises once and is looked at again when it changes.

        Raises:
            DocumentError, RevisionError: The file is not taken; what is in the store stays.
            StoreError, OvertakenError: Tried again at the next step.
        """
        if self._examined is not None:
            stamps = {path: _stamp(path) for path in self._examined}
            if stamps == self._examined:
                self._seen = None
                return None
            if stamps != self._seen:
                self._seen = stamps
                return None
        stored = control.applied_fingerprint()
        stamps = {}
        try:
            loaded = _load(self.path, stamps)
        except DocumentError:
            self._examined = stamps
            raise
        if loaded.fingerprint == stored:
            self._examined = stamps
            return None
        return self._apply(control, loaded)

    def _apply(self, control: Control, loaded: Loaded) -> Applied:
        try:
            applied = control.apply(loaded.definitions, actor=f"file {self.path.name}", fingerprint=loaded.fingerprint)
        except RevisionError:
            self._examined = loaded.stamps
            raise
        self._examined = loaded.stamps
        return applied
