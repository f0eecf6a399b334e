"""A network between a store and its server, that a test cuts."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

__all__ = ["Cable"]


class Cable:
    """Passes on what clients and a server say; a client's word can be its last, and its answer lost."""

    def __init__(self, server: str | tuple[str, int]) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.fatal: bytes | None = None
        """Whoever says this is cut off once the server has it, before it answers."""
        self.is_cut = False
        self.carries = threading.Event()
        """While it is not set, nothing passes, and nobody is told."""
        self.carries.set()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """All that is connected, and whoever comes."""
        self.is_cut = True
        for end in self._ends:
            _shut(end)

    def mend(self) -> None:
        """As it was."""
        self.is_cut = False

    def close(self) -> None:
        """For good."""
        self.carries.set()
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.is_cut:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX if isinstance(self._server, str) else socket.AF_INET)
            try:
                server.connect(self._server)
            except OSError:
                client.close()
                server.close()
                continue
            self._ends += [client, server]
            lost = threading.Event()
            for one, other, is_client in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass_on, args=(one, other, lost, is_client), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket, lost: threading.Event, is_client: bool) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if is_client and self.fatal is not None and self.fatal in data:
                    self.fatal = None
                    lost.set()
                if not is_client and lost.is_set():
                    break  # the answer: it has done what it was told
                self.carries.wait()
                other.sendall(data)
        for end in (one, other):
            _shut(end)


def _shut(end: Any) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
