"""A client that keeps cookies, fills in the forms that it was served, and remembers what it heard.

What it heard is masked: two runs of the same app are then told the same, but for what the app itself did otherwise.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from html.parser import HTMLParser
from http.client import HTTPConnection
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple
from urllib.parse import urlencode, urljoin

from tests.e2e.servers import LOCAL
from tests.runtime.scenes import until

HOST: Final = "app.example"
_FORM: Final = "application/x-www-form-urlencoded"
_DRAWN: Final = re.compile(
    r"[A-Za-z]{3}, \d\d[ -][A-Za-z]{3}[ -]\d{4} \d\d:\d\d:\d\d GMT"  # dates
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?"
    r"|(?<=[^\w-])[\w-]+:[\w-]{6}:[\w-]{43}(?![\w-])"  # what Django signed, with its time
    r"|(?<=token\" value=\")[^\"]+"  # of forms
    r"|(?<=token=)\w+"
    r"|[\d.]+(?=ms\b)"
    r"|(?<=_ms\": )[\d.]+"
)
_UNTOLD: Final = frozenset({"date", "etag"})
"""Whether they are there is compared."""


class Heard(NamedTuple):
    """A response, without what is drawn or timed."""

    method: str
    path: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: str

    def header(self, name: str) -> set[str]:
        """The words of a header."""
        return set(dict(self.headers).get(name, "").split(", ")) - {""}

    def without(self, *names: str) -> Heard:
        """Without these headers."""
        return self._replace(headers=tuple(header for header in self.headers if header[0] not in names))


def assert_same(before: Sequence[Heard], after: Sequence[Heard], *, for_some: str) -> None:
    """Assert that what was heard is the same: but where a path begins with `for_some`, caches are told whom it is for."""
    assert any(one.path.startswith(for_some) for one in after)
    for one, another in zip(before, after, strict=True):
        if another.path.startswith(for_some):
            assert another.header("vary") == one.header("vary") | {"Cookie", "Authorization"}
            assert another.header("cache-control") == one.header("cache-control") | {"private"}
            one, another = (heard.without("vary", "cache-control") for heard in (one, another))
        assert another == one


def asked(heard: Iterable[Heard], gates: Mapping[str, str], off: Collection[str] = ()) -> Counter[tuple[str, str]]:
    """How often which flag was asked, and what it was: by the gates' patterns, the outermost gate first."""
    counts: Counter[tuple[str, str]] = Counter()
    for one in heard:
        for flag, pattern in gates.items():
            if re.match(pattern, one.path):
                counts[flag, "off" if flag in off else "on"] += 1
                if flag in off and one.status == 404:
                    break
    return counts


def await_off(client: Client, path: str, gates: Mapping[str, str]) -> Counter[tuple[str, str]]:
    """Ask for this path until it is not found. How often which flag was asked for that."""
    until(lambda: client.get(path).status == 404, f"{path} is off")
    *before, last = client.heard
    return asked(before, gates) + asked([last], gates, off=gates)


class Page(NamedTuple):
    """A response as it came."""

    path: str
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def text(self) -> str:
        return self.raw.decode()

    @property
    def location(self) -> str:
        return self.headers["location"]


