"""The middleware of a Django project, sync and async: one visit a request, counted when its response has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.apps import apps
from django.core.handlers.exception import response_for_exception
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from flaggate.contrib.django.project import known_key, site
from flaggate.decide.context import Context
from flaggate.errors import SettingError
from flaggate.runtime.visit import Visit as Flags
from flaggate.web.asgi import AsgiRequest
from flaggate.web.caching import OVERRULING, cache_control, vary
from flaggate.web.health import HEADERS, page
from flaggate.web.request import Request, RequestVisit, Site
from flaggate.web.wsgi import WsgiRequest

if TYPE_CHECKING:
    from flaggate.decide.decision import Decision
    from flaggate.web.routes import Gated

__all__ = ["FlaggateMiddleware", "Flags", "aflags_from", "flags_from", "is_on_async"]

_APP: Final = "flaggate.contrib.django"
_NOBODY_YET: Final = object()


class FlaggateMiddleware:
    """Makes each request a visit of the project's gate, which is `request.flags`. Takes its settings from the project's.

    It stands below AuthenticationMiddleware, so that it knows who asks, and so below UpdateCacheMiddleware.

    Raises:
        SettingError: at start, for settings that cannot be used.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        if not apps.is_installed(_APP):
            raise SettingError("INSTALLED_APPS", f"(without {_APP})", f'[..., "{_APP}"] for its middleware')
        site()  # what is wrong with the settings is said now, not to the first visitor
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._answer_async(request)
        if site().health == request.path_info:
            return _health(request)
        visit = _entered(request)
        with visit.going_on():
            gated = visit.gated()
            if gated is None or visit.is_on(gated.flag) or visit.goes_to(gated.otherwise):
                response = self.get_response(request)
            else:
                response = response_for_exception(request, Http404())  # the project's own page
            return visit.answered(response)

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        if site().gate.ready is None:  # Django has no lifespan: the first request begins
            await sync_to_async(site().gate.begun, thread_sensitive=False)()
        if site().health == request.path_info:
            return _health(request)
        visit = _entered(request)
        with visit.going_on():
            gated = visit.gated()
            if gated is None or await is_on_async(visit, gated.flag) or visit.goes_to(gated.otherwise):
                response = await self.get_response(request)
            else:
                response = await sync_to_async(response_for_exception, thread_sensitive=False)(request, Http404())
            return visit.answered(response)


def flags_from(request: HttpRequest) -> Flags:
    """The flags of a request: `flags["name"]`, `flags.is_on("name")`, `flags.decide("name")`, `flags.identify(...)`.

    Inside of `with gate().visit(...)` it is that visit, as everywhere. Where the middleware was not passed (a view's
    own test) who asks is the request's user all the same, and nothing is counted.

    Raises:
        SettingError: for what is no request.
    """
    within = site().gate.current.get()
    if within is not None and not isinstance(within, RequestVisit):
        return within
    known: Flags | None = getattr(request, "flags", None)
    if known is None:
        if not hasattr(request, "META"):  # the `self` of a method
            allowed = 'the request of a view; on a method say @method_decorator(feature_required("new-invoicing"))'
            raise SettingError("request", type(request), allowed)
        known = request.flags = _Aside(site(), request)  # type: ignore[attr-defined]  # as the middleware sets it
    return known


async def aflags_from(request: HttpRequest, *names: str) -> Flags:
    """As `flags_from` on an event loop: what these flags read of who asks is looked up beforehand, in a thread. Without
    names, what any flag of the project reads."""
    flags = flags_from(request)
    if isinstance(flags, DjangoVisit) and any(map(flags.needs, names or flags.snapshot.entries)):
        await sync_to_async(flags.look_up)(names or flags.snapshot.entries)
    return flags


async def is_on_async(flags: Flags, name: str) -> bool:
    """As `flags.is_on` on an event loop: in a thread, if it may have to look up who asks."""
    if isinstance(flags, DjangoVisit) and flags.needs(name):
        return await sync_to_async(flags.is_on)(name)
    return flags.is_on(name)


