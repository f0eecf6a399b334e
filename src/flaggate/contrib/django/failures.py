"""What goes wrong in a project's database, as a StoreError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.core.exceptions import SynchronousOnlyOperation
from django.db import DEFAULT_DB_ALIAS, Error

from flaggate.errors import BusyError, StoreError

__all__ = ["store_errors"]

# What the drivers say: the names of sqlite3, the SQLSTATE of psycopg, the numbers of MySQL and MariaDB.
_BUSY: Final = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "40001", "40P01", "55P03", 1205, 1213, 3572})
_NOT_MIGRATED: Final = frozenset({"42P01", "42703", 1146, 1054})


@contextmanager
def store_errors(url: str, alias: str) -> Iterator[None]:
    """Raises StoreError for what Django or its driver raises, with what to do about it; BusyError for a lock."""
    try:
        yield
    except SynchronousOnlyOperation as error:
        raise StoreError(
            url, "it was asked on an event loop, where Django's ORM does not work; ask in sync_to_async"
        ) from error
    except (Error, ValueError) as error:  # ValueError: no UTF-8, no JSON, a NUL
        cause = error.__cause__ or error
        kind = BusyError if _codes(cause) & _BUSY else StoreError
        raise kind(url, f"the database did not do it: {_first_line(error)}{_hint(cause, alias)}") from error


def _hint(cause: BaseException, alias: str) -> str:
    if not _codes(cause) & _NOT_MIGRATED and not str(cause).startswith(("no such table", "no such column")):
        return ""
    where = "" if alias == DEFAULT_DB_ALIAS else f" --database {alias}"
    return f"; manage.py migrate flaggate{where} makes its tables"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]  # PostgreSQL adds the statement


def _codes(cause: BaseException) -> set[Any]:
    name = getattr(cause, "sqlite_errorname", "").split("_")
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return {"_".join(name[:2]), state, *cause.args[:1]}