class Client:
    """One person's. The app's folder is masked, too."""

    def __init__(self, port: int, folder: Path) -> None:
        self._connection = HTTPConnection(LOCAL, port, timeout=30)
        self._cookies: dict[str, Morsel[str]] = {}
        self._last: Page | None = None
        self._folder = str(folder)
        self.heard: list[Heard] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._connection.close()

    def get(self, path: str, **headers: str) -> Page:
        return self.ask("GET", path, headers)

    def submit(self, path: str, **fields: str) -> Page:
        """Send the last page's form that goes to this path, its other fields as they stand in it."""
        assert self._last is not None
        return self.post(path, _form(self._last, path) | fields)

    def upload(self, path: str, name: str, file: tuple[str, str], **fields: str) -> Page:
        """As `submit`, of a form that takes a file: its name and its text."""
        assert self._last is not None
        parts = [f'"{name}"\r\n\r\n{value}' for name, value in (_form(self._last, path) | fields).items()]
        parts.append(f'"{name}"; filename="{file[0]}"\r\nContent-Type: text/plain\r\n\r\n{file[1]}')
        body = "".join(f"--part\r\nContent-Disposition: form-data; name={part}\r\n" for part in parts)
        return self.ask("POST", path, {"Content-Type": "multipart/form-data; boundary=part"}, f"{body}--part--\r\n")

    def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Page:
        return self.ask("POST", path, {"Content-Type": _FORM, **headers}, urlencode(fields))

    def follow(self) -> Page:
        """Go where the last page redirects to."""
        assert self._last is not None
        return self.get(_here(urljoin(self._last.path, self._last.location)))

    def ask(self, method: str, path: str, given: Mapping[str, str] = {}, body: str | bytes | None = None) -> Page:
        cookies = "; ".join(f"{name}={morsel.coded_value}" for name, morsel in self._cookies.items())
        ours = {"Host": HOST, "Accept-Encoding": "gzip"} | ({"Cookie": cookies} if cookies else {})
        self._connection.request(method, path, body, ours | {k.replace("_", "-"): v for k, v in given.items()})
        response = self._connection.getresponse()
        told = [(name.lower(), value) for name, value in response.getheaders()]
        self._last = page = Page(path, response.status, dict(told), _unpacked(response.read(), dict(told)))
        for name, value in told:
            if name == "set-cookie":
                self._keep(SimpleCookie(value))
        body = _read(page.raw, page.headers).replace(self._folder, "…")
        headers = tuple(sorted(_told(told, has_length="…" not in body)))
        self.heard.append(Heard(method, _masked(path), page.status, headers, body))
        return page

    def _keep(self, cookies: SimpleCookie) -> None:
        for name, morsel in cookies.items():
            if morsel["max-age"] == "0":
                self._cookies.pop(name, None)
            else:
                self._cookies[name] = morsel

    def cookie(self, name: str) -> str:
        return self._cookies[name].value


# --- what was heard -----------------------------------------------------------------------------


def _unpacked(body: bytes, headers: Mapping[str, str]) -> bytes:
    return gzip.decompress(body) if headers.get("content-encoding") == "gzip" and body else body


def _told(headers: Collection[tuple[str, str]], *, has_length: bool) -> Iterator[tuple[str, str]]:
    has_length = has_length and ("content-encoding", "gzip") not in headers  # Django's has a random part
    for name, value in headers:
        if name in _UNTOLD or (name == "content-length" and not has_length):
            yield name, ""
        elif name == "set-cookie":
            yield name, re.sub(r"(?<==)[^;]+", "…", _masked(value), count=1)
        else:
            yield name, _masked(value)


def _read(body: bytes, headers: Mapping[str, str]) -> str:
    if headers.get("content-type") in ("application/zip", "application/x-zip"):
        with zipfile.ZipFile(io.BytesIO(body)) as packed:
            return "".join(f"{name}\n{_masked(packed.read(name).decode('latin-1'))}" for name in packed.namelist())
    return _masked(body.decode("latin-1"))


def _masked(text: str) -> str:
    return _DRAWN.sub("…", text)


# --- forms --------------------------------------------------------------------------------------


def _form(page: Page, path: str) -> dict[str, str]:
    reader = _Forms(page.path)
    reader.feed(page.text)
    forms = dict(reversed(reader.forms))  # the first of several
    assert path in forms, (path, page)
    return forms[path]


def _here(url: str) -> str:
    return url.removeprefix(f"http://{HOST}")


class _Forms(HTMLParser):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self.forms: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form" and (given.get("method") or "").lower() == "post":
            self.forms.append((_here(urljoin(self._path, given.get("action") or "")), {}))
        elif tag == "input" and self.forms and given.get("type") not in ("submit", "checkbox", "radio", "file"):
            name = given.get("name")
            if name:
                self.forms[-1][1][name] = given.get("value") or ""
