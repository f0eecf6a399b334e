"""A store in a database of the project's DATABASES, through the Django ORM.

Writing: the first statement of each write adds one to its row of the ledger. On PostgreSQL and MySQL this locks
that row, on SQLite it takes the one write lock (as BEGIN IMMEDIATE would, whatever `transaction_mode` says), until the
transaction ends. So writers come one after the other, revisions grow in the order of their commits, and a compare-and-set
reads what nobody else is changing. select_for_update on the ledger would do the same, but nothing at all on SQLite.

Within the app's own atomic block a write is a savepoint of it: seen by others once the block commits, and gone with it.
Until then `revision` is the committed one, so that no gate serves what may vanish; at the commit this process's gates look.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction
from django.db.models import BooleanField, ExpressionWrapper, F, Q
from django.utils.connection import ConnectionDoesNotExist

from flaggate.contrib.django import models as tables
from flaggate.contrib.django.connection import Connections, hurried, hurry_transaction
from flaggate.errors import BusyError, ConflictError, StoreError
from flaggate.rollout.state import Event
from flaggate.runtime.gate import Gate
from flaggate.runtime.process import watched
from flaggate.stores.base import Changes, Count, Kind, Report, Row, Write, added

__all__ = ["DjangoStore", "row_of"]

_ROWS: Final = "rows"
_COUNTS: Final = "counts"
_FORGET_SECONDS: Final = 7 * 86_400  # a process that reported nothing for so long repeats no report

# What the drivers say: the names of sqlite3, the SQLSTATE of psycopg, the numbers of MySQL and MariaDB.
_BUSY: Final = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "40001", "40P01", "55P03", 1205, 1213, 3572})
_NOT_MIGRATED: Final = frozenset({"42P01", "42703", 1146, 1054})


class DjangoStore:
    """A store in one of the project's databases: `FLAGGATE_STORE = "django"`, or "django:flags" for another than the default.

    For threads, not for an event loop, where the ORM does not work.

    Args:
        alias: Of the database. A DATABASE_ROUTERS that keeps apps apart has to let the app `flaggate` migrate there.

    Raises:
        StoreError: DATABASES has no such alias, or its driver is missing.
    """

    poll_seconds = 2.0

    def __init__(self, alias: str = DEFAULT_DB_ALIAS) -> None:
        self.url = f"django:{alias}"
        self.alias = alias
        self.identity = ""
        self._connections = Connections(alias)
        self._counting = threading.Lock()
        self.directory: str | None = self._found_directory()

    def _found_directory(self) -> str | None:
        try:
            connection: Any = connections[self.alias]
        except ConnectionDoesNotExist as error:
            known = ", ".join(connections.settings)
            raise StoreError(self.url, f"DATABASES has no {self.alias!r}; allowed: {known}") from error
        except ImproperlyConfigured as error:
            raise StoreError(self.url, f"the database cannot be used: {error}") from error
        name = str(connection.settings_dict["NAME"])
        if connection.vendor != "sqlite" or connection.is_in_memory_db() or name.startswith("file:"):
            return None
        return f"{Path(name).absolute()}.flaggate"

    # --- rows -------------------------------------------------------------------------------

    def revision(self) -> int:
        with self._reading() as uncommitted:
            return self._look(uncommitted)

    def changes(self, since: int = 0) -> Changes:
        with self._reading() as uncommitted:
            revision = self._look(uncommitted)
            found = self._of(tables.Row).filter(revision__gt=since)
            written = list(found.values_list("revision", "kind", "name", "version", "document"))
            rows = tuple(_row(*columns) for _, *columns in written)
            if uncommitted is not None:
                # For Control, which goes on from what it wrote. A gate that looks now has nothing yet, or is behind:
                # it will read everything anew, for this is another store's.
                self.identity += "-uncommitted"
                return Changes(revision, rows)
            # One consistent view of two statements: rows are never deleted, and each commit is seen whole. Was there one
            # in between, its number is the highest of the rows; did it write events only, the rows are as of before.
            return Changes(max([revision, *(number for number, *_ in written)]), rows)

    def get(self, kind: Kind, name: str) -> Row | None:
        with self._reading():
            found = self._of(tables.Row).filter(kind=kind, name=name).values_list("name", "version", "document").first()
            # MySQL compares without regard to case.
            return None if found is None or found[2] is None or found[0] != name else _row(kind, *found)

    def _look(self, uncommitted: _Uncommitted | None) -> int:
        """The committed revision; and whose it is."""
        found = self._of(tables.Ledger).filter(pk=_ROWS).values_list("identity", "revision")
        self.identity, revision = next(iter(found), ("", 0))
        return revision if uncommitted is None else uncommitted.before

    def commit(self, writes: Sequence[Write], events: Sequence[Event]) -> int:
        with self._errors(), self._connections.used() as connection:
            within = _is_within(connection)
            if not within:
                self._make(_ROWS)
            with self._transaction(connection):
                self.identity, revision = self._claim(_ROWS)
                self._write(writes, revision)
                self._of(tables.Event).bulk_create([_event_columns(event) for event in events])
            if within:
                told = self._uncommitted(connection) or _Uncommitted(self.alias, revision - 1)
                transaction.on_commit(told, using=self.alias, robust=True)
        return revision

    def _claim(self, name: str) -> tuple[str, int]:
        """Let nobody else write until this transaction ends. Returns the ledger's identity and its next revision."""
        ledger = self._of(tables.Ledger).filter(pk=name)
        if not ledger.update(revision=F("revision") + 1):
            self._make(name)
            ledger.update(revision=F("revision") + 1)
        found: tuple[str, int] = ledger.values_list("identity", "revision").get()
        return found

    def _make(self, name: str) -> None:
        """Make the ledger's row. Before the transaction where there is none of the app: of workers that write a new store
        at once MySQL would refuse all but one. Not in the migration: tests and `manage.py flush` empty every table.
        """
        self._of(tables.Ledger).get_or_create(name=name, defaults={"identity": uuid4().hex, "revision": 0})

    def _write(self, writes: Sequence[Write], revision: int) -> None:
        rows = self._of(tables.Row)
        # Locked, though nobody else writes: MySQL's REPEATABLE READ shows a plain SELECT the rows of an hour ago, if
        # the app's transaction began then.
        sought = rows.select_for_update().filter(name__in={write.name for write in writes})
        is_there = ExpressionWrapper(Q(document__isnull=False), output_field=BooleanField())
        columns = sought.annotate(is_there=is_there).values_list("kind", "name", "version", "is_there")
        known = {(kind, name): (version, is_there) for kind, name, version, is_there in columns}
        anew = set()
        for write in writes:
            version, is_there = known.get((write.kind, write.name), (0, False))
            if (found := version if is_there else 0) != write.expected:
                raise ConflictError(self.url, write.kind, write.name, expected=write.expected, found=found)
            key = {"kind": write.kind, "name": write.name}
            values = {"version": version + 1, "revision": revision, "document": _dumps(write.document)}
            if version:
                rows.filter(**key).update(**values)
            else:
                rows.create(**key, **values)
            known[write.kind, write.name] = version + 1, write.document is not None
            if write.kind == "flag" and (write.document is None or not write.expected):  # gone, or made anew
                anew.add(write.name)
        if anew:
            self._claim(_COUNTS)  # or of two who wait for each other's counts the database would refuse one
            self._of(tables.Count).filter(flag__in=anew).delete()

    # --- events -----------------------------------------------------------------------------

    def history(self, name: str | None = None, *, limit: int = 100, after: int = 0) -> list[Event]:
        query = self._of(tables.Event).filter(id__gt=after).order_by("-id")
        if name is not None:
            query = query.filter(name=name)
        with self._reading():
            return [_event(row) for row in reversed(query[:limit])]

    # --- counts -----------------------------------------------------------------------------

    def add_counts(self, report: Report) -> None:
        # The threads of a process come in turn: SQLite lets those who wait for each other starve.
        with self._counting, self._errors(), self._connections.used() as connection:
            if _is_within(connection):  # its rollback would take the counts along, and nobody would repeat them
                raise BusyError(self.url, "counts wait for the end of the app's transaction")
            self._make(_COUNTS)
            with hurried(connection), self._transaction(connection):
                hurry_transaction(connection)
                self._claim(_COUNTS)
                if self._is_new(report):
                    self._add(report.counts)

    def _is_new(self, report: Report) -> bool:
        """Whether the report was not added yet; it is taken for added from now on."""
        processes, now = self._of(tables.Process), int(time.time())
        this = processes.filter(pk=report.process)
        last = this.values_list("sequence", flat=True).first()
        if last is None:
            processes.filter(seen__lt=now - _FORGET_SECONDS).delete()
            processes.create(id=report.process, sequence=report.sequence, seen=now)
            return True
        return report.sequence > last and bool(this.update(sequence=report.sequence, seen=now))

    def _add(self, counts: Sequence[Count]) -> None:
        rows = self._of(tables.Count)
        known = {_key(row): row for row in rows.filter(flag__in={count.flag for count in counts})}
        new: dict[Any, tables.Count] = {}
        changed: dict[Any, tables.Count] = {}
        for count in counts:
            key = _key(count)
            row = new.get(key) or known.get(key)
            if row is None:
                flag, attempt, stage, arm = key
                row = tables.Count(
                    flag=flag, attempt=attempt, stage=stage, arm=arm, requests=0, errors=0, histogram="{}"
                )
                new[key] = row
            elif key not in new:
                changed[key] = row
            row.requests += count.requests
            row.errors += count.errors
            row.histogram = _dumps(added(_histogram(row.histogram), count.histogram))
        rows.bulk_create(new.values())
        rows.bulk_update(changed.values(), ["requests", "errors", "histogram"])

    def counts(self, flag: str | None = None) -> list[Count]:
        query = self._of(tables.Count).all()
        if flag is not None:
            query = query.filter(flag=flag)
        with self._reading():
            found = [
                Count(row.flag, row.attempt, row.stage, row.arm, row.requests, row.errors, json.loads(row.histogram))
                for row in query
            ]
        return sorted(found, key=_key)  # not ORDER BY: a database's collation may pass over hyphens

    # --- processes --------------------------------------------------------------------------

    def before_fork(self) -> None:
        self._connections.before_fork()

    def after_fork(self, *, in_child: bool) -> None:
        self._connections.after_fork(in_child=in_child)
        if in_child:
            self._counting = threading.Lock()

    def close(self) -> None:
        with self._errors():
            self._connections.close()

    # --- transactions -----------------------------------------------------------------------

    def _of(self, table: type[Any]) -> Any:
        """The rows of a table in this database, whatever DATABASE_ROUTERS say."""
        return table.objects.using(self.alias)

    @contextmanager
    def _reading(self) -> Iterator[_Uncommitted | None]:
        """With what the app's transaction wrote; within one there is a savepoint, so that no failure breaks it."""
        with self._errors(), self._connections.used() as connection, ExitStack() as stack:
            uncommitted = self._uncommitted(connection)
            if connection.in_atomic_block:
                stack.enter_context(transaction.atomic(using=self.alias))
            yield uncommitted

    @contextmanager
    def _transaction(self, connection: Any) -> Iterator[None]:
        if not connection.in_atomic_block and not connection.get_autocommit():
            raise StoreError(self.url, "autocommit is off, so that nothing would be committed; use transaction.atomic")
        with transaction.atomic(using=self.alias):
            yield

    def _uncommitted(self, connection: Any) -> _Uncommitted | None:
        """What the app's transaction wrote and has not rolled back: Django forgets what is to be called, then."""
        if not _is_within(connection):
            return None
        told = (function for _, function, *_ in connection.run_on_commit)
        return next((one for one in told if isinstance(one, _Uncommitted) and one.alias == self.alias), None)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except SynchronousOnlyOperation as error:
            raise StoreError(
                self.url, "it was asked on an event loop, where Django's ORM does not work; ask in sync_to_async"
            ) from error
        except (Error, ValueError) as error:  # ValueError: no UTF-8, no JSON, a NUL
            cause = error.__cause__ or error
            kind = BusyError if _codes(cause) & _BUSY else StoreError
            raise kind(self.url, f"the database did not do it: {_first_line(error)}{self._hint(cause)}") from error

    def _hint(self, cause: BaseException) -> str:
        if not _codes(cause) & _NOT_MIGRATED and not str(cause).startswith(("no such table", "no such column")):
            return ""
        where = "" if self.alias == DEFAULT_DB_ALIAS else f" --database {self.alias}"
        return f"; manage.py migrate flaggate{where} makes its tables"


