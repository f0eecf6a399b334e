"""Views, view classes, blueprints and templates that ask a flag."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, jsonify, render_template, render_template_string, request, url_for
from flask.typing import ResponseReturnValue
from flask.views import MethodView, View
from jinja2 import DictLoader
from werkzeug.exceptions import NotFound

from flaggate import Context, Gate
from flaggate.contrib.flask import feature_required, flags_from, init_app
from flaggate.errors import SettingError
from tests.contrib.scenes import Switchboard


def create_app(gate: Gate) -> Flask:
    app = Flask("invoicing")
    app.testing = True
    init_app(app, gate, context=lambda request: {"tier": request.args.get("tier")})

    @app.errorhandler(404)
    def nothing(error: NotFound) -> tuple[str, int]:
        return "nothing here, says the app", 404

    return app


def answers(app: Flask, path: str = "/new", **options: Any) -> tuple[int, str]:
    """What the app answers: status and text."""
    response = app.test_client().open(path, **options)
    with response:
        return response.status_code, response.text


NOT_THERE = (404, "nothing here, says the app")


# --- functions ----------------------------------------------------------------------------------


def test_a_view_is_there_for_those_who_have_the_flag_and_for_others_it_is_not(board: Switchboard) -> None:
    app = create_app(board.on("tiered"))

    @app.get("/new")
    @feature_required("tiered")
    def new() -> str:
        return "new"

    assert answers(app, "/new?tier=pro") == (200, "new")
    assert answers(app, "/new?tier=free") == answers(app, "/never-was") == NOT_THERE


def test_an_async_view(board: Switchboard) -> None:
    app = create_app(board.on("tiered"))

    @app.get("/new")
    @feature_required("tiered")
    async def new() -> str:
        return f"new, {flags_from(request)['tiered']}"

    assert answers(app, "/new?tier=pro") == (200, "new, True")
    assert answers(app, "/new?tier=free") == NOT_THERE


def sync_old(number: int, kind: str) -> str:
    """The old page."""
    return f"old {number} {kind}"


async def async_old(number: int, kind: str) -> str:
    """The old page, async."""
    return f"old {number} {kind}"


@pytest.mark.parametrize("old", [sync_old, async_old])
@pytest.mark.parametrize("is_async", [False, True])
def test_another_view_is_called_with_the_same_arguments(board: Switchboard, is_async: bool, old: Any) -> None:
    app = create_app(board.on("tiered"))

    def sync_new(number: int, kind: str) -> str:
        return f"new {number} {kind}"

    async def async_new(number: int, kind: str) -> str:
        return f"new {number} {kind}"

    view = feature_required("tiered", otherwise=old)(async_new if is_async else sync_new)
    app.add_url_rule("/<int:number>", "invoice", view, defaults={"kind": "invoice"})

    assert answers(app, "/7?tier=pro") == (200, "new 7 invoice")
    assert answers(app, "/7") == (200, "old 7 invoice")


def test_an_async_view_may_stand_beside_an_old_one_that_runs_async_code_itself(board: Switchboard) -> None:
    """Flask-Login's login_required and class-based views make a sync view of an async one."""
    app = create_app(board.gate)

    class Old(MethodView):
        async def get(self, number: int) -> str:
            return f"old {number} {request.path}"

    @app.get("/<int:number>")
    @feature_required("banner", otherwise=Old.as_view("old"))
    async def new(number: int) -> str:
        return "new"

    assert answers(app, "/7") == (200, "old 7 /7")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_path_is_redirected_to_within_the_app(board: Switchboard, is_async: bool) -> None:
    app = create_app(board.gate)

    def sync_new() -> str:
        return "new"

    async def async_new() -> str:
        return "new"

    app.add_url_rule("/new", "new", feature_required("banner", otherwise="/old")(async_new if is_async else sync_new))
    response = app.test_client().get("/new")
    assert (response.status_code, response.location) == (302, "/old")
    below = app.test_client().get("/new", base_url="http://localhost/shop")
    assert below.location == "/shop/old"


