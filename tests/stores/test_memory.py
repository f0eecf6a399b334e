"""The store in memory keeps the contract."""

import pytest

from flaggate.stores.base import Store
from flaggate.stores.memory import MemoryStore
from flaggate.testing import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore(clock=self.clock)

    def test_two_stores_share_nothing(self, store: Store) -> None:
        store.commit([], [])
        assert MemoryStore().revision() == 0

    def test_keeps_nothing_on_disk(self, store: Store) -> None:
        assert store.directory is None
