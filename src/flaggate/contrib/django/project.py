"""What a Django project says to flaggate in its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject, empty
from django.utils.module_loading import import_string

from flaggate.errors import FlaggateError, SettingError, StoreError
from flaggate.runtime.gate import Gate
from flaggate.runtime.process import is_under_test_runner
from flaggate.stores.base import Store
from flaggate.stores.memory import MemoryStore
from flaggate.web.context import words_of
from flaggate.web.request import ContextMaker, Site
from flaggate.web.settings import OF_GATE, check_names, opened, renamed, settings_from

__all__ = ["forget", "gate", "known_key", "own_store", "site"]

_WORDS: Final = ("geo", "routes", "trusted_proxies", "proxy_header", "secret_keys", "uncounted", "health")
_OWN_KEYS: Final = "SECRET_KEY and SECRET_KEY_FALLBACKS"
_IN_DATABASES: Final = "django"
_NOT_ON_LOOP: Final = "on an event loop nobody is looked up: gate the view with feature_required, or ask (await aflags_from(request))[...]"
_made: Final[dict[str, Any]] = {}
"""The gate and the site. Without a lock: another thread could hold it at a fork."""


def gate() -> Gate:
    """The project's gate.

    Under a test runner its store is in memory, with the definitions of the project brought in: no test touches the
    database for a flag, and all rollouts are drafts. `flaggate.testing.override` says otherwise.

    Raises:
        SettingError: for what cannot be used.
    """
    made: Gate | None = _made.get("gate")
    if made is None:
        config = _config()
        made = _made.setdefault(
            "gate", opened(config, _store(config), own_store=_IN_DATABASES)
        )  # of several threads the first one's
    return made


def site() -> Site:
    """What the middleware serves. Raises SettingError for what cannot be used."""
    made: Site | None = _made.get("site")
    if made is None:
        made = _made.setdefault("site", _site())
    return made


def forget() -> None:
    """Read the settings anew when they are needed: a test has changed them."""
    made: Gate | None = _made.get("gate")
    _made.clear()
    if made is not None:
        made.close()


def _site() -> Site:
    config = _config()
    check_names(config, [*_WORDS, *OF_GATE, "context"])
    given, keys = settings_from(config, dict.fromkeys(_WORDS), own_keys=_own_keys(), called=_OWN_KEYS)
    more = _function(config.get("FLAGGATE_CONTEXT"))
    with renamed({**keys, "context": "FLAGGATE_CONTEXT"}):
        made = Site(gate(), context=more, **given)
    made.context = partial(_who, more)  # now that it is known to be one
    return made


def _config() -> Mapping[str, Any]:
    return {name: getattr(settings, name) for name in dir(settings) if name.startswith("FLAGGATE_")}


def _store(config: Mapping[str, Any]) -> Store | None:
    """The store, where it is not one of any app; None = one of these."""
    if is_under_test_runner():
        return MemoryStore()
    store = config.get("FLAGGATE_STORE", _IN_DATABASES)
    try:
        return own_store(str(store))
    except StoreError as error:
        raise SettingError("FLAGGATE_STORE", store, f"an alias of DATABASES ({error})") from error


def own_store(called: str) -> Store | None:
    """The store that is called `django` or `django:ALIAS`; None = it is none in the project's databases.

    Raises:
        StoreError: DATABASES has no such alias, or its driver is missing.
    """
    name, _, alias = called.partition(":")
    if name != _IN_DATABASES:
        return None
    from flaggate.contrib.django.store import DjangoStore  # with its tables: once the project's apps are there

    return DjangoStore(alias) if alias else DjangoStore()


def _own_keys() -> list[str | bytes]:
    try:
        return [key for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS) if key]
    except ImproperlyConfigured:  # it is empty, as where static files are collected; Django says so where it matters
        return []


def _function(path: Any) -> ContextMaker[HttpRequest] | None:
    """The project's own, by its dotted path."""
    if path is None:
        return None
    allowed = 'the dotted path of a function of the request: "shop.flags.who"'
    if not isinstance(path, str):
        raise SettingError("FLAGGATE_CONTEXT", path, allowed)
    try:
        return import_string(path)  # type: ignore[no-any-return]  # whether it is one the Site says
    except ImportError as error:
        raise SettingError("FLAGGATE_CONTEXT", path, f"{allowed} ({error})") from error


# --- who asks -----------------------------------------------------------------------------------


def _who(more: ContextMaker[HttpRequest] | None, request: HttpRequest) -> dict[str, Any]:
    """The user of the request, looked up when a rule reads it, and what the project adds."""
    words: dict[str, Any] = {}
    if hasattr(request, "user"):
        words = {
            "user": partial(_key, request),
            "staff": partial(_is_staff, request),
            "groups": partial(_groups, request),
        }
    if more is not None:
        words.update(words_of(_looked_up(partial(more, request))))
    return {word: partial(_looked_up, value) if _is_function(value) else value for word, value in words.items()}


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, str)  # a proxy of text can be called, too


def _looked_up(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except SynchronousOnlyOperation as error:
        raise FlaggateError(_NOT_ON_LOOP) from error


def _user(request: HttpRequest) -> Any:
    user: Any = request.user
    if type(user) is SimpleLazyObject:  # nobody signed in or out since
        # What `await request.auser()` has found; request.user would ask the database again, and not on an event loop.
        return vars(request).get("_acached_user", user)
    return user


def _key(request: HttpRequest) -> Any:
    return _user(request).pk


def known_key(request: HttpRequest) -> str | None:
    """Of a user that the project has looked up already; None if nobody is known."""
    user = _user(request) if hasattr(request, "user") else None
    if user is None or (type(user) is SimpleLazyObject and vars(user).get("_wrapped", empty) is empty):
        return None
    return None if user.pk is None else str(user.pk)


def _is_staff(request: HttpRequest) -> bool:
    return bool(getattr(_user(request), "is_staff", False))


def _groups(request: HttpRequest) -> list[str]:
    user = _user(request)
    if not user.is_authenticated or not hasattr(user, "groups"):
        return []
    return list(user.groups.values_list("name", flat=True))
