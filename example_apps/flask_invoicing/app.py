"""An invoicing app with old and overhauled pages at the same addresses; flaggate says who is served which.

python -m flask --app example_apps/flask_invoicing/app.py run
"""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

from flask import Blueprint, Flask, Request, abort, current_app, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from flaggate.contrib.flask import feature_required, flags_from, gate_of, init_app

HERE = Path(__file__).parent
FLAG = "new-invoicing"
INVOICES = json.loads((HERE / "invoices.json").read_text(encoding="utf-8"))
site = Blueprint("site", __name__)
books = Blueprint("books", __name__)


def create_app() -> Flask:
    """The app. Settings are FLASK_... in the environment; README.md names them."""
    app = Flask(__name__)
    # A key that was just drawn: sessions end with the process, and several processes need FLASK_SECRET_KEY.
    app.config.from_mapping(SECRET_KEY=secrets.token_hex(), SESSION_COOKIE_SAMESITE="Lax")
    app.config.from_prefixed_env()
    if "FLAGGATE_STORE" not in app.config:
        app.config.update(FLAGGATE_STORE="sqlite:///flags.db", FLAGGATE_DEFINITIONS=HERE / "flags.toml")
    people = json.loads(Path(app.config.get("PEOPLE_FILE", HERE / "people.json")).read_text(encoding="utf-8"))
    app.config["PEOPLE"] = {person["user"]: person for person in people}
    init_app(app, context=who)
    app.register_blueprint(site)
    app.register_blueprint(books)
    return app


def who(_request: Request) -> dict[str, Any] | None:
    """Who asks, by the signed session and nothing else. Where they are flaggate finds out by the address."""
    person = signed_in()
    return person and {word: person[word] for word in ("user", "account", "staff", "groups", "tier")}


def signed_in() -> dict[str, Any] | None:
    """Who has signed in; None = nobody."""
    person: dict[str, Any] | None = current_app.config["PEOPLE"].get(session.get("user"))
    return person


@site.app_context_processor
def for_templates() -> dict[str, Any]:
    """For the top and the foot of every page: who is signed in, and why this is the page."""
    person = signed_in()
    return {"person": person, "decision": person and flags_from(request).decide(FLAG), "pid": os.getpid()}


@books.before_request
def ask_who() -> Response | None:
    return None if signed_in() else redirect(url_for("site.sign_in"))


def old_invoices() -> str:
    return render_template("old/invoices.html", invoices=own_invoices())


@books.get("/")
@books.get("/invoices")
@feature_required(FLAG, otherwise=old_invoices)
def invoices() -> str:
    return render_template("overhauled/invoices.html", invoices=own_invoices(), totals=totals())


def old_invoice(number: str) -> str:
    return render_template("old/invoice.html", invoice=own_invoice(number))


@books.get("/invoices/<number>")
@feature_required(FLAG, otherwise=old_invoice)
def invoice(number: str) -> str:
    return render_template("overhauled/invoice.html", invoice=own_invoice(number))


@books.get("/insights")
@feature_required(FLAG)  # for everyone else it is not found
def insights() -> str:
    return render_template("overhauled/insights.html", totals=totals())


@site.get("/api/invoices/totals")
@feature_required(FLAG)
def totals() -> dict[str, Any]:
    sums: dict[str, Counter[str]] = {"by_status": Counter(), "by_month": Counter(), "by_customer": Counter()}
    for one in reversed(own_invoices()):
        for group, name in zip(sums.values(), (one["status"], one["issued"][:7], one["customer"]), strict=True):
            group[name] += one["total"]
    return {"pence": sum(sums["by_status"].values()), **sums}


def own_invoices() -> list[dict[str, Any]]:
    """Some of the made-up ones: others for another account, the same ones each time."""
    person = signed_in() or abort(401)
    dice = Random(person["account"])  # noqa: S311  # no secrets
    return sorted(dice.sample(INVOICES, 9), key=lambda one: str(one["number"]), reverse=True)


def own_invoice(number: str) -> dict[str, Any]:
    return next((one for one in own_invoices() if one["number"] == number), None) or abort(404)


@site.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> Response | tuple[str, int]:
    people, user = current_app.config["PEOPLE"], request.form.get("user", "").strip()
    if user in people:
        session["user"] = user
        return redirect(url_for("books.invoices"), 303)
    return render_template("sign_in.html", people=list(people.values()), unknown=user), 404 if user else 200


@site.post("/sign-out")
def sign_out() -> Response:
    session.clear()
    return redirect(url_for("site.sign_in"), 303)


@site.get("/healthz")
def healthz() -> dict[str, Any]:
    """Which revision of the flags this process answers by. It asks none, and so is counted for none."""
    return {"revision": gate_of(current_app).health().revision, "pid": os.getpid()}


@site.app_template_filter()
def money(pence: int) -> str:
    return f"£{pence / 100:,.2f}"


@site.app_template_filter()
def day(iso: str) -> str:
    return f"{date.fromisoformat(iso):%d %b %Y}".lstrip("0")