class DjangoVisit(RequestVisit):
    """Sees the response that the project makes, and its stream end."""

    _user: Any = _NOBODY_YET
    """The request's user when it was last asked who asks."""

    def __init__(self, site: Site, request: HttpRequest) -> None:
        self._gate = gate = site.gate
        self.snapshot = gate.ready or gate.begun()
        self._context = None
        self._answers = {}
        self.site = site
        self.begun = perf_counter()
        self.asker = request

    def path(self) -> str:
        path: str = self.asker.path_info
        return path

    def _read(self) -> Request:
        return _request_of(self.site, self.asker)

    def is_https(self, _request: Request) -> bool:
        """As Django sees it: also behind a proxy that SECURE_PROXY_SSL_HEADER believes."""
        return bool(self.asker.is_secure())

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """The visit of this task or thread; an exception that leaves it ends it."""
        current = self.site.gate.current
        token = current.set(self)
        try:
            yield
        except BaseException as error:
            self.is_started = self.is_started or self.is_sending
            self.end(error)
            raise
        finally:
            current.reset(token)

    # --- asking -----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> bool:
        """In a template `request.flags.new_invoicing`: with underscores, because it takes no hyphens."""
        return self.is_on(name.replace("_", "-"))

    def is_on(self, name: str) -> bool:
        """Whether the flag is on in this visit."""
        return self.decide(name).is_on

    def decide(self, name: str) -> Decision:
        self._follow()
        return self._seen_by_caches(super().decide(name))

    def look(self, name: str) -> Decision:
        self._follow()
        return self._seen_by_caches(super().look(name))

    def _follow(self) -> None:
        """Decide again, if somebody has signed in or out: login(), logout(), what an API authenticates with."""
        if self._user is not _NOBODY_YET and self._user is not getattr(self.asker, "user", None):
            self._user = _NOBODY_YET
            self.identify()

    def _made_context(self) -> Context:
        self._user = getattr(self.asker, "user", None)
        return super()._made_context()

    def _seen_by_caches(self, decision: Decision) -> Decision:
        """cache_page is inside of every middleware, and keeps a response before it says whom it is for."""
        kind: Any = type(self.asker)
        if self.depends and self._reads(decision.flag) and not hasattr(kind, _KEEPS):
            self.asker.__class__ = _never_kept(kind)
        return decision

    def _reads(self, name: str) -> frozenset[str]:
        entry = self.snapshot.entries.get(name)
        return frozenset() if entry is None else entry.compiled.reads

    def needs(self, name: str) -> bool:
        """Whether to answer may take a query."""
        self._follow()
        return name not in self._answers and bool(self._reads(name))

    def look_up(self, names: Iterable[str]) -> None:
        """What these flags read of who asks, as far as it waits."""
        for word in frozenset[str]().union(*map(self._reads, names)) - _AT_HAND:
            with suppress(Exception):  # it is said when a flag reads it
                getattr(self.context, _SLOTS.get(word, "attributes"))

    def unit_key(self, unit: str) -> str | None:
        """Where no rule had to know the user, the project may: without a query."""
        return super().unit_key(unit) or (known_key(self.asker) if unit == "user" else None)

    # --- routes -----------------------------------------------------------------------------

    def gated(self) -> Gated | None:
        """The line of the routes that this request is for."""
        routes = self.site.routes
        return routes.match(self.asker.path_info) if routes else None

    def goes_to(self, otherwise: str | None) -> bool:
        """Have another path of the project served; False = there is none."""
        if otherwise is None:
            return False
        request = self.asker
        request.path = f"{request.path.removesuffix(request.path_info)}{otherwise}"
        request.path_info = otherwise
        return True

    # --- the response -----------------------------------------------------------------------

    def answered(self, response: HttpResponseBase) -> HttpResponseBase:
        """The response, with what it says to caches."""
        self.status = response.status_code
        if self.depends:
            self._add_headers(response)
        self.has_sent_headers = True
        self.is_stream = response.streaming
        if response.streaming and getattr(response, "file_to_stream", None) is None:
            self._follow_stream(response)
        else:  # a file may be sent by the server itself, and only if it is handed over as it is
            self.is_started = True
            self.end(None)
        return response

    def _follow_stream(self, response: Any) -> None:
        # Not streaming_content, which holds the response: one that is thrown away is to go at once.
        parts = response._iterator
        response.streaming_content = _AsyncParts(self, parts) if response.is_async else _Parts(self, parts)

    def _add_headers(self, response: HttpResponseBase) -> None:
        for name in OVERRULING:
            if name in response.headers:
                del response.headers[name]
        response.headers["Cache-Control"] = cache_control(response.headers.get("Cache-Control", ""))
        if varying := vary(response.headers.get("Vary", ""), self.depends):
            response.headers["Vary"] = varying
        if (cookie := self.new_cookie()) is not None:
            response.cookies.load(cookie)


