"""The console among a Flask app's pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, abort, redirect, request, session
from flask.testing import FlaskClient
from flask_wtf import CSRFProtect  # type: ignore[import-untyped]  # it has no types
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client, TestResponse

from flaggate import Gate
from flaggate.console import Person
from flaggate.contrib.flask import feature_required, flags_from, init_app
from flaggate.contrib.flask_console import create_blueprint
from flaggate.errors import SettingError
from flaggate.runtime.rights import Right
from flaggate.stores.record import read_flag
from flaggate.stores.sql import SqlStore
from tests.contrib.scenes import FLAGS, Switchboard
from tests.e2e.browser import Browser
from tests.e2e.servers import serving
from tests.runtime.scenes import UnreliableStore, bring, until

KEY = "the app's own"
HOOK = "a token that an alert brings along"


def signed_in() -> Person | None:
    """Whom the app's session names."""
    return Person(session["user"]) if "user" in session else None


def app_of(gate: Gate, prefix: str | None = "/ops/flags", **options: Any) -> Flask:
    """An app where anybody signs in, with the console."""
    app = Flask("invoicing")
    app.config.update(TESTING=True, SECRET_KEY=KEY)
    init_app(app, gate)
    app.register_blueprint(create_blueprint(**{"who": signed_in} | options), url_prefix=prefix)

    @app.get("/in/<name>")
    def sign_in(name: str) -> str:
        session["user"] = name
        return "in"

    return app


def client_of(app: Flask, name: str | None = "owner@example.com") -> FlaskClient:
    client = app.test_client()
    if name is not None:
        assert client.get(f"/in/{name}").text == "in"
    return client


def press(client: Client, url: str, **fields: str) -> TestResponse:
    """Fill in the form of a page, and send it."""
    page = client.get(url)
    assert page.status_code == 200
    return client.post(url, data=hidden_in(page.text) | fields)


