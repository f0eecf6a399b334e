"""What `manage.py check` says of flaggate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.utils.module_loading import import_string

from flaggate.contrib.django.middleware import FlaggateMiddleware
from flaggate.contrib.django.project import site
from flaggate.errors import FlaggateError

__all__ = ["check"]

_BEFORE: Final = (
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)
"""What has to be further out: it says who asks, or keeps responses."""


def check(**_: Any) -> list[CheckMessage]:
    """All of it."""
    return [*_settings(), *_middleware(), *_proxy()]


def _settings() -> Iterator[CheckMessage]:
    try:
        asked = site().routes.flags()
    except FlaggateError as error:
        yield Error(str(error), id="flaggate.E001")
        return
    declared = _declared()
    for flag in sorted(asked - declared) if declared is not None else ():
        hint = f"{settings.FLAGGATE_DEFINITIONS} declares {', '.join(sorted(declared or ())) or 'no flag'}."
        yield Warning(f"FLAGGATE_ROUTES names the flag {flag}, which is not declared.", hint, id="flaggate.W003")


def _declared() -> set[str] | None:
    """The flags of the definitions file; None = there is none, or it cannot be read, which is for others to say."""
    from flaggate.runtime.definitions import load  # what validates: not for those who only ask flags

    path = getattr(settings, "FLAGGATE_DEFINITIONS", None)
    if path is None:
        return None
    try:
        return set(load(path).definitions.flags)
    except FlaggateError:
        return None


def _middleware() -> Iterator[CheckMessage]:
    ours = next((index for index, path in enumerate(settings.MIDDLEWARE) if _is(path, FlaggateMiddleware)), None)
    if ours is None:
        said = "flaggate's middleware is missing: nobody is told apart, and nothing counted."
        hint = 'Add "flaggate.contrib.django.FlaggateMiddleware" to MIDDLEWARE, below AuthenticationMiddleware.'
        yield Warning(said, hint, id="flaggate.W001")
        return
    for path in settings.MIDDLEWARE[ours + 1 :]:
        if any(_is(path, import_string(name)) for name in _BEFORE):
            yield Error(f"flaggate's middleware stands above {path}.", "Put it below.", id="flaggate.E002")


def _is(path: str, kind: type) -> bool:
    """Whether this is such a middleware, or one made of it."""
    try:
        found = import_string(path)
    except ImportError:
        return False  # Django says so when it starts
    return isinstance(found, type) and issubclass(found, kind)


def _proxy() -> Iterator[CheckMessage]:
    behind = settings.USE_X_FORWARDED_HOST or settings.USE_X_FORWARDED_PORT or settings.SECURE_PROXY_SSL_HEADER
    if behind and getattr(settings, "FLAGGATE_TRUSTED_PROXIES", None) is None:
        yield Warning(
            "This project is behind a proxy, which flaggate takes for the client: no address, and so no city, is right.",
            'Name it: FLAGGATE_TRUSTED_PROXIES = ["10.0.0.0/8"]; [] if no flag asks where somebody is.',
            id="flaggate.W002",
        )
