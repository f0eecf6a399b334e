"""A request of a Starlette app as a visit: who asks, when that is found out, and what else stands on the way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser, UnauthenticatedUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from flaggate import Context, Gate
from flaggate.contrib.starlette import FlaggateMiddleware, feature_required, flags_from
from flaggate.errors import SettingError
from flaggate.web import asgi
from tests.contrib.scenes import Switchboard


class Who:
    """The app's function: who asks, by the query, and how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0
        self.tiers = 0

    def __call__(self, asked: HTTPConnection) -> Mapping[str, Any]:
        self.calls += 1

        def tier() -> str | None:
            self.tiers += 1
            return asked.query_params.get("tier")

        return {"user": asked.query_params.get("user"), "staff": "staff" in asked.query_params, "tier": tier}


@pytest.fixture
def who() -> Who:
    return Who()


async def ask(request: Request) -> Response:
    """The answer to the flag of the path."""
    return PlainTextResponse(str(flags_from(request)[request.path_params["name"]]))


def sync_ask(request: Request) -> Response:
    """In a thread of Starlette's."""
    return PlainTextResponse(str(flags_from(request).is_on(request.path_params["name"])))


def create_app(
    gate: Gate, context: Any = None, *routes: BaseRoute, inside: Any = (), outside: Any = (), **options: Any
) -> Starlette:
    """With an app's own middleware inside of flaggate's and outside."""
    ours = Middleware(FlaggateMiddleware, gate=gate, context=context, **options)
    known = [Route("/sync/{name}", sync_ask), Route("/{name}", ask)]
    return Starlette(routes=[*routes, *known], middleware=[*outside, ours, *inside])


def text(app: Any, path: str) -> str:
    return TestClient(app).get(path).text


# --- who asks -----------------------------------------------------------------------------------


def test_the_flags_of_a_request(board: Switchboard, who: Who) -> None:
    async def home(request: Request) -> Response:
        flags = flags_from(request)
        before = flags["adas"], flags.is_on("tiered"), flags.decide("tiered").reason
        flags.identify(user="ada")
        return JSONResponse({"before": before, "after": flags["adas"], "helper": board.gate.is_on("adas")})

    app = create_app(board.on("tiered", "adas"), who, Route("/", home))
    found = TestClient(app).get("/?tier=pro").json()
    assert found == {"before": [False, True, "on"], "after": True, "helper": True}


def test_the_app_is_asked_once_a_request_and_only_when_a_flag_reads_something(board: Switchboard, who: Who) -> None:
    async def all_of_them(request: Request) -> Response:
        flags = flags_from(request)
        return PlainTextResponse(f"{flags['adas']} {flags['tiered']} {flags['team']} {flags['tiered']}")

    app = create_app(board.on("banner", "tiered", "adas"), who, Route("/all", all_of_them))
    assert text(app, "/banner?tier=pro") == "True"
    assert (who.calls, who.tiers) == (0, 0)
    assert text(app, "/tiered?tier=pro") == "True"
    assert (who.calls, who.tiers) == (1, 1)
    assert text(app, "/all?user=ada&tier=pro") == "True True False True"
    assert (who.calls, who.tiers) == (2, 2)


def test_a_sync_endpoint_asks_within_the_visit(board: Switchboard, who: Who) -> None:
    app = create_app(board.on("tiered"), who)
    assert [text(app, f"/sync/tiered{query}") for query in ("?tier=pro", "")] == ["True", "False"]
    assert board.counted("tiered") == {"on": (1, 0), "off": (1, 0)}


def test_who_asks_may_be_a_context_or_nobody(board: Switchboard) -> None:
    app = create_app(board.on("tiered"), lambda asked: Context(tier="pro") if asked.query_params else None)
    assert [text(app, path) for path in ("/tiered?me", "/tiered")] == ["True", "False"]
    assert text(create_app(board.gate), "/tiered") == "False"


def test_a_visit_of_somebody_else_within_a_request(board: Switchboard) -> None:
    """An endpoint that renders a letter to another customer."""

    async def letter(request: Request) -> Response:
        with board.gate.visit(Context(tier="pro")):
            inside = flags_from(request)["tiered"]
        return PlainTextResponse(f"{inside} {flags_from(request)['tiered']}")

    app = create_app(board.on("tiered"), lambda _: {"tier": "free"}, Route("/letter", letter))
    assert text(app, "/letter") == "True False"


def test_a_websocket_is_a_visit(board: Switchboard, who: Who) -> None:
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        while (name := await websocket.receive_text()) != "end":
            await websocket.send_text(f"{flags_from(websocket)[name]}")
        await websocket.close()

    app = create_app(board.on("tiered", "banner"), who, WebSocketRoute("/talk", talk))
    with TestClient(app).websocket_connect("/talk?tier=pro") as websocket:
        answers = []
        for name in ("tiered", "adas", "banner"):
            websocket.send_text(name)
            answers.append(websocket.receive_text())
        websocket.send_text("end")
        websocket.receive()
    assert answers == ["True", "False", "True"]
    assert who.calls == 1
    assert board.counted("tiered") == {}, "but none that is counted"


