"""Flask-Login: its user is who asks, loaded when a rule reads it; signing in and out decides again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, render_template_string, request, session
from flask_login import (  # type: ignore[import-untyped]  # it has no types
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    logout_user,
)

from flaggate import Gate
from flaggate.contrib.flask import feature_required, flags_from, init_app
from tests.contrib.scenes import Switchboard

# Flask-Login's remember cookie, from Python 3.12 on.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


class User(UserMixin):  # type: ignore[misc]  # of a library without types
    def __init__(self, name: str) -> None:
        self.id = name
        self.is_staff = name == "ada"
        self.tier = "pro" if name == "ada" else "free"


class Accounts:
    """An app with accounts; it knows how often a user was loaded."""

    def __init__(self, gate: Gate, **options: Any) -> None:
        self.loaded = 0
        self.app = app = Flask("invoicing")
        app.config.update(TESTING=True, SECRET_KEY="the app's own")
        init_app(app, gate, **options)  # before Flask-Login: the order is nobody's business
        manager = LoginManager(app)
        manager.user_loader(self._load)

        @app.get("/in/<name>")
        def sign_in(name: str) -> str:
            before = flags_from(request)["adas"]
            login_user(User(name), remember="remember" in request.args)
            return f"{before} {flags_from(request)['adas']} {gate.is_on('adas')}"

        @app.get("/out")
        def sign_out() -> str:
            before = flags_from(request)["adas"]
            logout_user()
            return f"{before} {flags_from(request)['adas']} {render_template_string(TEMPLATE)}"

        @app.get("/<name>")
        def ask(name: str) -> str:
            return str(flags_from(request)[name])

    def _load(self, name: str) -> User:
        self.loaded += 1
        return User(name)


TEMPLATE = '{{ feature("adas") }}'


def test_the_user_is_loaded_only_when_a_rule_reads_it(board: Switchboard) -> None:
    board.on("banner", "tiered", "adas")
    accounts = Accounts(board.gate)
    client = accounts.app.test_client()
    client.get("/in/ada")
    accounts.loaded = 0
    assert client.get("/banner").text == "True"
    assert client.get("/tiered").text == "False"
    assert accounts.loaded == 0
    assert client.get("/adas").text == "True"
    assert accounts.loaded == 1


def test_who_is_not_signed_in_is_nobody(board: Switchboard) -> None:
    accounts = Accounts(board.on("adas"))
    assert accounts.app.test_client().get("/adas").text == "False"
    assert board.gate.health().faults == {}


def test_signing_in_and_out_decides_again(board: Switchboard) -> None:
    client = Accounts(board.on("adas")).app.test_client()
    assert client.get("/in/bob").text == "False False False"
    assert client.get("/in/ada").text == "False True True"
    assert client.get("/adas").text == "True"
    assert client.get("/out").text == "True False False"
    assert client.get("/adas").text == "False"
    # Those in which the answer changed are in no count; the others are.
    assert board.counted("adas") == {"on": (1, 0), "off": (2, 0)}


def test_a_user_who_is_remembered(board: Switchboard) -> None:
    accounts = Accounts(board.on("adas"))
    client = accounts.app.test_client()
    client.get("/in/ada?remember")
    client.delete_cookie("session")
    accounts.loaded = 0
    assert client.get("/adas").text == "True"
    assert accounts.loaded == 1
    assert client.get("/out").text == "True False False"
    assert client.get("/adas").text == "False"


def test_a_route_table_knows_who_is_signed_in(board: Switchboard) -> None:
    """It asks before Flask has opened the request, also for one whose session has gone."""
    accounts = Accounts(board.on("adas"), routes={"/banner": "adas"})
    client = accounts.app.test_client()
    assert client.get("/banner").text == "Not Found"
    client.get("/in/ada?remember")
    assert client.get("/banner").text == "False"
    client.delete_cookie("session")
    assert client.get("/banner").text == "False"
    assert client.get("/adas").text == "True"


def by_current_user(_: object) -> dict[str, Any]:
    """A function of the app's own, with what its users have."""
    if not current_user.is_authenticated:
        return {}
    return {"user": current_user.get_id(), "staff": current_user.is_staff, "tier": lambda: current_user.tier}


