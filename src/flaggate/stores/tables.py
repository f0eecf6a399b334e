"""The tables of the SQL store, and what changed in them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

__all__ = [
    "KNOWN_VERSIONS",
    "SCHEMA_VERSION",
    "counts",
    "events",
    "leases",
    "meta",
    "metadata",
    "processes",
    "progress",
    "rows",
]

SCHEMA_VERSION: Final = 3
KNOWN_VERSIONS: Final = frozenset({1, 2, SCHEMA_VERSION})
"""Version 1 had no counts, version 2 no lease and no progress: their tables are made when it is first opened."""

metadata = sa.MetaData()
meta = sa.Table(
    "flaggate_meta",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),  # one row
    sa.Column("identity", sa.String(32), nullable=False),  # drawn when the tables were made
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
)
rows = sa.Table(
    "flaggate_row",
    metadata,
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, index=True),
    sa.Column("document", sa.Text),  # JSON; NULL = removed
)
events = sa.Table(
    "flaggate_event",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("name", sa.String(200), nullable=False, index=True),
    sa.Column("verb", sa.String(20), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("at", sa.String(40), nullable=False),  # ISO 8601 with offset
    sa.Column("reason", sa.Text),
    sa.Column("before", sa.Text),
    sa.Column("after", sa.Text),
    sa.Column("evidence", sa.Text, nullable=False),
)
counts = sa.Table(
    "flaggate_count",
    metadata,
    sa.Column("flag", sa.String(200), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("stage", sa.Integer, primary_key=True),
    sa.Column("arm", sa.String(20), primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("histogram", sa.Text, nullable=False),  # JSON
)
processes = sa.Table(
    "flaggate_process",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("sequence", sa.Integer, nullable=False),  # of its last report
    sa.Column("seen", sa.Integer, nullable=False, index=True),  # Unix time
)
leases = sa.Table(
    "flaggate_lease",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),  # one row
    sa.Column("holder", sa.String(32), nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("renewed_at", sa.Double, nullable=False),  # Unix time
    sa.Column("seconds", sa.Double, nullable=False),
)
progress = sa.Table(
    "flaggate_progress",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("document", sa.Text, nullable=False),  # JSON
)
