"""Counts, windows and units: of several processes, one of which is killed, and what is left behind."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from flaggate.contrib.django import models
from flaggate.contrib.django.store import DjangoStore
from flaggate.stores.base import Count, Report, UnitCount, Write
from flaggate.testing.contract.unit_acting import add
from tests.contrib.django_store.acting import elsewhere
from tests.stores.children import fork, wait

AT = 1_800_000_123.0
COUNT = Count("a", 1, 1, "on", 1, 0, {"10": 1}, {"paid": 1})
FEW = 100
"""More statements than a report needs."""


def _unit(number: int, metric: str = "errors", *, flag: str = "a", stage: int = 1) -> UnitCount:
    return UnitCount(flag, 1, stage, "treatment", metric, f"{number:016x}", 1)


def _counted(store: DjangoStore) -> tuple[Any, ...]:
    return store.counts(), store.windows("a", 0), store.units("a", 1, 1)


def test_processes_that_meet_the_same_units_count_each_once(store: DjangoStore) -> None:
    """Of the stage as of the hour and the ten minutes; and no bad request is lost."""

    def meet(first: int) -> None:
        own, process = DjangoStore(clock=lambda: AT), uuid4().hex
        for sequence in range(1, 11):
            units = [_unit(first + number) for number in range(sequence, sequence + 10)]
            add(own, Report(process, sequence, (COUNT,), tuple(units)))

    connections.close_all()
    pids = [fork(partial(meet, first)) for first in (0, 0, 5)]
    assert [wait(pid) for pid in pids] == [0] * 3
    times = Counter(first + one + number for first in (0, 0, 5) for one in range(1, 11) for number in range(10))
    squares = sum(number**2 for number in times.values())
    assert [(one.units, one.bad, one.squares) for one in store.units("a", 1, 1)] == [(24, 300, squares)] * 3
    assert [window.count.requests for window in store.windows("a", 0)] == [30]
    assert [count.measured for count in store.counts()] == [{"paid": 30}]


def test_a_crash_while_a_report_is_added(store: DjangoStore) -> None:
    """Before any of its statements: sums, windows, units and the report's number go together."""
    store = DjangoStore(clock=lambda: AT)
    first, second = ((_unit(1), _unit(1, "requests")), (_unit(1), _unit(2), _unit(2, "requests")))
    store.add_counts(Report("other", 1, (COUNT,), first))
    seen = []
    for number in range(1, FEW):
        report, before = Report(f"killed-{number}", 1, (COUNT,), second), _counted(store)
        connections.close_all()
        code = wait(fork(partial(_add_until_killed, report, number), is_measured=False))
        crashed = _counted(store)
        add(store, report)
        (total,), after = store.counts(), _counted(store)
        assert total.requests == number + 1
        assert sorted(one.bad for one in store.units("a", 1, 1)) == [2, *[2 * number + 1] * 3]
        seen.append((before, after).index(crashed))
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert seen == sorted(seen)
    assert (seen[-1], seen.count(0) > 10) == (1, True)


def _add_until_killed(report: Report, number: int) -> None:
    """This process kills itself before its so many-th statement."""
    left = number

    def count(execute: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(*arguments)

    with connection.execute_wrapper(count):
        DjangoStore(clock=lambda: AT).add_counts(report)


def test_units_that_are_forgotten_leave_nothing_in_the_tables(store: DjangoStore) -> None:
    """Else they would grow with each stage of each flag."""
    store.commit([Write("flag", "b", 0, {})], [])
    store.add_counts(Report("p", 1, (), (_unit(1), _unit(1, stage=2))))
    store.add_counts(Report("p", 100, (), (_unit(1, stage=2), _unit(1, flag="b"))))
    assert (models.UnitSet.objects.count(), models.Unit.objects.count()) == (6, 6)
    store.commit([Write("flag", "b", 1, None)], [])
    assert (models.UnitSet.objects.count(), models.Unit.objects.count()) == (3, 3)


def test_a_flag_that_is_removed_in_the_apps_transaction_takes_along_what_came_meanwhile(store: DjangoStore) -> None:
    """Also on MySQL, where a transaction sees what was there when it began."""
    store.commit([Write("flag", "a", 0, {})], [])
    with transaction.atomic():
        assert store.units("a", 1, 1) == []
        if connection.vendor != "sqlite":  # it would let nobody write from here on
            elsewhere(lambda: store.add_counts(Report("p", 1, (COUNT,), (_unit(1),))))
        store.commit([Write("flag", "a", 1, None)], [])
    assert _counted(store) == ([], [], [])
    assert models.Unit.objects.count() == 0


def test_what_was_counted_may_be_read_in_the_apps_transaction(store: DjangoStore) -> None:
    store.add_counts(Report("p", 1, (COUNT,), (_unit(1),)))
    with transaction.atomic():
        assert store.counts() == [COUNT]
        assert [window.count for window in store.windows("a", 0)] == [COUNT]
        assert len(store.units("a", 1, 1)) == 3
        assert store.pulse() > 0


def test_many_units_take_as_few_queries_as_one(store: DjangoStore) -> None:
    numbers = []
    for sequence, many in enumerate((1, 1, 200), start=1):
        connection.ensure_connection()
        with CaptureQueriesContext(connection) as queries:
            store.add_counts(Report("p", sequence, (), tuple(_unit(number) for number in range(many))))
        numbers.append(len(queries))
    assert numbers[2] <= numbers[1]


def test_a_process_that_is_only_there_takes_few_queries(store: DjangoStore) -> None:
    store.add_counts(Report("p", 1, (COUNT,)))
    connection.ensure_connection()
    with CaptureQueriesContext(connection) as queries:
        store.add_counts(Report("p", 2))
    assert not [query for query in queries.captured_queries if "_count" in query["sql"] or "_unit" in query["sql"]]
