"""What an app says of itself at its health page, and whom it took us for."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

from flaggate.cli.doctor.finding import Finding, ok, warning, wrong

__all__ = ["DEFAULT_PATH", "app"]

DEFAULT_PATH: Final = "/flaggate/health"
_SECONDS: Final = 5.0
_TODO: Final = f'the middleware serves it with health="{DEFAULT_PATH}"'


def app(url: str) -> Finding:
    """Ask one process of it.

    Args:
        url: Of the health page; without a path of DEFAULT_PATH there.
    """
    try:
        status, said = _asked(url)
    except (OSError, HTTPException, ValueError) as error:
        return wrong("app", f"{url}: {error or type(error).__name__}", _TODO)
    if not isinstance(said, dict) or "serving" not in said:
        return wrong("app", f"{url}: status {status}, and no health page", _TODO)
    words = (
        f"{url}: status {status}, serves revision {said.get('revision')}, confirmed {said.get('asked_seconds')} s ago;"
        f" it took this request for one of {said.get('address') or 'nobody whom it could tell'}"
    )
    if not said["serving"]:
        return wrong("app", f"{words}; it has never seen a flag", "its log says what it ran into")
    if said.get("problem"):
        return warning("app", f"{words}; something is wrong there", "its log says what it ran into")
    return ok("app", words)


def _asked(url: str) -> tuple[int, Any]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it is no address, such as http://127.0.0.1:8000")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_SECONDS)
    try:
        connection.request("GET", parts.path if parts.path.strip("/") else DEFAULT_PATH)
        answer = connection.getresponse()
        body = answer.read(100_000)
    finally:
        connection.close()
    try:
        return answer.status, json.loads(body)
    except ValueError:
        return answer.status, None
