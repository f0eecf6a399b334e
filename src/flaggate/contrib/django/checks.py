"""What `manage.py check` says of flaggate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.utils.module_loading import import_string

from flaggate.contrib.django.middleware import FlaggateMiddleware
from flaggate.contrib.django.project import site
from flaggate.errors import DocumentError, FlaggateError, StoreError
from flaggate.stores import open_store

__all__ = ["check"]

_BEFORE: Final = (
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)
"""What has to be further out: it says who asks, or keeps responses."""


def check(**_: Any) -> list[CheckMessage]:
    """All of it."""
    return [*_settings(), *_definitions(), *_store(), *_middleware(), *_proxy()]


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
    """The flags of the definitions file; None = there is none, or it cannot be read."""
    try:
        return _read()
    except DocumentError:
        return None


def _read() -> set[str] | None:
    """The same; raises DocumentError."""
    from flaggate.runtime.definitions import load  # what validates: not for those who only ask flags

    path: Any = getattr(settings, "FLAGGATE_DEFINITIONS", None)
    is_path = bool(path) and isinstance(path, (str, os.PathLike))
    return set(load(path).definitions.flags) if is_path else None


def _definitions() -> Iterator[CheckMessage]:
    try:
        _read()
    except DocumentError as error:
        hint = "Nothing of it is applied: the flags stay as they were, and those that the store does not have are off."
        for mistake in error.mistakes:
            yield Warning(f"FLAGGATE_DEFINITIONS: {mistake}.", hint, id="flaggate.W004")


def _store() -> Iterator[CheckMessage]:
    """Whether a file can be where it is to be; under a test runner nobody else looks."""
    url = str(getattr(settings, "FLAGGATE_STORE", ""))
    try:
        directory = open_store(url).directory
    except StoreError:  # it is none of these, or the settings cannot be used
        return
    folder = None if directory is None else Path(directory).parent
    if folder is not None and not folder.is_dir():
        said = f"FLAGGATE_STORE: there is no folder {folder}, and so no store: all flags are off."
        yield Warning(said, f"Make it (mkdir -p {folder}), or name another one.", id="flaggate.W005")


def _middleware() -> Iterator[CheckMessage]:
    places = [index for index, path in enumerate(settings.MIDDLEWARE) if _is(path, FlaggateMiddleware)]
    if not places:
        said = "flaggate's middleware is missing: nobody is told apart, and nothing counted."
        hint = 'Add "flaggate.contrib.django.FlaggateMiddleware" to MIDDLEWARE, below AuthenticationMiddleware.'
        yield Warning(said, hint, id="flaggate.W001")
        return
    if len(places) > 1:
        said = f"flaggate's middleware is there {len(places)} times: each request is counted as often."
        yield Error(said, "Leave the last one.", id="flaggate.E003")
    for path in settings.MIDDLEWARE[places[-1] + 1 :]:
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
