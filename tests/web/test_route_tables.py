"""Routes that a flag gates, in front of real apps: by whatever spelling of a path a router would take."""

from __future__ import annotations

from typing import Any, Final

import pytest
from flask import Flask  # noqa: TID251  # this is about real apps
from flask import request as flask_request  # noqa: TID251
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from flaggate import Gate
from flaggate.rollout.state import Verb
from flaggate.web.asgi import FlaggateMiddleware as AsgiMiddleware
from flaggate.web.routes import Table
from flaggate.web.wsgi import FlaggateMiddleware as WsgiMiddleware
from tests.runtime.scenes import seen
from tests.web.scenes import (
    Answer,
    Exchange,
    Speaks,
    ask_wsgi,
    body,
    change,
    http_environ,
    http_scope,
    sends,
    start,
    websocket_scope,
)

pytest.importorskip("starlette", reason="pip install starlette")
from starlette.applications import Starlette  # noqa: TID251
from starlette.requests import Request  # noqa: TID251
from starlette.responses import PlainTextResponse  # noqa: TID251
from starlette.routing import Mount, Route, Router, WebSocketRoute  # noqa: TID251

TABLE: Final[Table] = {"/v2/*": "team", "/pages/*": ("team", "/old-pages/*"), "/café/x": ("team", "/früher")}


# --- either protocol ------------------------------------------------------------------------


def test_a_gated_path_is_there_for_those_who_have_the_flag(gate: Gate, protocol: Speaks) -> None:
    user = {"user": "ada"}
    app = protocol.site(gate, lambda: "there", context=lambda _: user, routes=TABLE)
    assert protocol.ask(app, "/v2/x").body == b"there"
    user["user"] = "eve"
    answer = protocol.ask(app, "/v2/x")
    assert (answer.status, answer.body) == (404, b"Not Found")
    assert answer.header("content-type") == ["text/plain; charset=utf-8"]
    assert protocol.ask(app, "/v3").status == 200


def test_a_gate_is_a_question_and_is_counted(gate: Gate, protocol: Speaks) -> None:
    app = protocol.site(gate, lambda: str(gate.is_on("team")), context=lambda _: {"user": "ada"}, routes=TABLE)
    for path in ("/v2", "/pages", "/elsewhere/v2"):
        assert protocol.ask(app, path).body == b"True"
    gate.is_on("team")
    assert seen(gate) == {("team", 0, 0, "on"): (3, 0)}
    protocol.ask(protocol.site(gate, lambda: "", routes=TABLE), "/v2")
    assert seen(gate)["team", 0, 0, "off"] == (1, 0), "404 is no error"


def test_an_unknown_flag_gates_for_everyone(gate: Gate, protocol: Speaks) -> None:
    assert protocol.ask(protocol.site(gate, lambda: "", routes={"/*": "nowhere"}), "/x").status == 404


def test_a_gate_and_a_view_agree_though_a_kill_arrives(gate: Gate, protocol: Speaks) -> None:
    def respond() -> str:
        change(gate, Verb.KILL, "banner")
        return str(gate.is_on("banner"))

    app = protocol.site(gate, respond, routes={"/*": "banner"})
    assert protocol.ask(app).body == b"True"
    assert protocol.ask(app).status == 404


# --- Flask ----------------------------------------------------------------------------------


@pytest.fixture
def flask_app(gate: Gate) -> Flask:
    app = Flask("invoicing")

    @app.get("/", defaults={"path": ""})
    @app.get("/<path:path>")
    def page(path: str) -> str:
        return f"{flask_request.script_root} {flask_request.path}"

    app.wsgi_app = WsgiMiddleware(app.wsgi_app, gate, routes=TABLE)  # type: ignore[method-assign]  # Flask's own way
    return app


def flask_answer(app: Any, path: str, **more: Any) -> tuple[int, str]:
    overrides = {"PATH_INFO": path} if path.startswith("//") else {}  # the client would take it for a host
    response = Client(app).open(path, follow_redirects=True, environ_overrides=overrides, **more)
    return response.status_code, response.text


@pytest.mark.parametrize(
    "path", ["/v2", "/v2/", "/v2/x", "//v2/x", "/v2//x", "/v2%2Fx", "/%76%32/x", "/v2/x?y=1", "/v2/é"]
)
def test_flask_does_not_serve_a_gated_path_however_it_is_written(flask_app: Any, path: str) -> None:
    assert flask_answer(flask_app, path) == (404, "Not Found")


@pytest.mark.parametrize(
    ("path", "served"),
    [
        ("/pages/1?x=2", " /old-pages/1"), ("/pages", " /old-pages"), ("/pages/é ü", " /old-pages/é ü"),
        ("/caf%C3%A9/x", " /früher"), ("/v3", " /v3"), ("/", " /"),
    ],
)  # fmt: skip
def test_flask_serves_another_page_instead(flask_app: Any, path: str, served: str) -> None:
    assert flask_answer(flask_app, path) == (200, served)


def test_a_prefix_is_no_part_of_the_path_in_wsgi(flask_app: Any) -> None:
    mounted = DispatcherMiddleware(flask_app, {"/shop": flask_app})
    assert flask_answer(mounted, "/shop/v2/x") == (404, "Not Found")
    assert flask_answer(mounted, "/shop/pages/1") == (200, "/shop /old-pages/1")
    assert flask_answer(mounted, "/shop/shop/v2") == (200, "/shop /shop/v2")


