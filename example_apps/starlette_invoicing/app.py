"""The invoicing app in FastAPI: old and overhauled pages at the same addresses, and a JSON API.

python -m uvicorn --factory app:create_app
"""

import json
import os
import secrets
from collections import Counter
from datetime import date
from pathlib import Path
from random import Random
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from prometheus_client import CollectorRegistry, make_asgi_app
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection

from flaggate import Gate
from flaggate.contrib.fastapi import (
    FlaggateMiddleware,
    feature_processor,
    feature_required,
    flag_on,
    flags_from,
    require_feature,
)
from flaggate.contrib.prometheus import FlaggateCollector

HERE = Path(__file__).parent
SHARED = HERE.parent / "flask_invoicing"  # the people, the invoices, the plan, the style, and all pages but base.html
PLAN, FLAG = SHARED / "flags.toml", "new-invoicing"
PEOPLE = {one["user"]: one for one in json.loads((SHARED / "people.json").read_bytes())}
INVOICES = json.loads((SHARED / "invoices.json").read_bytes())
site, api = APIRouter(include_in_schema=False), APIRouter(prefix="/api/invoices")


def create_app() -> FastAPI:
    """The app. Its settings are in the environment; README.md names them."""
    app = FastAPI(title="Invoices")
    app.include_router(site)
    app.include_router(api)
    app.mount("/static", StaticFiles(directory=SHARED / "static"), name="static")
    store, plan = os.environ.get("FLAGGATE_STORE", "sqlite:///flags.db"), os.environ.get("FLAGGATE_DEFINITIONS", PLAN)
    gate = Gate.open(store, definitions=plan or None, directory=os.environ.get("FLAGGATE_DIRECTORY"))
    geo, proxies = os.environ.get("FLAGGATE_GEO"), json.loads(os.environ.get("FLAGGATE_TRUSTED_PROXIES", "[]"))
    seen = {"geo": geo, "trusted_proxies": proxies, "health": "/flaggate/health"}
    app.add_middleware(FlaggateMiddleware, gate=gate, context=who, **seen)
    registry = CollectorRegistry()
    registry.register(FlaggateCollector(gate))
    app.mount("/metrics", make_asgi_app(registry))
    # Added last, and so around it. A key that was just drawn: sessions end with the process.
    app.add_middleware(SessionMiddleware, secret_key=os.environ.get("SECRET_KEY", secrets.token_hex()))
    return app


def signed_in(connection: HTTPConnection) -> dict[str, Any] | None:
    """Who has signed in; None = nobody."""
    return PEOPLE.get(connection.session.get("user"))


def who(connection: HTTPConnection) -> dict[str, Any] | None:
    """Who asks, by the signed session and nothing else. Where they are flaggate finds out by the address."""
    person = signed_in(connection)
    return person and {word: person[word] for word in ("user", "account", "staff", "groups", "tier")}


def for_templates(request: Request) -> dict[str, Any]:
    """For the top and the foot of every page: who is signed in, and why this is the page."""
    person = signed_in(request)
    return {"person": person, "decision": person and flags_from(request).decide(FLAG), "pid": os.getpid()}


pages = Jinja2Templates([HERE / "templates", SHARED / "templates"])
pages.context_processors += [feature_processor, for_templates]
pages.env.filters["money"] = lambda pence: f"£{pence / 100:,.2f}"
pages.env.filters["day"] = lambda iso: f"{date.fromisoformat(iso):%d %b %Y}".lstrip("0")


async def own_invoices(request: Request) -> list[dict[str, Any]]:
    """Some of the made-up ones: others for another account, the same ones each time."""
    if (person := signed_in(request)) is None:
        raise HTTPException(401 if request.url.path.startswith("/api") else 303, headers={"Location": "/sign-in"})
    return sorted(Random(person["account"]).sample(INVOICES, 9), key=lambda one: str(one["number"]), reverse=True)


Own = Annotated[list[dict[str, Any]], Depends(own_invoices)]
IsNew = Annotated[bool, Depends(flag_on(FLAG))]
needs_feature = [Depends(require_feature(FLAG))]  # for everyone else it is not found


async def old_invoices(request: Request, own: Own) -> Response:
    return pages.TemplateResponse(request, "old/invoices.html", {"invoices": own})


@site.get("/")
@site.get("/invoices", name="books.invoices")  # as the shared pages call it
@feature_required(FLAG, otherwise=old_invoices)
async def invoices(request: Request, own: Own) -> Response:
    return pages.TemplateResponse(request, "overhauled/invoices.html", {"invoices": own, "totals": await totals(own)})


@site.get("/invoices/{number}")
async def invoice(request: Request, number: str, own: Own, is_new: IsNew) -> Response:
    found = [one for one in own if one["number"] == number]
    if not found:
        raise HTTPException(404)
    return pages.TemplateResponse(request, f"{'overhauled' if is_new else 'old'}/invoice.html", {"invoice": found[0]})


@site.get("/insights", dependencies=needs_feature)
async def insights(request: Request, own: Own) -> Response:
    return pages.TemplateResponse(request, "overhauled/insights.html", {"totals": await totals(own)})


@api.get("")
async def listed(own: Own, is_new: IsNew) -> list[dict[str, Any]]:
    """With what they are for, for those who have the flag."""
    return own if is_new else [{word: one[word] for word in one if word != "lines"} for one in own]


@api.get("/totals", name="site.totals", dependencies=needs_feature)
async def totals(own: Own) -> dict[str, Any]:
    sums: dict[str, Counter[str]] = {"by_status": Counter(), "by_month": Counter(), "by_customer": Counter()}
    for one in reversed(own):
        for group, name in zip(sums.values(), (one["status"], one["issued"][:7], one["customer"]), strict=True):
            group[name] += one["total"]
    return {"pence": sum(sums["by_status"].values()), **sums}


@site.api_route("/sign-in", methods=["GET", "POST"])
async def sign_in(request: Request, user: Annotated[str, Form()] = "") -> Response:
    if user in PEOPLE:
        request.session["user"] = user
        return RedirectResponse("/invoices", 303)
    words = {"people": [*PEOPLE.values()], "unknown": user}
    return pages.TemplateResponse(request, "sign_in.html", words, 404 if user else 200)


@site.post("/sign-out")
async def sign_out(request: Request) -> Response:
    request.session.clear()
    return RedirectResponse("/sign-in", 303)
