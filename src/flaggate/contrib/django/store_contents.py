"""All that the store on the Django ORM keeps, read for another store, or taken from one: what it does within a
transaction of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from django.core.management.color import no_style
from django.db import connections, transaction

from flaggate.contrib.django import models as tables
from flaggate.contrib.django.store_counts import Counts
from flaggate.stores import sums
from flaggate.stores.base import Contents, Count, Row, UnitSet, Window
from flaggate.stores.columns import count_columns, count_of, documents_of, dumps, event_columns, event_of, row_of

__all__ = ["contents", "fill", "one_view"]

_MOST_AT_ONCE: Final = 250_000
"""Characters of a statement, about: a document may be large, and MySQL takes so much only."""
_ROW_SIZE: Final = 200
"""Of one without a document, about."""


@contextmanager
def one_view(alias: str) -> Iterator[None]:
    """A transaction in which each statement sees the same. SQLite needs no more for it; within the app's transaction, or
    where autocommit is off, it is the app's to say."""
    connection: Any = connections[alias]
    is_ours = connection.get_autocommit() and not connection.in_atomic_block
    with transaction.atomic(using=alias):
        if is_ours and connection.vendor in {"postgresql", "mysql"}:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def contents(alias: str, salt: str, revision: int) -> Contents:
    """All of it, for the caller's ledger."""
    rows = [row_of(*row) for row in _of(alias, tables.Row).values_list("kind", "name", "version", "document")]
    windows = [Window(row.began, count_of(row)) for row in _of(alias, tables.Window).iterator()]
    # Sorted here, not by ORDER BY: a database's collation may pass over hyphens.
    return Contents(
        salt,
        revision,
        tuple(sorted(rows, key=lambda row: (row.kind, row.name))),
        tuple(event_of(row) for row in _of(alias, tables.Event).order_by("id").iterator()),
        tuple(Counts(alias).counts(None)),
        tuple(sorted(windows, key=lambda window: (window.began, sums.count_place(window.count)))),
        tuple(_unit_sets(alias)),
        documents_of(_of(alias, tables.Progress).order_by("name").values_list("name", "document")),
    )


def _unit_sets(alias: str) -> list[UnitSet]:
    members: dict[int, dict[str, int]] = {}
    for number, unit, bad in _of(alias, tables.Unit).values_list("unit_set", "unit", "bad").iterator():
        members.setdefault(number, {})[unit] = bad
    found = _of(alias, tables.UnitSet).values_list("id", "arm", *sums.Group._fields)
    sets = [sums.set_of(arm, sums.Group(*group), members.get(number, {})) for number, arm, *group in found]
    return sorted(sets, key=lambda units: (sums.group_of(units), units.arm))


def fill(alias: str, given: Contents) -> None:
    """Take all of it, into empty tables. Nobody else writes meanwhile."""
    _insert(alias, tables.Row, (_written(row) | {"revision": given.revision} for row in given.rows))
    _insert(alias, tables.Event, ({"id": event.id} | event_columns(event) for event in given.events))
    connection = connections[alias]
    with connection.cursor() as cursor:  # PostgreSQL's goes on from where it stood, whatever the ids are
        for statement in connection.ops.sequence_reset_sql(no_style(), [tables.Event]):
            cursor.execute(statement)
    _insert(alias, tables.Count, (_counted(count) for count in given.counts))
    _insert(alias, tables.Window, ({"began": window.began} | _counted(window.count) for window in given.windows))
    for units in given.units:
        _fill_units(alias, units)
    _of(alias, tables.Progress).all().delete()  # that of a process which looked at nothing
    _insert(alias, tables.Progress, ({"name": name, "document": dumps(each)} for name, each in given.progress.items()))


def _fill_units(alias: str, units: UnitSet) -> None:
    total = sums.growth({}, {(units.arm, unit): bad for unit, bad in units.units.items()}).get(units.arm, sums.Sum())
    values = sums.group_of(units)._asdict() | {"arm": units.arm} | total._asdict()
    made = _of(alias, tables.UnitSet).create(**values)
    _insert(alias, tables.Unit, ({"unit_set": made.id, "unit": unit, "bad": bad} for unit, bad in units.units.items()))


def _insert(alias: str, table: type[Any], rows: Iterable[Mapping[str, Any]]) -> None:
    """Some at a time: never much more than `_MOST_AT_ONCE`, unless a single one is."""
    some, size = list[Any](), 0
    for values in rows:
        length = _ROW_SIZE + sum(len(value) for value in values.values() if isinstance(value, str))
        if some and size + length > _MOST_AT_ONCE:
            _of(alias, table).bulk_create(some)
            some, size = [], 0
        some.append(table(**values))
        size += length
    _of(alias, table).bulk_create(some)


def _of(alias: str, table: type[Any]) -> Any:
    return table.objects.using(alias)


def _written(row: Row) -> dict[str, Any]:
    return {"kind": row.kind, "name": row.name, "version": row.version, "document": dumps(row.document)}


def _counted(count: Count) -> dict[str, Any]:
    flag, attempt, stage, arm = sums.count_place(count)
    return {"flag": flag, "attempt": attempt, "stage": stage, "arm": arm} | count_columns(count)
