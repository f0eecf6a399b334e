"""The console among a Django project's pages, for those whose permissions allow something.

path("flags/", include("flaggate.contrib.django.console"))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import re_path
from django.utils.crypto import salted_hmac
from django.views.decorators.csrf import csrf_exempt
from starlette.requests import Request
from starlette.types import ASGIApp, Message

from flaggate.console import Person, create_console
from flaggate.contrib.django.project import gate
from flaggate.contrib.django.rights import rights_of
from flaggate.stores.base import Store

__all__ = ["console", "urlpatterns"]


@csrf_exempt  # its forms bring a token of their own
def console(request: HttpRequest, path: str) -> HttpResponseBase:
    """All of its pages."""
    if not path.startswith(("static/", "hooks/")):
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        if not rights_of(request):
            raise PermissionDenied
    return async_to_sync(_answered)(_app(gate().store), request, path)


_made: list[tuple[Store, ASGIApp]] = []


def _app(store: Store) -> ASGIApp:
    """The console on the project's store; another one while a test has its own."""
    if not _made or _made[0][0] is not store:
        app = create_console(store, secret_key=_secret_key(), who=_who, in_thread=_in_this_thread)
        _made[:] = [(store, app)]
    return _made[0][1]


def _secret_key() -> str:
    """One of its own, that nothing else of the project's is signed with."""
    return salted_hmac("flaggate.console", "", algorithm="sha256").hexdigest()


async def _in_this_thread(function: Callable[..., Any], *given: Any) -> Any:
    """In that of the request: it has the database's connections."""
    return await sync_to_async(function)(*given)


def _who(request: Request) -> Person | None:
    django: HttpRequest = request.scope["django.request"]
    rights = rights_of(django)
    return Person(django.user.get_username(), rights) if rights else None


async def _answered(app: ASGIApp, request: HttpRequest, path: str) -> HttpResponse:
    root = request.path.removesuffix(path).rstrip("/")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": f"{root}/{path}",
        "root_path": root,
        "query_string": request.META.get("QUERY_STRING", "").encode("latin-1"),
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()
        ],
        "client": None,
        "server": None,
        "django.request": request,
    }
    body = request.body
    response = HttpResponse()

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            response.status_code = message["status"]
            del response.headers["Content-Type"]
            for name, value in message["headers"]:
                if name == b"set-cookie":
                    response.cookies.load(value.decode("latin-1"))
                else:
                    response.headers[name.decode("latin-1")] = value.decode("latin-1")
        else:
            response.write(message.get("body", b""))

    await app(scope, receive, send)
    return response


urlpatterns = [re_path(r"^(?P<path>.*)$", console, name="flaggate_console")]
