"""With the lines of docs/starlette.md: both mounts behind flags, and some paths of the admin by the table."""

from __future__ import annotations

from typing import Any

from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection

from flaggate import Gate
from flaggate.contrib.starlette import FlaggateMiddleware, feature_required

from .site import make_app


def who(connection: HTTPConnection) -> dict[str, Any]:
    return {"user": connection.session.get("user")}


app = make_app()
_, admin, graphql = app.router.routes
app.router.routes[1:] = [feature_required("admin")(admin), feature_required("graphql")(graphql)]
app.add_middleware(
    FlaggateMiddleware,
    gate=Gate.open("sqlite:///flags.db"),
    context=who,
    routes={"/admin/article/create": ("writing", "/admin/article/list"), "/admin/_files/*": "files"},
)
app.add_middleware(SessionMiddleware, secret_key="of the newsroom")
