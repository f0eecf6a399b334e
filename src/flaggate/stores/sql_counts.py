"""The counts of the SQL store, their windows, and the sets of units: what it does within a transaction of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from flaggate.stores import sums, tables
from flaggate.stores.base import WINDOW_SECONDS, Arm, Count, Report, UnitSum, Window
from flaggate.stores.columns import count_columns, count_of

__all__ = ["add_report", "counts", "pulse", "remove_flag", "units", "windows"]

_PLACE: Final = ("flag", "attempt", "stage", "arm")
_COUNTED: Final = ("requests", "errors", "histogram", "measured")
_GROUP: Final = sums.Group._fields
_SUMS: Final = sums.Sum._fields
_MARKS: Final = {"qmark": "?", "pyformat": "%s"}
"""Of a parameter, by the driver's paramstyle (PEP 249)."""
_MOST_AT_ONCE: Final = 500
"""Parameters of a statement; SQLite takes 999 at least."""


def add_report(connection: sa.Connection, report: Report, now: float) -> None:
    """Add it, unless it was added already."""
    processes = tables.processes
    this, at = processes.c.id == report.process, int(now)
    last = connection.scalar(sa.select(processes.c.sequence).where(this))
    if last is None:
        connection.execute(sa.delete(processes).where(processes.c.seen < at - sums.FORGET_SECONDS))
        made = {"id": report.process, "sequence": report.sequence, "seen": at}
        connection.execute(sa.insert(processes).values(made))
    elif report.sequence <= last:
        return
    else:
        connection.execute(sa.update(processes).where(this).values(sequence=report.sequence, seen=at))
    if found := sums.merged(report.counts):
        _add_counts(connection, tables.counts, found, {})
        _add_counts(connection, tables.windows, found, {"began": sums.span_began(now, WINDOW_SECONDS)})
    for group, seen in sums.units_of(report.units, now).items():
        _add_units(connection, group, seen)
    if sums.forgets(report, is_first=last is None):
        _forget(connection, report, now)
    # Last: until it ends, nobody else writes this row, and a kill has to.
    connection.execute(sa.update(tables.meta).values(pulse=tables.meta.c.pulse + 1))


def pulse(connection: sa.Connection) -> int:
    return int(connection.scalar(sa.select(tables.meta.c.pulse)) or 0)


def remove_flag(connection: sa.Connection, flag: str) -> None:
    """Whatever was counted of it."""
    sets = tables.unit_sets.c
    _remove_sets(connection, connection.scalars(sa.select(sets.id).where(sets.flag == flag)).all())
    for table in (tables.counts, tables.windows):
        connection.execute(sa.delete(table).where(table.c.flag == flag))


# --- counts -----------------------------------------------------------------------------


def _add_counts(
    connection: sa.Connection, table: sa.Table, found: Mapping[sums.Place, Count], window: dict[str, int]
) -> None:
    """Add to those that are there already, of the window if it is of one."""
    flags = {place[0] for place in found}
    attempts, stages = {place[1] for place in found}, {place[2] for place in found}
    near = [table.c.attempt.in_(attempts), table.c.stage.in_(stages)]
    known: dict[sums.Place, Count] = {}
    for some in sums.batches(sorted(flags), _MOST_AT_ONCE):
        query = sa.select(table).where(table.c.flag.in_(some), *near, *_are(table, window))
        known |= {sums.count_place(count): count for count in map(count_of, connection.execute(query))}
    rows = (
        (*place, *window.values(), *count_columns(sums.plus(known[place], count) if place in known else count).values())
        for place, count in found.items()
    )
    _put(connection, table.name, (*_PLACE, *window), _COUNTED, rows)


def _put(
    connection: sa.Connection, table: str, key: Sequence[str], kept: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    """Insert them, or put what is kept in place of what is there: many in one statement, and past SQLAlchemy, at a
    quarter of its price.
    """
    columns = (*key, *kept)
    values = f"({', '.join([_MARKS[connection.dialect.paramstyle]] * len(columns))})"
    changes = ", ".join(f"{name} = excluded.{name}" for name in kept)
    for some in sums.batches(rows, _MOST_AT_ONCE // len(columns)):
        connection.exec_driver_sql(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([values] * len(some))} "
            f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}",
            tuple(value for row in some for value in row),
        )


