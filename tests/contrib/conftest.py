"""A switchboard of one's own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contrib.scenes import Switchboard


@pytest.fixture
def board() -> Iterator[Switchboard]:
    """Flags, all of them off."""
    made = Switchboard()
    yield made
    made.gate.close()
