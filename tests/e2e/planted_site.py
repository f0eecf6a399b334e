"""The example apps with faults that a test plants: inside of flaggate's middleware, in front of the app's own list page.

PLANTED_EXAMPLES names a copy of the example apps, PLANTED_FAULTS a file that says what goes wrong now. A request brings
its own dice, so that it does not matter which worker gets it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from time import sleep
from typing import Any, Final

from flaggate import Gate
from flaggate.runtime import duties
from flaggate.runtime.visit import Visit

FLAG: Final = "new-invoicing"
PAGE: Final = "/invoices"
WHERE: Final = "/planted/where"
"""Here a worker says which one it is, and by which revision of the flags it serves."""
DICE: Final = "X-Dice"
"""The header: 0 or more, below 1."""
TICK_SECONDS: Final = 0.5
HANG_SECONDS: Final = 3.0
FLUSH_SECONDS: Final = 0.25


class PlantedError(Exception):
    """What a page that fails has run into."""


def where(flags: Visit) -> dict[str, int]:
    sleep(0.05)  # so that the next one that asks gets another worker
    return {"pid": os.getpid(), "revision": flags.snapshot.revision}


def planted(is_on: bool, dice: float) -> float:
    """What goes wrong for those with the feature, or without it. Returns how many seconds it takes."""
    faults = json.loads(Path(os.environ["PLANTED_FAULTS"]).read_bytes())
    fault: Mapping[str, float] = faults.get("on" if is_on else "off", {})
    if dice < fault.get("fails", 0.0):
        raise PlantedError(f"dice {dice}")
    return fault.get("seconds", 0.0) * (0.9 + 0.1 * dice)  # no page always takes the same


def flask_app() -> Any:
    from flask import request  # noqa: TID251  # as the app itself

    from flaggate.contrib.flask import flags_from

    app = _example("flask_invoicing").create_app()

    @app.before_request  # type: ignore[untyped-decorator]  # of an app that is known when this runs
    def plant() -> dict[str, int] | None:
        if request.path == WHERE:
            return where(flags_from(request))
        if request.path == PAGE:
            sleep(planted(flags_from(request).is_on(FLAG), float(request.headers[DICE])))
        return None

    return app


def fastapi_app() -> Any:
    from starlette.middleware import Middleware  # noqa: TID251  # as the app itself
    from starlette.requests import Request  # noqa: TID251
    from starlette.responses import JSONResponse  # noqa: TID251

    from flaggate.contrib.fastapi import flags_from

    class Plant:
        def __init__(self, app: Callable[..., Any]) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            app = self.app
            if scope["type"] == "http":
                request = Request(scope)
                if request.url.path == WHERE:
                    app = JSONResponse(where(flags_from(request)))
                elif request.url.path == PAGE:
                    await asyncio.sleep(planted(flags_from(request).is_on(FLAG), float(request.headers[DICE])))
            await app(scope, receive, send)

    app = _example("starlette_invoicing").create_app()
    app.user_middleware.append(Middleware(Plant))  # the innermost
    return app


def django_app() -> Any:
    """By the settings that DJANGO_SETTINGS_MODULE names, beside the project."""
    _prepare("django_invoicing")
    from django.core.wsgi import get_wsgi_application  # noqa: TID251  # as the app itself

    return get_wsgi_application()


class DjangoPlant:
    """The last of MIDDLEWARE."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        if request.path == WHERE:
            from django.http import JsonResponse  # noqa: TID251  # as the app itself

            return JsonResponse(where(request.flags))
        if request.path == PAGE:
            sleep(planted(request.flags.is_on(FLAG), float(request.headers[DICE])))
        return self.get_response(request)


def _example(name: str) -> Any:
    _prepare(name)
    return import_module("app")


def _prepare(name: str) -> None:
    sys.path.insert(0, str(Path(os.environ["PLANTED_EXAMPLES"]) / name))
    # None of these apps lets its settings say these, and nobody is to wait for them.
    quick = partial(Gate.open, tick_seconds=TICK_SECONDS, hang_seconds=HANG_SECONDS)
    for place, word, value in ((Gate, "open", quick), (duties, "FLUSH_SECONDS", FLUSH_SECONDS)):
        setattr(place, word, value)
