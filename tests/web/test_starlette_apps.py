"""The ASGI middleware around real Starlette apps: what their responses are made of, and what they do on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flaggate import Gate
from flaggate.web.asgi import FlaggateMiddleware, Message
from tests.runtime.scenes import seen
from tests.web.scenes import Clock, Exchange, counted, http_scope, times

pytest.importorskip("starlette", reason="pip install starlette")
from starlette.applications import Starlette  # noqa: TID251  # this is about real apps
from starlette.background import BackgroundTask  # noqa: TID251
from starlette.exceptions import HTTPException  # noqa: TID251
from starlette.middleware import Middleware  # noqa: TID251
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: TID251
from starlette.middleware.gzip import GZipMiddleware  # noqa: TID251
from starlette.requests import Request  # noqa: TID251
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse  # noqa: TID251
from starlette.routing import Route  # noqa: TID251


class Passing(BaseHTTPMiddleware):
    """Cuts every response to pieces, and does nothing else."""

    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


def site(gate: Gate, endpoint: Any, *middleware: Any) -> FlaggateMiddleware:
    inner = [Middleware(one) for one in middleware]
    return FlaggateMiddleware(Starlette(routes=[Route("/", endpoint)], middleware=inner), gate)


@pytest.mark.parametrize("middleware", [[], [Passing], [Passing, Passing], [GZipMiddleware], [Passing, GZipMiddleware]])
def test_a_response_has_a_time_whatever_it_went_through(gate: Gate, middleware: list[Any]) -> None:
    """Sync views run in another thread, and ask within the visit all the same."""

    def view(_request: Request) -> Response:
        return PlainTextResponse(str(gate.is_on("banner")) * 500)

    exchange = Exchange()
    exchange.run(site(gate, view, *middleware), http_scope(headers=[("accept-encoding", "gzip")]))
    assert exchange.answer().status == 200
    assert counted(gate) == (1, 0, 1)


@pytest.mark.parametrize("middleware", [[], [Passing]])
def test_a_stream_has_none(gate: Gate, middleware: list[Any]) -> None:
    """It answers within its visit to the end."""

    async def parts() -> AsyncIterator[str]:
        for _ in range(3):
            yield str(gate.is_on("banner"))

    async def view(_request: Request) -> Response:
        gate.is_on("banner")
        return StreamingResponse(parts())

    assert Exchange().run(site(gate, view, *middleware)).answer().body == b"True" * 3
    assert counted(gate) == (1, 0, 0)


def test_background_tasks_do_not_make_a_response_slow(gate: Gate, clock: Clock) -> None:
    def work() -> None:
        clock.now += 60

    async def view(_request: Request) -> Response:
        gate.is_on("banner")
        clock.now += 0.25
        return PlainTextResponse("", background=BackgroundTask(work))

    Exchange().run(site(gate, view))
    assert times(gate, "banner") == {"270": 1}


@pytest.mark.parametrize("extensions", [{}, {"http.response.pathsend": {}}])
def test_a_file(gate: Gate, tmp_path: Path, extensions: dict[str, Any]) -> None:
    (tmp_path / "file").write_text("content")

    async def view(_request: Request) -> Response:
        gate.is_on("banner")
        return FileResponse(tmp_path / "file")

    exchange = Exchange().run(site(gate, view), http_scope(extensions=extensions))
    kinds = [message["type"].rpartition(".")[2] for message in exchange.sent[1:]]
    assert set(kinds) == ({"pathsend"} if extensions else {"body"})
    assert counted(gate) == (1, 0, 1)


@pytest.mark.parametrize(
    ("error", "errors"), [(HTTPException(404), 0), (HTTPException(503), 1), (ZeroDivisionError(), 1)]
)
def test_errors_that_starlette_answers(gate: Gate, error: Exception, errors: int) -> None:
    async def view(_request: Request) -> Response:
        gate.is_on("banner")
        raise error

    exchange = Exchange()
    if isinstance(error, ZeroDivisionError):
        with pytest.raises(ZeroDivisionError):
            exchange.run(site(gate, view))
    else:
        exchange.run(site(gate, view))
    assert exchange.answer().status in (404, 500, 503)
    assert counted(gate) == (1, errors, 1)


def test_a_client_that_leaves_a_stream(gate: Gate) -> None:
    """Starlette listens for it, and cancels what it sends."""

    async def parts() -> AsyncIterator[str]:
        yield "first"
        await asyncio.Event().wait()

    async def view(_request: Request) -> Response:
        gate.is_on("banner")
        return StreamingResponse(parts())

    class Leaving(Exchange):
        async def receive(self) -> Message:
            while len(self.sent) < 2:
                await asyncio.sleep(0)
            return {"type": "http.disconnect"}

    exchange = Leaving()
    exchange.run(site(gate, view), http_scope(asgi={"version": "3.0", "spec_version": "2.3"}))
    assert exchange.sent[-1]["body"] == b"first"
    assert seen(gate) == {}


def test_an_app_that_fails_to_start_says_so_to_the_server(gate: Gate) -> None:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        raise LookupError("no database")
        yield

    server = Exchange([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    with pytest.raises(LookupError):
        server.run(FlaggateMiddleware(Starlette(lifespan=lifespan), gate), {"type": "lifespan", "state": {}})
    assert [message["type"] for message in server.sent] == ["lifespan.startup.failed"]
