"""An app in which mypy sees all that a user decorates: every view keeps its type."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, assert_type

from flask import Blueprint, Flask, Request, request  # noqa: TID251  # it is an app of a user
from flask.views import MethodView  # noqa: TID251

from flaggate import Context, Decision, Gate
from flaggate.contrib.flask import Flags, feature_required, flags_from, gate_of, init_app


def old(number: int) -> str:
    return f"old {number}"


@feature_required("banner", otherwise=old)
def new(number: int) -> str:
    return f"new {number}"


@feature_required("banner", otherwise="/old")
async def later(number: int) -> str:
    return f"later {number}"


@feature_required("banner")
class Invoices(MethodView):
    def get(self, number: int) -> str:
        return f"invoice {number}"


if TYPE_CHECKING:
    assert_type(new(7), str)
    coming = assert_type(later(7), Coroutine[Any, Any, str])
    assert_type(Invoices().get(7), str)
    new("7")  # type: ignore[arg-type]  # on purpose: mypy tells if this is no error any more


def who(request: Request) -> Mapping[str, Any]:
    return {"tier": request.args.get("tier"), "user": lambda: "ada"}


def whole(request: Request) -> Context | None:
    return Context(request.args["user"]) if request.args else None


def home() -> dict[str, bool]:
    flags = flags_from(request)
    assert_type(flags, Flags)
    assert_type(flags.decide("banner"), Decision)
    return {"item": assert_type(flags["banner"], bool), "call": assert_type(flags.is_on("banner"), bool)}


def create_app(gate: Gate) -> Flask:
    app = Flask("typed")
    assert_type(init_app(app, gate, context=who, routes={"/v2/*": ("banner", "/*")}, secret_keys=["k"]), Gate)
    assert_type(gate_of(app), Gate)
    blueprint = assert_type(feature_required("banner")(Blueprint("more", __name__)), Blueprint)
    blueprint.add_url_rule("/more/<int:number>", view_func=new)
    app.register_blueprint(blueprint)
    app.add_url_rule("/", view_func=home)
    app.add_url_rule("/later/<int:number>", view_func=later)
    app.add_url_rule("/<int:number>", view_func=Invoices.as_view("invoices"))
    return app


def create_another(gate: Gate) -> Flask:
    app = Flask("another")
    init_app(app, gate, context=whole)
    app.add_url_rule("/<int:number>", view_func=new)
    return app
