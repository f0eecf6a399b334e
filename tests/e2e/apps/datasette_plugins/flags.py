"""A plugin of Datasette: flaggate's middleware around it, as docs/web.md says."""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

from datasette import hookimpl
from datasette.app import Datasette

from flaggate import Gate
from flaggate.web.asgi import App, FlaggateMiddleware, Scope
from flaggate.web.routes import Table

gate = Gate.open("sqlite:///flags.db")
ROUTES: Table = {
    "/notes/numbers*": "numbers",  # .json and .csv
    "/notes/numbers/*": "numbers",
    "/notes/add_note": ("writing", "/notes/notes"),
    "/-/metadata*": "inspection",
}


@hookimpl  # type: ignore[untyped-decorator]  # Datasette has no types
def asgi_wrapper(datasette: Datasette) -> Callable[[App], App]:
    def who(scope: Scope) -> dict[str, Any] | None:
        cookies = SimpleCookie(b";".join(value for name, value in scope["headers"] if name == b"cookie").decode())
        if "ds_actor" not in cookies:
            return None
        return {"user": datasette.unsign(cookies["ds_actor"].value, "actor")["a"]["id"]}

    return lambda app: FlaggateMiddleware(app, gate, context=who, routes=ROUTES)
