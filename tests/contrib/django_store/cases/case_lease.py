"""The lease and the progress: of several processes, beside the app's own transactions, and what somebody broke."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from functools import partial

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from flaggate.contrib.django import models
from flaggate.contrib.django.store import DjangoStore
from flaggate.errors import BusyError
from flaggate.stores.base import Store, Write
from flaggate.testing.contract.leasing import take
from tests.contrib.django_store.acting import elsewhere, put
from tests.stores.children import Pipe, fork, wait
from tests.stores.robbing import nobody_robs_who_is_writing, nothing_comes_after_a_robbery

ROUNDS = 20
LONG = 86_400.0


def test_of_processes_that_ask_at_once_one_gets_it(store: DjangoStore) -> None:
    """Round by round, from the first time that anybody ever asks."""
    results, turns = Pipe(), [Pipe() for _ in range(3)]

    def ask(name: str, turn: Pipe) -> None:
        connection.ensure_connection()  # and keep it: it is not to be seen how long it takes to connect
        for _ in range(ROUNDS):
            turn.receive(1)
            results.send(name if take(store, name, seconds=LONG) else ".")

    pids = [fork(partial(ask, name, turn)) for name, turn in zip("abc", turns, strict=True)]
    for _ in range(ROUNDS):
        for turn in turns:
            turn.send()
        *others, winner = sorted(results.receive(1) for _ in turns)
        assert others == [".", "."]
        lease = store.lease()
        assert lease is not None
        assert (lease.holder, lease.who) == (winner, f"host of {winner}")
        store.release_lease(winner)
    assert [wait(pid) for pid in pids] == [0] * 3
    for pipe in (results, *turns):
        pipe.close()


def test_nothing_of_a_former_holder_is_written_once_another_has_it(store: DjangoStore) -> None:
    nothing_comes_after_a_robbery(lambda clock: DjangoStore(clock=clock))


def test_nobody_takes_the_lease_while_its_holder_writes(store: DjangoStore) -> None:
    nobody_robs_who_is_writing(lambda clock: DjangoStore(clock=clock))


def _writes(store: Store) -> list[Callable[[], object]]:
    """What only the keeper does, as the holder."""
    return [
        lambda: store.take_lease("one", "host:1", LONG),
        lambda: store.save_progress({"a": {"n": 2}}, holder="one"),
        lambda: store.commit([Write("segment", "s", 0, {})], [], holder="one"),
        lambda: store.release_lease("one"),
    ]


def test_nothing_of_it_joins_the_apps_transaction(store: DjangoStore) -> None:
    """Its rollback would take it along, and its length would keep the others waiting. It may be read there."""
    assert store.take_lease("one", "host:1", LONG)
    store.save_progress({"a": {"n": 1}}, holder="one")
    lease = store.lease()
    with transaction.atomic():
        Group.objects.create(name="before")
        for write in _writes(store):
            with pytest.raises(BusyError, match="not before the end of the app's transaction"):
                write()
        assert (store.lease(), store.progress()) == (lease, {"a": {"n": 1}})
        Group.objects.create(name="after")
    assert Group.objects.count() == 2
    for write in _writes(store):
        write()
    assert (store.lease(), store.progress()) == (None, {"a": {"n": 2}})


def test_another_writer_is_waited_for_only_shortly(store: DjangoStore) -> None:
    """The keeper asks, and must go on to read what was killed. An app that makes a flag holds what is to go with it."""
    assert store.take_lease("one", "host:1", LONG)
    take_it, save, _, release = _writes(store)
    with transaction.atomic():
        put(store, "a")
        for write in (take_it, save, release):
            assert isinstance(elsewhere(partial(_raised, write)), BusyError)
    for write in (take_it, save, release):
        write()
    assert store.progress() == {"a": {"n": 2}}


def _raised(work: Callable[[], object]) -> Exception | None:
    try:
        work()
    except BusyError as error:
        return error
    return None


@pytest.mark.not_on("sqlite", "it lets nobody write meanwhile")
def test_an_act_in_the_apps_transaction_keeps_no_holder_waiting(store: DjangoStore) -> None:
    """However long the app takes."""
    put(store, "a")
    with transaction.atomic():
        put(store, "a", 1)
        take_it, save, _, release = _writes(store)
        for write in (take_it, save, release):
            assert elsewhere(partial(_raised, write)) is None
    assert store.progress() == {"a": {"n": 2}}


def test_progress_goes_with_a_flag_when_the_app_commits(store: DjangoStore) -> None:
    put(store, "a")
    take(store, "one")
    store.save_progress({"a": {"n": 1}}, holder="one")
    with transaction.atomic():
        store.commit([Write("flag", "a", 1, None)], [])
        assert store.progress() == {}
        assert elsewhere(store.progress) == {"a": {"n": 1}}
    assert elsewhere(store.progress) == {}


def test_within_a_test_case_of_django_it_is_as_if_there_were_no_transaction(store: DjangoStore) -> None:
    class OfAProject(TestCase):
        def test_it(self) -> None:
            for write in _writes(store):
                write()
            assert (store.lease(), store.progress()) == (None, {"a": {"n": 2}})

    result = unittest.TestResult()
    unittest.TestSuite([OfAProject("test_it")]).run(result)
    assert (result.errors, result.failures, result.testsRun) == ([], [], 1)
    assert store.progress() == {}


def test_to_look_whose_it_is_takes_one_query(store: DjangoStore) -> None:
    take(store, "one")
    connection.ensure_connection()
    with CaptureQueriesContext(connection) as queries:
        assert store.lease() is not None
    assert len(queries) == 1


def test_progress_that_somebody_broke_is_left_out(store: DjangoStore) -> None:
    """One that cannot be read is not to keep the others from being looked at; it is written anew."""
    take(store, "one")
    store.save_progress({name: {"n": 1} for name in "abc"}, holder="one")
    models.Progress.objects.filter(name="a").update(document='{"n": ')
    models.Progress.objects.filter(name="b").update(document="[1]")
    assert store.progress() == {"c": {"n": 1}}
    store.save_progress({"a": {"n": 2}, "b": {"n": 2}}, holder="one")
    assert store.progress() == {"a": {"n": 2}, "b": {"n": 2}, "c": {"n": 1}}
