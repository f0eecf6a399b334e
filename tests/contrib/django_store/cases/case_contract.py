"""The store on the Django ORM keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from flaggate.contrib.django.store import DjangoStore
from flaggate.testing import StoreContract


class TestDjangoStore(StoreContract):
    @pytest.fixture
    def store(self, store: DjangoStore) -> Iterator[DjangoStore]:
        """Empty, and by the clock of the test; on PostgreSQL, which is long in connecting, as in a request that has asked it."""
        if connection.vendor == "postgresql":
            connection.ensure_connection()
        store = DjangoStore(store.alias, clock=self.clock)
        yield store
        store.close()
