"""init_app: by config and by arguments, what is wrong with either, several apps, and apps that go away."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request, session
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from flaggate import Gate
from flaggate.contrib.flask import feature_required, flags_from, gate_of, init_app
from flaggate.errors import SettingError
from flaggate.rollout.state import Verb
from flaggate.stores.sql import SqlStore
from flaggate.web.visitor import COOKIE, Visitors
from tests.contrib.scenes import Switchboard
from tests.runtime.scenes import bring, turn, until
from tests.web.city_files import IN_LEEDS, IN_MANCHESTER, city_file

ELSEWHERE = """
[flags.local]
description = "For an office"
owner = "owner@example.com"
audience = { ip = "203.0.113.7" }

[flags.mancunian]
description = "For a city"
owner = "owner@example.com"
audience = { city = "Manchester" }
"""


def with_routes(app: Flask) -> Flask:
    """The app with a page that answers for the flag in its path."""

    @app.get("/<name>")
    def ask(name: str) -> str:
        return str(flags_from(request)[name])

    return app


def ask(app: Flask, name: str, **options: Any) -> str:
    return app.test_client().get(f"/{name}", **options).text


def sent_by(peer: str, **headers: str) -> dict[str, Any]:
    return {"environ_base": {"REMOTE_ADDR": peer}, "headers": headers}


def wrap(app: Flask, wrapper: Callable[[Any], Any]) -> None:
    """Put other middleware in front of an app."""
    app.wsgi_app = wrapper(app.wsgi_app)  # type: ignore[method-assign]  # Flask's documented way


# --- settings -----------------------------------------------------------------------------------


def test_by_config(tmp_path: Path) -> None:
    (tmp_path / "flags.toml").write_text(ELSEWHERE)
    (tmp_path / "City.mmdb").write_bytes(city_file())
    app = with_routes(Flask("invoicing"))
    app.config.update(
        FLAGGATE_STORE=f"sqlite:///{tmp_path}/flags.db",
        FLAGGATE_DEFINITIONS=tmp_path / "flags.toml",
        FLAGGATE_GEO=tmp_path / "City.mmdb",
        FLAGGATE_ROUTES={"/old/*": "local"},
        FLAGGATE_TRUSTED_PROXIES=["10.0.0.0/8"],
        FLAGGATE_PROXY_HEADER="Forwarded",
    )
    gate = init_app(app)
    assert gate_of(app) is gate
    gate.refresh()
    turn(gate.store, Verb.ON, "local")
    turn(gate.store, Verb.ON, "mancunian")
    gate.refresh()

    assert ask(app, "mancunian", **sent_by("10.1.1.1", Forwarded=f"for={IN_MANCHESTER}")) == "True"
    assert ask(app, "mancunian", **sent_by(IN_LEEDS, Forwarded=f"for={IN_MANCHESTER}")) == "False"
    assert ask(app, "local", **sent_by("10.1.1.1", **{"X-Forwarded-For": "203.0.113.7"})) == "False"
    assert app.test_client().get("/old/local").text == "Not Found"
    gate.close()


def test_by_arguments_which_win_over_the_config(board: Switchboard, tmp_path: Path) -> None:
    (tmp_path / "City.mmdb").write_bytes(city_file())
    bring(board.store, ELSEWHERE)
    app = with_routes(Flask("invoicing"))
    app.config.update(
        FLAGGATE_STORE="nonsense",
        FLAGGATE_GEO="nonsense",
        FLAGGATE_ROUTES={"/local": "banner"},
        FLAGGATE_TRUSTED_PROXIES="nonsense",
        FLAGGATE_PROXY_HEADER="nonsense",
        FLAGGATE_SECRET_KEYS="nonsense",
    )
    options: dict[str, Any] = {"routes": {}, "trusted_proxies": ["10.0.0.0/8"], "proxy_header": "X-Forwarded-For"}
    init_app(app, board.gate, geo=tmp_path / "City.mmdb", secret_keys=["k"], **options)
    board.on("local", "mancunian")

    assert ask(app, "local", **sent_by("10.1.1.1", **{"X-Forwarded-For": "203.0.113.7"})) == "True"
    assert ask(app, "mancunian", **sent_by(IN_MANCHESTER)) == "True"


def test_a_proxy_that_werkzeug_was_told_of(board: Switchboard) -> None:
    """What stands in front of the app before init_app stays inside; behind it, its trust is not added to ours."""
    apps = [with_routes(Flask(name)) for name in ("inside", "outside")]
    inside, outside = apps
    wrap(inside, ProxyFix)
    for app in apps:
        init_app(app, board.on("local"))
    wrap(outside, ProxyFix)
    for app in apps:
        assert ask(app, "local", **sent_by("198.51.100.1", **{"X-Forwarded-For": "203.0.113.7"})) == "False"


@pytest.mark.parametrize(
    ("config", "good", "bad"),
    [
        ({"SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": ["old"]}, ["new", "old"], ["other"]),
        ({"SECRET_KEY": b"new"}, ["new"], ["old"]),
        ({"SECRET_KEY": "app", "FLAGGATE_SECRET_KEYS": ["new", b"old"]}, ["new", "old"], ["app"]),
    ],
)
def test_which_keys_sign_the_visitors_cookie(
    board: Switchboard, config: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    app = with_routes(Flask("invoicing"))
    app.config.update(config)
    init_app(app, board.start("tried"))

    def is_believed(key: str) -> bool:
        visitors = Visitors([key])
        signed = visitors.cookie(visitors.draw(), is_https=False).split(";")[0]
        client = app.test_client(use_cookies=False)
        return COOKIE not in str(client.get("/tried", headers={"Cookie": signed}).headers)

    assert all(is_believed(key) for key in good)
    assert not any(is_believed(key) for key in bad)
    drawn = app.test_client().get("/tried").headers["Set-Cookie"].split(";")[0]
    assert Visitors(good[:1]).known([drawn]) is not None


def test_an_app_without_keys_has_no_visitors(board: Switchboard) -> None:
    app = with_routes(Flask("invoicing"))
    init_app(app, board.start("tried"))
    response = app.test_client().get("/tried")
    assert (response.text, response.headers.getlist("Set-Cookie")) == ("False", [])


async def ask_the_database(asked: object) -> dict[str, str]:
    """What cannot say who asks."""
    return {}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"FLAGGATE_STORE": None}, r"FLAGGATE_STORE: \(not set\); allowed: the URL of a store, .*; or give a gate"),
        (
            {"FLAGGATE_STORE": "sqlit:///flags.db"},
            r"FLAGGATE_STORE: sqlit:///flags.db; .* such as sqlite:///flags.db; did you mean sqlite:",
        ),
        ({"FLAGGATE_STORE": "flags.db"}, r"FLAGGATE_STORE: flags.db; allowed: the URL of a store, such as sqlite:///"),
        ({"FLAGGATE_STORE": ""}, r"FLAGGATE_STORE: ''; allowed: the URL of a store"),
        ({"FLAGGATE_STORE": Path("flags.db")}, r"FLAGGATE_STORE: .*Path\('flags.db'\); allowed: the URL of a store"),
        ({"FLAGGATE_GEO": "nowhere.mmdb"}, r"FLAGGATE_GEO: .*nowhere.mmdb; allowed: a City file"),
        ({"FLAGGATE_GEO": 3}, r"FLAGGATE_GEO: 3; allowed: a City file"),
        ({"FLAGGATE_GEO": ""}, r"FLAGGATE_GEO: ''; allowed: a City file"),
        ({"FLAGGATE_DEFINITIONS": 3}, r"FLAGGATE_DEFINITIONS: 3; allowed: a definitions file"),
        ({"FLAGGATE_DEFINITIONS": ""}, r"FLAGGATE_DEFINITIONS: ''; allowed: a definitions file"),
        ({"FLAGGATE_DIRECTORY": 3}, r"FLAGGATE_DIRECTORY: 3; allowed: a folder of this machine"),
        ({"FLAGGATE_DIRECTORY": ""}, r"FLAGGATE_DIRECTORY: ''; allowed: a folder of this machine"),
        ({"FLAGGATE_HANG_SECONDS": 0}, r"FLAGGATE_HANG_SECONDS: 0; allowed: a number of seconds above 0"),
        ({"FLAGGATE_HANG_SECONDS": "3"}, r"FLAGGATE_HANG_SECONDS: 3; allowed: a number of seconds above 0"),
        ({"FLAGGATE_NOTIFY": 3}, r"FLAGGATE_NOTIFY: 3; allowed: the file of an Apprise configuration"),
        ({"FLAGGATE_ROUTES": ["/v2/*"]}, r"FLAGGATE_ROUTES: \['/v2/\*'\]; allowed: a table"),
        ({"FLAGGATE_ROUTES": ""}, r"FLAGGATE_ROUTES: ''; allowed: a table"),
        (
            {"FLAGGATE_ROUTES": {"/v1/*": "old", "/v2/*": "New_Invoicing"}},
            r"FLAGGATE_ROUTES: \{'/v2/\*': 'New_Invoicing'\}; allowed: a flag's name: lower-case letters, ",
        ),
        ({"FLAGGATE_TRUSTED_PROXIES": "10.0.0.0/8"}, r"FLAGGATE_TRUSTED_PROXIES: 10.0.0.0/8; allowed: a list"),
        ({"FLAGGATE_TRUSTED_PROXIES": ["10.0.0/8"]}, r"FLAGGATE_TRUSTED_PROXIES: 10.0.0/8; allowed: "),
        ({"FLAGGATE_PROXY_HEADER": "X-Real-IP"}, r"FLAGGATE_PROXY_HEADER: X-Real-IP; allowed: "),
        ({"FLAGGATE_SECRET_KEYS": "secret"}, r"FLAGGATE_SECRET_KEYS: \(not shown\); allowed: a list"),
        ({"FLAGGATE_SECRET_KEYS": []}, r"FLAGGATE_SECRET_KEYS: \(not shown\); allowed: keys"),
        ({"SECRET_KEY": 5}, r"SECRET_KEY and SECRET_KEY_FALLBACKS: \(not shown\); allowed: keys"),
        ({"SECRET_KEY_FALLBACKS": "old"}, r"SECRET_KEY_FALLBACKS: \(not shown\); allowed: a list of keys"),
        ({"SECRET_KEY_FALLBACKS": 5}, r"SECRET_KEY_FALLBACKS: \(not shown\); allowed: a list of keys"),
    ],
)
def test_a_wrong_setting_is_said_at_start(config: dict[str, Any], said: str) -> None:
    app = Flask("invoicing")
    app.config.update({"FLAGGATE_STORE": "memory://", **config})
    with pytest.raises(SettingError, match=f"^{said}"):
        init_app(app)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("FLAGGATE_TRUSTED_PROXY", "FLAGGATE_TRUSTED_PROXIES"),
        ("FLAGGATE_SECRET_KEY", "FLAGGATE_SECRET_KEYS"),
        ("FLAGGATE_ROUTE", "FLAGGATE_ROUTES"),
        ("FLAGGATE_DEFINITION", "FLAGGATE_DEFINITIONS"),
        ("FLAGGATE_X", None),
    ],
)
@pytest.mark.parametrize("value", ["hidden", None])
def test_a_mistyped_setting_is_said_and_its_value_is_not(
    board: Switchboard, key: str, meant: str | None, value: str | None
) -> None:
    """It would do nothing; and a key that signs may stand there."""
    app = Flask("invoicing")
    app.config[key] = value
    with pytest.raises(SettingError) as caught:
        init_app(app, board.gate)
    text = str(caught.value)
    assert text.startswith(f"{key}: no setting of flaggate; allowed: FLAGGATE_STORE, FLAGGATE_DEFINITIONS, ")
    assert text.partition("did you mean ")[2] == (f"{meant}?" if meant else "")
    assert "hidden" not in f"{text} {caught.value.value}"


def test_what_is_read_from_the_environment_does_nothing_in_the_config(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FLASK_FLAGGATE_OFF turns nothing off. A config that takes in the whole environment may hold it."""
    app = Flask("invoicing")
    monkeypatch.delenv("FLAGGATE_OFF", raising=False)
    app.config["FLAGGATE_OFF"] = "banner"
    with pytest.raises(SettingError, match=r"FLAGGATE_OFF: does nothing in the config; allowed: in the environment"):
        init_app(app, board.gate)
    monkeypatch.setenv("FLAGGATE_OFF", "banner")
    init_app(with_routes(app), board.on("banner"))
    assert ask(app, "banner") == "False"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gate": "sqlite:///flags.db"}, r"gate: <class 'str'>; allowed: what Gate.open\(.*\) returns"),
        ({"context": {"user": "ada"}}, r"context: .*ada.*; allowed: a plain function"),
        ({"context": {}}, r"context: .*; allowed: a plain function"),
        ({"context": ask_the_database}, r"context: .*ask_the_database.*; allowed: a plain function"),
    ],
)
def test_a_wrong_argument_is_said_at_start(options: dict[str, Any], said: str) -> None:
    app = Flask("invoicing")
    app.config["FLAGGATE_STORE"] = "memory://"
    with pytest.raises(SettingError, match=said):
        init_app(app, **options)


