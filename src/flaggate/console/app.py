"""The console's routes: pages that read the store, forms that write through control."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial, wraps
from importlib.resources import files
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flaggate.console.acting import act, ask, hook
from flaggate.console.asked import SAID, Asked, Site, fields_in
from flaggate.console.editing import edit, new, save, toml
from flaggate.console.looking import all_flags, one_flag, who_has_it
from flaggate.console.people import Session, Sessions, Who, cookie_path
from flaggate.errors import SettingError, StoreError, UnreadableError
from flaggate.stores import open_store
from flaggate.stores.base import Store

__all__ = ["create_console"]

_STATIC: Final = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


InThread: TypeAlias = Callable[..., Awaitable[Any]]
"""Given a function and what it takes."""


def create_console(
    store: str | Store,
    *,
    secret_key: str,
    who: Who | None = None,
    hook_token: str | None = None,
    is_read_only: bool = False,
    is_https: bool = False,
    in_thread: InThread = run_in_threadpool,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Starlette:
    """The pages, as an ASGI app: to be served, or mounted in the host app.

    Args:
        store: A store, or the URL of one.
        secret_key: Signs sessions and forms; the same in each process that serves them.
        who: Says who made a request, and what they may do; None = who came by a link (`flaggate console`).
        hook_token: Who brings it as a bearer token may roll back, and nothing else, by POST to /hooks/rollback/FLAG:
            for an alert. None = nobody.
        is_read_only: Whether nobody may change anything.
        is_https: Whether browsers come by TLS, where a proxy ends that and this server does not see it.
        in_thread: Runs a function off the event loop: stores wait.

    Raises:
        SettingError, StoreError: for what cannot be used.
    """
    if is_read_only and hook_token is not None:
        raise SettingError("hook_token", "(not shown)", "none where nobody may change anything: is_read_only is set")
    sessions = Sessions(secret_key, who, is_https)
    site = Site(open_store(store) if isinstance(store, str) else store, sessions, now)
    site.hook_token = hook_token
    site.is_read_only = is_read_only
    console = _Console(site, in_thread)
    app = Starlette(routes=console.routes(), exception_handlers={HTTPException: console.said})
    app.router.redirect_slashes = False  # it would say which host the client has made up
    app.state.sessions = sessions
    return app


class _Console:
    """What every page and form goes through."""

    def __init__(self, site: Site, in_thread: InThread) -> None:
        self._site = site
        self._in_thread = in_thread

    def routes(self) -> list[Route]:
        """All of them."""
        pages = {
            "/": all_flags,
            "/flags/{name}": one_flag,
            "/flags/{name}/do/{verb}": ask,
            "/flags/{name}/who": who_has_it,
            "/flags/{name}/toml": toml,
            "/flags/{name}/edit": edit,
            "/new": new,
        }
        return [
            *(Route(path, self._page(respond), methods=["GET"]) for path, respond in pages.items()),
            Route("/flags/{name}/do/{verb}", self._form(act), methods=["POST"]),
            Route("/flags/{name}/edit", self._form(save), methods=["POST"]),
            Route("/new", self._form(save), methods=["POST"]),
            Route("/sign-in", self.sign_in, methods=["GET"]),
            Route("/sign-out", self._form(self.sign_out), methods=["POST"]),
            Route("/hooks/rollback/{name}", self._off_the_loop(partial(hook, self._site)), methods=["POST"]),
            Route("/static/{file}", self.static, methods=["GET"]),
        ]

    def _page(self, respond: Callable[[Asked], Response]) -> Callable[[Request], Any]:
        def answer(request: Request) -> Response:
            asked = Asked(self._site, request, self._site.sessions.of(request))
            if asked.session.person is None:
                return self._sign_in_page(asked)
            return asked.sent(self._answered(asked, respond))

        return self._off_the_loop(answer)

    def _off_the_loop(self, answer: Callable[[Request], Response]) -> Callable[[Request], Any]:
        @wraps(answer)
        async def endpoint(request: Request) -> Response:
            response: Response = await self._in_thread(answer, request)
            return response

        return endpoint

    def _form(self, respond: Callable[[Asked], Response]) -> Callable[[Request], Any]:
        @wraps(respond)
        async def endpoint(request: Request) -> Response:
            fields = await fields_in(request)
            response: Response = await self._in_thread(self._posted, request, fields, respond)
            return response

        return endpoint

    def _posted(self, request: Request, fields: Mapping[str, str], respond: Callable[[Asked], Response]) -> Response:
        asked = Asked(self._site, request, self._site.sessions.of(request), fields)
        if asked.session.person is None:
            return self._sign_in_page(asked)
        if not self._site.sessions.is_ours(asked.session, fields.get("token", "")):
            return asked.problem(
                403, "This form is not of this session. Open the page again, and press the button there."
            )
        return asked.sent(self._answered(asked, respond))

    def _answered(self, asked: Asked, respond: Callable[[Asked], Response]) -> Response:
        try:
            return respond(asked)
        except HTTPException as error:
            return asked.problem(error.status_code, SAID.get(error.status_code, "It cannot be done."))
        except UnreadableError as error:
            return asked.html(
                "unreadable.html",
                409,
                name=error.name,
                problem=error.problem,
                is_killed=self._site.is_killed(error.name),
            )
        except StoreError as error:
            return asked.problem(
                503, f"The store does not answer: {error.problem}. To turn a flag off without it, see the README."
            )

    def _sign_in_page(self, asked: Asked) -> Response:
        if asked.session.refused is not None:
            return asked.problem(403, asked.session.refused)
        words = (
            "Nobody is signed in. Sign in to the app, and come back."
            if self._site.sessions.who is not None
            else "Nobody is signed in. Whoever started the console has a link that signs you in once: "
            "flaggate console prints it."
        )
        return asked.problem(401, words)

    def said(self, request: Request, error: Exception) -> Response:
        """A page for what is not there."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        return Asked(self._site, request, Session("", None, is_new=False)).problem(
            status, SAID.get(status, "It cannot be done.")
        )

    # --- signing in -----------------------------------------------------------------------------

    def sign_in(self, request: Request) -> Response:
        """By a link that is good once."""
        asked = Asked(self._site, request, self._site.sessions.of(request))
        if request.method != "GET":  # a program that looks whether there is something does not use it up
            return asked.problem(405, SAID[405])
        session = self._site.sessions.redeem(request.query_params.get("token", ""))
        if session is None:
            return asked.problem(
                401, "This link was used already, or is too old. Start flaggate console anew for another."
            )
        asked.session = session
        name = request.query_params.get("flag")
        return asked.sent(asked.to("/" if name is None else f"/flags/{quote(name, safe='')}"))

    def sign_out(self, asked: Asked) -> Response:
        """End the session."""
        self._site.sessions.end(asked.session)
        asked.session = Session("", None)
        response = asked.to("/")
        response.delete_cookie(self._site.sessions.cookie, path=cookie_path(asked.request))
        return response

    def static(self, request: Request) -> Response:
        """Style sheet and script; nothing comes from elsewhere."""
        name = request.path_params["file"]
        if name not in _STATIC:
            raise HTTPException(404)
        content = files("flaggate.console").joinpath("static", name).read_bytes()
        headers = {"Content-Type": _STATIC[name], "Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}
        return Response(content, headers=headers)
