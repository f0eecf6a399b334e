"""The tables of the SQL store, and what changed in them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

__all__ = [
    "KNOWN_VERSIONS",
    "SCHEMA_VERSION",
    "complete",
    "counts",
    "events",
    "leases",
    "meta",
    "metadata",
    "presences",
    "processes",
    "progress",
    "rows",
    "unit_sets",
    "units",
    "windows",
]

SCHEMA_VERSION: Final = 6
KNOWN_VERSIONS: Final = frozenset({1, 2, 3, 4, 5, SCHEMA_VERSION})
"""Version 1 had no counts, version 2 no lease and no progress, version 3 no windows, no units, no `pulse` and no `measured`,
version 4 no presences, version 5 no `run`: what is missing is made when it is first opened. A column of its own default, for older processes that write meanwhile.
"""

metadata = sa.MetaData()
meta = sa.Table(
    "flaggate_meta",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),  # one row
    sa.Column("identity", sa.String(32), nullable=False),  # drawn when the tables were made
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("pulse", sa.BigInteger, nullable=False, server_default="0"),  # how many reports were added
    sa.Column(
        "run", sa.String(100), nullable=False, server_default=""
    ),  # of the server that wrote it last, where there is one
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
    sa.Column("measured", sa.Text, nullable=False, server_default="{}"),  # JSON
)
windows = sa.Table(
    "flaggate_window",
    metadata,
    sa.Column("flag", sa.String(200), primary_key=True),
    sa.Column("began", sa.Integer, primary_key=True, index=True),  # Unix time
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("stage", sa.Integer, primary_key=True),
    sa.Column("arm", sa.String(20), primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("histogram", sa.Text, nullable=False),  # JSON
    sa.Column("measured", sa.Text, nullable=False),  # JSON
)
unit_sets = sa.Table(
    "flaggate_unit_set",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("flag", sa.String(200), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("stage", sa.Integer, nullable=False),
    sa.Column("metric", sa.String(200), nullable=False),
    sa.Column("span", sa.Integer, nullable=False),  # seconds; 0 = the whole stage
    sa.Column("began", sa.Integer, nullable=False),  # Unix time
    sa.Column("arm", sa.String(20), nullable=False),
    sa.Column("units", sa.Integer, nullable=False),  # these three are sums of its rows in `units`
    sa.Column("bad", sa.BigInteger, nullable=False),
    sa.Column("squares", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("flag", "attempt", "stage", "metric", "span", "began", "arm"),
)
units = sa.Table(
    "flaggate_unit",
    metadata,
    sa.Column("unit_set", sa.Integer, primary_key=True),
    sa.Column("unit", sa.String(32), primary_key=True),
    sa.Column("bad", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,  # the key is all that there is to look for
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
presences = sa.Table(
    "flaggate_presence",
    metadata,
    sa.Column("process", sa.String(32), primary_key=True),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("asked_seconds", sa.Double, nullable=False),
    sa.Column("every_seconds", sa.Double, nullable=False),
    sa.Column("said_at", sa.Double, nullable=False),  # Unix time
)
progress = sa.Table(
    "flaggate_progress",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("document", sa.Text, nullable=False),  # JSON
)


def complete(connection: sa.Connection) -> None:
    """Make what is missing."""
    metadata.create_all(connection)
    inspector = sa.inspect(connection)
    for table in metadata.sorted_tables:
        known = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                described = CreateColumn(column).compile(connection)
                connection.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {described}"))
