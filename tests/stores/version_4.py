"""A SQLite file as flaggate made it before processes said that they are there: with windows and units."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.stores import version_3

__all__ = ["make"]

_SCRIPT = """
BEGIN;
ALTER TABLE flaggate_meta ADD COLUMN pulse BIGINT DEFAULT '0' NOT NULL;
ALTER TABLE flaggate_count ADD COLUMN measured TEXT DEFAULT '{}' NOT NULL;
CREATE TABLE flaggate_window (
    flag VARCHAR(200) NOT NULL,
    began INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    stage INTEGER NOT NULL,
    arm VARCHAR(20) NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    histogram TEXT NOT NULL,
    measured TEXT NOT NULL,
    PRIMARY KEY (flag, began, attempt, stage, arm)
);
CREATE INDEX ix_flaggate_window_began ON flaggate_window (began);
CREATE TABLE flaggate_unit_set (
    id INTEGER NOT NULL PRIMARY KEY,
    flag VARCHAR(200) NOT NULL,
    attempt INTEGER NOT NULL,
    stage INTEGER NOT NULL,
    metric VARCHAR(200) NOT NULL,
    span INTEGER NOT NULL,
    began INTEGER NOT NULL,
    arm VARCHAR(20) NOT NULL,
    units INTEGER NOT NULL,
    bad BIGINT NOT NULL,
    squares BIGINT NOT NULL,
    UNIQUE (flag, attempt, stage, metric, span, began, arm)
);
CREATE TABLE flaggate_unit (
    unit_set INTEGER NOT NULL,
    unit VARCHAR(32) NOT NULL,
    bad BIGINT NOT NULL,
    PRIMARY KEY (unit_set, unit)
) WITHOUT ROWID;
UPDATE flaggate_meta SET schema_version = 4;
COMMIT;
"""


def make(path: Path) -> None:
    """What a file of version 3 holds."""
    version_3.make(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.executescript(_SCRIPT)
