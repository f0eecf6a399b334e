"""When a WSGI response starts, and what a second middleware of the same gate does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from flaggate import Context, Gate
from flaggate.web.wsgi import FlaggateMiddleware
from tests.runtime.scenes import seen
from tests.web.scenes import BANNER, Clock, ask_wsgi, http_environ, in_thread

PLAIN = ("Content-Type", "text/plain")

# --- in time ----------------------------------------------------------------------------------


def test_what_the_first_part_of_a_stream_asks_is_told_to_caches(gate: Gate) -> None:
    """As Flask's stream_template does; the server is told how the response starts when there is something to send."""

    def parts() -> Iterator[bytes]:
        yield str(gate.is_on("team")).encode()
        yield b"more"

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Cache-Control", "public, max-age=600"), ("X-Accel-Expires", "60")])
        return parts()

    answer = ask_wsgi(FlaggateMiddleware(app, gate, context=lambda _: {"user": "ada"}))
    assert dict(answer.headers)["Cache-Control"] == "max-age=600, private"
    assert "X-Accel-Expires" not in dict(answer.headers)


def test_a_body_that_never_comes_hangs_though_its_headers_are_known(gate: Gate, clock: Clock) -> None:
    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        gate.is_on("banner")
        start_response("200 OK", [])
        clock.now += 20
        in_thread(gate.keep)
        yield b"late"

    assert ask_wsgi(FlaggateMiddleware(app, gate)).body == b"late"
    assert seen(gate) == {BANNER: (1, 1)}


def test_the_routes_of_an_inner_middleware_of_the_same_gate_are_gated(gate: Gate) -> None:
    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"secret"]

    inner = FlaggateMiddleware(app, gate, routes={"/v2/*": "team"}, context=lambda _: {"user": "nobody"})
    assert ask_wsgi(FlaggateMiddleware(inner, gate), http_environ(PATH_INFO="/v2/x")).status == 404


def test_in_a_visit_between_two_middlewares_of_a_gate_it_is_that_ones_question(gate: Gate) -> None:
    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [PLAIN])
        return [str(gate.is_on("team")).encode()]

    inner = FlaggateMiddleware(app, gate, context=lambda _: {"user": "nobody"})

    def between(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with gate.visit(Context("bob")):
            return inner(environ, start_response)

    assert ask_wsgi(FlaggateMiddleware(between, gate)).body == b"True"


def test_a_response_that_is_started_twice_is_for_the_server_to_judge(gate: Gate) -> None:
    """PEP 3333: an error without exc_info; with it the server takes the new one, or raises what happened."""
    told: list[tuple[str, bool]] = []

    def server(status: str, _headers: Any, exc_info: Any = None, /) -> Callable[[bytes], object]:
        told.append((status, exc_info is not None))
        return list[bytes]().append

    def twice(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        start_response("404 Not Found", [])
        return []

    def failing(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])(b"so far")
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Oh", [], sys.exc_info())
        return []

    for app in (twice, failing):
        list(FlaggateMiddleware(app, gate)(http_environ(), server))
    assert told == [("200 OK", False), ("404 Not Found", False), ("200 OK", False), ("500 Oh", True)]