def test_a_gated_view_is_registered_as_the_view_that_it_is(board: Switchboard) -> None:
    app = create_app(board.on("banner"))

    @app.route("/new/<int:number>", methods=["GET", "POST"])
    @feature_required("banner")
    def invoice(number: int) -> str:
        """One invoice."""
        return f"{request.method} {url_for('invoice', number=number)}"

    @app.get("/other/<int:number>")
    @feature_required("banner")
    async def other(number: int) -> str:
        """Another one."""
        return f"{request.endpoint}"

    assert app.view_functions["invoice"].__doc__ == "One invoice."
    assert app.view_functions["other"].__doc__ == "Another one."
    assert answers(app, "/new/3", method="POST") == (200, "POST /new/3")
    assert answers(app, "/new/3", method="DELETE")[0] == 405
    assert answers(app, "/other/3") == (200, "other")


def test_gates_one_above_the_other_are_both_to_be_passed(board: Switchboard) -> None:
    app = create_app(board.on("tiered"))

    @app.get("/new")
    @feature_required("tiered")
    @feature_required("banner", otherwise="/soon")
    def new() -> str:
        return "new"

    assert answers(app, "/new?tier=pro")[0] == 302
    board.on("banner")
    assert answers(app, "/new?tier=pro") == (200, "new")
    assert answers(app, "/new") == NOT_THERE


def test_a_gate_without_its_name_is_said_at_once() -> None:
    """Not at the first request, where Flask would call it with the view's arguments."""
    with pytest.raises(SettingError, match=r'allowed: the name of a flag: @feature_required\("new-invoicing"\)'):
        feature_required(sync_old)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    "wrong", ["New_Invoicing", "new_invoicing", "", "2nd", "banner ", "banner\n", "*", None, b"banner"]
)
def test_a_name_that_no_flag_can_have_is_said_at_once(wrong: Any) -> None:
    """It would be an unknown flag, and so off for ever."""
    with pytest.raises(
        SettingError, match=r"^feature_required: .*; allowed: the name of a flag: .*; lower-case letters"
    ):
        feature_required(wrong)


@pytest.mark.parametrize("wrong", ["invoices", None, Flask("invoicing")])
def test_what_cannot_be_gated_is_said_at_once(wrong: Any) -> None:
    """An app can be called, but not by Flask's routes: the gate would gate nothing."""
    with pytest.raises(SettingError, match=r"^feature_required: .*; allowed: a view, a View class or a Blueprint"):
        feature_required("banner")(wrong)


