"""A request of a Flask app as a visit: who asks, and when that is found out."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest
from flask import (
    Flask,
    Request,
    Response,
    copy_current_request_context,
    g,
    render_template_string,
    request,
    session,
)

from flaggate import Context, Gate
from flaggate.contrib.flask import flags_from, init_app
from flaggate.stores.memory import MemoryStore
from flaggate.web.asgi import FlaggateMiddleware
from tests.contrib.scenes import Switchboard
from tests.runtime.guarded import WHOLE, begin
from tests.web.scenes import Exchange, http_scope, mounted


class Who:
    """The app's function: who asks, by the query, and how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0
        self.tiers = 0

    def __call__(self, asked: Request) -> Mapping[str, Any]:
        self.calls += 1

        def tier() -> str | None:
            self.tiers += 1
            return request.args.get("tier")

        return {"user": asked.args.get("user"), "staff": "staff" in asked.args, "tier": tier}


@pytest.fixture
def who() -> Who:
    return Who()


def create_app(gate: Gate, context: Any = None, **options: Any) -> Flask:
    app = Flask("invoicing")
    app.config.update(TESTING=True, SECRET_KEY="the app's own")
    init_app(app, gate, context=context, **options)

    @app.get("/tier")
    def tier() -> str:
        return str(flags_from(request)["tiered"])

    @app.get("/banner")
    def banner() -> str:
        return str(flags_from(request).is_on("banner"))

    return app


# --- who asks -----------------------------------------------------------------------------------


def test_the_flags_of_a_request(board: Switchboard, who: Who) -> None:
    app = create_app(board.on("tiered", "adas"), who)

    @app.get("/")
    def home() -> dict[str, Any]:
        flags = flags_from(request)
        before = flags["adas"], flags.is_on("tiered"), flags.decide("tiered").reason
        flags.identify(user="ada")
        return {"before": before, "after": flags["adas"], "helper": board.gate.is_on("adas")}

    found = app.test_client().get("/?tier=pro").json
    assert found == {"before": [False, True, "on"], "after": True, "helper": True}


def test_the_app_is_asked_once_a_request_and_only_when_a_flag_reads_something(board: Switchboard, who: Who) -> None:
    app = create_app(board.on("banner", "tiered", "adas"), who)

    @app.get("/all")
    def all_of_them() -> str:
        flags = flags_from(request)
        return f"{flags['adas']} {flags['tiered']} {flags['team']} {flags['tiered']}"

    client = app.test_client()
    assert client.get("/banner?tier=pro").text == "True"
    assert (who.calls, who.tiers) == (0, 0)
    assert client.get("/tier?tier=pro").text == "True"
    assert (who.calls, who.tiers) == (1, 1)
    assert client.get("/all?user=ada&tier=pro").text == "True True False True"
    assert (who.calls, who.tiers) == (2, 2)


def test_who_asks_may_be_read_from_session_and_g(board: Switchboard) -> None:
    app = create_app(board.on("adas", "tiered"), lambda _: {"user": session.get("user"), "tier": lambda: g.tier})

    @app.before_request
    def account() -> None:
        g.tier = "pro"

    @app.get("/ada")
    def ada() -> str:
        return f"{flags_from(request)['adas']} {flags_from(request)['tiered']}"

    client = app.test_client()
    assert client.get("/ada").text == "False True"
    with client.session_transaction() as kept:
        kept["user"] = "ada"
    assert client.get("/ada").text == "True True"


def test_who_asks_may_be_a_context_or_nobody(board: Switchboard) -> None:
    app = create_app(board.on("tiered"), lambda asked: Context(tier="pro") if asked.args else None)
    client = app.test_client()
    assert [client.get(path).text for path in ("/tier?me", "/tier")] == ["True", "False"]


def test_without_a_function_and_without_flask_login_nobody_asks(board: Switchboard) -> None:
    assert create_app(board.on("adas", "tiered", "banner")).test_client().get("/tier").text == "False"


