"""What one flag check adds to a request in Django, beside django-waffle's, in Starlette and in FastAPI.

    python benchmarks/frameworks.py

As in middleware.py: apps called in process, medians of 20 runs on the thread's CPU clock, each in turn with the same app
without flags, each row in a process of its own. Who asks is known without a query for all of them, and waffle's flag is
in its cache (Django's in memory).
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.middleware import (
    ENVIRON,
    PERSON_IN_LEEDS,
    RUNS,
    SCOPE,
    _receive,
    _send,
    _start_response,
    run_plan,
    running_gate,
)

CALLS = 2_000
Run = Callable[[], Any]
"""Answers CALLS requests."""


def who(_request: Any) -> Any:
    return PERSON_IN_LEEDS


# --- Django -----------------------------------------------------------------------------------


def known_user(get_response: Any) -> Any:
    """In place of sessions and authentication, which are no part of this."""
    from django.contrib.auth.models import AnonymousUser

    user = AnonymousUser()

    def middleware(request: Any) -> Any:
        request.user = user
        return get_response(request)

    return middleware


def django(middleware: str, ask: Callable[[Any], object] | None) -> Run:
    """A project with the least middleware, and this one."""
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.test.utils import override_settings
    from django.urls import path

    def view(request: Any, number: int) -> HttpResponse:
        if ask is not None:
            ask(request)
        return HttpResponse(f"{number}")

    urls = type(sys)("urls")
    urls.urlpatterns = [path("invoices/<int:number>", view)]  # type: ignore[attr-defined]
    settings = override_settings(
        ROOT_URLCONF=urls, MIDDLEWARE=["benchmarks.frameworks.known_user", *([middleware] if middleware else [])]
    )
    with settings:
        handler: Any = WSGIHandler()

    body = BytesIO()

    def run() -> None:
        with settings:
            for _ in range(CALLS):
                response = handler(
                    ENVIRON | {"wsgi.input": body, "SERVER_NAME": "example.com", "SERVER_PORT": "80"}, _start_response
                )
                response.close()

    return run


def set_up_django(*more: str) -> None:
    import django as framework
    from django.conf import settings

    settings.configure(
        SECRET_KEY="bench",  # of nobody
        ALLOWED_HOSTS=["example.com"],
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", *more, "flaggate.contrib.django"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        FLAGGATE_STORE="memory://",
        FLAGGATE_CONTEXT="benchmarks.frameworks.who",
    )
    framework.setup()


def django_with_flaggate() -> tuple[Run, Run]:
    set_up_django()
    from flaggate.contrib.django import gate

    run_plan(gate().store)
    ask = lambda request: request.flags.is_on("new-invoicing")  # noqa: E731
    return django("flaggate.contrib.django.FlaggateMiddleware", ask), django("", None)


def django_with_waffle() -> tuple[Run, Run]:
    set_up_django("waffle")
    from django.core.management import call_command
    from waffle import flag_is_active, get_waffle_flag_model

    call_command("migrate", verbosity=0)
    get_waffle_flag_model().objects.create(name="new-invoicing", percent=10, testing=False, superusers=False)
    theirs = django("waffle.middleware.WaffleMiddleware", lambda request: flag_is_active(request, "new-invoicing"))
    return theirs, django("", None)


# --- ASGI -------------------------------------------------------------------------------------


def on_a_loop(app: Any) -> Run:
    async def many() -> None:
        for _ in range(CALLS):
            await app(SCOPE.copy(), _receive, _send)

    loop = asyncio.new_event_loop()
    return lambda: loop.run_until_complete(many())


def starlette() -> tuple[Run, Run]:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    from flaggate.contrib.starlette import FlaggateMiddleware, flags_from

    async def asks(request: Request) -> Response:
        flags_from(request).is_on("new-invoicing")
        return PlainTextResponse("ok")

    async def asks_not(_request: Request) -> Response:
        return PlainTextResponse("ok")

    gate = running_gate()
    ours = Starlette(
        routes=[Route("/invoices/{number:int}", asks)],
        middleware=[Middleware(FlaggateMiddleware, gate=gate, context=who)],
    )
    return on_a_loop(ours), on_a_loop(Starlette(routes=[Route("/invoices/{number:int}", asks_not)]))


def fastapi() -> tuple[Run, Run]:
    from typing import Annotated

    from fastapi import Depends, FastAPI
    from fastapi.responses import PlainTextResponse

    from flaggate.contrib.fastapi import FlaggateMiddleware, flag_on

    gate = running_gate()
    ours, bare = FastAPI(), FastAPI()
    ours.add_middleware(FlaggateMiddleware, gate=gate, context=who)

    async def asks(number: int, is_new: bool) -> PlainTextResponse:
        return PlainTextResponse(f"{number} {is_new}")

    # Written out: annotations are texts here, and FastAPI does not see this function's names.
    asks.__annotations__ = {
        "number": int, "is_new": Annotated[bool, Depends(flag_on("new-invoicing"))], "return": PlainTextResponse
    }  # fmt: skip

    async def asks_not(number: int) -> PlainTextResponse:
        return PlainTextResponse(f"{number}")

    asks_not.__annotations__ = {"number": int, "return": PlainTextResponse}
    ours.get("/invoices/{number}")(asks)
    bare.get("/invoices/{number}")(asks_not)
    return on_a_loop(ours), on_a_loop(bare)


# --- measuring --------------------------------------------------------------------------------

ROWS: dict[str, Callable[[], tuple[Run, Run]]] = {
    "Django: FlaggateMiddleware, request.flags.is_on": django_with_flaggate,
    "Django: WaffleMiddleware, waffle.flag_is_active": django_with_waffle,
    "Starlette: FlaggateMiddleware, flags_from": starlette,
    "FastAPI: FlaggateMiddleware, flag_on": fastapi,
}


def row(words: str) -> None:
    """Measure and print one."""

    def took(run: Run) -> float:
        begun = time.thread_time()
        run()
        return (time.thread_time() - begun) / CALLS * 1e6

    with_flag, bare = ROWS[words]()
    took(with_flag), took(bare)
    pairs = [(took(with_flag), took(bare)) for _ in range(RUNS)]
    whole, more = (statistics.median(each) for each in zip(*((a, a - b) for a, b in pairs), strict=True))
    print(f"| {words:<48} | {whole:>7.1f} us | {more:>6.1f} us |")


def main() -> None:
    print(f"\n| {'one flag asked':<48} | a request | added |\n|---|---|---|", flush=True)
    for words in ROWS:
        if ROWS[words] is django_with_waffle and find_spec("waffle") is None:
            print(f"{words}: not here; pip install django-waffle")
            continue
        subprocess.run([sys.executable, __file__, words], check=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        row(sys.argv[1])
    else:
        main()
