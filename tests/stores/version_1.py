"""A SQLite file as the first flaggate made it: without counts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

__all__ = ["make"]

_SCRIPT = """
PRAGMA journal_mode=WAL;
BEGIN;
CREATE TABLE flaggate_meta (
    id INTEGER NOT NULL PRIMARY KEY,
    identity VARCHAR(32) NOT NULL,
    schema_version INTEGER NOT NULL,
    revision INTEGER NOT NULL
);
CREATE TABLE flaggate_row (
    kind VARCHAR(20) NOT NULL,
    name VARCHAR(200) NOT NULL,
    version INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    document TEXT,
    PRIMARY KEY (kind, name)
);
CREATE INDEX ix_flaggate_row_revision ON flaggate_row (revision);
CREATE TABLE flaggate_event (
    id INTEGER NOT NULL PRIMARY KEY,
    kind VARCHAR(20) NOT NULL,
    name VARCHAR(200) NOT NULL,
    verb VARCHAR(20) NOT NULL,
    actor TEXT NOT NULL,
    at VARCHAR(40) NOT NULL,
    reason TEXT,
    "before" TEXT,
    "after" TEXT,
    evidence TEXT NOT NULL
);
CREATE INDEX ix_flaggate_event_name ON flaggate_event (name);
INSERT INTO flaggate_meta VALUES (1, '0123456789abcdef0123456789abcdef', 1, 7);
INSERT INTO flaggate_row VALUES ('flag', 'a', 3, 6, '{"n":1}'), ('flag', 'gone', 2, 7, NULL);
INSERT INTO flaggate_event
    VALUES (1, 'flag', 'a', 'apply', 'owner@example.com', '2026-03-01T09:30:00+00:00', 'why', NULL, '{"n":1}', '{}');
COMMIT;
"""


def make(path: Path) -> None:
    """The file at revision 7, with a flag `a` at version 3, one that was removed, and an event."""
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.executescript(_SCRIPT)
