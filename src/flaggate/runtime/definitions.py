"""The definitions file: opened, watched, and applied when its content changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from flaggate.decide.bucket import fingerprint
from flaggate.errors import DocumentError, Mistake, OvertakenError, RevisionError
from flaggate.flags.document import Definitions, parse
from flaggate.runtime.control import Applied, Control

__all__ = ["DefinitionsFile", "Loaded", "load"]

_Stamp: TypeAlias = tuple[int, ...] | None
"""What changes when a file does: also when the symlink to it is swapped. None = it is not there."""


class Loaded:
    """A definitions file that was read: what it declares, and its fingerprint."""

    __slots__ = ("definitions", "fingerprint")

    def __init__(self, definitions: Definitions, text: str) -> None:
        self.definitions = definitions
        self.fingerprint = fingerprint(text)


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a definitions file (.json, else TOML) and the members files that it names.

    Raises:
        DocumentError: with every mistake; also for a file that cannot be read.
    """
    return _load(Path(path), {})


def _load(path: Path, stamps: dict[Path, _Stamp]) -> Loaded:
    """Read as `load` does, and put the stamp of each file into `stamps`, whatever comes of it."""
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
    return Loaded(definitions, "\0".join(texts))


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
        self.problem: str | None = None
        """Why the file, as it was read last, is not taken; what is in the store stays."""
        self._examined: dict[Path, _Stamp] | None = None
        """The files as they were when read last."""
        self._seen: dict[Path, _Stamp] | None = None
        """The files as they were at the poll before, if that differs."""
        self._refused_at: int | None = None
        """The store's revision at which a rollout in progress did not take the file."""

    def step(self, control: Control) -> Applied | None:
        """Apply the file if it changed. One that is not taken is a `problem`, and is looked at again when it changes.

        A refusal names what to do first, so a refused file is looked at again too when anything in the store changed.

        Raises:
            StoreError: Tried again at the next step.
        """
        if self._examined is not None and not self._has_changed(self._examined, control):
            return None
        stored, revision = control.applied_fingerprint(), control.store.revision()
        stamps: dict[Path, _Stamp] = {}
        self._refused_at = self.problem = applied = None
        try:
            loaded = _load(self.path, stamps)
            if loaded.fingerprint != stored:
                actor = f"file {self.path.name}"
                applied = control.apply(loaded.definitions, actor=actor, fingerprint=loaded.fingerprint)
        except OvertakenError:
            return None  # perhaps by another process with the same file: the next step will tell
        except RevisionError as error:
            self._refused_at, self.problem = revision, f"{self.path} is not taken: {error}"
        except DocumentError as error:
            self.problem = str(error)
        self._examined = stamps
        return applied

    def _has_changed(self, examined: dict[Path, _Stamp], control: Control) -> bool:
        """Whether the files are others than those examined, and have stood still since the step before."""
        stamps = {path: _stamp(path) for path in examined}
        if stamps == examined:
            self._seen = None
            return self._refused_at is not None and control.store.revision() != self._refused_at
        is_still, self._seen = stamps == self._seen, stamps
        return is_still