def test_a_request_is_asked_before_its_view(board: Switchboard, who: Who) -> None:
    app = create_app(board.on("tiered"), who)

    @app.before_request
    def early() -> None:
        g.early = flags_from(request)["tiered"]

    @app.after_request
    def late(response: Response) -> Response:
        board.off("tiered")  # which the next request sees
        response.headers["Late"] = f"{g.early} {flags_from(request)['tiered']}"
        return response

    client = app.test_client()
    assert client.get("/banner?tier=pro").headers["Late"] == "True True"
    assert client.get("/banner?tier=pro").headers["Late"] == "False False"


def test_a_visit_of_somebody_else_within_a_request(board: Switchboard) -> None:
    """A view that renders a letter to another customer."""
    app = create_app(board.on("tiered"), lambda _: {"tier": "free"})

    @app.get("/letter")
    def letter() -> str:
        with board.gate.visit(Context(tier="pro")):
            inside = render_template_string('{{ feature("tiered") }}'), flags_from(request)["tiered"]
        return f"{inside} {flags_from(request)['tiered']}"

    assert app.test_client().get("/letter").text == "('True', True) False"


# --- routes -------------------------------------------------------------------------------------


def test_a_route_is_gated_before_flask_sees_the_request(board: Switchboard) -> None:
    """The function has a request of Flask's around it there, too: with its session, g, and teardown."""
    seen: list[str] = []

    def who(asked: Request) -> dict[str, Any]:
        g.connection = "open"
        return {"user": session.get("user"), "tier": lambda: f"{asked.args['tier']}"}

    app = create_app(board.on("adas", "tiered"), who, routes={"/v2/*": ("adas", "/v1/*"), "/pro": "tiered"})

    @app.teardown_appcontext
    def close(error: BaseException | None) -> None:
        seen.append(g.pop("connection", "none"))

    @app.route("/v1/<name>", methods=["GET", "POST"])
    def old(name: str) -> str:
        return f"old {name} {request.form.get('sum')}"

    @app.route("/v2/<name>", methods=["GET", "POST"])
    def new(name: str) -> str:
        return f"new {name} {request.form.get('sum')} {flags_from(request)['adas']}"

    app.add_url_rule("/pro", "pro", lambda: "pro")
    client = app.test_client()
    assert client.post("/v2/x", data={"sum": "7"}).text == "old x 7"
    assert seen == ["open", "none"]
    with client.session_transaction() as kept:
        kept["user"] = "ada"
    assert client.post("/v2/x", data={"sum": "7"}).text == "new x 7 True"
    assert client.get("/pro?tier=pro").text == "pro"
    assert client.get("/pro?tier=free").status_code == 404
    assert board.counted("adas")["on"] == (1, 0)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_teardown_that_misses_what_before_request_made_decides_nothing(
    board: Switchboard, caplog: pytest.LogCaptureFixture, is_known: bool
) -> None:
    """Where a route asks Flask has not seen the request yet."""

    def who(_: Request) -> dict[str, Any]:
        if not is_known:
            raise LookupError("the session is gone")
        return {"user": "ada"}

    app = create_app(board.on("adas"), who, routes={"/v2/*": ("adas", "/banner")})
    closed: list[str] = []

    @app.before_request
    def connect() -> None:
        g.connection = "ours"

    @app.teardown_request
    def close(_: BaseException | None) -> None:
        closed.append(g.connection)

    app.add_url_rule("/v2/x", "new", lambda: "new")
    client = app.test_client()
    assert [client.get("/v2/x").text for _ in range(2)] == ["new" if is_known else "False"] * 2
    assert closed == ["ours", "ours"]
    assert board.gate.health().faults == ({} if is_known else {"adas": 2})
    torn_down, *more = [record.getMessage() for record in caplog.records]
    assert torn_down.startswith("a teardown function failed where a route asked a flag: AttributeError(")
    assert [line.partition("(")[0] for line in more] == (
        [] if is_known else ["flag 'adas' failed and is off: who asks could not be told: LookupError"]
    )


# --- in an ASGI app -----------------------------------------------------------------------------


