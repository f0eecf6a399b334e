"""A visit through the ASGI middleware: one snapshot, a server that starts and ends, and messages that stay as they are."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from flaggate import Context, Gate
from flaggate.rollout.state import Verb
from flaggate.stores.memory import MemoryStore
from flaggate.web.asgi import SITE, App, FlaggateMiddleware, Message, Receive, Scope, Send
from tests.runtime.scenes import UnreliableStore, seen, turn, until
from tests.web.scenes import BANNER, Exchange, asking, body, change, counted, http_scope, running, sends, start

# --- one visit, one snapshot ----------------------------------------------------------------


def test_a_request_answers_from_one_snapshot_though_a_kill_arrives(gate: Gate) -> None:
    async def script(_receive: Receive, send: Send) -> None:
        change(gate, Verb.KILL, "banner")
        change(gate, Verb.KILL, "tiered")
        answers = gate.is_on("banner"), gate.is_on("tiered")
        await sends(start(), body(repr(answers).encode()))(_receive, send)

    app = asking(gate, script, context=lambda _: {"tier": "pro"})
    assert Exchange().run(app).answer().body == b"(True, True)"
    assert not gate.is_on("banner")
    assert seen(gate) == {BANNER: (1, 0), ("tiered", 0, 0, "on"): (1, 0)}


def test_requests_side_by_side_are_visits_of_their_own(gate: Gate) -> None:
    meeting = asyncio.Barrier(2)

    async def script(_receive: Receive, send: Send) -> None:
        await meeting.wait()
        await sends(start(), body(repr(gate.is_on("team")).encode()))(_receive, send)

    async def both() -> list[bytes]:
        app = asking(gate, script, context=lambda scope: {"user": scope["user"]})
        exchanges = [Exchange(), Exchange()]
        await asyncio.gather(
            *(e.serve(app, http_scope(user=u)) for e, u in zip(exchanges, ("ada", "eve"), strict=True))
        )
        return [exchange.answer().body for exchange in exchanges]

    assert asyncio.run(both()) == [b"True", b"False"]


def test_the_same_gate_around_an_app_twice_is_one_visit(gate: Gate) -> None:
    app = FlaggateMiddleware(asking(gate, sends(start(500), body())), gate)
    Exchange().run(app)
    assert counted(gate) == (1, 1, 1)


def test_two_gates_around_an_app_are_two_visits(gate: Gate) -> None:
    other = running()

    async def script(_receive: Receive, send: Send) -> None:
        assert gate.is_on("team")
        assert not other.is_on("team")
        await sends(start(), body())(_receive, send)

    inner = asking(gate, script, context=lambda _: {"user": "ada"})
    exchange = Exchange().run(FlaggateMiddleware(inner, other, context=lambda _: {"user": "eve"}))
    assert seen(gate)["team", 0, 0, "on"] == seen(other)["team", 0, 0, "off"] == (1, 0)
    assert exchange.answer().header("vary") == ["Cookie, Authorization"]
    other.close()


def test_a_request_whose_loop_has_ended_leaves_quietly(gate: Gate) -> None:
    """It is collected in another context than it began in."""

    async def script(_receive: Receive, _send: Send) -> None:
        await asyncio.sleep(0)

    request = Exchange().serve(asking(gate, script))
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
        request = asyncio.create_task(exchange.serve(asking(gate, answering)))
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
        await exchange.serve(asking(fresh, sends(start(), body())))
        return exchange.sent

    assert [message["type"] for message in asyncio.run(serve())] == ["http.response.start", "http.response.body"]
    assert counted(fresh) == (1, 0, 1)


@pytest.fixture
def no_threads() -> Callable[[], None]:
    """Makes the running loop one that cannot start another thread."""

    def close() -> None:
        executor = ThreadPoolExecutor()
        executor.shutdown()
        asyncio.get_running_loop().set_default_executor(executor)

    return close


def test_another_event_loop_than_asyncios_is_served_too(gate: Gate) -> None:
    """The coroutine asks for nothing of asyncio; driven by hand, as trio would."""
    fresh = Gate.open(gate.store, background=False)
    request = Exchange().serve(asking(fresh, sends(start(), body())))
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
    app: App = asking(gate, sends({"type": "http.response.start", "status": 204}, body(b"")))
    assert "headers" not in Exchange().run(app).sent[0]

    async def script(_receive: Receive, send: Send) -> None:
        gate.is_on("local")
        await sends({"type": "http.response.start", "status": 204}, body(b""))(_receive, send)

    assert Exchange().run(asking(gate, script)).sent[0]["headers"] == [(b"cache-control", b"private")]


def test_a_kill_is_served_by_the_next_request_of_a_running_server() -> None:
    gate = running(background=True)
    app = asking(gate, sends(start(), body()))
    Exchange().run(app)
    turn(gate.store, Verb.KILL, "banner")
    until(lambda: gate.health().revision == gate.store.revision(), "the keeper takes over the kill")
    Exchange().run(app)
    assert {key[3] for key in seen(gate)} == {"on", "off"}
    assert "flaggate-keeper" in {thread.name for thread in threading.enumerate()}
    gate.close()


def test_a_task_that_outlives_its_request_sees_what_changes(gate: Gate) -> None:
    """A loop that the first request started must not miss a kill for ever."""
    answers: list[bool] = []

    async def outlive(is_over: asyncio.Event) -> None:
        answers.append(gate.is_on("banner"))
        await is_over.wait()
        change(gate, Verb.KILL, "banner")
        answers.append(gate.is_on("banner"))

    async def main() -> None:
        is_over = asyncio.Event()
        tasks: list[asyncio.Task[None]] = []

        async def app(_scope: Scope, receive: Receive, send: Send) -> None:
            tasks.append(asyncio.create_task(outlive(is_over)))
            await asyncio.sleep(0)
            await sends(start(), body(b"ok"))(receive, send)

        await Exchange().serve(FlaggateMiddleware(app, gate), http_scope())
        is_over.set()
        await tasks[0]

    asyncio.run(main())
    assert answers == [True, False]


def test_what_was_cancelled_elsewhere_is_a_failure_of_the_request(gate: Gate) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        gate.is_on("banner")
        shared: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        shared.cancel()
        await shared

    with pytest.raises(asyncio.CancelledError):
        Exchange().run(FlaggateMiddleware(app, gate), http_scope())
    assert counted(gate) == (1, 1, 1)


def test_the_routes_of_an_inner_middleware_of_the_same_gate_are_gated(gate: Gate) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await sends(start(), body(b"secret"))(receive, send)

    inner = FlaggateMiddleware(app, gate, routes={"/v2/*": "team"}, context=lambda _: {"user": "nobody"})
    exchange = Exchange()
    exchange.run(FlaggateMiddleware(inner, gate), http_scope(path="/v2/x"))
    assert exchange.answer().status == 404


def test_after_an_inner_app_with_another_gate_it_is_the_outer_ones_turn_again(gate: Gate) -> None:
    sites: list[object] = []

    async def page(_scope: Scope, receive: Receive, send: Send) -> None:
        await sends(start(), body())(receive, send)

    inner = FlaggateMiddleware(page, running())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sites.append(scope[SITE])
        await inner(scope, receive, send)
        sites.append(scope[SITE])

    outer = FlaggateMiddleware(app, gate)
    Exchange().run(outer)
    assert sites == [outer.site, outer.site]


def test_between_two_middlewares_of_a_gate_a_visit_and_an_answer_stay_what_they_are(gate: Gate) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await sends(start(), body(str(gate.is_on("team")).encode()))(receive, send)

    inner = FlaggateMiddleware(app, gate, context=lambda _: {"user": "nobody"})

    async def in_a_visit(scope: Scope, receive: Receive, send: Send) -> None:
        with gate.visit(Context("bob")):
            await inner(scope, receive, send)

    async def asking_first(scope: Scope, receive: Receive, send: Send) -> None:
        assert gate.is_on("team")
        await inner(scope, receive, send)

    for between in (in_a_visit, asking_first):
        outer = FlaggateMiddleware(between, gate, context=lambda _: {"user": "ada"})
        assert Exchange().run(outer).answer().body == b"True"
