"""The store in PostgreSQL keeps the contract, and what only it has to: servers that go, come back, and forget."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from flaggate import Context, Gate
from flaggate.errors import BusyError, ConflictError, StoreError
from flaggate.rollout.state import Verb
from flaggate.stores import open_store
from flaggate.stores.base import Report, Store, Write
from flaggate.testing import StoreContract
from flaggate.testing.contract.acting import a_count, an_event
from tests.postgres_servers import KINDS, PostgresServer, postgres_server
from tests.runtime.scenes import bring, turn, until

pytest.importorskip("psycopg", reason="pip install 'flaggate[postgresql]'")
from flaggate.stores.postgresql import PostgresStore  # noqa: E402

ADA = Context("ada")


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with postgres_server(request.param) as server:
        yield server


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """To be killed."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def url(own_server: PostgresServer) -> str:
    return own_server.new_schema()


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    store = PostgresStore(url)
    yield store
    store.close()


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def store(self, server: PostgresServer) -> Iterator[Store]:
        store = PostgresStore(server.new_schema(), clock=self.clock)
        yield store
        store.close()
