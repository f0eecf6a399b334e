"""For the tests of those who use flaggate: answers without a store, and the contract that every store keeps."""

from typing import TYPE_CHECKING, Any

from flaggate.testing.override import override

if TYPE_CHECKING:
    from flaggate.testing.contract import StoreContract

__all__ = ["StoreContract", "override"]


def __getattr__(name: str) -> Any:
    """The contract is for those who write a store (PEP 562): pytest loads this package in every project."""
    if name == "StoreContract":
        from flaggate.testing.contract import StoreContract

        return StoreContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