def test_an_app_that_is_none_and_one_that_is_swapped_with_its_gate_is_said(board: Switchboard) -> None:
    swapped: Any = init_app
    for wrong in (board.gate, "invoicing", None):
        with pytest.raises(SettingError, match=r"^app: <class '.*'>; allowed: a Flask app: init_app\(app, gate\)"):
            swapped(wrong, Flask("invoicing"))


def test_an_app_has_flaggate_once_and_may_try_again(board: Switchboard) -> None:
    app = Flask("invoicing")
    with pytest.raises(SettingError, match="geo"):
        init_app(app, board.gate, geo="nowhere.mmdb")
    init_app(app, board.gate)
    with pytest.raises(SettingError, match="init_app: invoicing; allowed: once an app"):
        init_app(app, board.gate)


def test_an_app_without_flaggate_says_so() -> None:
    app = with_routes(Flask("invoicing"))
    app.testing = True
    with pytest.raises(SettingError, match=r"app: invoicing; allowed: one that went through .*init_app"):
        gate_of(app)
    with pytest.raises(SettingError, match="app: invoicing"):
        ask(app, "banner")


def test_settings_that_are_none_are_not_set(board: Switchboard) -> None:
    """As of os.environ.get()."""
    app = with_routes(Flask("invoicing"))
    names = ("DEFINITIONS", "GEO", "ROUTES", "TRUSTED_PROXIES", "PROXY_HEADER", "SECRET_KEYS")
    app.config.update({f"FLAGGATE_{name}": None for name in names})
    app.config["SECRET_KEY_FALLBACKS"] = None
    init_app(app, board.on("banner"))
    assert ask(app, "banner") == "True"


