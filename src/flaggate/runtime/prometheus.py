"""Asks a Prometheus server what a guard's query says. What cannot be told for sure is never taken for fine."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from math import isfinite
from queue import SimpleQueue
from time import monotonic
from typing import Any, Final, NamedTuple

import httpx2

from flaggate.flags.model import Guard
from flaggate.rollout.seen import Sample
from flaggate.rollout.verdict import Answer
from flaggate.stores.base import without_password

__all__ = ["TIMEOUT_SECONDS", "Prometheus"]

TIMEOUT_SECONDS: Final = 5.0
_EVERY_SECONDS: Final = 30
_OLD_SECONDS: Final = 60.0
"""A sample is of the moment at which it was asked for: one that is older by more comes from a cache, or another clock."""
_MOST_TEXT: Final = 200
_MOST_BYTES: Final = 1_000_000


class _Known(NamedTuple):
    sample: Sample
    at: float
    """By the monotonic clock."""


class Prometheus:
    """Answers from what was asked last; asks in a thread of its own, one query at a time, so that no look waits for it.

    Args:
        url: Of the server, with its path if it has one: https://prometheus.example.com/.
        token: Sent as a bearer token; None = FLAGGATE_PROMETHEUS_TOKEN of the environment, if there is one.
        timeout_seconds: For one query.
        now: The clock, Unix time.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self._token = os.environ.get("FLAGGATE_PROMETHEUS_TOKEN") if token is None else token
        self._timeout_seconds = timeout_seconds
        self._now = now
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._asked: set[str] = set()
        self._queue: SimpleQueue[str] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def samples(self, guards: Iterable[Guard], _now: datetime) -> Mapping[str, Sample]:
        """What each query was answered last; those that are due are asked again, and seen by a later look."""
        return {guard.query: self._sample(guard.query, _every(guard)) for guard in guards if guard.query is not None}

    def _sample(self, query: str, every: float) -> Sample:
        with self._lock:
            known, now = self._known.get(query), monotonic()
            if query not in self._asked and (known is None or now - known.at >= every):
                self._asked.add(query)
                self._ask_in_thread(query)
        if known is None:
            return Sample(None, Answer.NO_DATA, "it was not answered yet")
        if now - known.at > 2 * every + self._timeout_seconds:
            return Sample(None, Answer.NO_DATA, "its last answer is too old")
        return known.sample

    def _ask_in_thread(self, query: str) -> None:
        if self._thread is None or not self._thread.is_alive():
            try:
                self._thread = threading.Thread(target=self._run, name="flaggate-prometheus", daemon=True)
                self._thread.start()
            except RuntimeError as error:  # no thread is to be had
                self._asked.discard(query)
                self._known[query] = _Known(Sample(None, Answer.ERROR, f"it cannot be asked: {error}"), monotonic())
                return
        self._queue.put(query)

    def _run(self) -> None:
        while True:
            query = self._queue.get()
            try:
                sample = self.ask(query)
            except Exception as error:  # whatever it is: the guard is blind, and the thread goes on
                sample = Sample(None, Answer.ERROR, self._told(error))
            with self._lock:
                self._known[query] = _Known(sample, monotonic())
                self._asked.discard(query)

    def ask(self, query: str) -> Sample:
        """Ask once, now. Raises nothing that a server or a network does."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        form = {"query": query, "timeout": f"{self._timeout_seconds:g}s"}
        try:
            with (
                httpx2.Client(timeout=self._timeout_seconds) as client,
                client.stream("POST", f"{self.url.rstrip('/')}/api/v1/query", data=form, headers=headers) as response,
            ):
                body = _read(response)
                return self._sample_of(response.status_code, body)
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError) as error:
            return Sample(None, Answer.ERROR, self._told(error))

    def _told(self, error: Exception) -> str:
        words = str(error) or type(error).__name__
        return f"{without_password(self.url)}: {words[:_MOST_TEXT]}"

    def _sample_of(self, status: int, body: Any) -> Sample:
        if not isinstance(body, dict) or body.get("status") != "success" or status != 200:
            said = body.get("error") if isinstance(body, dict) else None
            why = f"{without_password(self.url)} answered {status}{f': {str(said)[:_MOST_TEXT]}' if said else ''}"
            return Sample(None, Answer.ERROR, why)
        try:
            found, kind = body["data"]["result"], body["data"]["resultType"]
            if kind == "vector" and not found:
                return Sample(None, Answer.NO_DATA, "it has no series")
            if kind == "vector" and len(found) > 1:
                why = f"it has {len(found)} series, and a guard takes one: sum(...), max(...)"
                return Sample(None, Answer.ERROR, why)
            if kind not in ("vector", "scalar"):
                return Sample(None, Answer.ERROR, f"it is a {kind}; a guard takes one number")
            at, value = found if kind == "scalar" else found[0]["value"]
            number = float(value)
        except (KeyError, IndexError, TypeError, ValueError):
            return Sample(
                None, Answer.ERROR, f"{without_password(self.url)} answered something else than Prometheus does"
            )
        if not isfinite(number):
            return Sample(None, Answer.NO_DATA, f"it is {value}")
        if abs(self._now() - float(at)) > _OLD_SECONDS:
            return Sample(None, Answer.NO_DATA, "its sample is of another time")
        return Sample(number)


def _every(guard: Guard) -> float:
    return float(guard.every_seconds or _EVERY_SECONDS)


def _read(response: httpx2.Response) -> Any:
    """What it answered, if it is JSON and not endless."""
    content = b""
    for part in response.iter_bytes():
        content += part
        if len(content) > _MOST_BYTES:
            raise ValueError("it answers more than a number")
    try:
        return json.loads(content)
    except ValueError:
        if response.status_code != 200:
            return None
        raise ValueError("what it answers is no JSON") from None