# --- sessions and users -------------------------------------------------------------------------


async def sign_in(request: Request) -> Response:
    before = flags_from(request)["adas"]
    request.session["user"] = request.path_params["name"]
    flags_from(request).identify()
    return PlainTextResponse(f"{before} {flags_from(request)['adas']}")


def by_session(connection: HTTPConnection) -> dict[str, Any]:
    return {"user": connection.session.get("user")}


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_who_asks_may_be_read_from_the_session_and_signing_in_decides_again(board: Switchboard, place: str) -> None:
    session = Middleware(SessionMiddleware, secret_key="the app's own")
    options: Any = {place: [session]}
    app = create_app(board.on("adas"), by_session, Route("/in/{name}", sign_in), **options)
    client = TestClient(app)
    assert client.get("/adas").text == "False"
    assert client.get("/in/bob").text == "False False"
    assert client.get("/in/ada").text == "False True"
    assert client.get("/sync/adas").text == client.get("/adas").text == "True"
    # The request in which the answer changed is in no count; the others are.
    assert board.counted("adas") == {"on": (2, 0), "off": (2, 0)}


class ByQuery(AuthenticationBackend):
    def __init__(self) -> None:
        self.calls = 0

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser]:
        self.calls += 1
        name = conn.query_params.get("user")
        return (AuthCredentials(), UnauthenticatedUser()) if name is None else (AuthCredentials(), SimpleUser(name))


def by_user(connection: HTTPConnection) -> dict[str, Any]:
    return {"user": connection.user.display_name if connection.user.is_authenticated else None}


def test_who_asks_may_be_the_user_of_the_authentication(board: Switchboard) -> None:
    """Added as the docs have it: who signs people in comes last, and so stands outside."""
    app = Starlette(routes=[Route("/{name}", ask), Route("/v2/x", sign_in)])
    app.add_middleware(FlaggateMiddleware, gate=board.on("adas"), context=by_user, routes={"/v2/*": ("adas", "/adas")})
    app.add_middleware(AuthenticationMiddleware, backend=ByQuery())
    assert [text(app, path) for path in ("/adas?user=ada", "/adas?user=bob", "/adas")] == ["True", "False", "False"]
    assert text(app, "/v2/x?user=bob") == "False"


def test_a_route_table_outside_of_what_signs_people_in_knows_nobody(
    board: Switchboard, caplog: pytest.LogCaptureFixture
) -> None:
    """It asks before there is a user, and says so; endpoints ask later, and know."""
    inside = [Middleware(AuthenticationMiddleware, backend=ByQuery())]
    app = create_app(board.on("adas", "team"), by_user, routes={"/v2/*": ("team", "/adas")}, inside=inside)
    assert text(app, "/adas?user=ada") == "True"
    assert text(app, "/v2/x?user=ada") == "False"
    assert "AuthenticationMiddleware must be installed" in caplog.text


def test_what_signs_people_in_is_not_asked_by_a_flag_that_reads_nothing(board: Switchboard) -> None:
    """Without a session a switch for everyone is on."""
    app = create_app(board.on("banner", "adas"), by_session)
    assert [text(app, path) for path in ("/banner", "/adas")] == ["True", "False"]
    assert board.gate.health().faults == {"adas": 1}


# --- other middleware ---------------------------------------------------------------------------


class Asking(BaseHTTPMiddleware):
    """Asks before the endpoint and after it."""

    def __init__(self, app: Any, gate: Gate, word: str) -> None:
        super().__init__(app)
        self.gate = gate
        self.word = word

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        before = self.gate.is_on("tiered")
        response = await call_next(request)
        response.headers[self.word] = f"{before} {self.gate.is_on('tiered')}"
        return response


def test_middleware_around_and_inside(board: Switchboard, who: Who) -> None:
    """Inside it is the same visit, outside there is none."""
    one, other = (Middleware(Asking, gate=board.on("tiered"), word=word) for word in ("inner", "outer"))
    client = TestClient(create_app(board.gate, who, inside=[one], outside=[other]))
    for path in ("/tiered?tier=pro", "/sync/tiered?tier=pro"):
        response = client.get(path)
        found = response.text, response.headers["inner"], response.headers["outer"]
        assert found == ("True", "True True", "False False")
    assert who.calls == 2
    assert board.counted("tiered") == {"on": (2, 0)}


def test_signing_in_inside_of_other_middleware(board: Switchboard) -> None:
    """It runs the endpoint in a task of its own; the visit is the same."""
    inside = [Middleware(SessionMiddleware, secret_key="k"), Middleware(Asking, gate=board.on("adas"), word="inner")]
    client = TestClient(create_app(board.gate, by_session, Route("/in/{name}", sign_in), inside=inside))
    assert client.get("/in/ada").text == "False True"
    assert board.counted("adas") == {}


def test_a_gate_is_not_passed_by_what_happens_meanwhile(board: Switchboard, who: Who) -> None:
    """All of a request sees one snapshot; the next one sees the kill."""

    async def killing(request: Request) -> Response:
        before = flags_from(request)["tiered"]
        await asyncio.to_thread(board.off, "tiered")
        return PlainTextResponse(f"{before} {flags_from(request)['tiered']}")

    app = create_app(board.on("tiered"), who, Route("/killing", feature_required("tiered")(killing)))
    assert text(app, "/killing?tier=pro") == "True True"
    assert TestClient(app).get("/killing?tier=pro").status_code == 404


