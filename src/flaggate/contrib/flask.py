"""flaggate in a Flask app: `init_app`, `feature_required`, `flags_from`, and `feature` in templates.

Who asks is told by a function of the request, called inside of Flask's request context when the first flag that
reads anything is asked. Flask-Login's `current_user` needs none: it is taken as the user.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial, wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

from flask import Blueprint, Flask, abort, current_app, has_request_context, redirect, request
from flask.views import View

from flaggate.errors import SettingError
from flaggate.runtime.gate import Gate
from flaggate.runtime.visit import Visit as Flags
from flaggate.web.gates import check_otherwise, check_served, remember
from flaggate.web.request import ContextMaker, RequestVisit
from flaggate.web.routes import FLAG_NAME, Table, is_flag_name
from flaggate.web.settings import OF_GATE, check_names, opened, renamed, settings_from
from flaggate.web.wsgi import SITE, FlaggateMiddleware, WsgiVisit

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from flask import Request

    from flaggate.decide.decision import Decision

__all__ = ["Flags", "feature_required", "flags_from", "gate_of", "init_app"]

_EXTENSION: Final = "flaggate"
_ASIDE: Final = "flaggate.aside"
_OWN_KEYS: Final = "SECRET_KEY and SECRET_KEY_FALLBACKS"
Otherwise: TypeAlias = "str | Callable[..., Any] | None"
_Gated = TypeVar("_Gated", bound="Callable[..., Any] | Blueprint")


def init_app(
    app: Flask,
    gate: Gate | None = None,
    *,
    context: ContextMaker[Request] | None = None,
    geo: str | os.PathLike[str] | None = None,
    routes: Table | None = None,
    trusted_proxies: Iterable[str] | None = None,
    proxy_header: str | None = None,
    secret_keys: Iterable[str | bytes] | None = None,
    uncounted: Iterable[str] | None = None,
    health: str | None = None,
) -> Gate:
    """Put flaggate into an app, and return its gate. What is not given is taken from the app's config, as it is now.

    Config: FLAGGATE_STORE, FLAGGATE_DEFINITIONS and FLAGGATE_NOTIFY (where there is no gate), FLAGGATE_GEO,
    FLAGGATE_ROUTES, FLAGGATE_TRUSTED_PROXIES, FLAGGATE_PROXY_HEADER, FLAGGATE_UNCOUNTED, FLAGGATE_HEALTH, FLAGGATE_SECRET_KEYS
    (else SECRET_KEY and SECRET_KEY_FALLBACKS), in the words of `flaggate.web.wsgi.FlaggateMiddleware`.

    Raises:
        SettingError: for what cannot be used, and for an app that has flaggate already.
    """
    if not isinstance(app, Flask):
        raise SettingError("app", type(app), "a Flask app: init_app(app, gate)")
    if _EXTENSION in app.extensions:
        raise SettingError("init_app", app.name, "once an app")
    given = {
        "geo": geo,
        "routes": routes,
        "trusted_proxies": trusted_proxies,
        "proxy_header": proxy_header,
        "secret_keys": secret_keys,
        "uncounted": uncounted,
        "health": health,
    }
    check_names(app.config, [*OF_GATE, *given])
    settings, keys = settings_from(app.config, given, own_keys=_own_keys(app.config), called=_OWN_KEYS)
    gate = opened(app.config) if gate is None else gate
    who: Any = _signed_in if context is None else context
    with renamed(keys):
        middleware = FlaggateMiddleware(_checked_first(app, app.wsgi_app), gate, context=who, **settings)
    middleware.site.context = _in_flask(app, who)  # now that it is known to be one
    app.wsgi_app = middleware  # type: ignore[method-assign]  # Flask's documented way to wrap an app
    app.extensions[_EXTENSION] = middleware
    app.jinja_env.globals["feature"] = partial(_feature, middleware.site.gate)
    _listen(app)
    return middleware.site.gate


def _checked_first(app: Flask, served: WSGIApplication) -> WSGIApplication:
    """What the app serves; with the first request all its views are there, and are looked at."""
    is_checked = False

    def checked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        nonlocal is_checked
        if not is_checked:
            check_served(app.view_functions.values())
            is_checked = True
        return served(environ, start_response)

    return checked


def gate_of(app: Flask) -> Gate:
    """The gate of an app. Raises SettingError if it has none."""
    return _middleware(app).site.gate


def flags_from(request: Request) -> Flags:
    """The flags of a request: `flags["name"]`, `flags.is_on("name")`, `flags.decide("name")`, `flags.identify(...)`.

    Inside of `with gate.visit(...)` it is that visit, as everywhere.
    """
    middleware = _middleware(current_app)
    visit = middleware.site.gate.current.get()
    if visit is not None and (SITE in request.environ or not isinstance(visit, RequestVisit)):
        return visit
    # No middleware was passed (app.test_request_context), or the request goes on in a thread of the app's own.
    aside: Flags | None = request.environ.get(_ASIDE)
    if aside is None:
        aside = request.environ[_ASIDE] = _Aside(middleware.site, request.environ, cast("StartResponse", None))
    return aside


class _Aside(WsgiVisit):
    """A visit of which nobody sees the end: it is not counted, and sends nothing."""

    def _ask(self, name: str) -> Decision:
        return Flags._ask(self, name)  # no request that the meter would wait for


def feature_required(name: str, otherwise: Otherwise = None) -> Callable[[_Gated], _Gated]:
    """Serve a view, a view class or a whole blueprint only to those who have the flag.

    On a function, below `@app.route`, sync or async; on a View or MethodView class, where it is the last of its
    `decorators`; or called with a blueprint, before it is registered: `feature_required("new-invoicing")(blueprint)`.

    Args:
        name: The flag.
        otherwise: A view that is called with the same arguments, or a path of the app to redirect to; None = 404, as
            if the view were not there.

    Raises:
        SettingError: for anything else.
    """
    if not is_flag_name(name):
        allowed = f'the name of a flag: @feature_required("new-invoicing"); {FLAG_NAME}'
        raise SettingError("feature_required", name, allowed)
    if not _is_usable(otherwise):
        allowed = "a view (of a View class its as_view(...)), or a path that begins with a slash"
        raise SettingError("otherwise", otherwise, allowed)
    _check_async("otherwise", otherwise)

    def decorate(gated: _Gated) -> _Gated:
        if isinstance(gated, Blueprint):
            gated.before_request(partial(_before_blueprint, name, otherwise))
            return gated
        if isinstance(gated, type):
            if not issubclass(gated, View):
                raise SettingError("feature_required", gated.__qualname__, "a view, a View class or a Blueprint")
            # Flask's own way for classes; the last one is the outermost.
            gated.decorators = [*gated.decorators, feature_required(name, otherwise)]
            return gated
        if not callable(gated) or isinstance(gated, Flask):
            raise SettingError("feature_required", gated, "a view, a View class or a Blueprint")
        _check_async("feature_required", gated)
        check_otherwise(gated, otherwise, leading=int("self" in inspect.signature(gated).parameters))
        view: Any = _gated_view(gated, name, otherwise)
        remember(gated, view)
        return view  # type: ignore[no-any-return]  # it is called like the view

    return decorate


def _is_usable(otherwise: Otherwise) -> bool:
    if isinstance(otherwise, str):
        return otherwise.startswith("/")
    return otherwise is None or (callable(otherwise) and not isinstance(otherwise, type))


def _check_async(setting: str, view: object) -> None:
    """Flask runs async views by asgiref; without it `otherwise` would fail at a kill, and not before."""
    if inspect.iscoroutinefunction(view) and find_spec("asgiref") is None:
        raise SettingError(setting, view, "an async view after pip install 'flask[async]'")


def _before_blueprint(name: str, otherwise: Otherwise) -> Any:
    if _is_on(name):
        return None
    # A response, whatever the view returns: of None Flask would take it that the request may pass.
    return current_app.make_response(_instead(otherwise, **(request.view_args or {})))


def _gated_view(view: Callable[..., Any], name: str, otherwise: Otherwise) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(view):

        @wraps(view)
        async def gated(*args: Any, **kwargs: Any) -> Any:
            if _is_on(name):
                return await view(*args, **kwargs)
            if inspect.iscoroutinefunction(otherwise):
                return await otherwise(*args, **kwargs)
            if not callable(otherwise):
                return _instead(otherwise)
            from asgiref.sync import sync_to_async  # what Flask runs async views with

            # In the request's own thread, as any sync view: it may wait there, and run what is async by itself.
            return await sync_to_async(otherwise)(*args, **kwargs)
    else:

        @wraps(view)
        def gated(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs) if _is_on(name) else _instead(otherwise, *args, **kwargs)

    return gated


def _instead(otherwise: Otherwise, *args: Any, **kwargs: Any) -> Any:
    """What those get who do not have the flag."""
    if otherwise is None:
        abort(404)
    if isinstance(otherwise, str):
        return redirect(request.script_root + otherwise)
    return current_app.ensure_sync(otherwise)(*args, **kwargs)


def _is_on(name: str) -> bool:
    return flags_from(request).is_on(name)


def _feature(gate: Gate, name: str) -> bool:
    """`{% if feature("new-invoicing") %}`; a template rendered outside of a request asks for nobody."""
    return _is_on(name) if has_request_context() else gate.is_on(name)


def _middleware(app: Flask) -> FlaggateMiddleware:
    middleware = app.extensions.get(_EXTENSION)
    if not isinstance(middleware, FlaggateMiddleware):
        raise SettingError("app", app.name, "one that went through flaggate.contrib.flask.init_app")
    return middleware


# --- what init_app is given ---------------------------------------------------------------------


def _own_keys(config: Mapping[str, Any]) -> list[str | bytes]:
    """The app's own keys; without any it has no visitors."""
    older = config.get("SECRET_KEY_FALLBACKS") or ()
    if isinstance(older, (str, bytes)) or not isinstance(older, Iterable):  # each letter of a text would be a key
        raise SettingError("SECRET_KEY_FALLBACKS", "(not shown)", "a list of keys")
    return [key for key in (config.get("SECRET_KEY"), *older) if key]


