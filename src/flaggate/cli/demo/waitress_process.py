"""A process that serves the example app for the demo: by waitress, on a free port of loopback.

Says its port in a line on standard output, and ends when the demo has: when standard input is closed.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from flask import session
from waitress.server import create_server  # type: ignore[import-untyped]  # it has no types

from flaggate.cli.demo.process import end_with_the_demo
from flaggate.cli.demo.walk import BROKEN

__all__: list[str] = []


def _serve(folder: str) -> None:
    sys.path.insert(0, folder)
    app = import_module("app").create_app()
    app.logger.disabled = True  # what it would say of the page that fails is the demo's to say
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # that requests wait, on a busy machine, is no news
    _break(app)
    # X-Forwarded-For is for flaggate to judge: waitress would remove it.
    server = create_server(app, host="127.0.0.1", port=0, threads=8, clear_untrusted_proxy_headers=False)
    print(server.effective_port, flush=True)
    end_with_the_demo()
    server.run()


def _break(app: Any) -> None:
    """The overhauled page fails for whoever's invoices are in euros, while the demo's file `broken` is there."""
    if "FLASK_PEOPLE_FILE" not in os.environ:  # a test's
        return
    broken = Path(os.environ["FLASK_PEOPLE_FILE"]).parent / BROKEN
    show = app.view_functions["books.invoices"]

    def fails(**values: Any) -> Any:
        person = app.config["PEOPLE"].get(session.get("user"))
        page = show(**values)
        if person is not None and person["currency"] == "EUR" and broken.exists() and b"overhauled" in _bytes(page):
            raise LookupError("EUR")
        return page

    app.view_functions["books.invoices"] = fails


def _bytes(page: Any) -> bytes:
    return page.encode() if isinstance(page, str) else bytes(page.get_data())


if __name__ == "__main__":
    _serve(sys.argv[1])
