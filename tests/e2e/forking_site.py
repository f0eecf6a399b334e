"""A WSGI app and an ASGI app of a few lines, which say which process answers, whether the flag is on, and how many keepers run.

The store is named by FLAGGATE_STORE; with SITE_ASKS_AT_ONCE the flag is asked while this is imported.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flaggate import Context, Gate
from flaggate.web import asgi, wsgi

_BEFORE: Final = threading.enumerate()
assert not [thread for thread in _BEFORE if thread.name.startswith("flaggate")], "an import starts no thread"

gate: Final = Gate.open(os.environ["FLAGGATE_STORE"])
assert threading.enumerate() == _BEFORE, "nor does opening a gate"
if "SITE_ASKS_AT_ONCE" in os.environ:  # before its server forks
    gate.is_on("banner")


def answer() -> bytes:
    """What this process sees now."""
    is_on = gate.is_on("banner", Context("ada"))
    keepers = [thread for thread in threading.enumerate() if thread.name == "flaggate-keeper"]
    return json.dumps({"pid": os.getpid(), "parent": os.getppid(), "is_on": is_on, "keepers": len(keepers)}).encode()


def _wsgi(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
    body = answer()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


async def _asgi(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    body = answer()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


wsgi_app: Final = wsgi.FlaggateMiddleware(_wsgi, gate)
asgi_app: Final = asgi.FlaggateMiddleware(_asgi, gate)
