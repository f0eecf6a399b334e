"""What goes wrong is a StoreError that says what to do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from flaggate.contrib.django import models
from flaggate.contrib.django.store import DjangoStore
from flaggate.errors import StoreError
from flaggate.stores.base import Count, Report, Write
from tests.contrib.django_store.acting import put

COUNT = Count("a", 1, 1, "on", 1, 0, {"10": 1})


def test_a_database_that_was_not_migrated_says_so() -> None:
    store = DjangoStore("not-migrated")
    with pytest.raises(
        StoreError, match=r"^django:not-migrated: .*; manage.py migrate flaggate --database not-migrated"
    ):
        store.revision()
    with pytest.raises(StoreError, match="migrate"):
        store.commit([Write("flag", "a", 0, {})], [])


def test_an_unknown_alias_is_told_with_those_that_there_are() -> None:
    with pytest.raises(StoreError, match=r"DATABASES has no 'flags'; allowed: default, not-migrated"):
        DjangoStore("flags")


def test_a_database_without_its_driver_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings, "no-driver", {"ENGINE": "django.db.backends.no_such"})
    with pytest.raises(StoreError, match="no-driver: the database cannot be used"):
        DjangoStore("no-driver")


def test_on_an_event_loop_it_is_told_where_to_ask(store: DjangoStore) -> None:
    async def ask() -> None:
        store.revision()

    with pytest.raises(StoreError, match="sync_to_async"):
        asyncio.run(ask())
    assert put(store, "a") == 1


def test_the_folder_of_what_a_process_keeps_is_beside_an_sqlite_file() -> None:
    assert DjangoStore("not-migrated").directory == f"{settings.DATABASES['not-migrated']['NAME']}.flaggate"
    if connection.vendor != "sqlite":
        assert DjangoStore().directory is None
    assert DjangoStore("memory").directory is None
    assert Path(DjangoStore("relative").directory or "").is_absolute()


def test_to_look_for_changes_takes_one_query(store: DjangoStore) -> None:
    put(store, "a")
    connection.ensure_connection()
    with CaptureQueriesContext(connection) as queries:
        assert store.revision() == 1
    assert len(queries) == 1


def test_identity_is_drawn_anew_where_the_tables_were_emptied(store: DjangoStore) -> None:
    put(store, "a")
    known = store.identity
    assert len(known) == 32
    assert (DjangoStore().revision(), store.identity) == (1, known)
    models.Ledger.objects.all().delete()
    models.Row.objects.all().delete()
    assert store.revision() == 0
    put(store, "a")
    assert store.identity not in ("", known)


def test_names_differ_by_case_wherever_they_are_kept(store: DjangoStore) -> None:
    """MySQL's own comparison knows no case."""
    put(store, "a")
    assert store.get("flag", "A") is None


def test_counts_go_on_where_somebody_wrote_what_is_no_histogram(store: DjangoStore) -> None:
    store.add_counts(Report("p", 1, (COUNT,)))
    models.Count.objects.update(histogram="[1]")
    store.add_counts(Report("p", 2, (COUNT,)))
    assert store.counts() == [Count("a", 1, 1, "on", 2, 0, {"10": 1})]


def test_what_a_report_says_twice_is_summed(store: DjangoStore) -> None:
    for sequence in (1, 2):
        store.add_counts(Report("p", sequence, (COUNT, COUNT)))
        assert store.counts() == [Count("a", 1, 1, "on", 2 * sequence, 0, {"10": 2 * sequence})]


def test_a_process_that_reported_nothing_for_long_is_forgotten(store: DjangoStore) -> None:
    store.add_counts(Report("old", 1, (COUNT,)))
    models.Process.objects.update(seen=1)
    store.add_counts(Report("new", 1, (COUNT,)))
    assert list(models.Process.objects.values_list("id", flat=True)) == ["new"]


def test_what_somebody_wrote_that_is_no_json_is_a_store_error(store: DjangoStore) -> None:
    put(store, "a")
    models.Row.objects.update(document="{")
    with pytest.raises(StoreError):
        store.get("flag", "a")
