"""What a request through the ASGI middleware counts: how it ended, how long it took, and who left."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from flaggate import Gate
from flaggate.rollout.state import Verb
from flaggate.stores.base import Arm
from flaggate.stores.memory import MemoryStore
from flaggate.web.asgi import App, FlaggateMiddleware, Message, Receive, Scope, Send
from tests.runtime.scenes import UnreliableStore, seen, turn, until
from tests.web.scenes import Clock, Exchange, body, change, http_scope, running, start, times, websocket_scope

BANNER: Final[tuple[str, int, int, Arm]] = ("banner", 0, 0, "on")

Script = Callable[[Receive, Send], Awaitable[None]]


def site(gate: Gate, script: Script, **settings: Any) -> FlaggateMiddleware:
    """An app that asks for the banner, and then does as the script says."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        gate.is_on("banner")
        await script(receive, send)

    return FlaggateMiddleware(app, gate, **settings)


def sends(*messages: Message) -> Script:
    async def script(_receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return script


def counted(gate: Gate) -> tuple[int, int, int] | None:
    """Requests, errors, and how many have a time."""
    found = seen(gate).get(BANNER)
    return None if found is None else (*found, sum(times(gate, "banner").values()))


# --- how it ended ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "errors"), [(200, 0), (204, 0), (302, 0), (400, 0), (404, 0), (499, 0), (500, 1), (503, 1)]
)
def test_a_status_of_500_and_above_is_an_error(gate: Gate, status: int, errors: int) -> None:
    Exchange().run(site(gate, sends(start(status), body())))
    assert counted(gate) == (1, errors, 1)


@pytest.mark.parametrize("before", [[], [start()], [start(), body()]])
def test_an_exception_is_an_error_and_goes_on_to_the_server(gate: Gate, before: list[Message]) -> None:
    error = ZeroDivisionError()

    async def script(_receive: Receive, send: Send) -> None:
        await sends(*before)(_receive, send)
        raise error

    with pytest.raises(ZeroDivisionError) as raised:
        Exchange().run(site(gate, script))
    assert raised.value is error
    assert counted(gate) == (1, 1, 1)


def test_an_app_that_never_answers_has_failed(gate: Gate) -> None:
    """Servers answer 500 for it."""
    Exchange().run(site(gate, sends()))
    assert counted(gate) == (1, 1, 1)


def test_what_asks_no_flag_is_not_counted(gate: Gate) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Exchange().run(FlaggateMiddleware(app, gate))
    assert seen(gate) == {}


def test_a_head_request_is_counted_as_any_other(gate: Gate) -> None:
    app = site(gate, sends(start(200, (b"content-length", b"5")), body(b"")))
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

    Exchange(on_send=slowly).run(site(gate, script))
    assert times(gate, "banner") == {"820": 1}


def test_a_response_in_pieces_without_a_length_is_a_stream_and_has_no_time(gate: Gate) -> None:
    Exchange().run(site(gate, sends(start(), body(more=True), body(more=True), body(b""))))
    assert counted(gate) == (1, 0, 0)


def test_a_response_cut_to_pieces_has_a_time(gate: Gate) -> None:
    """As Starlette's BaseHTTPMiddleware sends every response: the length is said, so that it is no stream."""
    app = site(gate, sends(start(200, (b"Content-Length", b"2")), body(more=True), body(b"")))
    Exchange().run(app)
    assert counted(gate) == (1, 0, 1)


@pytest.mark.parametrize(
    "last", [{"type": "http.response.pathsend", "path": "/file"}, {"type": "http.response.zerocopysend", "file": 7}]
)
def test_a_file_that_the_server_sends_by_itself_is_handed_over_as_it_is(gate: Gate, last: Message) -> None:
    exchange = Exchange().run(site(gate, sends(start(), last)))
    assert exchange.sent[-1] is last
    assert counted(gate) == (1, 0, 1)


# --- WebSockets -----------------------------------------------------------------------------

ACCEPT = {"type": "websocket.accept"}


def websocket(*incoming: str) -> Exchange:
    return Exchange([{"type": f"websocket.{kind}"} for kind in ("connect", *incoming)])


