"""All that an SQL store keeps, read for another store, or taken from one: what it does within a transaction of its own."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from flaggate.stores import sql_counts, sums, tables
from flaggate.stores.base import Contents, Count, UnitSet, Window
from flaggate.stores.columns import count_columns, count_of, documents_of, dumps, event_columns, event_of, row_of

__all__ = ["contents", "fill", "is_empty"]

_GROUP: Final = sums.Group._fields


def contents(connection: sa.Connection) -> Contents:
    """All of it."""
    meta, rows = tables.meta.c, tables.rows.c
    salt, revision = connection.execute(sa.select(meta.identity, meta.revision)).one()
    # Sorted here: a database sorts by a language's rules, another one than another.
    found = connection.execute(sa.select(rows.kind, rows.name, rows.version, rows.document)).all()
    windows = [Window(row.began, count_of(row)) for row in connection.execute(sa.select(tables.windows))]
    progress = connection.execute(sa.select(tables.progress.c.name, tables.progress.c.document))
    return Contents(
        salt,
        revision,
        tuple(row_of(*columns) for columns in sorted(found, key=lambda columns: columns[:2])),
        tuple(event_of(row) for row in connection.execute(sa.select(tables.events).order_by(tables.events.c.id))),
        tuple(sql_counts.counts(connection, None)),
        tuple(sorted(windows, key=lambda window: (window.began, *sums.count_place(window.count)))),
        tuple(_unit_sets(connection)),
        documents_of((name, text) for name, text in progress),
    )


def _unit_sets(connection: sa.Connection) -> list[UnitSet]:
    columns, units = tables.unit_sets.c, tables.units.c
    members: dict[int, dict[str, int]] = {}
    for number, unit, bad in connection.execute(sa.select(units.unit_set, units.unit, units.bad)):
        members.setdefault(number, {})[unit] = bad
    found = connection.execute(sa.select(columns.id, columns.arm, *(columns[name] for name in _GROUP)))
    in_order = sorted(found, key=lambda row: (*row[2:], row.arm))
    return [sums.set_of(arm, sums.Group(*group), members.get(number, {})) for number, arm, *group in in_order]


def is_empty(connection: sa.Connection) -> bool:
    """Whether nothing was ever written or counted here."""
    meta = tables.meta.c
    revision, pulse = connection.execute(sa.select(meta.revision, meta.pulse)).one()
    return not revision and not pulse


def fill(connection: sa.Connection, given: Contents) -> None:
    """Take all of it, into empty tables."""
    rows = [
        {"kind": row.kind, "name": row.name, "version": row.version, "document": dumps(row.document)}
        for row in given.rows
    ]
    _insert(connection, tables.rows, [row | {"revision": given.revision} for row in rows])
    _insert(connection, tables.events, [{"id": event.id} | event_columns(event) for event in given.events])
    _insert(connection, tables.counts, [_place(count) | count_columns(count) for count in given.counts])
    windows = ((window.began, window.count) for window in given.windows)
    _insert(
        connection,
        tables.windows,
        [{"began": began} | _place(count) | count_columns(count) for began, count in windows],
    )
    for units in given.units:
        _fill_units(connection, units)
    connection.execute(sa.delete(tables.progress))  # that of a process which looked at nothing
    kept = [{"name": name, "document": dumps(document)} for name, document in given.progress.items()]
    _insert(connection, tables.progress, kept)
    if connection.dialect.name == "postgresql":  # numbers that were brought along are no numbers that it gave
        for table in (tables.events, tables.unit_sets):
            last = sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0) + 1).scalar_subquery()
            connection.execute(sa.select(sa.func.setval(f"{table.name}_id_seq", last, False)))
    connection.execute(sa.update(tables.meta).values(identity=given.salt, revision=given.revision))


def _fill_units(connection: sa.Connection, units: UnitSet) -> None:
    members = {(units.arm, unit): bad for unit, bad in units.units.items()}
    total = sums.growth({}, members).get(units.arm, sums.Sum())
    values = sums.group_of(units)._asdict() | {"arm": units.arm} | total._asdict()
    made = connection.execute(sa.insert(tables.unit_sets).values(values).returning(tables.unit_sets.c.id))
    number = made.scalar_one()
    rows = [{"unit_set": number, "unit": unit, "bad": bad} for unit, bad in units.units.items()]
    _insert(connection, tables.units, rows)


def _insert(connection: sa.Connection, table: sa.Table, values: list[dict[str, Any]]) -> None:
    if values:
        connection.execute(sa.insert(table), values)


def _place(count: Count) -> dict[str, Any]:
    return {"flag": count.flag, "attempt": count.attempt, "stage": count.stage, "arm": count.arm}