def test_an_async_view_where_flask_cannot_run_it_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when the flag is first off: that may be a kill."""
    monkeypatch.setitem(sys.modules, "asgiref", None)  # Python's own way to say: not to be imported
    allowed = r"allowed: an async view after pip install 'flask\[async\]'"
    with pytest.raises(SettingError, match=rf"^otherwise: .*async_old.*; {allowed}"):
        feature_required("banner", otherwise=async_old)
    with pytest.raises(SettingError, match=rf"^feature_required: .*async_old.*; {allowed}"):
        feature_required("banner")(async_old)
    assert feature_required("banner", otherwise=sync_old)(sync_old) is not None


class Old(View):
    """A class, which is no view yet."""


@pytest.mark.parametrize("wrong", ["old_invoices", "https://example.com/", "", 7, Old])
def test_what_is_no_view_and_no_path_is_said_at_once(wrong: Any) -> None:
    with pytest.raises(SettingError, match=r"allowed: a view .*as_view.*, or a path that begins with a slash"):
        feature_required("banner", otherwise=wrong)


# --- classes ------------------------------------------------------------------------------------


def test_a_method_view(board: Switchboard) -> None:
    app = create_app(board.on("tiered"))

    @feature_required("tiered", otherwise=sync_old)
    class Invoices(MethodView):
        """Invoices of one kind."""

        def get(self, number: int, kind: str) -> str:
            return f"new {number} {kind}"

        async def post(self, number: int, kind: str) -> tuple[str, int]:
            return f"made {number}", 201

    view = Invoices.as_view("invoices")
    app.add_url_rule("/<int:number>", view_func=view, defaults={"kind": "bill"})

    assert view.__doc__ == "Invoices of one kind."
    assert answers(app, "/7?tier=pro") == (200, "new 7 bill")
    assert answers(app, "/7?tier=pro", method="POST") == (201, "made 7")
    assert answers(app, "/7?tier=pro", method="PUT")[0] == 405
    assert answers(app, "/7", method="POST") == answers(app, "/7") == (200, "old 7 bill")


def test_a_subclass_is_gated_too_and_may_add_decorators(board: Switchboard) -> None:
    app = create_app(board.gate)

    def stamped(view: Any) -> Any:
        def with_stamp(**arguments: Any) -> Response:
            response = app.make_response(view(**arguments))
            response.headers["Stamp"] = "yes"
            return response

        return with_stamp

    @feature_required("banner", otherwise=lambda: "old")
    class Page(View):
        decorators = [stamped]  # noqa: RUF012  # as in Flask's documentation

        def dispatch_request(self) -> ResponseReturnValue:
            return "new"

    class Longer(Page):
        def dispatch_request(self) -> ResponseReturnValue:
            return "new and longer"

    class Plain(View):
        decorators = [feature_required("banner")]  # noqa: RUF012

        def dispatch_request(self) -> ResponseReturnValue:
            return "plain"

    assert View.decorators == []  # of all other views
    app.add_url_rule("/new", view_func=Page.as_view("page"))
    app.add_url_rule("/longer", view_func=Longer.as_view("longer"))
    app.add_url_rule("/plain", view_func=Plain.as_view("plain"))

    assert answers(app) == answers(app, "/longer") == (200, "old")
    assert "Stamp" not in app.test_client().get("/new").headers  # the gate is outermost
    assert answers(app, "/plain") == NOT_THERE
    board.on("banner")
    assert answers(app, "/longer") == (200, "new and longer")
    assert answers(app, "/plain") == (200, "plain")
    assert app.test_client().get("/new").headers["Stamp"] == "yes"


def test_a_class_of_another_kind_is_said_at_once() -> None:
    with pytest.raises(
        SettingError, match=r"feature_required: .*Invoice; allowed: a view, a View class or a Blueprint"
    ):

        @feature_required("banner")
        class Invoice:
            pass


# --- blueprints ---------------------------------------------------------------------------------


def create_blueprint(otherwise: Any = None) -> Blueprint:
    invoices = Blueprint("invoices", __name__)
    feature_required("tiered", otherwise=otherwise)(invoices)

    @invoices.get("/<int:number>")
    def one(number: int) -> str:
        return f"new {number}"

    taxes = Blueprint("taxes", __name__)

    @taxes.get("/<int:number>/taxes")
    async def tax(number: int) -> str:
        return f"tax of {number}"

    invoices.register_blueprint(taxes)
    return invoices


def test_a_blueprint_with_all_that_is_nested_in_it(board: Switchboard) -> None:
    app = create_app(board.on("tiered"))
    app.register_blueprint(create_blueprint(), url_prefix="/v2")

    @app.get("/v1")
    def old() -> str:
        return "old"

    assert answers(app, "/v2/7?tier=pro") == (200, "new 7")
    assert answers(app, "/v2/7/taxes?tier=pro") == (200, "tax of 7")
    assert answers(app, "/v2/7") == answers(app, "/v2/7/taxes") == NOT_THERE
    assert answers(app, "/v1") == (200, "old")


def test_a_blueprints_static_files(board: Switchboard, tmp_path: Path) -> None:
    (tmp_path / "new.css").write_text("new")
    app = create_app(board.on("tiered"))
    blueprint = Blueprint("invoices", __name__, static_folder=tmp_path, static_url_path="/files", url_prefix="/v2")
    app.register_blueprint(feature_required("tiered")(blueprint))
    assert answers(app, "/v2/files/new.css?tier=pro") == (200, "new")
    assert answers(app, "/v2/files/new.css") == NOT_THERE


def async_view() -> Any:
    async def old(number: int) -> tuple[str, int]:
        return f"old {number}", 203

    return old


@pytest.mark.parametrize(
    ("otherwise", "expected"),
    [
        (lambda number: f"old {number}", (200, "old 7")),
        (lambda number: jsonify(old=number), (200, '{"old":7}\n')),
        (async_view(), (203, "old 7")),
    ],
)
def test_what_stands_beside_a_blueprint(board: Switchboard, otherwise: Any, expected: tuple[int, str]) -> None:
    app = create_app(board.gate)
    app.register_blueprint(create_blueprint(otherwise))
    assert answers(app, "/7") == expected


def test_a_blueprint_sends_elsewhere(board: Switchboard) -> None:
    app = create_app(board.gate)
    app.register_blueprint(create_blueprint("/old"))
    assert app.test_client().get("/7", base_url="http://localhost/shop").location == "/shop/old"


def test_an_old_view_that_returns_nothing_does_not_open_the_new_one(board: Switchboard) -> None:
    """In a before_request None means: go on."""
    app = create_app(board.gate)
    app.register_blueprint(create_blueprint(lambda number: None))
    with pytest.raises(TypeError, match="did not return a valid response"):
        answers(app, "/7")


def test_one_blueprint_in_two_apps_asks_each_apps_own_gate(board: Switchboard) -> None:
    blueprint, other = create_blueprint(), Switchboard()
    open_app, closed_app = create_app(board.on("tiered")), create_app(other.gate)
    for app in (open_app, closed_app):
        app.register_blueprint(blueprint)
    assert answers(open_app, "/7?tier=pro") == (200, "new 7")
    assert answers(closed_app, "/7?tier=pro") == NOT_THERE


# --- templates ----------------------------------------------------------------------------------

LINK = '{% if feature("tiered") %}new{% else %}old{% endif %}'


def test_a_template_asks(board: Switchboard) -> None:
    app = create_app(board.on("tiered"))
    app.add_url_rule("/new", "new", lambda: render_template_string(LINK))
    assert answers(app, "/new?tier=pro") == (200, "new")
    assert answers(app) == (200, "old")


def test_macros_includes_and_parents_ask_too(board: Switchboard) -> None:
    """A macro that is imported without a context sees no variables of the page, but it sees this."""
    app = create_app(board.on("tiered"))
    app.jinja_loader = DictLoader(
        {
            "nav.html": f"{{% macro link() %}}{LINK}{{% endmacro %}}",
            "base.html": f"{LINK} {{% block body %}}{{% endblock %}} {{% include 'foot.html' %}}",
            "foot.html": LINK,
            "page.html": "{% extends 'base.html' %}{% from 'nav.html' import link %}{% block body %}{{ link() }}"
            "{% endblock %}",
        }
    )
    app.add_url_rule("/new", "new", lambda: render_template("page.html"))
    assert answers(app, "/new?tier=pro") == (200, "new new new")
    assert answers(app) == (200, "old old old")


def test_a_blueprints_template_asks(board: Switchboard) -> None:
    app = create_app(board.on("tiered"))
    blueprint = Blueprint("invoices", __name__)
    blueprint.jinja_loader = DictLoader({"invoices/page.html": LINK})
    blueprint.add_url_rule("/new", "new", lambda: render_template("invoices/page.html"))
    app.register_blueprint(blueprint)
    assert answers(app, "/new?tier=pro") == (200, "new")


def test_a_template_outside_of_a_request_asks_for_nobody_or_for_the_visit(board: Switchboard) -> None:
    """A letter that a job renders."""
    app = create_app(board.on("tiered", "banner"))
    with app.app_context():
        assert render_template_string('{{ feature("banner") }} {{ feature("tiered") }}') == "True False"
        with board.gate.visit(Context(tier="pro")):
            assert render_template_string(LINK) == "new"
    assert app.jinja_env.from_string('{{ feature("banner") }}').render() == "True"
