"""The rows of a store as flags, rollouts and segments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from flaggate.errors import FlaggateError, UnknownFlagError, UnreadableError
from flaggate.flags.canonical import flag_to_json, segment_to_json
from flaggate.flags.document import flag_from_json, segment_from_json
from flaggate.flags.model import Flag, Segment
from flaggate.rollout.state import Rollout, rollout_from_json, rollout_to_json
from flaggate.stores.base import Row, Store, Write

__all__ = [
    "Record",
    "Source",
    "flag_row",
    "read_flag",
    "record_of",
    "rollout_of",
    "segment_of",
    "segment_write",
    "segments_in",
]


Source: TypeAlias = Literal["file", "console"]


@dataclass(frozen=True, slots=True)
class Record:
    """A flag, where it stands, and the version of its row."""

    flag: Flag
    rollout: Rollout
    version: int
    source: Source = "file"
    """Where it is declared: nobody else changes its plan."""

    def write(self, flag: Flag, rollout: Rollout) -> Write:
        """The write that puts these in its place."""
        return Write("flag", flag.name, self.version, document_of(flag, rollout, self.source))


def document_of(flag: Flag, rollout: Rollout, source: Source = "file") -> dict[str, Any]:
    """The document of a flag's row."""
    written = {"flag": flag_to_json(flag), "rollout": rollout_to_json(rollout)}
    return written if source == "file" else written | {"source": source}


def record_of(row: Row) -> Record:
    """Read a flag's row. Raises UnreadableError."""
    document = row.document or {}
    with _readable(row):
        rollout = rollout_from_json(document["rollout"])
        source: Source = "console" if document.get("source") == "console" else "file"
        return Record(flag_from_json(row.name, document["flag"]), rollout, row.version, source)


def segment_of(row: Row) -> Segment:
    """Read a segment's row. Raises UnreadableError."""
    with _readable(row):
        return segment_from_json(row.name, dict(row.document or {}))


def rollout_of(row: Row) -> Rollout:
    """Where a flag stands, whatever its plan says. Raises UnreadableError."""
    with _readable(row):
        return rollout_from_json((row.document or {})["rollout"])


@contextmanager
def _readable(row: Row) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever somebody stored, or a newer flaggate did
        problem = str(error) if isinstance(error, FlaggateError) else repr(error)
        raise UnreadableError(row.kind, row.name, problem) from error


def segment_write(segment: Segment, version: int) -> Write:
    """The write that puts the segment in place of the one at that version."""
    return Write("segment", segment.name, version, segment_to_json(segment))


def flag_row(store: Store, name: str) -> Row:
    """The row of one flag. Raises UnknownFlagError."""
    row = store.get("flag", name)
    if row is None:
        raise UnknownFlagError(name, [row.name for row in store.changes().rows if row.document and row.kind == "flag"])
    return row


def read_flag(store: Store, name: str) -> Record:
    """One flag. Raises UnknownFlagError, UnreadableError."""
    return record_of(flag_row(store, name))


def segments_in(rows: Iterable[Row]) -> Iterator[tuple[str, Segment]]:
    """The segments that can be read, by name."""
    for row in rows:
        if row.kind == "segment" and row.document is not None:
            with suppress(UnreadableError):  # whoever asks for it is told that it is missing
                yield row.name, segment_of(row)