def test_an_app_in_an_asgi_app_of_the_same_gate_is_one_visit(board: Switchboard, who: Who) -> None:
    """The outer one says who asks; the routes of both are gated."""
    app = create_app(board.on("tiered", "adas"), who, routes={"/banner": "team"})

    @app.get("/signed-in")
    def signed_in() -> str:
        before = flags_from(request)["adas"]
        flags_from(request).identify(user="ada")
        return f"{before} {flags_from(request)['adas']}"

    outer = FlaggateMiddleware(mounted(app), board.gate, context=lambda _: {"tier": "pro"}, routes={"/tier": "tiered"})
    answers = [Exchange().run(outer, http_scope(path)).answer() for path in ("/tier", "/signed-in", "/banner")]
    assert [(answer.status, answer.body) for answer in answers] == [
        (200, b"True"),
        (200, b"False True"),
        (404, b"Not Found"),
    ]
    assert who.calls == 0
    assert (board.counted("tiered"), board.counted("team")) == ({"on": (1, 0)}, {"off": (1, 0)})


# --- outside of the request's way ---------------------------------------------------------------


def test_a_request_that_no_middleware_saw_is_answered_and_not_counted(board: Switchboard, who: Who) -> None:
    gate = Gate.open(board.on("tiered").store, background=False, hang_seconds=0.0)
    app = create_app(gate, who)
    with app.test_request_context("/?tier=pro"):
        assert flags_from(request)["tiered"]
        assert render_template_string('{{ feature("tiered") }}') == "True"
        flags_from(request).identify(tier="free")
        assert not flags_from(request)["tiered"]
        assert not gate.meter.look_for_hangs()  # nor is it taken for one that hangs
    assert who.calls == 1
    gate.flush()
    assert gate.store.counts() == []


def test_a_job_that_renders_a_page_for_somebody(board: Switchboard, who: Who) -> None:
    """It says who, and makes a request only because templates want one."""
    app = create_app(board.on("tiered"), who)
    with board.gate.visit(Context(tier="pro")), app.test_request_context("/"):
        assert render_template_string('{{ feature("tiered") }}') == "True"
    assert board.counted("tiered") == {"on": (1, 0)}


def test_a_request_of_a_test_within_a_request(board: Switchboard, who: Who) -> None:
    """Something renders a page of the app as another one would see it."""
    app = create_app(board.on("tiered"), who)

    @app.get("/preview")
    def preview() -> str:
        with app.test_request_context("/?tier=pro"):
            inside = flags_from(request)["tiered"]
            outside = board.gate.is_on("tiered")  # for whom the whole visit is
        by_client = app.test_client().get("/tier?tier=pro").text
        return f"{inside} {outside} {by_client} {flags_from(request)['tiered']}"

    assert app.test_client().get("/preview").text == "True False True False"


def test_a_test_may_look_after_the_request(board: Switchboard, who: Who) -> None:
    app = create_app(board.on("tiered"), who)
    with app.test_client() as client:
        client.get("/banner?tier=pro")
        assert flags_from(request)["tiered"]
    assert board.counted("tiered") == {}


def test_a_thread_that_a_request_starts(board: Switchboard, who: Who) -> None:
    app = create_app(board.on("tiered"), who)
    found: list[bool] = []

    @app.get("/start")
    def start() -> str:
        @copy_current_request_context
        def work() -> None:
            found.append(flags_from(request)["tiered"])

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return "started"

    app.test_client().get("/start?tier=pro")
    assert found == [True]


def test_whom_a_failure_hit_is_found_out_while_flask_knows() -> None:
    """Where no rule had to know: the session is gone once the response is made."""
    store = MemoryStore()
    begin(store, WHOLE)
    with closing(Gate.open(store, background=False)) as gate:
        gate.refresh()
        app = Flask(__name__)
        app.secret_key = "for the test"
        init_app(app, gate=gate, context=lambda _: {"user": session["user"]})

        @app.get("/<user>")
        def page(user: str) -> str:
            session["user"] = user
            assert flags_from(request).is_on("checkout")
            raise LookupError

        for user in ("ada", "ada", "grace"):
            assert app.test_client().get(f"/{user}", buffered=True).status_code == 500
        gate.flush()
        (hit,) = (one for one in store.units("checkout", 1, 1) if (one.metric, one.span) == ("errors", 0))
        assert (hit.units, hit.bad) == (2, 3)
