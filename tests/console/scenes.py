"""A console on a store in memory, and somebody at it."""

from __future__ import annotations

import re
from collections.abc import Collection
from html import unescape
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.testclient import TestClient

from flaggate.console import Person, create_console
from flaggate.console.people import EVERYTHING
from flaggate.runtime.rights import Right
from flaggate.stores.base import Store
from tests.runtime.guarded import Clock

__all__ = ["KEY", "PLAN", "Visitor", "text_of"]

KEY = "a key that signs for the tests"
PLAN = """
[flags.invoicing]
description = "Invoices <b>anew</b>"
owner = "owner@example.com"
deputies = ["deputy@example.com"]
deny = { account = ["acme-de"] }
stages = [
    { name = "internal", audience = { staff = true }, soak = "24h" },
    { name = "tenth", share = 10, soak = "24h", min_sample = 500, approval = true },
    { name = "everyone" },
]
guards = [
    { metric = "errors", limit = "1%" },
    { metric = "errors", vs_control = 1.25 },
    { metric = "slow", slower_than = "400ms", limit = "5%", on_breach = "hold" },
]

[flags.banner]
description = "A switch"
owner = "owner@example.com"
"""


class Visitor:
    """A browser without a script, at a console; who is there the host app says.

    Args:
        name: None = nobody is signed in.
    """

    def __init__(
        self,
        store: Store,
        name: str | None = "owner@example.com",
        rights: Collection[Right] = EVERYTHING,
        *,
        clock: Clock | None = None,
        **settings: Any,
    ) -> None:
        self.name, self.rights = name, frozenset(rights)
        settings = {"who": self._who} | settings | ({} if clock is None else {"now": clock})
        self.app = create_console(store, secret_key=KEY, **settings)
        self.browser = TestClient(self.app, base_url="http://console.example", follow_redirects=False)
        self.status = 0

    def _who(self, _request: Request) -> Person | None:
        return None if self.name is None else Person(self.name, self.rights)

    def get(self, path: str) -> str:
        """A page's text, as it is read; the status is kept."""
        return text_of(self.html(path))

    def html(self, path: str) -> str:
        """A page as it is sent."""
        answer = self.browser.get(path)
        self.status = answer.status_code
        return answer.text

    def token(self, path: str = "/flags/banner/do/kill") -> str:
        """What the form of a page brings along."""
        found = re.search(r'name="token" value="([^"]+)"', self.html(path))
        return "" if found is None else found[1]

    def press(self, path: str, /, **fields: str) -> str:
        """Fill in the form of this page, and send it. What is there afterwards."""
        return self.send(path, **self._filled(path) | fields)

    def save(self, path: str, /, **fields: str) -> str:
        """Have this page's form checked, and save what was shown."""
        checked = self.browser.post(path, data=self._filled(path) | fields | {"what": "check"})
        self.status = checked.status_code
        found = dict(re.findall(r'name="(checked|token|version)" value="([^"]*)"', checked.text))
        return self.send(path, **self._filled(path) | fields | found | {"what": "save"})

    def _filled(self, path: str) -> dict[str, str]:
        page = self.html(path)
        form = page[page.rfind("<form") :]
        inputs = [tag for tag in re.findall(r"<input [^>]*>", form) if "checkbox" not in tag or " checked" in tag]
        filled = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', "".join(inputs)))
        for name, options in re.findall(r'<select name="([^"]+)">(.*?)</select>', form, re.DOTALL):
            chosen = re.search(r'<option(?: value="([^"]*)")? selected>([^<]*)', options)
            filled[name] = "" if chosen is None else chosen[2] if chosen[1] is None else chosen[1]
        return {name: unescape(value) for name, value in filled.items()}

    def send(self, path: str, /, **fields: str) -> str:
        """Send a form as it is, and follow where it leads."""
        answer = self.browser.post(path, data=fields)
        self.status = answer.status_code
        if answer.status_code == 303:
            return self.get(answer.headers["location"])
        return text_of(answer.text)

    def do(self, verb: str, flag: str = "invoicing", **fields: str) -> str:
        """Press one of a flag's buttons."""
        return self.press(f"/flags/{quote(flag)}/do/{quote(verb)}", **fields)


def text_of(page: str) -> str:
    """What is read on a page, on one line."""
    main = page[page.find("<main") :]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", main))).strip()
