"""What a request through the ASGI middleware counts: how it ended, how long it took, and who left."""

from __future__ import annotations

import asyncio
import gc
import weakref
from copy import deepcopy
from typing import Any

import pytest

from flaggate import Gate
from flaggate.web.asgi import FlaggateMiddleware, Message, Receive, Scope, Send
from flaggate.web.visitor import COOKIE
from tests.runtime.scenes import seen
from tests.web.scenes import (
    BANNER,
    KEY,
    Clock,
    Exchange,
    asking,
    body,
    counted,
    http_scope,
    sends,
    start,
    times,
    websocket_scope,
)

# --- how it ended ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "errors"), [(200, 0), (204, 0), (302, 0), (400, 0), (404, 0), (499, 0), (500, 1), (503, 1)]
)
def test_a_status_of_500_and_above_is_an_error(gate: Gate, status: int, errors: int) -> None:
    Exchange().run(asking(gate, sends(start(status), body())))
    assert counted(gate) == (1, errors, 1)


@pytest.mark.parametrize("before", [[], [start()], [start(), body()]])
def test_an_exception_is_an_error_and_goes_on_to_the_server(gate: Gate, before: list[Message]) -> None:
    error = ZeroDivisionError()

    async def script(_receive: Receive, send: Send) -> None:
        await sends(*before)(_receive, send)
        raise error

    with pytest.raises(ZeroDivisionError) as raised:
        Exchange().run(asking(gate, script))
    assert raised.value is error
    assert counted(gate) == (1, 1, 1)


def test_an_app_that_never_answers_has_failed(gate: Gate) -> None:
    """Servers answer 500 for it."""
    Exchange().run(asking(gate, sends()))
    assert counted(gate) == (1, 1, 1)


def test_what_asks_no_flag_is_not_counted(gate: Gate) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Exchange().run(FlaggateMiddleware(app, gate))
    assert seen(gate) == {}


def test_a_head_request_is_counted_as_any_other(gate: Gate) -> None:
    app = asking(gate, sends(start(200, (b"content-length", b"5")), body(b"")))
    Exchange().run(app, http_scope(method="HEAD"))
    assert counted(gate) == (1, 0, 1)


# --- how long it took -----------------------------------------------------------------------


def test_the_time_is_to_the_end_of_the_body(gate: Gate, clock: Clock) -> None:
    """With what the client takes for it; work that goes on after the response is not slow."""

    async def script(_receive: Receive, send: Send) -> None:
        clock.now += 0.1
        await send(start(200, (b"Content-Length", b"4")))
        clock.now += 0.1
        await send(body(b"ok", more=True))
        await send(body(b"ok"))
        clock.now += 60

    def slowly(message: Message) -> None:
        clock.now += 0.3 if message.get("body") else 0

    Exchange(on_send=slowly).run(asking(gate, script))
    assert times(gate, "banner") == {"820": 1}


def test_a_response_in_pieces_without_a_length_is_a_stream_and_has_no_time(gate: Gate) -> None:
    Exchange().run(asking(gate, sends(start(), body(more=True), body(more=True), body(b""))))
    assert counted(gate) == (1, 0, 0)


def test_a_response_cut_to_pieces_has_a_time(gate: Gate) -> None:
    """As Starlette's BaseHTTPMiddleware sends every response: the length is said, so that it is no stream."""
    app = asking(gate, sends(start(200, (b"Content-Length", b"2")), body(more=True), body(b"")))
    Exchange().run(app)
    assert counted(gate) == (1, 0, 1)


@pytest.mark.parametrize(
    "last", [{"type": "http.response.pathsend", "path": "/file"}, {"type": "http.response.zerocopysend", "file": 7}]
)
def test_a_file_that_the_server_sends_by_itself_is_handed_over_as_it_is(gate: Gate, last: Message) -> None:
    exchange = Exchange().run(asking(gate, sends(start(), last)))
    assert exchange.sent[-1] is last
    assert counted(gate) == (1, 0, 1)


# --- WebSockets -----------------------------------------------------------------------------


def test_what_else_a_response_sends_is_passed_on(gate: Gate) -> None:
    """Hints before it, trailers after it (ASGI's extensions)."""
    hint: Message = {"type": "http.response.push", "path": "/style.css", "headers": []}
    trailers: Message = {"type": "http.response.trailers", "headers": [(b"digest", b"x")]}
    exchange = Exchange().run(asking(gate, sends(hint, start(), body(), trailers)))
    assert [message["type"] for message in exchange.sent] == [
        "http.response.push", "http.response.start", "http.response.body", "http.response.trailers",
    ]  # fmt: skip
    assert counted(gate) == (1, 0, 1)