_SLOTS: Final = {"group": "groups", **{word: word for word in Context.__slots__}}
"""How a Context calls what rules read; the rest are attributes of the app's own."""
_AT_HAND: Final = frozenset({"ip", "visitor"})
"""Not looked up before a rule reads it: nothing waits for these, and a new visitor has a cookie."""


_KEEPS: Final = "_cache_update_cache"


@cache
def _never_kept(kind: type[HttpRequest]) -> type[HttpRequest]:
    """Such a request whose response Django's caches do not keep: whatever cache_page says, which may begin later than
    the flag was asked, and says of each request that its response is to be kept."""
    words = {word: getattr(kind, word) for word in ("__module__", "__qualname__", "__doc__")}
    return type(kind.__name__, (kind,), {**words, _KEEPS: property(lambda _: False, lambda *_: None)})


class _Aside(DjangoVisit):
    """A visit of which nobody sees the end: it is not counted."""

    def _ask(self, name: str) -> Decision:
        return Flags._ask(self, name)  # no request that the meter would wait for


def _request_of(site: Site, request: Any) -> Request:
    scope = getattr(request, "scope", None)
    return WsgiRequest(site, request.environ) if scope is None else AsgiRequest(site, scope)


def _health(request: HttpRequest) -> HttpResponse:
    made = page(site(), _request_of(site(), request), request.META.get("QUERY_STRING", ""))
    return HttpResponse(made.body, status=made.status, headers=dict(HEADERS))


def _entered(request: HttpRequest) -> DjangoVisit:
    visit = DjangoVisit(site(), request)
    request.flags = visit  # type: ignore[attr-defined]  # what the middleware is there for
    return visit


# --- streams ------------------------------------------------------------------------------------


class _Stream:
    """A streamed response: its visit goes on while it is sent, and ends when it was taken whole, or was closed."""

    def __init__(self, visit: DjangoVisit, parts: Any) -> None:
        self._visit = visit
        self._parts = parts

    def _went_on(self, part: Any) -> Any:
        """The part, which is sent next."""
        if part is _END:
            self._visit.is_started = True
            self._visit.end(None)
        else:
            self._visit.is_sending = True
        return part

    def close(self) -> None:
        """Called by Django at the end of the request, whatever happened."""
        visit = self._visit
        if visit.is_ended:
            return
        if visit.asker.method == "HEAD":  # nobody takes its body
            visit.is_started = True
        else:
            visit.is_gone, visit.is_started = True, visit.is_sending
        visit.end(None)

    def __del__(self) -> None:
        if not self._visit.is_ended:  # a middleware outside has thrown it away, and sends another one
            self._visit.is_started = True
            self._visit.end(None)


class _Parts(_Stream):
    """Of a sync iterator."""

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._visit.going_on():
            part = self._went_on(next(self._parts, _END))
        if part is _END:
            raise StopIteration
        return part  # type: ignore[no-any-return]  # what the project's iterator gave


class _AsyncParts(_Stream):
    """Of an async one."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with self._visit.going_on():
            part = self._went_on(await anext(self._parts, _END))
        if part is _END:
            raise StopAsyncIteration
        return part  # type: ignore[no-any-return]  # what the project's iterator gave


_END: Final[Any] = object()
