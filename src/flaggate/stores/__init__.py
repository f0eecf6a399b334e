"""Where flags are kept. `open_store` finds the store for a URL; a driver is imported only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flaggate.errors import StoreError

if TYPE_CHECKING:
    from flaggate.stores.base import Store

__all__ = ["open_store"]


def open_store(url: str, *, create: bool = True) -> Store:
    """The store at a URL: `sqlite:///flags.db` or `memory://`. Nothing is opened yet.

    Raises:
        StoreError: for a URL that names no store known here.
    """
    if url.startswith("sqlite:"):
        from flaggate.stores.sql import SqlStore  # SQLAlchemy takes 0.3 s to import

        return SqlStore(url, create=create)
    if url.startswith(("postgresql:", "postgresql+psycopg:")):
        try:
            from flaggate.stores.postgresql import PostgresStore
        except ImportError as error:
            raise _missing(url, "postgresql", error) from error
        return PostgresStore(url, create=create)
    if url.startswith(("redis:", "rediss:", "valkey:", "valkeys:", "unix:")):
        try:
            from flaggate.stores.redis import RedisStore
        except ImportError as error:
            raise _missing(url, "redis", error) from error
        return RedisStore(url, create=create)
    if url == "memory://":
        from flaggate.stores.memory import MemoryStore

        return MemoryStore()
    from flaggate.stores.base import without_password

    raise StoreError(
        without_password(url),
        "this names no store; allowed: sqlite:///PATH (four slashes for an absolute one), "
        "postgresql://user@host/database, redis://host:6379/0, memory://",
    )


def _missing(url: str, extra: str, error: ImportError) -> StoreError:
    from flaggate.stores.base import without_password

    return StoreError(without_password(url), f"this takes pip install 'flaggate[{extra}]' ({error})")
