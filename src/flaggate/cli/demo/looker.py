"""Who looks at the demo's rollout, twice a second, and what the owner hears of it: a webhook in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from flaggate.cli.demo.walk import OWNER
from flaggate.runtime.gate import Gate
from flaggate.stores.base import Store

__all__ = ["Webhook", "looking"]

_DEPUTY: Final = "deputy@example.com"
_EVERY_SECONDS: Final = 0.5


class Webhook:
    """Hears what the owner is told: the titles of the messages, each with its text."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # http.server's name
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                webhook.heard.append((str(said.get("title")), str(said.get("message"))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """The demo says what matters."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def configure(self, path: Path) -> Path:
        """Write an Apprise configuration that tells the owner here."""
        path.write_text(
            f"urls:\n  - json://127.0.0.1:{self._server.server_address[1]}/:\n      tag: {OWNER}, {_DEPUTY}\n",
            encoding="utf-8",
        )
        return path

    def close(self) -> None:
        """Hear no more."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def looking(store: Store, folder: Path) -> Iterator[Webhook]:
    """Look while this lasts; the processes of the app look only once it is over."""
    webhook = Webhook()
    gate = Gate.open(
        store, background=False, notify=webhook.configure(folder / "apprise.yml"), tick_seconds=_EVERY_SECONDS
    )
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            gate.pull()
            gate.tick()
            is_over.wait(_EVERY_SECONDS)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield webhook
    finally:
        is_over.set()
        thread.join(5.0)
        webhook.close()
