"""A SQLite file as flaggate made it before there was a lease: with counts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.stores import version_1

__all__ = ["make"]

_SCRIPT = """
BEGIN;
CREATE TABLE flaggate_count (
    flag VARCHAR(200) NOT NULL,
    attempt INTEGER NOT NULL,
    stage INTEGER NOT NULL,
    arm VARCHAR(20) NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    histogram TEXT NOT NULL,
    PRIMARY KEY (flag, attempt, stage, arm)
);
CREATE TABLE flaggate_process (
    id VARCHAR(32) NOT NULL PRIMARY KEY,
    sequence INTEGER NOT NULL,
    seen INTEGER NOT NULL
);
CREATE INDEX ix_flaggate_process_seen ON flaggate_process (seen);
INSERT INTO flaggate_count VALUES ('a', 1, 1, 'on', 3, 1, '{"10":3}');
UPDATE flaggate_meta SET schema_version = 2;
COMMIT;
"""


def make(path: Path) -> None:
    """What a file of version 1 holds, and three requests counted."""
    version_1.make(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.executescript(_SCRIPT)
