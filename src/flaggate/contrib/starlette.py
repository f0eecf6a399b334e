"""flaggate in a Starlette app: the middleware, `feature_required`, `flags_from`, and `feature` in templates.

`feature_required` asks the middleware that is nearest to the endpoint. For FastAPI use `flaggate.contrib.fastapi`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from anyio import from_thread  # what Starlette's threads are of
from starlette.concurrency import run_in_threadpool
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from flaggate.errors import SettingError
from flaggate.runtime.visit import Visit as Flags
from flaggate.web import asgi
from flaggate.web.client_ip import X_FORWARDED_FOR
from flaggate.web.gates import check_served, remember
from flaggate.web.request import ContextMaker
from flaggate.web.routes import FLAG_NAME, Table, is_flag_name

if TYPE_CHECKING:
    from flaggate.decide.decision import Decision
    from flaggate.runtime.gate import Gate
    from flaggate.web.asgi import App, Receive, Scope, Send

__all__ = ["FlaggateMiddleware", "Flags", "feature_processor", "feature_required", "flags_from"]

_ASIDE: Final = "flaggate.aside"
Otherwise: TypeAlias = "str | Callable[..., Any] | None"
_GATED: Final = "an endpoint function or class, or a Route, WebSocketRoute, Mount or Host (as around any ASGI app)"
_Gated = TypeVar("_Gated", bound="Callable[..., Any] | BaseRoute")


class FlaggateMiddleware(asgi.FlaggateMiddleware):
    """`app.add_middleware(FlaggateMiddleware, gate=gate, context=who)`, in the words of `flaggate.web.asgi`; `context`
    is given the HTTPConnection.

    The middleware that is added last is the outermost: add this one before those that sign people in.

    Raises:
        SettingError: for what cannot be used, and for a function that the app serves around its gate.
    """

    def __init__(
        self,
        app: App,
        gate: Gate,
        *,
        context: ContextMaker[HTTPConnection] | None = None,
        geo: str | os.PathLike[str] | None = None,
        routes: Table | None = None,
        trusted_proxies: Iterable[str] = (),
        proxy_header: str = X_FORWARDED_FOR,
        secret_keys: Iterable[str | bytes] | None = None,
        uncounted: Iterable[str] = (),
        health: str | None = None,
    ) -> None:
        check_served(_endpoints(app))
        made: Any = context
        super().__init__(
            app,
            gate,
            context=made,
            geo=geo,
            routes=routes,
            trusted_proxies=trusted_proxies,
            proxy_header=proxy_header,
            secret_keys=secret_keys,
            uncounted=uncounted,
            health=health,
        )
        if context is not None:  # now that it is known to be one
            self.site.context = lambda scope: context(HTTPConnection(scope))


def _endpoints(app: Any) -> Iterator[Any]:
    """What an app serves, as far as it says so: below other middleware, in mounts and in routers of FastAPI's."""
    parts, known = [app], {id(app)}
    for part in parts:
        words = getattr(part, "__dict__", {})  # not by getattr: what makes up an answer to any name has no end
        routes = words.get("routes")
        inner = [words.get(word) for word in ("app", "router", "original_router")]
        for each in inner + (routes if isinstance(routes, list) else []):
            if each is not None and id(each) not in known:
                known.add(id(each))
                parts.append(each)
        if "endpoint" in words:
            yield words["endpoint"]


def flags_from(connection: HTTPConnection) -> Flags:
    """The flags of a request or WebSocket: `flags["name"]`, `flags.is_on("name")`, `flags.decide("name")`,
    `flags.identify(...)`.

    Inside of `with gate.visit(...)` it is that visit, as everywhere.

    Raises:
        SettingError: no middleware of flaggate was passed on the way.
    """
    scope = connection.scope
    site = scope.get(asgi.SITE)
    if site is None:
        raise SettingError("app", scope.get("path", ""), "one with FlaggateMiddleware of flaggate.contrib.starlette")
    visit: Flags | None = site.gate.current.get()
    if visit is not None:
        return visit
    # In a thread of the app's own, which does not know what its request asked.
    aside: _Aside | None = scope.get(_ASIDE)
    if aside is None or aside.site is not site:  # an app in an app, each with a gate of its own
        sends_nothing: Any = None
        aside = scope[_ASIDE] = _Aside(site, scope, sends_nothing, sends_nothing)
    return aside


class _Aside(asgi.AsgiVisit):
    """A visit of which nobody sees the end: it is not counted, and sends nothing."""

    def _ask(self, name: str) -> Decision:
        return Flags._ask(self, name)  # no request that the meter would wait for


def feature_processor(request: Request) -> dict[str, Any]:
    """`{% if feature("new-invoicing") %}`: `Jinja2Templates("templates", context_processors=[feature_processor])`."""
    return {"feature": flags_from(request).is_on}


def feature_required(name: str, otherwise: Otherwise = None) -> Callable[[_Gated], _Gated]:
    """Serve an endpoint only to those who have the flag.

    On a function or method, sync or async, that is given the request or WebSocket; on an HTTPEndpoint or
    WebSocketEndpoint class; or called with a Route, WebSocketRoute, Mount or Host:
    `feature_required("new-invoicing")(Mount("/v2", app=v2))`.

    Args:
        name: The flag.
        otherwise: An endpoint that is called with the same arguments, or a path of the app to redirect to; None = 404,
            as if the endpoint were not there. A WebSocket is closed before it was accepted, unless `otherwise` takes it.

    Raises:
        SettingError: for anything else.
    """
    if not is_flag_name(name):
        raise SettingError(
            "feature_required", name, f'the name of a flag: @feature_required("new-invoicing"); {FLAG_NAME}'
        )
    if not _is_usable(otherwise):
        raise SettingError("otherwise", otherwise, "an endpoint function, or a path that begins with a slash")

    def decorate(gated: _Gated) -> _Gated:
        made: Any = gated
        if isinstance(made, BaseRoute):
            made = _gated_route(made, name, otherwise)
        else:
            made = _gated_endpoint(made, name, otherwise)
        if made is None:
            raise SettingError("feature_required", gated, _GATED)
        remember(gated, made)
        return made  # type: ignore[no-any-return]  # of the kind that was given

    return decorate