def _are(table: sa.Table, values: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == value for name, value in values.items()]


def counts(connection: sa.Connection, flag: str | None) -> list[Count]:
    query = sa.select(tables.counts)
    if flag is not None:
        query = query.where(tables.counts.c.flag == flag)
    return sorted(map(count_of, connection.execute(query)), key=sums.count_place)  # not by a language's rules


def windows(connection: sa.Connection, flag: str, since: float) -> list[Window]:
    column = tables.windows.c
    query = sa.select(tables.windows).where(column.flag == flag, column.began > since - WINDOW_SECONDS)
    found = connection.execute(query.order_by(column.began, column.attempt, column.stage, column.arm))
    return [Window(row.began, count_of(row)) for row in found]


# --- units ------------------------------------------------------------------------------


def _add_units(connection: sa.Connection, group: sums.Group, seen: Mapping[sums.Member, int]) -> None:
    sets = _sets_of(connection, group)
    size = sum(total.units for _, total in sets.values())
    ids = {arm: number for arm, (number, _) in sets.items()}
    known = _known(connection, ids, {unit for _, unit in seen})
    after = sums.grown(group, seen, known, size)
    for arm, change in sums.growth(known, after).items():
        if arm in sets:
            number, total = sets[arm]
            this = tables.unit_sets.c.id == number
            connection.execute(sa.update(tables.unit_sets).where(this).values(total.plus(change)._asdict()))
        else:
            values = group._asdict() | {"arm": arm} | change._asdict()
            made = connection.execute(sa.insert(tables.unit_sets).values(values).returning(tables.unit_sets.c.id))
            ids[arm] = made.scalar_one()
    rows = ((ids[arm], unit, bad) for (arm, unit), bad in after.items())
    _put(connection, tables.units.name, ("unit_set", "unit"), ("bad",), rows)


def _sets_of(connection: sa.Connection, group: sums.Group) -> dict[Arm, tuple[int, sums.Sum]]:
    table = tables.unit_sets
    columns = (table.c.arm, table.c.id, *(table.c[name] for name in _SUMS))
    found = connection.execute(sa.select(*columns).where(*_are(table, group._asdict())))
    return {arm: (number, sums.Sum(*total)) for arm, number, *total in found}


def _known(connection: sa.Connection, ids: Mapping[Arm, int], units: Iterable[str]) -> dict[sums.Member, int]:
    """Those that are there already, and how many of their requests were bad."""
    column, arms = tables.units.c, {number: arm for arm, number in ids.items()}
    found: dict[sums.Member, int] = {}
    for some in sums.batches(units if ids else (), _MOST_AT_ONCE):
        query = sa.select(column.unit_set, column.unit, column.bad)
        rows = connection.execute(query.where(column.unit_set.in_(arms), column.unit.in_(some)))
        found |= {(arms[number], unit): bad for number, unit, bad in rows}
    return found


def units(connection: sa.Connection, flag: str, attempt: int, stage: int) -> list[UnitSum]:
    column = tables.unit_sets.c
    query = sa.select(tables.unit_sets).where(column.flag == flag, column.attempt == attempt, column.stage == stage)
    found = connection.execute(query.order_by(column.metric, column.span, column.began, column.arm))
    return [UnitSum(row.arm, row.metric, row.span, row.began, row.units, row.bad, row.squares) for row in found]


# --- forgetting -------------------------------------------------------------------------


def _forget(connection: sa.Connection, report: Report, now: float) -> None:
    connection.execute(sa.delete(tables.windows).where(tables.windows.c.began < sums.oldest_window(now)))
    columns = tables.unit_sets.c
    query = sa.select(columns.id, columns.units, *(columns[name] for name in _GROUP)).order_by(columns.id)
    found = ((number, size, sums.Group(*group)) for number, size, *group in connection.execute(query))
    _remove_sets(connection, list(sums.sets_over(found, sums.newest_stages(report), now)))


def _remove_sets(connection: sa.Connection, ids: Sequence[int]) -> None:
    for some in sums.batches(ids, _MOST_AT_ONCE):
        connection.execute(sa.delete(tables.units).where(tables.units.c.unit_set.in_(some)))
        connection.execute(sa.delete(tables.unit_sets).where(tables.unit_sets.c.id.in_(some)))
