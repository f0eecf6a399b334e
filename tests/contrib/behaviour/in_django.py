"""The site in Django, on its handler for each protocol.

A process has one Django, and other tests have the shop's: here are its settings, with others laid over them.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import django
from django.conf import settings as project
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.test import override_settings
from django.urls import URLPattern, path

from flaggate import Gate
from flaggate.contrib.django import feature_required, flags_from
from flaggate.contrib.django.project import forget
from flaggate.web.settings import key_of
from tests.contrib.behaviour.asking import (
    ASKS,
    FOR_ANYONE,
    PUBLIC,
    SECRET,
    USER,
    Answer,
    ByAsgi,
    ByWsgi,
    stream,
    who,
    word,
)
from tests.contrib.scenes import Switchboard

if not project.configured:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.contrib.django.shop.settings"
    django.setup()
    del os.environ["DJANGO_SETTINGS_MODULE"]  # it is not for what other tests start


class _OfProject:
    """The gate is the project's own: it is not given one."""

    handler: Callable[[], Any]

    @contextmanager
    def board(self) -> Iterator[Switchboard]:
        from tests.contrib.django.scenes import ShopBoard  # once Django is set up

        with override_settings(), _without_databases():  # what site() sets is over, too
            forget()
            yield ShopBoard()
            forget()

    def site(self, gate: Gate, **settings: Any) -> Any:
        project.MIDDLEWARE = ["flaggate.contrib.django.FlaggateMiddleware"]
        project.ROOT_URLCONF = _paths(is_async=isinstance(self, ByAsgi))
        project.DEBUG_PROPAGATE_EXCEPTIONS = True  # they are the caller's
        project.FLAGGATE_CONTEXT = f"{__name__}.who_asks"
        for word_, value in settings.items():
            setattr(project, key_of(word_), value)
        return self.handler()


@contextmanager
def _without_databases() -> Iterator[None]:
    """Handlers look after connections at both ends of a request; pytest-django lets nobody touch those of other tests."""
    ends = (request_started, request_finished)
    for end in ends:
        end.disconnect(close_old_connections)
    yield
    for end in ends:
        end.connect(close_old_connections)


class DjangoByWsgi(_OfProject, ByWsgi):
    handler = WSGIHandler


class DjangoByAsgi(_OfProject, ByAsgi):
    def handler(self) -> Any:
        return _Handler()

    def ask(self, site: Any, path: str, headers: Mapping[str, str], peer: str) -> Answer:
        try:
            return super().ask(site, path, headers, peer)
        finally:
            site.body.close()


class _Handler(ASGIHandler):
    """Django leaves the body open of a request that raised."""

    body: Any

    async def read_body(self, receive: Any) -> Any:
        self.body = await super().read_body(receive)
        return self.body


def who_asks(request: HttpRequest) -> Mapping[str, Any]:
    return who(request.headers.get(USER))


# --- its views ----------------------------------------------------------------------------------


def _paths(*, is_async: bool) -> tuple[URLPattern, ...]:
    """With async views all of them are."""

    def made(view: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
        async def on_loop(request: HttpRequest) -> Any:
            return view(request)

        return on_loop if is_async else view

    team = feature_required("team")
    return (
        path("asks", made(_asking("team"))),
        path("gated", team(made(_new))),
        path("instead", feature_required("team", otherwise=made(_old))(made(_new))),
        path("moved", feature_required("team", otherwise="/asks")(made(_new))),
        path("async", team(_new_async)),
        path("stream", made(_streams)),
        path("stream-fails", made(_streams)),
        path("fails", made(_fails)),
        path("signs-in", made(_signs_in)),
        path("template", made(_template)),
        path("tabled", made(_new)),
        path("swapped", made(_new)),
        path("old", made(_old)),
        path("secret", made(lambda _: HttpResponse(SECRET))),
        *(path(name, made(_asking(flag))) for name, flag in ASKS.items()),
        *(path(name, made(_public(flag))) for name, flag in PUBLIC.items()),
    )


def _new(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("new")


async def _new_async(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("new")


def _old(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("old")


def _asking(name: str) -> Callable[[HttpRequest], HttpResponse]:
    return lambda request: HttpResponse(word(flags_from(request)[name]))


def _public(name: str | None) -> Callable[[HttpRequest], HttpResponse]:
    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse("anyone" if name is None else word(flags_from(request)[name]), headers=FOR_ANYONE)

    return page


async def _on_loop(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def _streams(request: HttpRequest) -> StreamingHttpResponse:
    parts = stream(flags_from(request)["team"], fails=request.path == "/stream-fails")
    return StreamingHttpResponse(_on_loop(parts) if isinstance(request, ASGIRequest) else parts)


def _fails(request: HttpRequest) -> HttpResponse:
    flags_from(request)["team"]
    raise ZeroDivisionError


def _signs_in(request: HttpRequest) -> HttpResponse:
    flags = flags_from(request)
    before = flags["team"]
    flags.identify(user="ada", staff=True)
    return HttpResponse(f"{word(before)} {word(flags['team'])}")


def _template(request: HttpRequest) -> HttpResponse:
    page = engines["django"].from_string('{% load flaggate %}{% feature "team" %}yes{% else %}no{% endfeature %}')
    return HttpResponse(page.render({}, request))
