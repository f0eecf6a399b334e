"""One small site, written for each framework: the same paths, and the same who asks."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from tests.contrib.behaviour.asking import Framework

_MADE: Final = {
    "asgi": "bare:BareAsgi",
    "wsgi": "bare:BareWsgi",
    "flask": "in_flask:InFlask",
    "starlette": "in_starlette:InStarlette",
    "fastapi": "in_fastapi:InFastAPI",
    "django": "in_django:DjangoByWsgi",
    "django, async": "in_django:DjangoByAsgi",
}
FRAMEWORKS: Final = tuple(_MADE)


def framework_named(name: str) -> Framework:
    """The framework; only this one is imported."""
    module, _, made = _MADE[name].partition(":")
    found: Framework = getattr(import_module(f"tests.contrib.behaviour.{module}"), made)()
    return found