@pytest.mark.parametrize("path", ["", "v2", "/v2\xff"])
def test_paths_that_only_some_servers_send_are_gated(gate: Gate, path: str) -> None:
    """None at all, and one without a slash; bytes that are no UTF-8 are somebody else's path."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode("latin-1")]

    middleware = WsgiMiddleware(app, gate, routes={"/": "team", "/v2": "team"})
    is_gated = ask_wsgi(middleware, http_environ(path)).status == 404
    assert is_gated is ("\xff" not in path)


# --- Starlette ------------------------------------------------------------------------------


async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.scope['root_path']} {request.url.path}")


def starlette_app(gate: Gate, **settings: Any) -> Any:
    return AsgiMiddleware(Router([Route("/{path:path}", page)]), gate, routes=TABLE, **settings)


def starlette_answer(app: Any, path: str, **more: Any) -> Answer:
    return Exchange().run(app, http_scope(path, **more)).answer()


@pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2/x", "//v2/x", "/v2//x", "/x/../v2"])
def test_starlette_does_not_serve_a_gated_path_however_it_is_written(gate: Gate, path: str) -> None:
    """What comes percent-encoded is decoded by the server."""
    assert starlette_answer(starlette_app(gate), path).status == 404


@pytest.mark.parametrize(
    ("path", "served"),
    [("/pages/1", b" /old-pages/1"), ("/pages", b" /old-pages"), ("/café/x", " /früher".encode()), ("/v3", b" /v3")],
)
def test_starlette_serves_another_page_instead(gate: Gate, path: str, served: bytes) -> None:
    answer = starlette_answer(starlette_app(gate), path, raw_path=path.encode())
    assert (answer.status, answer.body) == (200, served)


def test_the_raw_path_follows_where_there_is_one(gate: Gate) -> None:
    raw: list[bytes | None] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        raw.append(scope.get("raw_path"))

    scope = http_scope("/café/x")
    without = {key: value for key, value in http_scope("/café/x").items() if key != "raw_path"}
    for one in (scope, without):
        Exchange().run(AsgiMiddleware(app, gate, routes=TABLE), one)
    assert raw == [b"/fr%C3%BCher", None]


def test_a_prefix_is_no_part_of_the_path_in_asgi(gate: Gate) -> None:
    """Whether a framework mounts it, or a proxy does and the server says so; older servers leave it out of the path."""
    app = starlette_app(gate)
    mounted = Starlette(routes=[Mount("/shop", app)])
    assert starlette_answer(mounted, "/shop/v2/x").status == 404
    assert starlette_answer(mounted, "/shop/pages/1").body == b"/shop /shop/old-pages/1"
    assert starlette_answer(mounted, "/shop/shop/v2").status == 200
    assert starlette_answer(app, "/shop/v2/x", root_path="/shop").status == 404
    assert starlette_answer(app, "/v2/x", root_path="/shop").status == 404
    assert starlette_answer(app, "/shops/v2/x", root_path="/shop").status == 200
    assert starlette_answer(AsgiMiddleware(app, gate, routes={"/": "team"}), "/shop", root_path="/shop").status == 404


@pytest.mark.parametrize(
    ("path", "root"),
    [("/v2/x", "/v2"), ("/v2", "/v2"), ("//v2/x", "/"), ("/v2/x", "/v"), ("/x/v2/x", "/x"), ("/xv2/x", "/x")],
)
@pytest.mark.parametrize("own_root", ["", "/x", "/v2"])
def test_a_root_that_a_client_has_named_opens_no_gate(gate: Gate, path: str, root: str, own_root: str) -> None:
    """daphne has it from whoever sends Daphne-Root-Path. Some apps read the whole path, and some have a root of their own;
    no framework's rules are known here: what any of them could take for gated is."""

    class App:
        root_path = own_root

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await sends(start(), body(scope["path"].encode()))(receive, send)

    assert starlette_answer(AsgiMiddleware(App(), gate, routes=TABLE), path, root_path=root).status == 404
    instead = AsgiMiddleware(App(), gate, routes={"/v2/*": ("team", "/v1/*")})
    assert b"v2" not in starlette_answer(instead, path, root_path=root).body.removeprefix(b"/v2")


def test_of_two_gates_on_the_way_both_are_asked(gate: Gate) -> None:
    table = {"/shop/*": "team", "/v2/*": "banner"}
    change(gate, Verb.ON, "banner")
    app = starlette_app(gate)
    for flag, status in (("team", 404), ("banner", 200)):
        served = AsgiMiddleware(app.app, gate, routes={**table, "/shop/*": flag})
        assert starlette_answer(served, "/shop/v2/x", root_path="/shop").status == status


def test_a_websocket_is_refused_before_it_is_accepted(gate: Gate) -> None:
    async def talk(websocket: Any) -> None:
        await websocket.accept()
        await websocket.close()

    app = AsgiMiddleware(Router([WebSocketRoute("/{path:path}", talk)]), gate, routes=TABLE)
    sent = {}
    for path in ("/v2/x", "/v3"):
        exchange = Exchange([{"type": "websocket.connect"}]).run(app, websocket_scope(path))
        sent[path] = [message["type"] for message in exchange.sent]
    assert sent == {"/v2/x": ["websocket.close"], "/v3": ["websocket.accept", "websocket.close"]}
    assert seen(gate) == {}
