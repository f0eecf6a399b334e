"""The contract's asserts show their values when they fail."""

import pytest

pytest.register_assert_rewrite("flaggate.testing.contract")