ACCEPT = {"type": "websocket.accept"}


def websocket(*incoming: str) -> Exchange:
    return Exchange([{"type": f"websocket.{kind}"} for kind in ("connect", *incoming)])


def test_a_websocket_is_not_counted(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    async def script(receive: Receive, send: Send) -> None:
        await sends(ACCEPT)(receive, send)
        gate.is_on("team")

    websocket().run(asking(gate, script), websocket_scope())
    assert not caplog.records, "no cache is to be told anything"
    assert counted(gate) is None


@pytest.mark.parametrize("status", [403, 503])
def test_a_websocket_that_is_refused_with_a_response(gate: Gate, status: int) -> None:
    async def script(receive: Receive, send: Send) -> None:
        gate.is_on("tried")
        refusal = start(status, (b"CDN-Cache-Control", b"max-age=60"), (b"x-own", b"1"))
        for message in (refusal, body()):
            await send({**message, "type": f"websocket.{message['type']}"})

    exchange = websocket().run(asking(gate, script, secret_keys=[KEY]), websocket_scope())
    assert counted(gate) is None
    answer = exchange.answer()
    assert (answer.status, answer.header("x-own"), answer.header("cdn-cache-control")) == (status, ["1"], [])
    assert (answer.header("cache-control"), answer.header("vary")) == (["private"], ["Cookie"])
    assert [value.partition("=")[0] for value in answer.header("set-cookie")] == [COOKIE]


@pytest.mark.parametrize("accept", [ACCEPT, {**ACCEPT, "headers": [(b"x-own", b"1")]}])
@pytest.mark.parametrize(("name", "cookies"), [("banner", 0), ("team", 0), ("tried", 1)])
def test_a_new_visitor_gets_the_cookie_with_a_websockets_handshake(
    gate: Gate, accept: Message, name: str, cookies: int
) -> None:
    async def script(receive: Receive, send: Send) -> None:
        gate.is_on(name)
        await sends(accept, {"type": "websocket.send", "text": "hello"})(receive, send)

    kept = deepcopy(accept)
    accepted, hello = websocket().run(asking(gate, script, secret_keys=[KEY]), websocket_scope()).sent
    headers = [(key, value.partition(b"=")[0]) for key, value in accepted.get("headers", [])]
    assert headers == accept.get("headers", []) + [(b"set-cookie", COOKIE.encode())] * cookies
    assert hello == {"type": "websocket.send", "text": "hello"}
    assert accept == kept, "an app may send the same to everyone"


def test_neither_is_one_that_fails(gate: Gate) -> None:
    async def script(_receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        websocket().run(asking(gate, script), websocket_scope())
    assert counted(gate) is None


# --- clients that leave ---------------------------------------------------------------------


def leaving_on(kind: str) -> Exchange:
    """A client that is gone when such a message is sent; the server says so by an OSError."""

    def leave(message: Message) -> None:
        if message["type"] == kind:
            raise OSError("gone")

    return Exchange(on_send=leave)


async def _wait_for_the_end(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def test_who_leaves_before_the_response_is_no_request_but_has_waited(gate: Gate, clock: Clock) -> None:
    """GUARDS 3: the waiting time is a lower bound, and goes into the histogram."""

    async def script(receive: Receive, send: Send) -> None:
        clock.now += 1.1
        await _wait_for_the_end(receive)
        await sends(start(500), body())(receive, send)  # too late
        await _wait_for_the_end(receive)

    Exchange().run(asking(gate, script))
    assert seen(gate) == {BANNER: (0, 0)}
    assert times(gate, "banner") == {"1200": 1}


def test_who_leaves_while_the_response_starts_has_waited_too(gate: Gate) -> None:
    with pytest.raises(OSError, match="gone"):
        leaving_on("http.response.start").run(asking(gate, sends(start(), body())))
    assert counted(gate) == (0, 0, 1)


def test_who_leaves_in_the_middle_of_the_response_is_not_counted(gate: Gate) -> None:
    async def script(receive: Receive, send: Send) -> None:
        await send(start())
        await _wait_for_the_end(receive)

    Exchange().run(asking(gate, script))
    with pytest.raises(OSError, match="gone"):
        leaving_on("http.response.body").run(asking(gate, sends(start(), body())))
    assert counted(gate) is None


def test_who_leaves_after_the_response_has_all_of_it(gate: Gate) -> None:
    """A server says http.disconnect to whoever asks then, and while the last part is on its way."""
    exchange = Exchange()

    async def script(receive: Receive, send: Send) -> None:
        await sends(start(), body())(receive, send)
        await _wait_for_the_end(receive)

    async def ask_meanwhile(message: Message) -> None:
        if message["type"] == "http.response.body":
            await visit_receive[0]()

    visit_receive: list[Receive] = []

    async def remembering(receive: Receive, send: Send) -> None:
        visit_receive.append(receive)
        await receive()
        await script(receive, send)

    exchange.on_send = ask_meanwhile
    exchange.run(asking(gate, remembering))
    assert counted(gate) == (1, 0, 1)


SENT = pytest.mark.parametrize(
    ("sent", "expected"), [([], (0, 0, 1)), ([start()], None), ([start(), body()], (1, 0, 1))]
)


@SENT
def test_a_request_that_is_cancelled_has_nobody_who_waits_but_for_whom_has_all_of_it(
    gate: Gate, sent: list[Message], expected: tuple[int, int, int] | None
) -> None:
    async def script(receive: Receive, send: Send) -> None:
        await sends(*sent)(receive, send)
        await asyncio.Event().wait()

    async def cancelled() -> None:
        async with asyncio.timeout(0.01):
            await Exchange().serve(asking(gate, script))

    with pytest.raises(TimeoutError):
        asyncio.run(cancelled())
    assert counted(gate) == expected


class Cancelled(BaseException):
    """As trio's, of which nothing is known but the name: it may not be there."""


@SENT
def test_a_request_that_trio_cancels_is_no_failure_either(
    gate: Gate, sent: list[Message], expected: tuple[int, int, int] | None
) -> None:
    async def script(receive: Receive, send: Send) -> None:
        await sends(*sent)(receive, send)
        raise Cancelled

    with pytest.raises(Cancelled):
        Exchange().run(asking(gate, script))
    assert counted(gate) == expected


# --- hangs ----------------------------------------------------------------------------------


def test_a_response_that_does_not_start_is_an_error_at_once_and_only_once(gate: Gate, clock: Clock) -> None:
    async def script(receive: Receive, send: Send) -> None:
        clock.now += 19.9
        gate.keep()
        assert gate.store.counts() == []
        clock.now += 0.1
        gate.keep()
        assert [(count.requests, count.errors) for count in gate.store.counts()] == [(1, 1)], "without a flush's wait"
        gate.keep()
        await sends(start(), body())(receive, send)

    Exchange().run(asking(gate, script))
    assert counted(gate) == (1, 1, 0)


def test_what_has_started_does_not_hang(gate: Gate, clock: Clock) -> None:
    async def script(receive: Receive, send: Send) -> None:
        await send(start())
        clock.now += 60
        gate.keep()
        assert counted(gate) is None
        await send(body())

    Exchange().run(asking(gate, script), http_scope())
    assert seen(gate)[BANNER] == (1, 0)


def test_a_request_that_hangs_and_learns_who_it_is_still_counts_once(gate: Gate, clock: Clock) -> None:
    async def script(receive: Receive, send: Send) -> None:
        clock.now += 21
        gate.keep()
        visit = gate.current.get()
        assert visit is not None
        visit.identify(user="ada")
        gate.is_on("banner")
        clock.now += 21
        gate.keep()
        await sends(start(), body())(receive, send)

    Exchange().run(asking(gate, script))
    assert counted(gate) == (1, 1, 0)


def test_nothing_is_kept_of_a_request_whose_task_asks_after_its_end(gate: Gate) -> None:
    async def serve() -> weakref.ref[Any]:
        ended = asyncio.Event()
        tasks = []
        kept: list[weakref.ref[Any]] = []

        async def ask_later() -> bool:
            await ended.wait()
            return gate.is_on("team")

        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            kept.append(weakref.ref(gate.current.get()))
            tasks.append(asyncio.create_task(ask_later()))
            await sends(start(), body())(_receive, send)

        await Exchange().serve(FlaggateMiddleware(app, gate, context=lambda _: {"user": "ada"}))
        ended.set()
        assert await tasks[0], "it is still about who asked"
        return kept[0]

    visit = asyncio.run(serve())
    gc.collect()
    assert visit() is None