# --- several apps -------------------------------------------------------------------------------


def two_apps(one: Gate, other: Gate) -> tuple[Flask, Flask]:
    """Of each its own session says who asks."""
    made = []
    for name, gate in (("shop", one), ("office", other)):
        app = Flask(name)
        app.config.update(SECRET_KEY=name, SESSION_COOKIE_NAME=name)
        init_app(app, gate, context=lambda _: {"user": session.get("user")})

        @app.get("/in/<user>")
        def sign_in(user: str) -> str:
            session["user"] = user
            return "in"

        made.append(with_routes(app))
    return made[0], made[1]


def test_two_apps_side_by_side(board: Switchboard) -> None:
    other = Switchboard()
    shop, office = two_apps(board.on("banner"), other.on("team"))
    assert [ask(shop, name) for name in ("banner", "team")] == ["True", "False"]
    assert [ask(office, name) for name in ("banner", "team")] == ["False", "False"]
    assert board.counted("banner") == {"on": (1, 0)}
    assert other.counted("banner") == {"off": (1, 0)}


@pytest.mark.parametrize("is_inside", [False, True])
def test_an_app_mounted_in_another(board: Switchboard, is_inside: bool) -> None:
    """Its requests are visits of its own gate, whichever stands outside."""
    other = Switchboard()
    shop, office = two_apps(board.on("adas"), other.on("adas"))
    if is_inside:  # of flaggate in the shop
        mount_inside(shop, office)
    else:
        wrap(shop, lambda wsgi_app: DispatcherMiddleware(wsgi_app, {"/office": office.wsgi_app}))
    client = shop.test_client()
    client.get("/office/in/ada")
    assert client.get("/office/adas").text == "True"
    assert client.get("/adas").text == "False"
    assert (board.counted("adas"), other.counted("adas")) == ({"off": (1, 0)}, {"on": (1, 0)})


