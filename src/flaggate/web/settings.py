"""An app's settings under the names of a framework's config: FLAGGATE_STORE, FLAGGATE_GEO ..."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from flaggate.errors import SettingError, StoreError, closest
from flaggate.runtime.gate import Gate

if TYPE_CHECKING:
    from flaggate.stores.base import Store

__all__ = ["OF_GATE", "check_names", "key_of", "opened", "renamed", "settings_from"]

_PREFIX: Final = "FLAGGATE_"
OF_GATE: Final = ("store", "definitions", "directory", "notify", "prometheus", "hang_seconds")
"""What `opened` reads."""
_STORES: Final = ("sqlite", "postgresql", "redis", "rediss", "valkey", "memory")
"""What the URL of a store may begin with."""
_OF_ENVIRONMENT: Final = frozenset({"FLAGGATE_OFF", "FLAGGATE_ACTOR"})


def key_of(setting: str) -> str:
    """How the config calls a setting."""
    return f"{_PREFIX}{setting.upper()}"


def check_names(config: Mapping[str, Any], settings: Sequence[str]) -> None:
    """Raise SettingError for a name that nothing reads: a typing error. Values are not shown: a key may stand there."""
    known = [key_of(setting) for setting in settings]
    for key in config:
        if not isinstance(key, str) or not key.startswith(_PREFIX) or key in known:
            continue
        if key not in _OF_ENVIRONMENT:
            near = closest(key.removeprefix(_PREFIX), [name.removeprefix(_PREFIX) for name in known])
            hint = f"; did you mean {_PREFIX}{near}?" if near else ""
            raise SettingError(key, "no setting of flaggate", f"{', '.join(known)}{hint}")
        if key not in os.environ:  # else it came along: app.config.from_mapping(os.environ)
            raise SettingError(key, "does nothing in the config", "in the environment, under this very name")


def settings_from(
    config: Mapping[str, Any], given: Mapping[str, Any], *, own_keys: Sequence[str | bytes], called: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """What was set, by an argument or in the config; and how the config calls what came from there.

    Args:
        own_keys: The app's, for the visitor's cookie, unless it sets some for this.
        called: The app's name for those.
    """
    settings = {word: value for word, value in given.items() if value is not None}
    keys = {word: key_of(word) for word in given if word not in settings and config.get(key_of(word)) is not None}
    settings |= {word: config[key] for word, key in keys.items()}
    if "secret_keys" not in settings and own_keys:
        settings["secret_keys"], keys["secret_keys"] = own_keys, called
    return settings, keys


@contextmanager
def renamed(keys: Mapping[str, str]) -> Iterator[None]:
    """Have a SettingError say the name that was typed."""
    try:
        yield
    except SettingError as error:
        raise SettingError(keys.get(error.setting, error.setting), error.value, error.allowed) from error.__cause__


def _positive(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise SettingError(key, value, "a number of seconds above 0, less than the server's own time-out")
    return float(value)


def opened(config: Mapping[str, Any], store: Store | None = None, *, own_store: str | None = None) -> Gate:
    """The gate on the store that the config names, unless one is given, with its definitions and whom it tells.

    Args:
        own_store: How the framework's own store is called, beside the URLs of the others.

    Raises:
        SettingError: for what cannot be used.
    """
    definitions = config.get("FLAGGATE_DEFINITIONS")
    if definitions is not None and not (definitions and isinstance(definitions, (str, os.PathLike))):
        raise SettingError("FLAGGATE_DEFINITIONS", definitions, "a definitions file, such as flags.toml")
    more: dict[str, Any] = {"notify": config.get("FLAGGATE_NOTIFY"), "prometheus": config.get("FLAGGATE_PROMETHEUS")}
    if (directory := config.get("FLAGGATE_DIRECTORY")) is not None:
        if not (directory and isinstance(directory, (str, os.PathLike))):
            allowed = "a folder of this machine, for the copy of the flags and the off file"
            raise SettingError("FLAGGATE_DIRECTORY", directory, allowed)
        more["directory"] = directory
    if (hang_seconds := config.get("FLAGGATE_HANG_SECONDS")) is not None:
        more["hang_seconds"] = _positive("FLAGGATE_HANG_SECONDS", hang_seconds)
    if store is not None:
        with renamed({word: key_of(word) for word in more}):
            return Gate.open(store, definitions=definitions, **more)
    url, allowed = config.get("FLAGGATE_STORE"), "the URL of a store, such as sqlite:///flags.db"
    if url is None:
        raise SettingError("FLAGGATE_STORE", "(not set)", f"{allowed}; or give a gate yourself")
    if not isinstance(url, str):
        raise SettingError("FLAGGATE_STORE", url, allowed)
    try:
        with renamed({word: key_of(word) for word in more}):
            return Gate.open(url, definitions=definitions, **more)
    except StoreError as error:
        if isinstance(error.__cause__, ImportError):  # the URL is right
            raise
        names = _STORES if own_store is None else (own_store, *_STORES)
        near = closest(url.partition(":")[0], names)
        own = "" if own_store is None else f", or {own_store}"
        hint = f"; did you mean {near}{':...' if near in _STORES else ''}?" if near else ""
        raise SettingError("FLAGGATE_STORE", error.url, f"{allowed}{own}{hint}") from error
