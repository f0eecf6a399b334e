"""An ASGI app without a server: one request after another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

__all__ = ["Asking", "Reply", "asking"]


class Reply(NamedTuple):
    """What the app answered."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        return next((value for one, value in self.headers if one == name), None)


class Asking:
    """It raises what the app raises: that would be a 500."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def ask(
        self,
        app: Any,
        method: str,
        path: str,
        *,
        query: bytes = b"",
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        **more: Any,
    ) -> Reply:
        """One request."""
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": b"/", "root_path": "", "query_string": query, "headers": [*headers],
            "client": ("203.0.113.7", 4711), "server": ("console.example", 80),
        }  # fmt: skip
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        self._runner.run(app(scope | more, receive, send))
        return Reply(
            sent[0]["status"], tuple(sent[0].get("headers", ())), b"".join(each.get("body", b"") for each in sent[1:])
        )


@contextmanager
def asking() -> Iterator[Asking]:
    """On an event loop of its own."""
    with asyncio.Runner() as runner:
        yield Asking(runner)
