"""What a Flask app answers: streams and files, what of it is counted, and what is sent."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from flask import Flask, Response, abort, render_template_string, request, send_file, session, stream_with_context
from werkzeug.test import create_environ
from werkzeug.wsgi import ClosingIterator, FileWrapper

from flaggate import Gate
from flaggate.contrib.flask import feature_required, flags_from, init_app
from tests.contrib.scenes import Switchboard


def create_app(gate: Gate) -> Flask:
    app = Flask("invoicing")
    app.config.update(TESTING=True, SECRET_KEY="the app's own")
    init_app(app, gate, context=lambda asked: {"tier": asked.args.get("tier")})

    @app.get("/tier")
    def tier() -> str:
        return str(flags_from(request)["tiered"])

    @app.get("/banner")
    def banner() -> str:
        return str(flags_from(request).is_on("banner"))

    return app


# --- streams and files --------------------------------------------------------------------------


def test_a_stream_asks_as_the_visit_that_it_belongs_to(board: Switchboard) -> None:
    app = create_app(board.on("tiered"))

    @app.get("/stream")
    def stream() -> Response:
        def parts() -> Iterator[str]:
            yield f"{flags_from(request)['tiered']} "
            board.off("tiered")
            yield f"{flags_from(request)['tiered']} {board.gate.is_on('tiered')}"

        return Response(stream_with_context(parts()))

    @app.get("/bare")
    def bare() -> Response:
        """Without Flask's context: the gate knows the visit all the same."""
        return Response(str(board.gate.is_on("tiered")) for _ in range(1))

    client = app.test_client()
    assert client.get("/bare?tier=pro").text == "True"
    assert client.get("/stream?tier=pro").text == "True True True"
    assert client.get("/stream?tier=pro").text == "False False False"
    assert board.counted("tiered") == {"on": (2, 0), "off": (1, 0)}


def test_a_file_is_handed_to_the_server_as_it_is(board: Switchboard) -> None:
    app = create_app(board.on("banner"))

    @app.get("/file")
    @feature_required("banner")
    def file() -> Response:
        return send_file(io.BytesIO(b"%PDF"), mimetype="application/pdf")

    body = app(create_environ("/file") | {"wsgi.file_wrapper": FileWrapper}, lambda *_: lambda _: None)
    assert isinstance(body, FileWrapper)
    assert app.test_client().get("/file").data == b"%PDF"
    assert board.counted("banner") == {"on": (2, 0)}


def test_what_traces_the_app_from_outside_sees_how_it_answered(board: Switchboard) -> None:
    """It closes its span with the response, and has read the status by then, as OpenTelemetry and Sentry do."""
    app = create_app(board.on("tiered"))
    app.testing = False
    traced: list[str] = []

    @app.get("/broken")
    @feature_required("tiered")
    def broken() -> str:
        raise LookupError

    inner = app.wsgi_app

    def tracing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        statuses: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
            statuses.append(status)
            return start_response(status, headers)

        response = inner(environ, start)
        traced.extend(statuses or ["none"])
        return ClosingIterator(response)

    app.wsgi_app = tracing  # type: ignore[method-assign]  # Flask's documented way to wrap an app
    client = app.test_client()
    for path in ("/tier", "/never-was", "/broken?tier=pro"):
        client.get(path)
    assert traced == ["200 OK", "404 NOT FOUND", "500 INTERNAL SERVER ERROR"]


def test_nothing_of_a_request_stays_behind(board: Switchboard) -> None:
    """Its visit is not taken for the visit of whatever this thread does next."""
    app = create_app(board.on("tiered"))
    app.testing = False

    @app.get("/broken")
    @feature_required("tiered")
    def broken() -> str:
        raise LookupError

    @app.get("/stream")
    def stream() -> Response:
        return Response(iter(["one", "two"]))

    client = app.test_client()
    assert client.get("/tier?tier=pro").status_code == 200  # neither read nor closed
    assert not board.gate.is_on("tiered")
    with app.test_client() as kept:
        kept.get("/tier?tier=pro")
        assert not board.gate.is_on("tiered")
    assert client.get("/broken?tier=pro").status_code == 500
    assert not board.gate.is_on("tiered")
    one, other = (iter(client.get("/stream?tier=pro").response) for _ in range(2))
    for response in (one, other, one, other):  # as by a server that serves both from one thread
        assert next(response)
        assert not board.gate.is_on("tiered")
    assert [*one, *other] == []
    assert not board.gate.is_on("tiered")


# --- what is counted ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_propagated", [False, True])
def test_failures_are_counted(board: Switchboard, is_propagated: bool) -> None:
    app = create_app(board.on("banner"))
    app.config.update(TESTING=False, PROPAGATE_EXCEPTIONS=is_propagated)  # as debug does

    @app.get("/<kind>")
    @feature_required("banner")
    def fail(kind: str) -> str:
        if kind == "fine":
            return "fine"
        if kind.isdigit():
            abort(int(kind))
        raise LookupError(kind)

    @app.get("/handled")
    @feature_required("banner")
    def handled() -> str:
        raise KeyError("handled")

    @app.errorhandler(KeyError)
    def handle(error: KeyError) -> str:
        return "there you are"

    client = app.test_client()
    for path in ("/fine", "/404", "/handled", "/500", "/503"):
        assert client.get(path).text
    assert board.counted("banner") == {"on": (5, 2)}
    if is_propagated:
        with pytest.raises(LookupError, match="raised"):
            client.get("/raised")
    else:
        assert "Internal Server Error" in client.get("/raised").text
    assert board.counted("banner") == {"on": (6, 3)}


def test_an_error_handler_may_ask_too(board: Switchboard) -> None:
    app = create_app(board.on("tiered"))

    @app.errorhandler(404)
    def nothing(_: Exception) -> tuple[str, int]:
        return render_template_string('{{ feature("tiered") }}'), 404

    response = app.test_client().get("/never-was?tier=pro")
    assert (response.status_code, response.text) == (404, "True")
    assert board.counted("tiered") == {"on": (1, 0)}


# --- what is sent -------------------------------------------------------------------------------


def test_what_the_app_says_to_caches_is_kept(board: Switchboard) -> None:
    app = create_app(board.on("tiered", "banner"))

    @app.after_request
    def say(response: Response) -> Response:
        response.cache_control.public = True
        response.cache_control.max_age = 60
        response.vary.add("Accept-Language")
        return response

    client = app.test_client()
    assert client.get("/banner").headers["Cache-Control"] == "public, max-age=60"
    asked = client.get("/tier").headers
    assert asked["Cache-Control"] == "max-age=60, private"
    assert asked["Vary"] == "Accept-Language, Cookie, Authorization"
    assert len(asked.getlist("Vary")) == len(asked.getlist("Cache-Control")) == 1


def test_the_session_and_the_visitor_each_have_their_cookie(board: Switchboard) -> None:
    app = create_app(board.start("tried"))

    @app.get("/try")
    def try_it() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(flags_from(request)["tried"])

    client = app.test_client()
    first = client.get("/try")
    names = [cookie.split("=")[0] for cookie in first.headers.getlist("Set-Cookie")]
    assert sorted(names) == ["flaggate_visitor", "session"]
    assert first.headers["Vary"] == "Cookie"
    again = client.get("/try")
    assert again.text == first.text
    assert [cookie.split("=")[0] for cookie in again.headers.getlist("Set-Cookie")] == ["session"]
    assert "flaggate_visitor" not in str(client.get("/banner").headers)