def mount_inside(shop: Flask, office: Flask) -> None:
    """As a shop does that mounts the office before it calls init_app."""
    middleware: Any = shop.wsgi_app
    middleware.app = DispatcherMiddleware(middleware.app, {"/office": office.wsgi_app})


def test_of_two_apps_on_one_gate_the_inner_one_says_who_it_is(board: Switchboard) -> None:
    """It is one visit, and one who asks; the inner app's function has the inner app's session."""
    shop, office = two_apps(board.on("adas"), board.gate)
    mount_inside(shop, office)
    client = shop.test_client()
    client.get("/in/ada")
    assert client.get("/office/adas").text == "False"
    client.get("/office/in/ada")
    assert client.get("/office/adas").text == "True"


def test_apps_that_are_gone_leave_nothing_behind(tmp_path: Path) -> None:
    """A factory that each test calls: no gate, no thread, no app is kept."""
    store = SqlStore(f"sqlite:///{tmp_path}/flags.db")
    store.poll_seconds = 0.01
    bring(store, ELSEWHERE)
    (tmp_path / "City.mmdb").write_bytes(city_file())

    def create_app() -> tuple[Flask, Gate]:
        app = with_routes(Flask("invoicing"))
        gate = Gate.open(store, background=True)
        init_app(app, gate, geo=tmp_path / "City.mmdb", secret_keys=["k"], context=lambda _: {"user": app.name})

        @app.get("/new")
        @feature_required("local")
        def new() -> str:
            return "new"

        return app, gate

    gone: list[weakref.ref[Any]] = []
    keepers: list[Any] = []
    for _ in range(5):
        app, gate = create_app()
        assert ask(app, "local") == "False"
        assert ask(app, "mancunian") == "False"
        keepers.append(gate._keeper)
        gone += [weakref.ref(app), weakref.ref(gate)]
        del app, gate

    def is_gone() -> bool:
        gc.collect()
        return [ref() for ref in gone] == [None] * 10

    until(is_gone, "apps and gates are gone")
    until(lambda: not any(keeper.is_alive() for keeper in keepers), "their threads have ended")
    store.close()


