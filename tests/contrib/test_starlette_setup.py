"""The middleware of a Starlette app from the server's start to its end, and what is wrong with its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from flaggate import Gate
from flaggate.contrib.starlette import FlaggateMiddleware, flags_from
from flaggate.errors import SettingError
from flaggate.stores.sql import SqlStore
from tests.contrib.scenes import Switchboard


def test_the_flags_are_there_before_the_first_request_and_the_counts_are_written_at_the_end(tmp_path: Path) -> None:
    """Also for what the app's own lifespan asks."""
    store = SqlStore(f"sqlite:///{tmp_path}/flags.db")
    Switchboard(store).on("banner")
    gate = Gate.open(store, background=False)
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, str]]:
        seen.append(f"start {gate.is_on('banner')} {gate.health().revision > 0}")
        yield {"word": "state"}
        seen.append(f"end {gate.is_on('banner')}")

    async def state(request: Request) -> Response:
        return PlainTextResponse(f"{request.state.word} {flags_from(request)['banner']}")

    middleware = [Middleware(FlaggateMiddleware, gate=gate)]
    app = Starlette(routes=[Route("/", state)], middleware=middleware, lifespan=lifespan)
    with TestClient(app) as client:
        assert client.get("/").text == "state True"
        assert store.counts("banner") == []
    assert seen == ["start True True", "end True"]
    assert [(count.arm, count.requests) for count in store.counts("banner")] == [("on", 1)]
    gate.close()


def test_a_lifespan_that_fails_is_the_servers_business(board: Switchboard) -> None:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        raise LookupError("no database")
        yield

    app = Starlette(lifespan=lifespan, middleware=[Middleware(FlaggateMiddleware, gate=board.gate)])
    with pytest.raises(LookupError, match="no database"), TestClient(app):
        pass


async def ask_the_database(asked: object) -> dict[str, str]:
    """What cannot say who asks."""
    return {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gate": "sqlite:///flags.db"}, r"gate: <class 'str'>; allowed: what Gate.open\(.*\) returns"),
        ({"context": {"user": "ada"}}, r"context: .*ada.*; allowed: a plain function"),
        ({"context": ask_the_database}, r"context: .*ask_the_database.*; allowed: a plain function"),
        ({"geo": "nowhere.mmdb"}, r"geo: .*nowhere.mmdb; allowed: a City file"),
        ({"routes": {"v2": "banner"}}, r"routes: .*v2.*; allowed: a table of paths and flags"),
        ({"trusted_proxies": "10.0.0.0/8"}, r"trusted_proxies: 10.0.0.0/8; allowed: a list"),
        ({"proxy_header": "X-Real-IP"}, r"proxy_header: X-Real-IP; allowed: "),
        ({"secret_keys": "secret"}, r"secret_keys: \(not shown\); allowed: a list"),
    ],
)
def test_a_wrong_setting_is_said_at_start(board: Switchboard, options: dict[str, Any], said: str) -> None:
    """Starlette makes its middleware when the server starts, or at the first request."""
    app = Starlette()
    app.add_middleware(FlaggateMiddleware, **{"gate": board.gate, **options})
    with pytest.raises(SettingError, match=f"^{said}"), TestClient(app):
        pass