def _is_usable(otherwise: Otherwise) -> bool:
    if isinstance(otherwise, str):
        return otherwise.startswith("/")
    return otherwise is None or (callable(otherwise) and not isinstance(otherwise, type))


def _gated_endpoint(endpoint: Any, name: str, otherwise: Otherwise) -> Callable[..., Any] | None:
    """None = to Starlette it is an ASGI app, and not called with the request."""
    function = endpoint
    while isinstance(function, partial):
        function = function.func
    if inspect.isfunction(function) or inspect.ismethod(function):
        return gated_function(endpoint, name, otherwise, partial(connection_among, endpoint))
    if isinstance(endpoint, type) and issubclass(endpoint, (HTTPEndpoint, WebSocketEndpoint)):
        return _gated_class(endpoint, name, otherwise)
    return None


def is_async(function: Any) -> bool:
    """Whether what it returns is to be awaited."""
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


# --- functions ----------------------------------------------------------------------------------


def gated_function(
    endpoint: Callable[..., Any],
    name: str,
    otherwise: Otherwise,
    connection_of: Callable[[tuple[Any, ...], dict[str, Any]], HTTPConnection],
) -> Callable[..., Any]:
    """The endpoint behind a flag; `connection_of` finds who asks among its arguments."""
    if is_async(endpoint):

        @wraps(endpoint)
        async def gated(*args: Any, **kwargs: Any) -> Any:
            connection = connection_of(args, kwargs)
            if flags_from(connection).is_on(name):
                return await endpoint(*args, **kwargs)
            return await _instead(connection, otherwise, *args, **kwargs)
    else:

        @wraps(endpoint)
        def gated(*args: Any, **kwargs: Any) -> Any:
            connection = connection_of(args, kwargs)
            if flags_from(connection).is_on(name):
                return endpoint(*args, **kwargs)
            if not callable(otherwise):
                return _refusal(connection, otherwise)
            if is_async(otherwise):
                return from_thread.run(partial(otherwise, *args, **kwargs))
            return otherwise(*args, **kwargs)  # in this thread: if all wait for a second one, none ever gets it

    gated.__name__ = getattr(endpoint, "__name__", type(endpoint).__name__)  # a partial has none; as get_name() does
    return gated


def connection_among(endpoint: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> HTTPConnection:
    """The request or WebSocket among an endpoint's arguments."""
    for given in (*args, *kwargs.values()):
        if isinstance(given, HTTPConnection):
            return given
    raise SettingError("feature_required", endpoint, "an endpoint that is given the request")


async def _instead(connection: HTTPConnection, otherwise: Otherwise, /, *args: Any, **kwargs: Any) -> Any:
    """What those get who do not have the flag."""
    if callable(otherwise):
        if is_async(otherwise):
            return await otherwise(*args, **kwargs)
        return await run_in_threadpool(partial(otherwise, *args, **kwargs))
    if isinstance(connection, WebSocket):
        await connection.close()  # before it was accepted: the handshake is refused
        return None
    return _refusal(connection, otherwise)


def _refusal(connection: HTTPConnection, path: str | None) -> Response:
    if path is None:
        raise HTTPException(status_code=404)
    scope = connection.scope
    root = scope.get("app_root_path", scope.get("root_path", ""))  # below a Mount the path is the whole app's, too
    return RedirectResponse(f"{root.rstrip('/')}{path}", status_code=302)


# --- classes and routes -------------------------------------------------------------------------


def _gated_class(endpoint: type[Any], name: str, otherwise: Otherwise) -> type[Any]:
    class Gated(endpoint):  # type: ignore[misc]  # of whichever class it is
        async def dispatch(self) -> None:
            async def app(*_: Any) -> None:
                await super(Gated, self).dispatch()

            await _GatedApp(app, name, otherwise)(self.scope, self.receive, self.send)

    for word in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(Gated, word, getattr(endpoint, word))
    return Gated


def _gated_route(route: BaseRoute, name: str, otherwise: Otherwise) -> BaseRoute:
    made: Any = route
    app = getattr(route, "app", None)
    if app is None or hasattr(route, "dependant"):  # FastAPI's, which it makes anew of what they were made of
        raise SettingError("feature_required", route, f"{_GATED}; of FastAPI's the function, or require_feature(...)")
    made.app = _GatedApp(app, name, otherwise)
    if isinstance(route, (Route, WebSocketRoute)):
        # FastAPI's include_router makes another route of the endpoint.
        made.endpoint = _gated_endpoint(route.endpoint, name, otherwise) or _GatedApp(route.endpoint, name, otherwise)
    return route


class _GatedApp:
    """An ASGI app behind a flag."""

    def __init__(self, app: App, name: str, otherwise: Otherwise) -> None:
        self.app = app
        self._name = name
        self._otherwise = otherwise

    @property
    def routes(self) -> list[BaseRoute]:
        """A Host looks for names here."""
        return getattr(self.app, "routes", [])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_http = scope["type"] == "http"
        connection = Request(scope, receive, send) if is_http else WebSocket(scope, receive, send)
        if flags_from(connection).is_on(self._name):
            await self.app(scope, receive, send)
            return
        response = await _instead(connection, self._otherwise, connection)
        if is_http:  # what serves a WebSocket returns nothing
            await response(scope, receive, send)
