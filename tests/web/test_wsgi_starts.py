"""When a WSGI response starts and whether the server takes it, and what a second middleware of the same gate does."""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from flaggate import Context, Gate
from flaggate.web import asgi
from flaggate.web.wsgi import FlaggateMiddleware
from tests.runtime.scenes import seen
from tests.web.scenes import (
    BANNER,
    Clock,
    Exchange,
    ask_wsgi,
    body,
    counted,
    http_environ,
    http_scope,
    in_thread,
    mounted,
    sends,
    start,
)

PLAIN = ("Content-Type", "text/plain")
LENGTH = ("Content-Length", "4")


def _list() -> Iterable[bytes]:
    return [b"body"]


def _generator() -> Iterable[bytes]:
    yield b"body"


BODIES = pytest.mark.parametrize("make_body", [_list, _generator], ids=["list", "generator"])


def asking(gate: Gate, make_body: Callable[[], Iterable[bytes]], *headers: tuple[str, str]) -> FlaggateMiddleware:
    """An app that asks for the banner, starts its response, and makes its body."""

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        gate.is_on("banner")
        start_response("200 OK", list(headers))
        return make_body()

    return FlaggateMiddleware(app, gate)


def taking(*_: object) -> Callable[[bytes], object]:
    """A server's start_response that takes whatever comes."""
    return list[bytes]().append


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


@pytest.mark.parametrize(("headers", "told"), [([LENGTH], ["200 OK"]), ([PLAIN, ("content-length", "4")], ["200 OK"]), ([PLAIN], [])])  # fmt: skip
def test_a_response_that_says_its_length_is_started_within_the_apps_call(
    gate: Gate, headers: list[tuple[str, str]], told: list[str]
) -> None:
    """What traces the app from outside reads the status as soon as it was called, and so does granian. Without a length it
    is a stream, which may ask with its first part: that is taken before."""
    statuses: list[str] = []
    when_called: list[list[str]] = []

    def server(status: str, _headers: Any, _exc_info: Any = None, /) -> Callable[[bytes], object]:
        statuses.append(status)
        return taking()

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        gate.is_on("team")
        start_response("200 OK", headers)
        when_called.append(statuses.copy())
        return _generator()

    result = FlaggateMiddleware(app, gate)(http_environ(), server)
    assert [*when_called, statuses] == [told, ["200 OK"]]
    assert list(result) == [b"body"]
    assert statuses == ["200 OK"]


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_body_that_the_server_never_gets_is_closed(gate: Gate, is_refused: bool) -> None:
    """Its first part fails, or the server does not take how it starts."""
    ends: list[str] = []

    def server(*_: object) -> Callable[[bytes], object]:
        if is_refused:
            raise RefusedError
        return taking()

    def parts() -> Iterator[bytes]:
        try:
            yield b"" if is_refused else str(1 / 0).encode()
        finally:
            ends.append("closed")

    with pytest.raises(RefusedError if is_refused else ZeroDivisionError):
        asking(gate, parts)(http_environ(), server)
    assert ends == ["closed"]
    assert seen(gate) == {BANNER: (1, 1)}


def test_a_body_that_never_comes_hangs_though_its_headers_are_known(gate: Gate, clock: Clock) -> None:
    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        gate.is_on("banner")
        start_response("200 OK", [])
        clock.now += 20
        in_thread(gate.keep)
        yield b"late"

    assert ask_wsgi(FlaggateMiddleware(app, gate)).body == b"late"
    assert seen(gate) == {BANNER: (1, 1)}


def test_a_part_with_nothing_in_it_starts_no_response(gate: Gate, clock: Clock) -> None:
    """PEP 3333: the server keeps the headers back for the first part that is not empty."""

    def parts() -> Iterator[bytes]:
        yield b""
        clock.now += 20
        in_thread(gate.keep)
        yield b"late"

    assert ask_wsgi(asking(gate, parts)).body == b"late"
    assert seen(gate) == {BANNER: (1, 1)}


@BODIES
def test_a_client_that_takes_the_first_part_slowly_is_no_hang(
    gate: Gate, clock: Clock, make_body: Callable[[], Iterable[bytes]]
) -> None:
    """The server is in sendall() with it, for as long as a download takes."""
    for _ in asking(gate, make_body)(http_environ(), taking):
        clock.now += 20
        in_thread(gate.keep)
        assert counted(gate) is None
    assert seen(gate) == {BANNER: (1, 0)}


def test_a_client_that_takes_slowly_what_was_written_by_hand_is_no_hang(gate: Gate, clock: Clock) -> None:
    def write(_: bytes) -> None:
        clock.now += 20
        in_thread(gate.keep)

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        gate.is_on("banner")
        start_response("200 OK", [])(b"by hand")
        return []

    assert list(FlaggateMiddleware(app, gate)(http_environ(), lambda *_: write)) == []
    assert seen(gate) == {BANNER: (1, 0)}