def test_an_app_in_an_app_of_the_same_gate_is_one_visit(board: Switchboard, who: Who) -> None:
    """The inner one knows more of who asks; the routes of both are gated."""
    inner = create_app(board.on("tiered", "team"), who, routes={"/banner": "team"})
    outer = create_app(board.gate, lambda _: {}, Mount("/shop", inner), routes={"/shop/adas": ("adas", "/shop/tiered")})
    assert text(outer, "/shop/tiered?tier=pro") == "True"
    assert text(outer, "/shop/banner?staff") == "False"
    assert text(outer, "/shop/banner") == "Not Found"
    assert text(outer, "/shop/adas?tier=pro") == "True"
    assert who.calls == 4
    assert board.counted("tiered") == {"on": (2, 0)}


async def in_a_thread(request: Request) -> bool:
    """What the banner is in a thread of the app's own, which knows no visit."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(flags_from(request)["banner"]))
    thread.start()
    await asyncio.to_thread(thread.join)
    return found[0]


def test_an_app_in_an_app_of_another_gate_asks_its_own(board: Switchboard) -> None:
    other = Switchboard()

    class Before(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            before = flags_from(request)["banner"], await in_a_thread(request)
            response = await call_next(request)
            response.headers["before"] = f"{before}"
            return response

    async def both(request: Request) -> Response:
        return PlainTextResponse(f"{flags_from(request)['banner'], await in_a_thread(request)}")

    inner = create_app(other.gate, None, Route("/both", both))
    outer = create_app(board.on("banner"), None, Mount("/shop", inner), inside=[Middleware(Before)])
    response = TestClient(outer).get("/shop/both")
    assert (response.headers["before"], response.text) == ("(True, True)", "(False, False)")
    assert (board.counted("banner"), other.counted("banner")) == ({"on": (1, 0)}, {"off": (1, 0)})
    other.gate.close()


def test_the_plain_middleware_of_web_will_do(board: Switchboard) -> None:
    app = asgi.FlaggateMiddleware(
        Starlette(routes=[Route("/{name}", ask)]), board.on("tiered"), context=lambda scope: {"tier": "pro"}
    )
    assert text(app, "/tiered") == "True"


# --- outside of the request's way ---------------------------------------------------------------


def test_a_request_that_no_middleware_saw_is_said() -> None:
    app = Starlette(routes=[Route("/invoices", feature_required("banner")(sync_ask))])
    said = r"^app: /invoices; allowed: one with FlaggateMiddleware of flaggate.contrib.starlette"
    with pytest.raises(SettingError, match=said):
        text(app, "/invoices")
    with pytest.raises(SettingError, match=r"^app: ''; allowed: one with FlaggateMiddleware"):
        flags_from(HTTPConnection({"type": "http"}))


def test_a_thread_that_a_request_starts_is_answered_and_not_counted(board: Switchboard, who: Who) -> None:
    async def start(request: Request) -> Response:
        found: list[bool] = []

        def work() -> None:
            found.append(flags_from(request)["tiered"])
            flags_from(request).identify(tier="free")
            found.append(flags_from(request)["tiered"])

        thread = threading.Thread(target=work)
        thread.start()
        await asyncio.to_thread(thread.join)
        return PlainTextResponse(f"{found} {flags_from(request)['tiered']}")

    app = create_app(board.on("tiered"), who, Route("/start", start))
    assert text(app, "/start?tier=pro") == "[True, False] True"
    assert board.counted("tiered") == {"on": (1, 0)}


def test_a_thread_of_its_own_is_not_taken_for_a_request_that_hangs(board: Switchboard) -> None:
    gate = Gate.open(board.on("tiered").store, background=False, hang_seconds=0.0)

    async def start(request: Request) -> Response:
        thread = threading.Thread(target=lambda: flags_from(request)["tiered"])
        thread.start()
        await asyncio.to_thread(thread.join)
        return PlainTextResponse(str(gate.meter.look_for_hangs()))

    assert text(create_app(gate, None, Route("/start", start)), "/start") == "False"


def test_a_task_that_outlives_its_request_sees_a_kill(board: Switchboard, who: Who) -> None:
    found: list[bool] = []
    tasks: list[asyncio.Task[None]] = []
    is_time = asyncio.Event()

    async def start(request: Request) -> Response:
        async def later() -> None:
            await is_time.wait()
            found.append(flags_from(request)["tiered"])

        found.append(flags_from(request)["tiered"])
        tasks.append(asyncio.create_task(later()))
        return PlainTextResponse("")

    async def end(_: Request) -> Response:
        is_time.set()
        await asyncio.gather(*tasks)
        return PlainTextResponse("")

    app = create_app(board.on("tiered"), who, Route("/start", start), Route("/end", end))
    with TestClient(app) as client:
        client.get("/start?tier=pro")
        board.off("tiered")
        client.get("/end")
    assert found == [True, False]
