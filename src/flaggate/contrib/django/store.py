"""A store in a database of the project's DATABASES, through the Django ORM.

Writing: the first statement of each write adds one to its row of the ledger. On PostgreSQL and MySQL this locks
that row, on SQLite it takes the one write lock (as BEGIN IMMEDIATE would, whatever `transaction_mode` says), until the
transaction ends. So writers come one after the other, revisions grow in the order of their commits, and a compare-and-set
reads what nobody else is changing. select_for_update on the ledger would do the same, but nothing at all on SQLite.

Within the app's own atomic block a write is a savepoint of it: seen by others once the block commits, and gone with it.
Until then `revision` is the committed one, so that no gate serves what may vanish; at the commit this process's gates look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import BooleanField, ExpressionWrapper, F, FloatField, Q, Value
from django.db.models.expressions import RawSQL
from django.utils.connection import ConnectionDoesNotExist

from flaggate.contrib.django import models as tables
from flaggate.contrib.django import store_contents
from flaggate.contrib.django.connection import Connections, hurried, hurry_transaction
from flaggate.contrib.django.failures import store_errors
from flaggate.contrib.django.store_counts import Counts
from flaggate.contrib.django.uncommitted import Uncommitted, is_within, uncommitted_in
from flaggate.errors import BusyError, ConflictError, LeaseError, StoreError
from flaggate.rollout.state import Event
from flaggate.stores.base import (
    NOT_EMPTY,
    PRESENCE_SPANS,
    Changes,
    Contents,
    Count,
    Kind,
    Lease,
    Presence,
    Report,
    Row,
    UnitSum,
    Window,
    Write,
)
from flaggate.stores.columns import documents_of, dumps, event_columns, event_of, row_of

__all__ = ["DjangoStore"]

_ROWS: Final = "rows"
_COUNTS: Final = "counts"
_LEASE: Final = "lease"
_PRESENCE: Final = "presence"
_CLOCKS: Final = {
    "postgresql": "extract(epoch FROM clock_timestamp())",
    "mysql": "unix_timestamp(sysdate(6))",
}
"""Unix time, in seconds."""


class DjangoStore:
    """A store in one of the project's databases: `FLAGGATE_STORE = "django"`, or "django:flags" for another than the default.

    For threads, not for an event loop, where the ORM does not work.

    Args:
        alias: Of the database. A DATABASE_ROUTERS that keeps apps apart has to let the app `flaggate` migrate there.
        clock: Unix time, for the lease and the windows; None = the database's, which is one for all machines.

    Raises:
        StoreError: DATABASES has no such alias, or its driver is missing.
    """

    poll_seconds = 2.0

    def __init__(self, alias: str = DEFAULT_DB_ALIAS, *, clock: Callable[[], float] | None = None) -> None:
        self.url = f"django:{alias}"
        self.alias = alias
        self.identity = self.salt = ""
        self._clock = clock
        self._connections = Connections(alias)
        self._counts = Counts(alias)
        self._in_turn = threading.Lock()
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

    def wait(self, seconds: float, is_over: threading.Event) -> bool:
        is_over.wait(seconds)
        return False

    def changes(self, since: int = 0) -> Changes:
        with self._reading() as uncommitted:
            revision = self._look(uncommitted)
            found = self._of(tables.Row).filter(revision__gt=since)
            written = list(found.values_list("revision", "kind", "name", "version", "document"))
            rows = tuple(row_of(*columns) for _, *columns in written)
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
            return None if found is None or found[2] is None or found[0] != name else row_of(kind, *found)

    def _look(self, uncommitted: Uncommitted | None) -> int:
        """The committed revision; and whose it is."""
        found = self._of(tables.Ledger).filter(pk=_ROWS).values_list("identity", "revision")
        self.salt, revision = next(iter(found), ("", 0))
        self.identity = self.salt
        return revision if uncommitted is None else uncommitted.before

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        with self._errors(), self._connections.used() as connection:
            within = is_within(connection)
            if within and holder is not None:
                raise self._busy("what only the lease's holder writes")
            if not within:
                self._make(_ROWS, _COUNTS, _LEASE)
            with self._transaction(connection):
                self.salt, revision = self._claim(_ROWS)
                self.identity = self.salt
                if holder is not None:
                    self._claim(_LEASE)
                    self._check_lease(holder)
                self._write(writes, revision)
                self._of(tables.Event).bulk_create([tables.Event(**event_columns(event)) for event in events])
            if within:
                told = uncommitted_in(connection, self.url) or Uncommitted(self.url, revision - 1)
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

    def _make(self, *names: str) -> None:
        """Make rows of the ledger. Before the transaction where there is none of the app: of workers that write a new
        store at once MySQL would refuse all but one. Not in the migration: tests and `manage.py flush` empty every table.
        """
        ledger = self._of(tables.Ledger)
        known = ledger.filter(name__in=names).values_list("name", flat=True)
        for name in set(names).difference(known):
            ledger.get_or_create(name=name, defaults={"identity": uuid4().hex, "revision": 0})

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
            values = {"version": version + 1, "revision": revision, "document": dumps(write.document)}
            if version:
                rows.filter(**key).update(**values)
            else:
                rows.create(**key, **values)
            known[write.kind, write.name] = version + 1, write.document is not None
            if write.kind == "flag" and (write.document is None or not write.expected):  # gone, or made anew
                anew.add(write.name)
        if anew:
            for ledger in (_COUNTS, _LEASE):  # or of two who wait for each other the database would refuse one
                self._claim(ledger)
            self._counts.remove(anew)
            self._of(tables.Progress).filter(name__in=anew).delete()

    # --- events -----------------------------------------------------------------------------

    def history(self, name: str | None = None, *, limit: int = 100, after: int = 0) -> list[Event]:
        query = self._of(tables.Event).filter(id__gt=after).order_by("-id")
        if name is not None:
            query = query.filter(name=name)
        with self._reading():
            return [event_of(row) for row in reversed(query[:limit])]

    # --- counts -----------------------------------------------------------------------------

    def add_counts(self, report: Report) -> None:
        with self._beside(_COUNTS, "counts"):
            self._counts.add(report, self._now())

    def counts(self, flag: str | None = None) -> list[Count]:
        with self._reading():
            return self._counts.counts(flag)

    def windows(self, flag: str, since: float) -> list[Window]:
        with self._reading():
            return self._counts.windows(flag, since)

    def units(self, flag: str, attempt: int, stage: int) -> list[UnitSum]:
        with self._reading():
            return self._counts.units(flag, attempt, stage)

    def pulse(self) -> int:
        with self._reading():
            return self._of(tables.Ledger).filter(pk=_COUNTS).values_list("revision", flat=True).first() or 0

    # --- the lease and what its holder keeps ------------------------------------------------

    def take_lease(self, holder: str, who: str, seconds: float) -> bool:
        with self._beside(_LEASE, "the lease"):
            held = self._held(self._of(tables.Lease).select_for_update())
            if held is not None and held.holder != holder:
                return False
            leases = self._of(tables.Lease)
            leases.all().delete()
            leases.create(id=1, holder=holder, who=who, renewed_at=self._now(), seconds=seconds)
            return True

    def lease(self) -> Lease | None:
        with self._reading():
            return self._held(self._of(tables.Lease))

    def _held(self, leases: Any) -> Lease | None:
        of_database = self._of_database()
        moment = Value(0.0) if of_database is None else RawSQL(of_database, ())  # noqa: S611  # a text of ours
        columns = "holder", "who", "renewed_at", "seconds", "moment"
        found = leases.annotate(moment=ExpressionWrapper(moment, FloatField())).values_list(*columns).first()
        if found is None:
            return None
        *lease, now = found
        held = Lease(*lease)
        return held if held.is_held(self._now() if of_database is None else float(now)) else None

    def _of_database(self) -> str | None:
        """Its clock in SQL; None = it has none that is better than this machine's: SQLite is a file of one."""
        return None if self._clock is not None else _CLOCKS.get(connections[self.alias].vendor)

    def _now(self) -> float:
        of_database = self._of_database()
        if of_database is None:
            return time.time() if self._clock is None else self._clock()
        with connections[self.alias].cursor() as cursor:
            cursor.execute(f"SELECT {of_database}")
            (now,) = cursor.fetchone()
        return float(now)

    def release_lease(self, holder: str) -> None:
        with self._beside(_LEASE, "the lease"):
            self._of(tables.Lease).filter(holder=holder).delete()

    def _check_lease(self, holder: str) -> None:
        # Locked for what is read, as in _write: the transaction may have waited for whoever took it.
        held = self._held(self._of(tables.Lease).select_for_update())
        if held is None or held.holder != holder:
            raise LeaseError(self.url)

    def progress(self) -> dict[str, Mapping[str, Any]]:
        with self._reading():
            return documents_of(self._of(tables.Progress).values_list("name", "document"))

    def save_progress(self, documents: Mapping[str, Mapping[str, Any] | None], *, holder: str) -> None:
        kept = {name: dumps(document) for name, document in documents.items() if document is not None}
        with self._beside(_LEASE, "the progress"):
            self._check_lease(holder)
            rows = self._of(tables.Progress)
            rows.filter(name__in=list(documents)).delete()
            rows.bulk_create([tables.Progress(name=name, document=text) for name, text in kept.items()])

    # --- processes --------------------------------------------------------------------------

    def say(self, presence: Presence) -> None:
        with self._beside(_PRESENCE, "that this process is there"):
            rows, now = self._of(tables.Presence), self._now()
            said = asdict(replace(presence, said_at=now))
            process = said.pop("process")
            if not rows.filter(process=process).update(**said):
                rows.filter(said_at__lt=now - PRESENCE_SPANS * F("every_seconds")).delete()
                rows.create(process=process, **said)

    def presences(self) -> list[Presence]:
        columns = tuple(field.name for field in fields(Presence))
        with self._reading():
            found = [Presence(*row) for row in self._of(tables.Presence).values_list(*columns)]
            now = self._now() if found else 0.0
        there = [presence for presence in found if presence.is_there(now)]
        return sorted(there, key=lambda presence: (presence.who, presence.process))

    def unsay(self, process: str) -> None:
        with self._beside(_PRESENCE, "that this process has gone"):
            self._of(tables.Presence).filter(process=process).delete()

    # --- from one store to another ----------------------------------------------------------

    def contents(self) -> Contents:
        with self._reading(), store_contents.one_view(self.alias):
            return store_contents.contents(self.alias, revision=self._look(None), salt=self.salt)

    def fill(self, contents: Contents) -> None:
        with self._errors(), self._connections.used() as connection:
            if is_within(connection):
                raise self._busy("another store's contents")
            self._make(_ROWS, _COUNTS, _LEASE)
            with self._transaction(connection):
                revisions = [self._claim(ledger)[1] for ledger in (_ROWS, _COUNTS, _LEASE)]
                if revisions[:2] != [1, 1]:
                    raise StoreError(self.url, NOT_EMPTY)
                store_contents.fill(self.alias, contents)
                as_there = {"identity": contents.salt, "revision": contents.revision}
                self._of(tables.Ledger).filter(pk=_ROWS).update(**as_there)
        self.identity = self.salt = contents.salt

    # --- forks ------------------------------------------------------------------------------

    def before_fork(self) -> None:
        self._connections.before_fork()

    def after_fork(self, *, in_child: bool) -> None:
        self._connections.after_fork(in_child=in_child)
        if in_child:
            self._in_turn = threading.Lock()

    def close(self) -> None:
        with self._errors():
            self._connections.close()

    # --- transactions -----------------------------------------------------------------------

    def _of(self, table: type[Any]) -> Any:
        """The rows of a table in this database, whatever DATABASE_ROUTERS say."""
        return table.objects.using(self.alias)

    @contextmanager
    def _reading(self) -> Iterator[Uncommitted | None]:
        """With what the app's transaction wrote; within one there is a savepoint, so that no failure breaks it."""
        with self._errors(), self._connections.used() as connection, ExitStack() as stack:
            uncommitted = uncommitted_in(connection, self.url)
            if connection.in_atomic_block:
                stack.enter_context(transaction.atomic(using=self.alias))
            yield uncommitted

    @contextmanager
    def _transaction(self, connection: Any) -> Iterator[None]:
        if not connection.in_atomic_block and not connection.get_autocommit():
            raise StoreError(self.url, "autocommit is off, so that nothing would be committed; use transaction.atomic")
        with transaction.atomic(using=self.alias):
            yield

    @contextmanager
    def _beside(self, ledger: str, what: str) -> Iterator[None]:
        """A short transaction of its own, for what is handed over again when it is refused: it never joins the app's,
        whose rollback would take it along, and waits for another writer only shortly.
        """
        # The threads of a process come in turn: SQLite lets those who wait for each other starve.
        with self._in_turn, self._errors(), self._connections.used() as connection:
            if is_within(connection):
                raise self._busy(what)
            self._make(ledger)
            with hurried(connection), self._transaction(connection):
                hurry_transaction(connection)
                self._claim(ledger)
                yield

    def _busy(self, what: str) -> BusyError:
        return BusyError(self.url, f"{what}: not before the end of the app's transaction")

    def _errors(self) -> AbstractContextManager[None]:
        return store_errors(self.url, self.alias)