def test_a_function_of_ones_own_reads_current_user_too(board: Switchboard) -> None:
    accounts = Accounts(board.on("adas", "team", "tiered", "banner"), context=by_current_user)
    client = accounts.app.test_client()
    assert client.get("/team").text == "False"
    assert client.get("/in/ada").text == "False True True"
    accounts.loaded = 0
    assert [client.get(f"/{name}").text for name in ("team", "tiered", "banner")] == ["True", "True", "True"]
    assert accounts.loaded == 2


def test_the_order_of_login_required_and_the_gate(board: Switchboard) -> None:
    """Below it the gate asks only for those who are signed in; above it the page is not there for the others."""
    accounts = Accounts(board.on("adas"))
    decorate: Callable[..., Any] = login_required

    @accounts.app.get("/page/below")
    @decorate
    @feature_required("adas", otherwise=decorate(lambda: "old"))
    async def below() -> str:
        return f"new for {current_user.get_id()}"

    @accounts.app.get("/page/above")
    @feature_required("adas")
    @decorate
    def above() -> str:
        return f"new for {current_user.get_id()}"

    client = accounts.app.test_client()
    assert [client.get(f"/page/{path}").status_code for path in ("below", "above")] == [401, 404]
    client.get("/in/bob")
    assert [client.get(f"/page/{path}").text[:3] for path in ("below", "above")] == ["old", "<!d"]
    client.get("/in/ada")
    assert [client.get(f"/page/{path}").text for path in ("below", "above")] == ["new for ada", "new for ada"]


def test_a_sign_in_by_the_session_is_told_by_identify(board: Switchboard) -> None:
    accounts = Accounts(board.on("adas"), context=lambda _: {"user": session.get("own")})

    @accounts.app.get("/own/<name>")
    def own_way(name: str) -> str:
        before = flags_from(request)["adas"]
        session["own"] = name
        flags_from(request).identify()
        return f"{before} {flags_from(request)['adas']}"

    assert accounts.app.test_client().get("/own/ada").text == "False True"


def test_who_signs_in_in_one_app_signs_in_nowhere_else(board: Switchboard) -> None:
    """The signals are the process's, the gates are not."""
    other = Switchboard()
    shop, office = Accounts(board.on("adas")), Accounts(other.on("adas"))
    inner = office.app.test_client()

    @shop.app.get("/both/ways")
    def both_ways() -> str:
        before = flags_from(request)["adas"]
        inside = inner.get("/in/ada").text
        return f"{before} ({inside}) {flags_from(request)['adas']}"

    assert shop.app.test_client().get("/both/ways").text == "False (False True True) False"
    assert board.counted("adas") == {"off": (1, 0)}


def test_an_app_beside_it_that_has_no_flaggate_signs_in_as_ever(board: Switchboard) -> None:
    Accounts(board.gate)
    plain = Flask("plain")
    plain.config.update(TESTING=True, SECRET_KEY="another")
    LoginManager(plain)
    plain.add_url_rule("/in", "sign_in", lambda: str(login_user(User("ada"))))
    assert plain.test_client().get("/in").text == "True"


def test_signing_in_in_a_test_without_a_request(board: Switchboard) -> None:
    accounts = Accounts(board.on("adas"))
    with accounts.app.test_request_context():
        assert not flags_from(request)["adas"]
        login_user(User("ada"))
        assert flags_from(request)["adas"]


def test_an_app_that_signs_nobody_in_is_not_asked_for_a_user(board: Switchboard) -> None:
    app = Flask("invoicing")
    init_app(app, board.on("adas"))
    app.add_url_rule("/", "home", lambda: str(flags_from(request)["adas"]))
    assert app.test_client().get("/").text == "False"
    assert board.gate.health().faults == {}


def test_a_user_who_cannot_be_loaded_is_a_fault_and_not_a_failed_request(
    board: Switchboard, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = Accounts(board.on("adas"))
    client = accounts.app.test_client()
    client.get("/in/ada")

    def fail(name: str) -> None:
        raise ConnectionError("no database")

    login_manager: Any = accounts.app.login_manager  # type: ignore[attr-defined]  # Flask-Login puts it there
    login_manager.user_loader(fail)
    assert client.get("/adas").text == "False"
    assert (
        "flag 'adas' failed and is off: 'user' of who asks could not be told: ConnectionError('no database')"
        in caplog.text
    )
