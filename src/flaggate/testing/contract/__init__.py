"""The contract that every store keeps, as tests: for those who write a store of their own."""

from __future__ import annotations

from flaggate.testing.contract.counts import CountContract
from flaggate.testing.contract.leases import LeaseContract
from flaggate.testing.contract.moving import MoveContract
from flaggate.testing.contract.presences import PresenceContract
from flaggate.testing.contract.processes import ProcessContract
from flaggate.testing.contract.progress import ProgressContract
from flaggate.testing.contract.rows import RowContract
from flaggate.testing.contract.units import UnitContract
from flaggate.testing.contract.windows import WindowContract

__all__ = ["StoreContract"]


class StoreContract(
    RowContract,
    CountContract,
    WindowContract,
    UnitContract,
    LeaseContract,
    ProgressContract,
    PresenceContract,
    MoveContract,
    ProcessContract,
):
    """What every store keeps. Subclass it, with a fixture `store` that gives a new and empty one, which takes the time
    from `self.clock`:

        class TestMyStore(StoreContract):
            @pytest.fixture
            def store(self) -> Iterator[Store]:
                store = MyStore(..., clock=self.clock)
                yield store
                store.close()

    With `pytest.register_assert_rewrite("flaggate.testing.contract")` in the conftest.py a failure shows its values.
    """
