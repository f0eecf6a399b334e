"""The console among a Flask app's pages, for those whom the app's own function names.

app.register_blueprint(create_blueprint(who), url_prefix="/ops/flags")
"""

from __future__ import annotations

import asyncio
import hmac
import os
import threading
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from a2wsgi import ASGIMiddleware
from flask import Blueprint, Flask, request
from werkzeug.wrappers import Response

from flaggate.console import Person, create_console
from flaggate.console.people import checked_person
from flaggate.contrib.flask import flags_from, gate_of
from flaggate.errors import SettingError

if TYPE_CHECKING:
    from flask.sansio.blueprints import BlueprintSetupState
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Who", "create_blueprint"]

Who: TypeAlias = Callable[[], Person | None]
"""Called in Flask's request context; None = nobody is signed in."""
_PERSON: Final = "flaggate.person"


def create_blueprint(who: Who, *, hook_token: str | None = None, is_read_only: bool = False) -> Blueprint:
    """The console, for an app that went through `flaggate.contrib.flask.init_app`; it shows the flags of the app's gate.

    Its endpoint is `flaggate_console.page`. Registering it raises SettingError for an app without a gate or a SECRET_KEY.

    Args:
        who: Says who is there, and what they may do. It may abort, with a redirect to where people sign in.
        hook_token, is_read_only: As `flaggate.console.create_console` has them.
    """
    if not callable(who):
        raise SettingError("who", who, "a function of no arguments that returns a Person or None")
    blueprint = Blueprint("flaggate_console", __name__)

    def mount(state: BlueprintSetupState) -> None:
        app = state.app
        assert isinstance(app, Flask)  # what else has blueprints is Quart, of which flaggate knows nothing
        gate = gate_of(app)
        console = create_console(
            gate.store,
            secret_key=_secret_key(app.config),
            who=_told,
            hook_token=hook_token,
            is_read_only=is_read_only,
            in_thread=asyncio.to_thread,  # keeps its threads; and AnyIO's make noise under gevent
        )

        def page(path: str, **_: object) -> Response:  # the prefix may have words of its own
            visit = flags_from(request)
            visit.is_counted = True  # no guard is to judge by these pages, whatever the app asks at each request
            gate.meter.waiting.pop(visit, None)
            needs_nobody = path.startswith(("static/", "hooks/"))
            return _answered(console, _environ(path, None if needs_nobody else checked_person(who())))

        methods = ["GET", "POST"]
        state.add_url_rule("/", "page", page, defaults={"path": ""}, methods=methods)
        state.add_url_rule("/<path:path>", "page", page, methods=methods)

    blueprint.record(mount)
    return blueprint


def _secret_key(config: Mapping[str, Any]) -> str:
    """One of its own, that nothing else of the app's is signed with."""
    key = config.get("SECRET_KEY")
    if not key:
        allowed = "a key, before the console is registered: it signs the console's forms"
        raise SettingError("SECRET_KEY", key, allowed)
    return hmac.digest(key if isinstance(key, bytes) else str(key).encode(), b"flaggate.console", "sha256").hex()


def _told(request: Request) -> Person | None:
    """What the app's function said, while it still had its request."""
    person: Person | None = request.scope["wsgi_environ"][_PERSON]
    return person


# --- from Flask to ASGI and back ----------------------------------------------------------------


def _environ(path: str, person: Person | None) -> dict[str, Any]:
    """The request as the console is to see it: its pages are below the blueprint's prefix, and its form is what Flask has
    read, for the app may have looked into it."""
    form = urlencode(list(request.form.items(multi=True))).encode()
    root = request.script_root + request.path.removesuffix(path).rstrip("/")
    port: str = request.environ.get("SERVER_PORT", "")
    return request.environ | {
        "SCRIPT_NAME": _as_wsgi(root),
        "PATH_INFO": _as_wsgi(f"/{path}"),
        "QUERY_STRING": quote(request.query_string, safe=_IN_QUERIES),  # a2wsgi takes ASCII only
        "SERVER_PORT": port if port.isdigit() else "0",  # on a Unix socket there may be none
        "CONTENT_LENGTH": str(len(form)),
        "wsgi.input": BytesIO(form),
        _PERSON: person,
    }


_IN_QUERIES: Final = "".join(map(chr, range(0x21, 0x7F)))


def _as_wsgi(path: str) -> str:
    return path.encode().decode("latin-1")  # PEP 3333


def _answered(console: ASGIApp, environ: dict[str, Any]) -> Response:
    failures: list[Exception] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await console(scope, receive, send)
        except Exception as error:  # which a2wsgi keeps to itself once there is a response: it is for Flask to say
            failures.append(error)
            raise

    bridge: Any = ASGIMiddleware(watched, loop=_loop())  # type: ignore[arg-type]  # its own words for Starlette's types
    response = Response.from_app(bridge, environ, buffered=True)
    if failures:
        raise failures[0]
    return response


_loops: Final[dict[int, asyncio.AbstractEventLoop]] = {}
"""By process: a fork has no threads, and uWSGI tells Python of none. A parent's stays here, for its sockets are still the
parent's, too."""
_lock: Final = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    """That of this process, in a thread of its own; begun with the first page."""
    with _lock:
        process = os.getpid()
        if process not in _loops:
            loop = _loops[process] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="flaggate-console", daemon=True).start()
        return _loops[process]