# --- what the server does not take --------------------------------------------------------------


class RefusedError(Exception):
    """A server's own, as gunicorn has one for names of headers."""


def refusal(kind: type[Exception]) -> Exception:
    return UnicodeEncodeError("latin-1", "\u2013", 0, 1, "no") if kind is UnicodeEncodeError else kind("refused")


def serve(app: FlaggateMiddleware, error: Exception, *, is_late: bool) -> None:
    """As servers do: some look at the headers when they are told of them, some when the first part comes."""

    def start_response(*_: object) -> Callable[[bytes], object]:
        if is_late:
            return taking()
        raise error

    result: Any = app(http_environ(), start_response)
    with closing(result):
        for _ in result:
            raise error


@BODIES
@pytest.mark.parametrize("headers", [[LENGTH], [PLAIN]], ids=["sized", "unsized"])
@pytest.mark.parametrize(
    ("kind", "is_late"),
    [
        (ValueError, False),
        (RefusedError, False),
        (ValueError, True),
        (TypeError, True),
        (AssertionError, True),
        (UnicodeEncodeError, True),
    ],
)
def test_a_response_that_the_server_refuses_is_an_error(
    gate: Gate, make_body: Callable[[], Any], headers: list[tuple[str, str]], kind: type[Exception], is_late: bool
) -> None:
    """A header that is none, or that is not latin-1: nobody has left, and whoever asked gets a 500."""
    with pytest.raises(kind):
        serve(asking(gate, make_body, *headers), refusal(kind), is_late=is_late)
    assert seen(gate) == {BANNER: (1, 1)}


@BODIES
def test_a_client_that_has_left_when_the_first_part_is_sent_is_no_error(
    gate: Gate, make_body: Callable[[], Any]
) -> None:
    with pytest.raises(BrokenPipeError):
        serve(asking(gate, make_body), BrokenPipeError(), is_late=True)
    assert counted(gate) == (0, 0, 1)


@pytest.mark.parametrize(
    ("error", "parts", "expected"),
    [(BrokenPipeError, 0, (0, 0, 1)), (BrokenPipeError, 1, None), (UnicodeEncodeError, 0, (1, 1, 1))],
)
def test_who_leaves_while_something_is_written_by_hand_has_left(
    gate: Gate, error: type[Exception], parts: int, expected: tuple[int, int, int] | None
) -> None:
    written: list[bytes] = []

    def write(data: bytes) -> None:
        if len(written) == parts:
            raise refusal(error)
        written.append(data)

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        gate.is_on("banner")
        write = start_response("200 OK", [])
        for _ in range(2):
            write(b"by hand")
        return []

    with pytest.raises(error):
        FlaggateMiddleware(app, gate)(http_environ(), lambda *_: write)
    assert counted(gate) == expected


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


# --- a second middleware ------------------------------------------------------------------------


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


@pytest.mark.parametrize("is_wrapped_twice", [False, True])
def test_mounted_in_an_asgi_app_of_the_same_gate_it_is_that_ones_visit(gate: Gate, is_wrapped_twice: bool) -> None:
    """Counted once, about whom the outer one says; with the routes of both."""

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [PLAIN])
        return [str(gate.is_on("team")).encode()]

    inner = FlaggateMiddleware(app, gate, routes={"/v2/*": "tiered"}, context=lambda _: {"user": "eve", "tier": "pro"})
    if is_wrapped_twice:
        inner = FlaggateMiddleware(inner, gate, context=lambda environ: {"user": environ["REMOTE_ADDR"]})
    outer = asgi.FlaggateMiddleware(mounted(inner), gate, context=lambda _: {"user": "ada"}, routes={"/old": "office"})
    answers = [Exchange().run(outer, http_scope(path)).answer() for path in ("/", "/old", "/v2/x")]
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"True"), (200, b"True"), (404, b"Not Found")]
    assert [answer.header("vary") for answer in answers] == [["Cookie, Authorization"]] * 3
    assert seen(gate) == {("team", 0, 0, "on"): (2, 0), ("office", 0, 0, "on"): (1, 0), ("tiered", 0, 0, "off"): (1, 0)}


def test_what_is_called_after_the_asgi_visit_has_a_visit_of_its_own(gate: Gate) -> None:
    """As by a task that outlives the request that started it, and renders a page of the app."""
    kept: list[contextvars.Context] = []

    async def app(_scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        kept.append(contextvars.copy_context())
        await sends(start(), body())(receive, send)

    Exchange().run(asgi.FlaggateMiddleware(app, gate))
    kept[0].run(ask_wsgi, asking(gate, _list))
    assert counted(gate) == (1, 0, 1)