def test_flask_login_need_not_be_there(board: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flask_login", None)  # Python's own way to say: not to be imported
    app = with_routes(Flask("invoicing"))
    init_app(app, board.on("banner", "adas"))
    assert (ask(app, "banner"), ask(app, "adas")) == ("True", "False")


def test_when_a_request_hangs_is_a_setting(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path}/flags.db")
    bring(store)
    turn(store, Verb.ON, "banner")
    app = Flask(__name__)
    app.config.from_mapping(FLAGGATE_STORE=store.url, FLAGGATE_HANG_SECONDS=0.001)
    gate = init_app(app)

    @app.get("/")
    def page() -> str:
        assert flags_from(request)["banner"]
        until(gate.meter.look_for_hangs, "it hangs")
        return "at last"

    assert app.test_client().get("/").text == "at last"
    gate.flush()
    assert [(count.requests, count.errors) for count in gate.store.counts()] == [(1, 1)]
    gate.close()


def test_a_folder_for_what_is_kept_on_disk(tmp_path: Path) -> None:
    app = Flask("of its own")
    store = f"sqlite:///{tmp_path}/flags.db"
    SqlStore(store).revision()
    app.config.from_mapping(FLAGGATE_STORE=store, FLAGGATE_DIRECTORY=tmp_path / "mine", FLAGGATE_HEALTH="/up")
    gate = init_app(app)
    assert gate.directory == tmp_path / "mine"
    answer = app.test_client().get("/up").get_json()
    assert answer["serving"] is True
    gate.close()
