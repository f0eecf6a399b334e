"""A process that serves the example app for the demo: by waitress, on a free port of loopback.

Says its port in a line on standard output, and ends when the demo has: when standard input is closed.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from threading import Thread

from waitress.server import create_server  # type: ignore[import-untyped]  # it has no types

__all__: list[str] = []


def _serve(folder: str) -> None:
    sys.path.insert(0, folder)
    app = import_module("app").create_app()
    # X-Forwarded-For is for flaggate to judge: waitress would remove it.
    server = create_server(app, host="127.0.0.1", port=0, threads=8, clear_untrusted_proxy_headers=False)
    print(server.effective_port, flush=True)
    Thread(target=_end_with_the_demo, daemon=True).start()
    server.run()


def _end_with_the_demo() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1])
