"""The store on the Django ORM keeps the contract."""

from __future__ import annotations

import pytest

from flaggate.testing import StoreContract


@pytest.mark.usefixtures("tables")
class TestDjangoStore(StoreContract):
    pass
