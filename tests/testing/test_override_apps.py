"""`override` in apps: by test clients, in a live server's thread, and what caches are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from typing import Any

import pytest
from waitress.server import create_server  # type: ignore[import-untyped]  # it has no types
from werkzeug.serving import make_server

from flaggate import Gate
from flaggate.errors import UnknownFlagError
from flaggate.testing import override
from tests.runtime.scenes import seen
from tests.web.scenes import Speaks, SpeaksAsgi, SpeaksWsgi

pytest.importorskip("flask", reason="pip install flask")
pytest.importorskip("starlette.testclient", reason="pip install starlette httpx")
from flask import Flask, render_template_string, request  # noqa: TID251  # this is about real apps
from starlette.applications import Starlette  # noqa: TID251
from starlette.middleware import Middleware  # noqa: TID251
from starlette.requests import Request  # noqa: TID251
from starlette.responses import PlainTextResponse  # noqa: TID251
from starlette.routing import Route  # noqa: TID251
from starlette.testclient import TestClient  # noqa: TID251

from flaggate.contrib import flask, starlette


@pytest.fixture
def app(gate: Gate) -> Flask:
    """Answers `/ask/NAME`, `/view` behind `banner`, and `/page`, whose template asks."""
    made = Flask("invoicing")
    made.testing = True
    flask.init_app(made, gate, context=lambda asked: {"tier": asked.args.get("tier")})

    @made.get("/ask/<name>")
    def ask(name: str) -> str:
        return str(flask.flags_from(request)[name])

    @made.get("/view")
    @flask.feature_required("banner")
    def view() -> str:
        return "new"

    @made.get("/page/<name>")
    def page(name: str) -> str:
        return render_template_string("{% if feature(name) %}new{% else %}old{% endif %}", name=name)

    return made


@pytest.fixture
def starlette_app(gate: Gate) -> Starlette:
    """Answers `/later/NAME` on its loop, and `/thread/NAME` in a thread of its own."""

    async def later(asked: Request) -> PlainTextResponse:
        await asyncio.sleep(0)
        return PlainTextResponse(str(starlette.flags_from(asked)[asked.path_params["name"]]))

    def in_thread(asked: Request) -> PlainTextResponse:
        return PlainTextResponse(str(starlette.flags_from(asked)[asked.path_params["name"]]))

    routes = [Route("/later/{name}", later), Route("/thread/{name}", in_thread)]
    return Starlette(routes=routes, middleware=[Middleware(starlette.FlaggateMiddleware, gate=gate)])


# --- test clients -------------------------------------------------------------------------------


def test_flask_by_its_test_client(app: Flask, gate: Gate) -> None:
    client = app.test_client()
    assert "404 Not Found" in client.get("/view").text
    with override({"banner": True, "tiered": lambda context: context.tier == "pro"}):
        assert client.get("/view").text == client.get("/page/banner").text == "new"
        assert [client.get(f"/ask/tiered{query}").text for query in ("", "?tier=pro")] == ["False", "True"]
        with app.test_request_context("/"):
            assert flask.flags_from(request)["banner"]
    assert client.get("/page/banner").text == "old"
    assert seen(gate) == {("banner", 0, 0, "off"): (2, 0)}, "of the answers without it"


def test_flask_and_a_flag_that_is_not_there(app: Flask) -> None:
    client = app.test_client()
    with override({"banner": True}):
        for path in ("/ask/baner", "/page/baner"):
            with pytest.raises(UnknownFlagError, match='did you mean "banner"'):
                client.get(path)
        app.testing = False
        assert client.get("/ask/baner").status_code == 500
    assert client.get("/ask/baner").text == "False"


@pytest.mark.parametrize("path", ["/later", "/thread"])
def test_starlette_by_its_test_client(starlette_app: Starlette, path: str) -> None:
    with TestClient(starlette_app) as client:  # its loop runs in a thread of its own
        assert client.get(f"{path}/banner").text == "False"
        with override({"banner": True}):
            assert client.get(f"{path}/banner").text == "True"
            with pytest.raises(UnknownFlagError, match='did you mean "banner"'):
                client.get(f"{path}/baner")
        assert client.get(f"{path}/banner").text == "False"


# --- tasks, threads, servers --------------------------------------------------------------------


def test_the_tasks_of_a_loop_and_its_threads(gate: Gate) -> None:
    async def scene() -> list[bool]:
        has_begun, is_on = asyncio.Event(), asyncio.Event()

        async def job() -> tuple[bool, bool]:
            with gate.visit() as visit:
                has_begun.set()
                await is_on.wait()
                before = visit["banner"]
            return before, gate.is_on("banner")

        async def ask() -> bool:
            return gate.is_on("banner")

        running = asyncio.create_task(job())
        await has_begun.wait()
        with override({"banner": True}):
            is_on.set()
            return [*await running, await asyncio.create_task(ask()), await asyncio.to_thread(gate.is_on, "banner")]

    assert asyncio.run(scene()) == [False, True, True, True]
    assert not gate.is_on("banner")


@contextmanager
def werkzeug_server(app: Flask) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    with _serving(server.serve_forever, server.shutdown):
        yield server.server_port
    server.server_close()


@contextmanager
def waitress_server(app: Flask) -> Iterator[int]:
    sockets: dict[int, Any] = {}
    server = create_server(app, map=sockets, host="127.0.0.1", port=0, threads=2)

    def run() -> None:
        with suppress(OSError):  # the socket that it waits for is closed, below
            server.run()

    with _serving(run, server.close):
        yield int(server.effective_port)


@contextmanager
def _serving(serve: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("serving", [werkzeug_server, waitress_server])
def test_the_threads_of_a_live_server(app: Flask, serving: Any) -> None:
    with serving(app) as port:

        def get(path: str) -> str:
            connection = HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", path)
            text = connection.getresponse().read().decode()
            connection.close()
            return text

        assert get("/page/banner") == "old"
        with override({"banner": True}):
            assert get("/page/banner") == get("/view") == "new"
            with override({"banner": lambda context: context.tier == "pro"}):
                assert [get("/page/banner"), get("/page/banner?tier=pro")] == ["old", "new"]
        assert get("/page/banner") == "old"


def test_a_request_in_another_thread_keeps_its_answers(gate: Gate) -> None:
    begun, goes_on = threading.Event(), threading.Event()
    found: list[bool] = []

    def job() -> None:
        with gate.visit() as visit:
            begun.set()
            goes_on.wait(30)
            found.append(visit["banner"])
        found.append(gate.is_on("banner"))

    thread = threading.Thread(target=job)
    thread.start()
    begun.wait(30)
    with override({"banner": True}):
        goes_on.set()
        thread.join(30)
    assert found == [False, True]


# --- caches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [SpeaksAsgi(), SpeaksWsgi()], ids=["asgi", "wsgi"])
def test_what_caches_are_told(gate: Gate, protocol: Speaks) -> None:
    """A plain answer is the same to all; of a function nobody knows what it reads."""
    asked: list[object] = []

    def who(asker: object) -> dict[str, Any]:
        asked.append(asker)
        return {"tier": "pro"}

    site = protocol.site(gate, lambda: str(gate.is_on("tiered")), context=who)

    def told() -> tuple[bytes, list[str], list[str]]:
        answer = protocol.ask(site)
        return answer.body, answer.header("vary"), answer.header("cache-control")

    for is_on in (True, False):
        with override({"tiered": is_on}):
            assert told() == (str(is_on).encode(), [], [])
    assert asked == [], "nobody was asked who it is"
    with override({"tiered": lambda context: True}):
        assert told() == (b"True", ["Cookie, Authorization"], ["private"])
    assert len(asked) == 1


@pytest.mark.parametrize("protocol", [SpeaksAsgi(), SpeaksWsgi()], ids=["asgi", "wsgi"])
def test_a_route_that_a_flag_gates(gate: Gate, protocol: Speaks) -> None:
    site = protocol.site(gate, lambda: "new", routes={"/v2/*": "banner", "/v3/*": "baner"})
    assert protocol.ask(site, "/v2/x").status == 404
    with override({"banner": True}):
        assert protocol.ask(site, "/v2/x").body == b"new"
        with pytest.raises(UnknownFlagError):
            protocol.ask(site, "/v3/x")


def test_a_request_that_hangs_is_not_counted_for_it(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate.meter, "_hang_seconds", 0.0)

    def respond() -> str:
        gate.is_on("banner")
        gate.keep()
        return ""

    site = SpeaksWsgi().site(gate, respond)
    with override({"banner": True}):
        SpeaksWsgi().ask(site)
    assert seen(gate) == {}
    SpeaksWsgi().ask(site)
    assert seen(gate) == {("banner", 0, 0, "off"): (1, 1)}