def test_a_websocket_is_counted_without_a_time(gate: Gate) -> None:
    websocket().run(site(gate, sends(ACCEPT)), websocket_scope())
    assert counted(gate) == (1, 0, 0)


def test_a_websocket_that_fails_is_an_error(gate: Gate) -> None:
    async def script(_receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        websocket().run(site(gate, script), websocket_scope())
    assert counted(gate) == (1, 1, 0)


def test_who_closes_a_websocket_has_not_made_it_fail(gate: Gate) -> None:
    """Starlette's `receive_text` raises then, and most apps let it."""

    async def script(receive: Receive, _send: Send) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass
        raise RuntimeError("WebSocketDisconnect")

    with pytest.raises(RuntimeError):
        websocket("receive", "disconnect").run(site(gate, script), websocket_scope())
    assert counted(gate) == (1, 0, 0)


def test_a_websocket_whose_other_end_has_gone_when_something_is_sent_has_not_failed(gate: Gate) -> None:
    with pytest.raises(OSError, match="gone"):
        leaving_on("websocket.send").run(site(gate, sends(ACCEPT, {"type": "websocket.send"})), websocket_scope())
    assert counted(gate) == (1, 0, 0)


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

    Exchange().run(site(gate, script))
    assert seen(gate) == {BANNER: (0, 0)}
    assert times(gate, "banner") == {"1200": 1}


def test_who_leaves_while_the_response_starts_has_waited_too(gate: Gate) -> None:
    with pytest.raises(OSError, match="gone"):
        leaving_on("http.response.start").run(site(gate, sends(start(), body())))
    assert counted(gate) == (0, 0, 1)


def test_who_leaves_in_the_middle_of_the_response_is_not_counted(gate: Gate) -> None:
    async def script(receive: Receive, send: Send) -> None:
        await send(start())
        await _wait_for_the_end(receive)

    Exchange().run(site(gate, script))
    with pytest.raises(OSError, match="gone"):
        leaving_on("http.response.body").run(site(gate, sends(start(), body())))
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
    exchange.run(site(gate, remembering))
    assert counted(gate) == (1, 0, 1)


@pytest.mark.parametrize(("sent", "expected"), [([], (0, 0, 1)), ([start()], None), ([start(), body()], (1, 0, 1))])
def test_a_request_that_is_cancelled_has_nobody_who_waits_but_for_whom_has_all_of_it(
    gate: Gate, sent: list[Message], expected: tuple[int, int, int] | None
) -> None:
    async def script(receive: Receive, send: Send) -> None:
        await sends(*sent)(receive, send)
        await asyncio.Event().wait()

    async def cancelled() -> None:
        async with asyncio.timeout(0.01):
            await Exchange().serve(site(gate, script))

    with pytest.raises(TimeoutError):
        asyncio.run(cancelled())
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

    Exchange().run(site(gate, script))
    assert counted(gate) == (1, 1, 0)


@pytest.mark.parametrize("first", [start(), ACCEPT])
def test_what_has_started_does_not_hang(gate: Gate, clock: Clock, first: Message) -> None:
    async def script(receive: Receive, send: Send) -> None:
        await send(first)
        clock.now += 60
        gate.keep()
        assert counted(gate) is None
        await send(body())

    Exchange().run(site(gate, script), websocket_scope() if first is ACCEPT else http_scope())
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

    Exchange().run(site(gate, script))
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


# --- one visit, one snapshot ----------------------------------------------------------------


def test_a_request_answers_from_one_snapshot_though_a_kill_arrives(gate: Gate) -> None:
    async def script(_receive: Receive, send: Send) -> None:
        change(gate, Verb.KILL, "banner")
        change(gate, Verb.KILL, "tiered")
        answers = gate.is_on("banner"), gate.is_on("tiered")
        await sends(start(), body(repr(answers).encode()))(_receive, send)

    app = site(gate, script, context=lambda _: {"tier": "pro"})
    assert Exchange().run(app).answer().body == b"(True, True)"
    assert not gate.is_on("banner")
    assert seen(gate) == {BANNER: (1, 0), ("tiered", 0, 0, "on"): (1, 0)}


def test_requests_side_by_side_are_visits_of_their_own(gate: Gate) -> None:
    meeting = asyncio.Barrier(2)

    async def script(_receive: Receive, send: Send) -> None:
        await meeting.wait()
        await sends(start(), body(repr(gate.is_on("team")).encode()))(_receive, send)

    async def both() -> list[bytes]:
        app = site(gate, script, context=lambda scope: {"user": scope["user"]})
        exchanges = [Exchange(), Exchange()]
        await asyncio.gather(
            *(e.serve(app, http_scope(user=u)) for e, u in zip(exchanges, ("ada", "eve"), strict=True))
        )
        return [exchange.answer().body for exchange in exchanges]

    assert asyncio.run(both()) == [b"True", b"False"]


def test_the_same_gate_around_an_app_twice_is_one_visit(gate: Gate) -> None:
    app = FlaggateMiddleware(site(gate, sends(start(500), body())), gate)
    Exchange().run(app)
    assert counted(gate) == (1, 1, 1)


def test_two_gates_around_an_app_are_two_visits(gate: Gate) -> None:
    other = running()

    async def script(_receive: Receive, send: Send) -> None:
        assert gate.is_on("team")
        assert not other.is_on("team")
        await sends(start(), body())(_receive, send)

    inner = site(gate, script, context=lambda _: {"user": "ada"})
    exchange = Exchange().run(FlaggateMiddleware(inner, other, context=lambda _: {"user": "eve"}))
    assert seen(gate)["team", 0, 0, "on"] == seen(other)["team", 0, 0, "off"] == (1, 0)
    assert exchange.answer().header("vary") == ["Cookie, Authorization"]
    other.close()


def test_a_request_whose_loop_has_ended_leaves_quietly(gate: Gate) -> None:
    """It is collected in another context than it began in."""

    async def script(_receive: Receive, _send: Send) -> None:
        await asyncio.sleep(0)

    request = Exchange().serve(site(gate, script))
    contextvars.copy_context().run(request.send, None)  # what a loop does with it
    request.close()
    assert counted(gate) == (0, 0, 1)


# --- start and end of a server --------------------------------------------------------------


def lifespan() -> Exchange:
    return Exchange([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])


def test_the_flags_are_there_before_the_first_request_and_the_counts_are_written_before_the_end() -> None:
    gate = running(background=True)
    store = gate.store
    written: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{word}"
                await send({"type": f"lifespan.{word}.complete"})
        else:
            gate.is_on("banner")
            await sends(start(), body())(receive, send)

    middleware = FlaggateMiddleware(app, gate)

    async def serve_one(message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            health = gate.health()
            assert health.is_keeper_alive
            assert health.revision == store.revision() > 0
            await Exchange().serve(middleware)
        else:
            written.extend(store.counts())  # what the server hears last: it may end at once

    server = lifespan()
    server.on_send = serve_one
    server.run(middleware, {"type": "lifespan"})
    assert [message["type"] for message in server.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert len(written) == 1
    gate.close()


async def _refuse(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise NotImplementedError(scope["type"])


async def _ignore(_scope: Scope, _receive: Receive, _send: Send) -> None: ...


async def _answer_whatever_comes(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send(start())


@pytest.mark.parametrize("app", [_refuse, _ignore, _answer_whatever_comes])
def test_for_an_app_that_does_not_speak_of_lifespan_the_middleware_does(gate: Gate, app: App) -> None:
    """The counts would be lost: uvicorn ends by a signal, and calls nothing else."""

    def refuse(message: Message) -> None:
        assert message["type"].startswith("lifespan.")

    server = lifespan()
    server.on_send = refuse
    server.run(FlaggateMiddleware(app, gate), {"type": "lifespan"})
    assert [message["type"] for message in server.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_an_app_that_fails_once_it_has_heard_of_the_start_says_so_to_the_server(gate: Gate) -> None:
    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        raise LookupError("no database")

    server = lifespan()
    with pytest.raises(LookupError):
        server.run(FlaggateMiddleware(app, gate), {"type": "lifespan"})
    assert server.sent == []


def test_what_is_neither_request_nor_lifespan_goes_to_the_app(gate: Gate) -> None:
    with pytest.raises(NotImplementedError, match="something new"):
        Exchange().run(FlaggateMiddleware(_refuse, gate), {"type": "something new"})


def test_the_first_request_of_a_server_without_lifespan_does_not_block_the_loop() -> None:
    """The store answers only after something else ran on the loop."""
    inner = MemoryStore()
    running(inner).close()
    store = UnreliableStore(inner)
    store.is_open.clear()
    gate = Gate.open(store, background=True)

    async def serve() -> list[Message]:
        exchange = Exchange()
        request = asyncio.create_task(exchange.serve(site(gate, answering)))
        while not store.asked.is_set():
            await asyncio.sleep(0.001)
        store.is_open.set()
        await request
        return exchange.sent

    async def answering(_receive: Receive, send: Send) -> None:
        await sends(start(), body(repr(gate.is_on("banner")).encode()))(_receive, send)

    assert asyncio.run(serve())[-1]["body"] == b"True"
    gate.close()


def test_a_request_is_served_where_no_thread_is_to_be_had(gate: Gate, no_threads: Callable[[], None]) -> None:
    fresh = Gate.open(gate.store, background=False)

    async def serve() -> list[Message]:
        no_threads()
        exchange = Exchange()
        await exchange.serve(site(fresh, sends(start(), body())))
        return exchange.sent

    assert [message["type"] for message in asyncio.run(serve())] == ["http.response.start", "http.response.body"]
    assert counted(fresh) == (1, 0, 1)


@pytest.fixture
def no_threads() -> Callable[[], None]:
    """Makes the running loop one that cannot start another thread."""
    from concurrent.futures import ThreadPoolExecutor

    def close() -> None:
        executor = ThreadPoolExecutor()
        executor.shutdown()
        asyncio.get_running_loop().set_default_executor(executor)

    return close


def test_another_event_loop_than_asyncios_is_served_too(gate: Gate) -> None:
    """The coroutine asks for nothing of asyncio; driven by hand, as trio would."""
    fresh = Gate.open(gate.store, background=False)
    request = Exchange().serve(site(fresh, sends(start(), body())))
    with pytest.raises(StopIteration):
        request.send(None)
    assert counted(fresh) == (1, 0, 1)


# --- what is sent ---------------------------------------------------------------------------


def test_the_apps_messages_and_headers_are_never_changed(gate: Gate) -> None:
    """An app may keep a message, and send it to everyone."""
    headers = ((b"Cache-Control", b"public"), (b"x", b"y"))
    message = {"type": "http.response.start", "status": 200, "headers": headers}
    kept = {**message}

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        gate.is_on("team")
        await sends(message, body())(_receive, send)

    exchanges = [Exchange().run(FlaggateMiddleware(app, gate)) for _ in range(2)]
    assert message == kept
    assert message["headers"] is headers
    for exchange in exchanges:
        assert exchange.sent[0]["headers"] == [
            (b"x", b"y"),
            (b"cache-control", b"private"),
            (b"vary", b"Cookie, Authorization"),
        ]


def test_a_response_without_headers_gets_ours(gate: Gate) -> None:
    app: App = site(gate, sends({"type": "http.response.start", "status": 204}, body(b"")))
    assert "headers" not in Exchange().run(app).sent[0]

    async def asking(_receive: Receive, send: Send) -> None:
        gate.is_on("local")
        await sends({"type": "http.response.start", "status": 204}, body(b""))(_receive, send)

    assert Exchange().run(site(gate, asking)).sent[0]["headers"] == [(b"cache-control", b"private")]


def test_a_kill_is_served_by_the_next_request_of_a_running_server() -> None:
    gate = running(background=True)
    app = site(gate, sends(start(), body()))
    Exchange().run(app)
    turn(gate.store, Verb.KILL, "banner")
    until(lambda: gate.health().revision == gate.store.revision(), "the keeper takes over the kill")
    Exchange().run(app)
    assert {key[3] for key in seen(gate)} == {"on", "off"}
    assert "flaggate-keeper" in {thread.name for thread in threading.enumerate()}
    gate.close()
