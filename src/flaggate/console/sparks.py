"""The board's small lines: how many requests had a flag, hour by hour of the last day."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from threading import Lock
from typing import Final

from markupsafe import Markup

from flaggate.console.charts import spark
from flaggate.stores.base import HOUR_SECONDS, Store

__all__ = ["Sparks"]

_HOURS: Final = 24
_ASKED_AT_ONCE: Final = 5
"""Each is a question to the store, and the first one of a flag reads a whole day."""


class Sparks:
    """Of one store's flags. What was counted long ago does not change: it is read once. Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._identity = ""
        self._requests: dict[str, Mapping[int, int]] = {}
        """By flag and when a window began; in the order in which they were asked."""

    def of(self, names: Sequence[str], known: Collection[str], now: datetime) -> dict[str, Markup]:
        """Their lines. Five flags are asked at once, new ones first: of more than these a line is a few looks old, or
        there with one of the next looks. Raises StoreError.

        Args:
            names: Those that need somebody most, first.
            known: All flags that there are: the others are forgotten.
        """
        with self._lock:
            if self._identity != self._store.identity:  # another store in its place
                self._identity, self._requests = self._store.identity, {}
            self._requests = {name: counted for name, counted in self._requests.items() if name in known}
            wanted = set(names)
            new = [name for name in names if name not in self._requests]
            oldest = [name for name in self._requests if name in wanted]
            for name in (new + oldest)[:_ASKED_AT_ONCE]:
                self._requests[name] = self._asked(name, self._requests.pop(name, {}), now)
            return {name: _line(self._requests[name], now) for name in names if name in self._requests}

    def _asked(self, name: str, counted: Mapping[int, int], now: datetime) -> Mapping[int, int]:
        since = int(now.timestamp()) - _HOURS * HOUR_SECONDS
        latest = max(counted, default=since)
        found: dict[int, int] = {}
        for window in self._store.windows(name, latest):
            if window.count.arm == "on":
                found[window.began] = found.get(window.began, 0) + window.count.requests
        return {began: requests for began, requests in counted.items() if began >= since} | found


def _line(counted: Mapping[int, int], now: datetime) -> Markup:
    latest = int(now.timestamp()) // HOUR_SECONDS
    hours = [0.0] * _HOURS
    for began, requests in counted.items():
        if 0 <= (ago := latest - began // HOUR_SECONDS) < _HOURS:
            hours[_HOURS - 1 - ago] += requests
    return spark(hours, f"{sum(hours):,.0f} requests had it in the last 24 hours")
