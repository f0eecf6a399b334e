"""The demo's end of a process that serves the example app, and a browser for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from time import monotonic, sleep
from typing import Final, NamedTuple
from urllib.parse import urlencode

from flaggate.cli.demo.process import Process
from flaggate.errors import FlaggateError

__all__ = ["AppServer", "Browser", "Page"]

_HOST: Final = "127.0.0.1"
_PAGE: Final = "/invoices"
_NEW: Final = b'data-invoicing="overhauled"'
_ROLLED_BACK: Final = b"off for you: rolled_back"
_OLD: Final = b'data-invoicing="old"'
_MOST_SECONDS: Final = 30.0
"""How long anything may take."""


def _app_folder() -> Path:
    """The example app: in a wheel beside this module, else in the checkout."""
    here = Path(__file__).resolve()
    folders = here.parent / "flask_invoicing", here.parents[4] / "example_apps" / "flask_invoicing"
    for folder in folders:
        if (folder / "app.py").is_file():
            return folder
    raise FlaggateError(f"the demo does not find its app; looked in {' and '.join(map(str, folders))}")


class AppServer(Process):
    """A process of the app.

    Args:
        settings: Of the app: what follows FLASK_ in its environment.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        named = {f"FLASK_{name}": value for name, value in settings.items()}
        super().__init__("flaggate.cli.demo.waitress_process", str(_app_folder()), settings=named)

    @property
    def port(self) -> int:
        """Of loopback."""
        return int(self.said)

    @property
    def url(self) -> str:
        """Where it is, for people."""
        return f"http://{_HOST}:{self.port}"

    def await_revision(self, revision: int) -> None:
        """Wait until it serves that revision of the store."""
        deadline = monotonic() + _MOST_SECONDS
        with Browser(self) as browser:
            while browser.revision() < revision:
                if monotonic() > deadline:
                    raise FlaggateError(f"a process of the demo serves no revision {revision}")
                sleep(0.005)


class Page(NamedTuple):
    """What somebody was served."""

    is_new: bool
    is_failed: bool = False
    is_rolled_back: bool = False
    """Whether it says that this is why it is the old one."""


class Browser:
    """A connection to a server that stays open; a context manager."""

    def __init__(self, server: AppServer) -> None:
        self._connection = HTTPConnection(_HOST, server.port, timeout=_MOST_SECONDS)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def sign_in(self, user: str) -> str:
        """Sign somebody in. Returns the session's cookie."""
        body = urlencode({"user": user})
        response, _ = self._ask("POST", "/sign-in", {"Content-Type": "application/x-www-form-urlencoded"}, body)
        cookie = (response.getheader("Set-Cookie") or "").partition(";")[0]
        if response.status != 303 or not cookie:
            raise FlaggateError(f"the app did not sign {user} in: {response.status}")
        return cookie

    def is_served_the_new_page(self, cookie: str, address: str) -> bool:
        """Whether it is the overhauled page that whoever has this cookie is served, from this address."""
        page = self.visit(cookie, address)
        if page.is_failed:
            raise FlaggateError("the app served neither its old nor its new page: 500")
        return page.is_new

    def visit(self, cookie: str, address: str) -> Page:
        """The page that whoever has this cookie is served, from this address."""
        response, page = self._ask("GET", _PAGE, {"Cookie": cookie, "X-Forwarded-For": address})
        if response.status == 500:
            return Page(is_new=True, is_failed=True)  # only that one is made to fail
        if response.status != 200 or (_NEW in page) == (_OLD in page):
            raise FlaggateError(f"the app served neither its old nor its new page: {response.status}")
        return Page(is_new=_NEW in page, is_rolled_back=_ROLLED_BACK in page)

    def revision(self) -> int:
        """The revision of the flags that the process serves."""
        _, body = self._ask("GET", "/healthz", {})
        found: int = json.loads(body)["revision"]
        return found

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: str | None = None
    ) -> tuple[HTTPResponse, bytes]:
        self._connection.request(method, path, body, dict(headers))
        response = self._connection.getresponse()
        return response, response.read()