def hidden_in(page: str) -> dict[str, str]:
    """What the forms of a page bring along."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)
    return {name: unescape(value) for name, value in found}


def test_who_is_signed_in_to_the_app_kills(board: Switchboard) -> None:
    board.on("banner")
    client = client_of(app_of(board.gate))
    assert "banner" in client.get("/ops/flags/").text
    done = press(client, "/ops/flags/flags/banner/do/kill", reason="it is late")
    assert (done.status_code, done.location) == (303, "/ops/flags/flags/banner?done=kill")
    assert "is killed" in client.get(done.location).text
    assert read_flag(board.store, "banner").rollout.killed
    event = board.store.history("banner")[-1]
    assert (event.verb, event.actor, event.reason) == ("kill", "owner@example.com", "it is late")


def test_what_is_not_pressed_there_is_refused(board: Switchboard) -> None:
    app = app_of(board.gate)
    client = client_of(app)
    kill = "/ops/flags/flags/banner/do/kill"
    form = hidden_in(client.get(kill).text)
    assert client.post(kill).status_code == 403
    assert client.post(kill, data=form | {"token": "x"}).status_code == 403
    assert client_of(app).post(kill, data=form).status_code == 403, "of another browser"
    client.get("/in/deputy@example.com")
    assert client.post(kill, data=form).status_code == 403, "of another person"
    assert not read_flag(board.store, "banner").rollout.killed


def test_nobody_is_there(board: Switchboard) -> None:
    client = client_of(app_of(board.gate), None)
    for path in ("", "flags/banner", "flags/banner/do/kill", "new"):
        assert client.get(f"/ops/flags/{path}").status_code == 401
    assert client.post("/ops/flags/flags/banner/do/kill", data={"token": "x"}).status_code == 401
    assert client.get("/ops/flags/static/console.css").status_code == 200


def test_the_app_sends_them_to_sign_in(board: Switchboard) -> None:
    def who() -> Person:
        abort(redirect("/sign-in"))

    client = client_of(app_of(board.gate, who=who), None)
    assert client.get("/ops/flags/").location == "/sign-in"
    assert client.get("/ops/flags/static/console.js").status_code == 200


def test_people_do_what_their_rights_allow(board: Switchboard) -> None:
    def on_call() -> Person:
        return Person(request.headers["X-On-Call"], frozenset({Right.VIEW, Right.KILL}))

    client = app_of(board.gate, who=on_call).test_client()
    client.environ_base["HTTP_X_ON_CALL"] = "grace"
    assert client.get("/ops/flags/flags/banner/do/on").status_code == 403
    assert press(client, "/ops/flags/flags/banner/do/kill").status_code == 303
    assert board.store.history("banner")[-1].actor == "grace"


# --- where it is --------------------------------------------------------------------------------


def below_another_app(app: Flask) -> tuple[Client, str]:
    return Client(DispatcherMiddleware(Flask("outside"), {"/shop": app})), "/shop/ops/flags"


def alone(app: Flask) -> tuple[Client, str]:
    return app.test_client(), "/ops/flags"


@pytest.mark.parametrize("placed", [alone, below_another_app])
def test_its_links_stay_below_where_it_is(placed: Callable[[Flask], tuple[Client, str]], board: Switchboard) -> None:
    client, root = placed(app_of(board.gate, who=lambda: Person("ada")))
    bare = client.get(root)
    assert (bare.status_code, bare.location) == (308, f"http://localhost{root}/")
    page = client.get(f"{root}/")
    links = re.findall(r'(?:href|src|action)="([^#"]*)"', page.text)
    assert links
    assert [link for link in links if not link.startswith(f"{root}/")] == []
    assert [link for link in links if client.get(unescape(link)).status_code != 200] == []
    assert f"; Path={root}; SameSite=lax" in page.headers["Set-Cookie"]
    assert press(client, f"{root}/flags/banner/do/kill").location == f"{root}/flags/banner?done=kill"


def test_a_blueprint_within_another_and_one_whose_prefix_takes_words(board: Switchboard) -> None:
    app = Flask("invoicing")
    app.config.update(TESTING=True, SECRET_KEY=KEY)
    init_app(app, board.gate)
    for name in ("ops", "opérations"):
        outer = Blueprint(name, __name__, url_prefix=f"/{name}/<team>")
        outer.register_blueprint(create_blueprint(lambda: Person("ada")), url_prefix="flags/")
        app.register_blueprint(outer)
    client = app.test_client()
    killed = press(client, "/ops/blue/flags/flags/banner/do/kill")
    assert (killed.status_code, killed.location) == (303, "/ops/blue/flags/flags/banner?done=kill")
    page = client.get("/opérations/blue/flags/flags/banner")
    assert 'href="/opérations/blue/flags/"' in page.text
    assert "; Path=/op%C3%A9rations/blue/flags;" in page.headers["Set-Cookie"], "as a browser writes it"
    with app.test_request_context():
        assert app.url_for("ops.flaggate_console.page", team="blue") == "/ops/blue/flags/"


def test_each_app_has_its_own(board: Switchboard) -> None:
    other = Switchboard()
    blueprint = create_blueprint(lambda: Person("ada"))
    apps = []
    for gate in (board.gate, other.gate):
        app = Flask("invoicing")
        app.config.update(TESTING=True, SECRET_KEY=KEY)
        init_app(app, gate)
        app.register_blueprint(blueprint, url_prefix="/flags")
        apps.append(app)
    press(apps[1].test_client(), "/flags/flags/banner/do/kill")
    assert read_flag(other.store, "banner").rollout.killed
    assert not read_flag(board.store, "banner").rollout.killed
    other.gate.close()


@pytest.mark.parametrize(
    "path",
    [
        "flags/nothing", "nothing", "flags/banner/", "/flags/banner", "%ff", "flags/%ff", "flags/%F0%9F%9A%A9", "%00",
        "?q=%ff", "?q=\xff", "?%", "..", "flags/%2e%2e/banner",
    ],
)  # fmt: skip
def test_no_address_breaks_it(board: Switchboard, path: str) -> None:
    client = client_of(app_of(board.gate))
    plain, _, query = path.partition("?")
    environ = {
        "PATH_INFO": f"/ops/flags/{re.sub('%(..)', lambda found: chr(int(found[1], 16)), plain)}",
        "QUERY_STRING": query,
        "SERVER_PORT": "",
    }
    assert client.get("/", environ_overrides=environ).status_code < 500


# --- among what else the app has ----------------------------------------------------------------


def test_requests_to_it_are_none_that_ask_flags(board: Switchboard) -> None:
    board.on("banner")
    app = app_of(board.gate)

    @app.before_request
    def at_each_request() -> None:
        flags_from(request).is_on("banner")

    client = client_of(app)
    before = board.counted("banner")
    assert before == {"on": (1, 0)}, "signing in"
    assert client.get("/ops/flags/").text
    assert press(client, "/ops/flags/flags/banner/do/kill").text == ""
    assert board.counted("banner") == before
    assert not board.gate.meter.waiting


def test_it_may_be_behind_a_flag_itself(board: Switchboard) -> None:
    app = Flask("invoicing")
    app.config.update(TESTING=True, SECRET_KEY=KEY)
    init_app(app, board.gate)
    blueprint = create_blueprint(lambda: Person("ada"))
    app.register_blueprint(feature_required("banner")(blueprint), url_prefix="/flags")
    client = app.test_client()
    assert client.get("/flags/").status_code == 404
    board.on("banner")
    assert "banner" in client.get("/flags/").text
    assert board.counted("banner").get("on") is None


def test_the_app_may_have_read_the_form(board: Switchboard) -> None:
    app = app_of(board.gate)
    app.before_request(lambda: print(request.form))
    assert press(client_of(app), "/ops/flags/flags/banner/do/kill").status_code == 303


def test_csrf_protection_of_the_app_leaves_its_forms_to_it(board: Switchboard) -> None:
    app = app_of(board.gate)
    csrf = CSRFProtect(app)
    client = client_of(app)
    assert press(client, "/ops/flags/flags/banner/do/kill").status_code == 400
    csrf.exempt(app.blueprints["flaggate_console"])
    assert press(client, "/ops/flags/flags/banner/do/kill").status_code == 303
    assert client.post("/ops/flags/flags/banner/do/kill").status_code == 403


def test_of_a_page_to_look_at_nothing_is_changed(board: Switchboard) -> None:
    client = client_of(app_of(board.gate, is_read_only=True))
    assert client.get("/ops/flags/flags/tried/do/rollback").status_code == 403
    with pytest.raises(SettingError, match=r"hook_token: .* is_read_only is set"):
        client_of(app_of(board.gate, hook_token=HOOK, is_read_only=True)).get("/ops/flags/")


def test_an_alert_rolls_back(board: Switchboard) -> None:
    board.start("tried")
    client = client_of(app_of(board.gate, hook_token=HOOK))
    hook = "/ops/flags/hooks/rollback/tried"
    assert client.post(hook).status_code == 401
    answer = client.post(hook, headers={"Authorization": f"Bearer {HOOK}"})
    assert (answer.status_code, answer.json) == (200, {"flag": "tried", "status": "rolled_back", "changed": True})


def test_what_fails_there_is_told_to_the_app(board: Switchboard) -> None:
    store = UnreliableStore(board.store)
    gate = Gate.open(store, background=False)
    app = app_of(gate)
    client = client_of(app)
    store.error = ZeroDivisionError("a driver's mistake")
    with pytest.raises(ZeroDivisionError):
        client.get("/ops/flags/")
    app.testing = False
    assert client.get("/ops/flags/").status_code == 500
    store.error = None
    assert client.get("/ops/flags/").status_code == 200
    gate.close()


# --- what is wrong at start ---------------------------------------------------------------------


def test_an_app_without_a_gate(board: Switchboard) -> None:
    app = Flask("invoicing")
    app.config["SECRET_KEY"] = KEY
    with pytest.raises(SettingError, match=r"app: invoicing; allowed: one that went through .*init_app"):
        app.register_blueprint(create_blueprint(signed_in))


@pytest.mark.parametrize("key", [None, "", b""])
def test_an_app_without_a_key(board: Switchboard, key: Any) -> None:
    app = Flask("invoicing")
    app.config["SECRET_KEY"] = key
    init_app(app, board.gate)
    with pytest.raises(SettingError, match=r"SECRET_KEY: .*; allowed: a key, before the console is registered"):
        app.register_blueprint(create_blueprint(signed_in))


def test_a_key_of_bytes(board: Switchboard) -> None:
    app = Flask("invoicing")
    app.config.update(SECRET_KEY=KEY.encode())
    init_app(app, board.gate)
    app.register_blueprint(create_blueprint(lambda: Person("ada")), url_prefix="/flags")
    first = app.test_client().get("/flags/")
    same = client_of(app_of(board.gate, who=lambda: Person("ada")))
    name, _, value = first.headers["Set-Cookie"].partition(";")[0].partition("=")
    same.set_cookie(name, value, path="/ops/flags")
    assert "Set-Cookie" not in same.get("/ops/flags/").headers, "signed with the same key"


def test_who_is_no_function() -> None:
    with pytest.raises(SettingError, match="who: ada; allowed: a function of no arguments"):
        create_blueprint("ada")  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["", 3, Person("flaggate")])
def test_what_the_app_says_is_nobody(board: Switchboard, given: Any) -> None:
    with pytest.raises(SettingError, match="who: "):
        app_of(board.gate, who=lambda: given).test_client().get("/ops/flags/")


# --- served -------------------------------------------------------------------------------------


def test_under_gunicorn_that_forks_after_the_first_page(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path}/flags.db")
    bring(store, FLAGS)
    words = {"app": "tests.contrib.flask_operations:app", "GUNICORN_CMD_ARGS": "--preload"}
    with (
        serving("gunicorn, two workers", store.url, tmp_path / "server", **words) as server,
        Browser(f"http://127.0.0.1:{server.port}") as browser,
    ):
        assert browser.get("/ops/flags/").location == "/sign-in?next=/ops/flags/"
        browser.post("/sign-in", user="ada@example.com")
        served: set[str] = set()

        def both_have_served() -> bool:
            page = browser.get("/ops/flags/flags/banner")
            served.update(re.findall("<!-- by (.*) -->", page.body))
            return page.status == 200 and len(served) == 2

        until(both_have_served, "each worker shows the page")
        kill = "/ops/flags/flags/banner/do/kill"
        assert browser.post(kill).status == 403
        assert not read_flag(store, "banner").rollout.killed
        done = browser.post(kill, **hidden_in(browser.get(kill).body))
        assert (done.status, done.location) == (303, "/ops/flags/flags/banner?done=kill")
        assert read_flag(store, "banner").rollout.killed
        assert store.history("banner")[-1].actor == "ada@example.com"
        assert "is killed" in browser.get("/ops/flags/flags/banner").body
    store.close()
