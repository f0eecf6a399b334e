"""A browser for the example app: it keeps cookies, follows nothing, and says where it claims to be."""

from __future__ import annotations

from http.client import HTTPConnection
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlencode, urlsplit


class Page(NamedTuple):
    status: int
    body: str
    location: str | None
    """Where a redirect leads."""

    @property
    def is_new(self) -> bool:
        """Whether it is one of the overhauled pages; fails on anything but an old or an overhauled one."""
        assert self.status == 200, self
        (look,) = [look for look in ("old", "overhauled") if f'data-invoicing="{look}"' in self.body]
        return look == "overhauled"

    @property
    def has_link(self) -> bool:
        """Whether the navigation leads to the gated page."""
        return 'href="/insights"' in self.body


class Browser:
    def __init__(self, url: str, forwarded_for: str | None = None) -> None:
        place = urlsplit(url)
        assert place.hostname is not None
        self._connection = HTTPConnection(place.hostname, place.port, timeout=30)
        self._headers = {} if forwarded_for is None else {"X-Forwarded-For": forwarded_for}
        self.cookies: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._connection.close()

    def get(self, path: str, **headers: str) -> Page:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, **form: str) -> Page:
        return self._ask("POST", path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})

    def sign_in(self, user: str) -> Browser:
        page = self.post("/sign-in", user=user)
        assert (page.status, page.location) == (303, "/invoices"), page
        return self

    def sign_out(self) -> Browser:
        page = self.post("/sign-out")
        assert (page.status, page.location) == (303, "/sign-in"), page
        return self

    def _ask(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Page:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        self._connection.request(method, path, body, {**self._headers, "Cookie": cookie, **headers})
        response = self._connection.getresponse()
        for line in response.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return Page(response.status, response.read().decode(), response.getheader("Location"))
