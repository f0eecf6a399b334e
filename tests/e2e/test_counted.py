"""Requests sent are requests counted, by arm and by how they ended, though workers come and go meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.contrib.django_store.servers import postgresql
from tests.e2e.planted import PLAN, Example, Turn, served
from tests.e2e.servers import is_there
from tests.runtime.scenes import until

LENIENT = PLAN.replace('limit = "1%"', 'limit = "90%"').replace('{ metric = "errors", vs_control = 1.25 },', "")


@pytest.mark.parametrize("name", ["flask_invoicing", pytest.param("django_invoicing", marks=pytest.mark.long)])
def test_each_request_is_counted_once_while_workers_are_replaced(tmp_path: Path, name: str) -> None:
    """The one on SQLite, the other one on the store in its own database, which is PostgreSQL."""
    database: AbstractContextManager[Any] = postgresql(tmp_path) if name.startswith("django") else nullcontext()
    with database as settings, served(name, tmp_path, settings) as example:
        example.begin(LENIENT)
        example.plant(on={"fails": 0.2}, off={"fails": 0.1})
        is_over = threading.Event()

        def turns() -> Iterator[Turn]:
            people = [*example.exposed, *example.others]
            while not is_over.is_set():
                yield from example.turns(people, passes=1)

        with ThreadPoolExecutor(1) as pool:
            browsing = pool.submit(example.browse, turns(), threads=2, per_second=100)
            try:
                replace_workers(example)
            finally:
                is_over.set()
            seen = browsing.result()
        until(example.is_all_counted, f"all requests are counted: {example.sent}, {example.order('counts')}")
        assert all(seen.pages[is_exposed, "failed"] > 0 for is_exposed in (True, False))
        assert seen.pages[True, "lost"] + seen.pages[False, "lost"] == 0
        assert not list(example.folder.rglob("*.db")), "it is on the database that is meant"


def replace_workers(example: Example) -> None:
    """All of them at once, and then one by itself, while they answer."""
    before = example.await_workers()
    served_before(example, 100)
    example.server.process.send_signal(signal.SIGHUP)
    until(lambda: not any(map(is_there, before)), "the old workers have ended")
    pid = example.await_workers().pop()
    served_before(example, 100)
    os.kill(pid, signal.SIGTERM)
    until(lambda: not is_there(pid), "it has ended")
    example.await_workers()
    served_before(example, 100)


def served_before(example: Example, more: int) -> None:
    """Until so many more requests have been answered."""
    goal = example.sent.total() + more
    until(lambda: example.sent.total() >= goal, "clients are answered")
