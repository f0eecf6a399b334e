"""A SQLite file as flaggate made it before it counted windows and units: with a lease and progress."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.stores import version_2

__all__ = ["make"]

_SCRIPT = """
BEGIN;
CREATE TABLE flaggate_lease (
    id INTEGER NOT NULL PRIMARY KEY,
    holder VARCHAR(32) NOT NULL,
    who TEXT NOT NULL,
    renewed_at DOUBLE NOT NULL,
    seconds DOUBLE NOT NULL
);
CREATE TABLE flaggate_progress (
    name VARCHAR(200) NOT NULL PRIMARY KEY,
    document TEXT NOT NULL
);
INSERT INTO flaggate_process VALUES ('running', 5, 1900000000);
UPDATE flaggate_meta SET schema_version = 3;
COMMIT;
"""


def make(path: Path) -> None:
    """What a file of version 2 holds, and a process that goes on counting."""
    version_2.make(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.executescript(_SCRIPT)
