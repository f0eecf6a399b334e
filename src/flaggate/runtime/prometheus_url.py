"""The setting `prometheus`: as much of it as is told at start, without what is loaded to ask."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

from flaggate.errors import SettingError

__all__ = ["checked_url"]

_ALLOWED: Final = "the address of a Prometheus server: https://prometheus.example.com"


def checked_url(url: str) -> str:
    """The URL.

    Raises:
        SettingError: it is none, or what asks is not installed. It is not shown: a password may stand in it.
    """
    try:
        is_one = isinstance(url, str) and urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
    except ValueError:
        is_one = False
    if not is_one:
        raise SettingError("prometheus", "(not shown)", _ALLOWED)
    if find_spec("httpx2") is None:
        raise SettingError("prometheus", "(not shown)", f"{_ALLOWED}, after pip install 'flaggate[prometheus]'")
    return url