@dataclass(frozen=True)
class _Uncommitted:
    """Called when the app's transaction is committed: this process's gates look at once, not two seconds later."""

    alias: str
    before: int
    """The committed revision."""

    def __call__(self) -> None:
        for gate in watched():
            if isinstance(gate, Gate) and isinstance(gate.store, DjangoStore) and gate.store.alias == self.alias:
                gate.pull()


def _is_within(connection: Any) -> bool:
    """Whether this is inside of an app's atomic block; that of a TestCase is none, as for `atomic(durable=True)`."""
    if not connection.in_atomic_block:
        return False
    return not (connection.atomic_blocks and connection.atomic_blocks[-1]._from_testcase)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]  # PostgreSQL adds the statement


def _codes(cause: BaseException) -> set[Any]:
    name = getattr(cause, "sqlite_errorname", "").split("_")
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return {"_".join(name[:2]), state, *cause.args[:1]}


def _key(count: Any) -> Any:
    return count.flag, count.attempt, count.stage, count.arm


def _histogram(text: str) -> dict[str, int]:
    try:
        return {str(edge): int(number) for edge, number in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError):  # whatever somebody wrote there: the counts go on without
        return {}


def _dumps(document: Mapping[str, Any] | None) -> Any:
    # In ASCII: a MySQL database may know three bytes a character only.
    return None if document is None else json.dumps(document, separators=(",", ":"))


def _loads(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _row(kind: Kind, name: str, version: int, document: str | None) -> Row:
    return Row(kind, name, version, _loads(document))


def row_of(row: tables.Row) -> Row:
    """A row of the table as the store's."""
    return _row(row.kind, row.name, row.version, row.document)  # type: ignore[arg-type]  # the kinds are those written


def _event_columns(event: Event) -> tables.Event:
    return tables.Event(
        kind=event.kind,
        name=event.name,
        verb=event.verb,
        actor=event.actor,
        at=event.at.isoformat(),
        reason=event.reason,
        before=_dumps(event.before),
        after=_dumps(event.after),
        evidence=_dumps(event.evidence),
    )


def _event(row: tables.Event) -> Event:
    return Event(
        row.name,
        row.verb,
        row.actor,
        datetime.fromisoformat(row.at),
        row.reason,
        _loads(row.before),
        _loads(row.after),
        _loads(row.evidence),
        row.kind,
        row.id,
    )
