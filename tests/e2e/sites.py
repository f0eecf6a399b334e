"""An ASGI app, a WSGI app and a Flask app of a few lines, for real servers to serve: they answer who got what, from whom,
and where.

The same app stands behind the middleware several times, with other settings each time; the first part of the path says
which. The store is named by FLAGGATE_STORE, a City file by SITE_CITIES; SITE_TICK_SECONDS says how
often it looks at rollouts, SITE_DIRECTORY where it keeps its copy of the flags, and with SITE_ASKS_AT_ONCE a flag is asked while this is imported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from http.cookies import SimpleCookie
from typing import Any, Final
from wsgiref.types import WSGIApplication

from flask import Flask, Response  # noqa: TID251  # what it sends is what gunicorn refuses
from itsdangerous import BadSignature, URLSafeSerializer

from flaggate import FlaggateError, Gate
from flaggate.contrib.flask import init_app
from flaggate.runtime.duties import TICK_SECONDS
from flaggate.web import asgi, wsgi

SETTINGS: Final[Mapping[str, dict[str, Any]]] = {
    "nobody": {"health": "/nobody/flaggate/health"},
    "x-forwarded-for": {"trusted_proxies": ["127.0.0.1", "unix"]},
    "forwarded": {"trusted_proxies": ["127.0.0.1", "unix"], "proxy_header": "Forwarded"},
}
"""Whom the site trusts, by the first part of the path."""
_SESSION: Final = URLSafeSerializer("the key of the app's own sessions")

gate = Gate.open(
    os.environ.get("FLAGGATE_STORE", "memory://"),
    tick_seconds=float(os.environ.get("SITE_TICK_SECONDS", TICK_SECONDS)),
    directory=os.environ.get("SITE_DIRECTORY"),
)
if "SITE_ASKS_AT_ONCE" in os.environ:  # before its server forks
    gate.is_on("new-invoicing")


def signed_in(words: Mapping[str, Any]) -> str:
    """The Cookie header of somebody who is signed in."""
    return f"session={_SESSION.dumps(dict(words))}"


def _who(cookies: str) -> Mapping[str, Any] | None:
    try:
        session: Mapping[str, Any] = _SESSION.loads(SimpleCookie(cookies)["session"].value)
    except (KeyError, BadSignature):
        return None
    return session


def _answer(path: str) -> bytes:
    visit = gate.current.get()
    assert visit is not None
    told: dict[str, Any] = {"pid": os.getpid(), "revision": visit.snapshot.revision}
    if path.endswith("/address"):
        try:
            told["address"] = visit.context.ip
        except FlaggateError:  # nobody can tell: what reads it is off
            told["address"] = None
    elif path.endswith("/visitor"):
        told |= {"is_on": gate.is_on("tried"), "visitor": visit.context.visitor}
    else:
        decision = gate.decide("new-invoicing")
        told |= {"is_on": decision.is_on, "stage": decision.stage, "arm": decision.arm, "reason": decision.reason}
    return json.dumps(told).encode()


async def _asgi(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    body = _answer(scope["path"])
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _wsgi(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
    body = _answer(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


_flask: Final = Flask("sites")
init_app(_flask, gate)


@_flask.get("/flask/<name>/<value>")
def say(name: str, value: str) -> Response:
    """A header of the client's choice."""
    gate.is_on("new-invoicing")
    return Response("said", headers={name: value})


def _who_asgi(scope: asgi.Scope) -> Any:
    return _who(next((value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"), ""))


def _who_wsgi(environ: Mapping[str, Any]) -> Any:
    return _who(environ.get("HTTP_COOKIE", ""))


_common: Final[dict[str, Any]] = {
    "geo": os.environ.get("SITE_CITIES"),
    "secret_keys": ["the key of the visitors' cookie"],
}
_asgi_sites = {
    name: asgi.FlaggateMiddleware(_asgi, gate, context=_who_asgi, **_common, **settings)
    for name, settings in SETTINGS.items()
}
_wsgi_sites: dict[str, WSGIApplication] = {
    name: wsgi.FlaggateMiddleware(_wsgi, gate, context=_who_wsgi, **_common, **settings)
    for name, settings in SETTINGS.items()
}
_wsgi_sites["flask"] = _flask


async def asgi_app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    name = "nobody" if scope["type"] == "lifespan" else scope["path"].split("/")[1]
    await _asgi_sites[name](scope, receive, send)


def wsgi_app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    return _wsgi_sites[environ["PATH_INFO"].split("/")[1]](environ, start_response)


def proxy_fixed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The WSGI app behind werkzeug's ProxyFix, which believes one proxy, whoever it is."""
    from werkzeug.middleware.proxy_fix import ProxyFix

    return ProxyFix(wsgi_app, x_for=1)(environ, start_response)