def _in_flask(app: Flask, context: ContextMaker[Request]) -> ContextMaker[WSGIEnvironment]:
    """The app's function as the middleware calls it: with Flask's request around it, also where a route table asks
    before Flask has seen the request."""

    def within(environ: WSGIEnvironment, work: Callable[[], Any]) -> Any:
        if has_request_context() and request.environ is environ and current_app == app:
            return work()
        around = app.request_context(environ)
        around.push()
        try:
            return work()
        finally:
            try:
                around.pop()
            except Exception as error:  # a teardown function that misses what before_request made
                gate_of(app).trouble.say_once(f"a teardown function failed where a route asked a flag: {error!r}")

    def who(environ: WSGIEnvironment) -> Any:
        given = within(environ, lambda: context(request))
        if not isinstance(given, Mapping):
            return given
        return {name: partial(within, environ, value) if callable(value) else value for name, value in given.items()}

    return who


# --- Flask-Login --------------------------------------------------------------------------------


def _signed_in(_request: Request) -> Mapping[str, Any]:
    """The user of Flask-Login, loaded only when a rule asks for it."""
    return {"user": _user} if hasattr(current_app, "login_manager") else {}


def _user() -> Any:
    from flask_login import current_user  # type: ignore[import-untyped]  # it has no types

    return current_user.get_id()


def _listen(app: Flask) -> None:
    """Decide again when Flask-Login signs somebody in or out."""
    try:
        from flask_login import user_logged_in, user_logged_out
    except ImportError:  # not there, or too old for this Flask: then the app does not use it
        return
    for signal in (user_logged_in, user_logged_out):
        signal.connect(_decide_again, sender=app)


def _decide_again(_app: Flask, **_: Any) -> None:
    flags_from(request).identify()
