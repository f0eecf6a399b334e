"""flaggate in any WSGI app: one visit a request, counted when it ends; routes that flags gate."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from flaggate.errors import SettingError
from flaggate.web.caching import OVERRULING, Depends, cache_control, vary
from flaggate.web.client_ip import X_FORWARDED_FOR
from flaggate.web.health import page
from flaggate.web.request import ContextMaker, Request, RequestVisit, Site
from flaggate.web.routes import Table

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from _typeshed import OptExcInfo

    from flaggate.runtime.gate import Gate
    from flaggate.runtime.visit import Visit

__all__ = ["SITE", "FlaggateMiddleware", "WsgiRequest", "WsgiVisit"]

SITE: Final = "flaggate.site"
"""The environ's key for the site that serves it."""


class FlaggateMiddleware:
    """WSGI middleware: `app = FlaggateMiddleware(app, gate, ...)`. Takes the settings of `flaggate.web.request.Site`;
    `context` is given the environ.

    Requests are visits of the gate: `gate.is_on("name")` inside is about who asks.
    """

    def __init__(
        self,
        app: WSGIApplication,
        gate: Gate,
        *,
        context: ContextMaker[WSGIEnvironment] | None = None,
        geo: str | os.PathLike[str] | None = None,
        routes: Table | None = None,
        trusted_proxies: Iterable[str] = (),
        proxy_header: str = X_FORWARDED_FOR,
        secret_keys: Iterable[str | bytes] | None = None,
        uncounted: Iterable[str] = (),
        health: str | None = None,
    ) -> None:
        if not callable(app):
            raise SettingError("app", type(app), "a WSGI app")
        self.app = app
        self.site = Site(
            gate,
            context=context,
            geo=geo,
            routes=routes,
            trusted_proxies=trusted_proxies,
            proxy_header=proxy_header,
            secret_keys=secret_keys,
            uncounted=uncounted,
            health=health,
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        site = self.site
        if site.health is not None and path_of(environ) == site.health:
            return _health(site, environ, start_response)
        current = site.gate.current
        within = current.get()
        if within is not None and self._is_part_of(within, environ):
            return self._continue(within, environ, start_response)
        environ[SITE] = site
        visit = WsgiVisit(site, environ, start_response)
        token = current.set(visit)
        try:
            app = self._routed(visit, environ) if site.routes else self.app
            return visit.follow(app(environ, visit.start))
        except BaseException as error:
            visit.end(error)
            raise
        finally:
            current.reset(token)

    def _is_part_of(self, within: Visit, environ: WSGIEnvironment) -> bool:
        """Whether this request is in a visit of the gate already: wrapped twice, or mounted in an ASGI app."""
        outer = environ.get(SITE)
        if outer is not None and outer.gate is self.site.gate:
            return True
        return isinstance(within, RequestVisit) and not (within.is_ended or isinstance(within, WsgiVisit))

    def _continue(self, visit: Visit, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[SITE] = self.site
        if not isinstance(visit, RequestVisit):  # a job's, in between
            return self.app(environ, start_response)
        if isinstance(visit, WsgiVisit):  # another one has said who asks, of an ASGI scope
            visit.hand_over(self.site)
        return (self._routed(visit, environ) if self.site.routes else self.app)(environ, start_response)

    def _routed(self, visit: Visit, environ: WSGIEnvironment) -> WSGIApplication:
        """The app that serves a path: another one, or this one with another path, where a flag gates it."""
        gated = self.site.routes.match(path_of(environ))
        if gated is None or visit.is_on(gated.flag):
            return self.app
        if gated.otherwise is None:
            return _not_found
        environ["PATH_INFO"] = gated.otherwise.encode("utf-8").decode("latin-1")
        return self.app


def path_of(environ: WSGIEnvironment) -> str:
    """The path below the app's root."""
    path: str = environ.get("PATH_INFO", "")
    return path.encode("latin-1").decode("utf-8", "replace") or "/"  # PEP 3333


class WsgiRequest(Request):
    """A request by its environ."""

    def peer(self) -> str | None:
        # werkzeug's ProxyFix keeps what it replaced: its trust is not added to ours.
        fixed: Any = self.asker.get("werkzeug.proxy_fix.orig") or self.asker
        peer: str | None = fixed.get("REMOTE_ADDR")
        if "uwsgi.version" in self.asker:  # it does not name itself
            return None if peer == _ON_UNIX_SOCKET else peer
        # Behind an ASGI server (uvicorn --interface wsgi, a2wsgi); a WSGI server names itself, and does it only if told.
        return peer if "SERVER_SOFTWARE" in self.asker else self.untouched(peer)

    def header(self, name: str) -> Sequence[str]:
        value = self.asker.get(f"HTTP_{name.upper().replace('-', '_')}")
        return [] if value is None else [value]

    def is_https(self) -> bool:
        return bool(self.asker.get("wsgi.url_scheme") == "https")


_ON_UNIX_SOCKET: Final = "0.0.0.0"  # noqa: S104  # what uWSGI says of such a peer; nothing is bound to it


class WsgiVisit(RequestVisit):
    """Stands between the server and the app: it sees the response start and end."""

    is_sized = False
    """Whether the response says how long it is."""
    _held: tuple[str, list[tuple[str, str]], OptExcInfo | None] | None = None
    """What the app has started its response with, until the server needs to know."""

    def __init__(self, site: Site, environ: WSGIEnvironment, start_response: StartResponse) -> None:
        # Not by super(): a request without a question pays for this and little else.
        self._gate = gate = site.gate
        self.snapshot = gate.ready or gate.begun()
        self._context = None
        self._answers = {}
        self.site = site
        self.begun = perf_counter()
        self.asker = environ
        self._start_response = start_response

    _write: Callable[[bytes], object] | None = None

    def path(self) -> str:
        return path_of(self.asker)

    def _read(self) -> Request:
        return WsgiRequest(self.site, self.asker)

    def is_head(self) -> bool:
        """Whether there is no body to be taken."""
        return self.status in (204, 304) or bool(self.asker.get("REQUEST_METHOD") == "HEAD")

    def start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: OptExcInfo | None = None,
        /,
    ) -> Callable[[bytes], object]:
        """What the app calls for start_response. If the body's length is not known, it is passed on with its first part,
        in time for what is asked on the way to that: PEP 3333 lets no server send the headers before."""
        if self._held is not None and exc_info is None:
            self.send_start()  # a second time: it is for the server to complain
        self.status = _STATUS[status]
        if self._context is None and self._answers:  # an app may not know any more once it has returned; Flask does not
            is_failed = self.status >= 500 or self.is_failed
            self.find_out_whose((perf_counter() - self.begun) * 1000, is_failed=is_failed)
        self.is_sized = False
        for name, _ in headers:
            if len(name) == 14 and name.lower() == "content-length":
                self.is_sized = True
        if self.is_sized or self._write is not None:
            self._held = None
            self._send_start(status, headers, exc_info)
        else:
            self._held = status, headers, exc_info
        return self._write_first

    def send_start(self) -> None:
        """Tell the server, once."""
        if self._held is not None:
            held, self._held = self._held, None
            self._send_start(*held)

    def _send_start(self, status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None) -> None:
        self.has_sent_headers = True
        if self.is_asked:
            headers = self._with_headers(headers)
        # Without exc_info as many servers and apps have it: with two arguments.
        if exc_info:
            self._write = self._start_response(status, headers, exc_info)
        else:
            self._write = self._start_response(status, headers)

    def is_start_held(self) -> bool:
        """Whether the server has not been told yet that the response starts."""
        return self._held is not None

    def _write_first(self, data: bytes) -> object:
        self.send_start()
        assert self._write is not None  # send_start made it, the first time
        self.is_sending = True
        try:
            written = self._write(data)
        except OSError:
            self.leave()
            raise
        self.is_started = True
        return written

    def _with_headers(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """With what the response says to caches, and the visitor's cookie."""
        depends = self.depends
        if not depends:
            return headers
        for name, _ in headers:
            if name.lower() in _OURS:
                headers = _merged(headers, depends)
                break
        else:
            headers = [*headers, *_ALONE[depends]]
        request = self._request
        if request is not None and request.new_visitor is not None and (cookie := self.new_cookie()) is not None:
            headers.append(("Set-Cookie", cookie))
        return headers

    def follow(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """The body, so that its end is seen."""
        if type(body) is list or type(body) is tuple:  # none that has a close()
            self.send_start()
            if self.is_asked:
                return _SizedBody(self, body)
            self.is_started = self.is_ended = True
            return body
        wrapper = self.asker.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(body, wrapper):
            self.send_start()
            self.is_stream = self.is_started = True
            self.end(None)
            return body  # the server sends the file by itself, and only if it is handed over as it is
        followed = _Body(self, body)
        if not self.has_sent_headers:
            followed.begin()
        return followed


class _Statuses(dict[str, int]):
    """Read once each, of which apps have few."""

    def __missing__(self, line: str) -> int:
        status = int(line[:3])
        if len(self) < _MOST_STATUSES:
            self[line] = status
        return status


_MOST_STATUSES: Final = 1000
_STATUS: Final = _Statuses()


def _headers(known: Mapping[str, str], depends: Depends) -> list[tuple[str, str]]:
    """What a response says to caches, with what it says of these already."""
    both = ("Cache-Control", cache_control(known["cache-control"])), ("Vary", vary(known["vary"], depends))
    return [(name, value) for name, value in both if value]


def _merged(headers: list[tuple[str, str]], depends: Depends) -> list[tuple[str, str]]:
    known = {name: ", ".join(value for key, value in headers if key.lower() == name) for name in sorted(_CACHING)}
    return [header for header in headers if header[0].lower() not in _OURS] + _headers(known, depends)


_CACHING: Final = frozenset({"cache-control", "vary"})
_OURS: Final = _CACHING | OVERRULING
_ALONE: Final = [_headers(dict.fromkeys(_CACHING, ""), depends) for depends in Depends]
"""For a response that says nothing of these, by what it depends on."""


class _Body:
    """An app's response: its visit goes on while it is iterated, and ends when the server has taken all of it."""

    def __init__(self, visit: WsgiVisit, body: Iterable[bytes]) -> None:
        self._visit = visit
        self._body = body

    _parts: Iterator[bytes] | None = None
    _first: bytes | None = None
    """The first part, from when it was taken until the server takes it."""

    def begin(self) -> None:
        """Take the first part, and tell the server how the response starts, within the app's call: granian looks for that
        right after it, and traces do, too."""
        try:
            self._open()
        except BaseException:
            self.close()  # nobody else has it yet
            raise

    def _open(self) -> None:
        self._parts = self._within(iter, self._body)
        self._first = self._next()

    def _next(self) -> bytes | None:
        part: bytes | None = self._within(next, self._parts, None)
        if self._visit.is_start_held():
            self._within(self._visit.send_start)
        return part

    def __iter__(self) -> Iterator[bytes]:
        visit = self._visit
        if self._parts is None:
            self._open()
        part, self._first = self._first, None
        while part is not None:
            if part:
                visit.is_sending = True
                yield part
                visit.is_started = True  # the server came back for more: it has sent this
            else:
                yield part  # nothing to send: servers keep the headers back
            part = self._next()
        visit.is_started = visit.status > 0  # also without a part
        self._end(None)

    def close(self) -> None:
        """Called by the server, whatever happened."""
        visit = self._visit
        close = getattr(self._body, "close", None)
        if close is not None:
            self._within(close)
        # Of a body that was taken whole nothing is left to be counted.
        refused = sys.exc_info()[1]
        if isinstance(refused, (ValueError, TypeError, AssertionError)):  # by the server: a header that is none
            visit.is_started = False
        elif visit.is_head():
            visit.is_started = visit.status > 0
        else:
            visit.is_gone = True
        visit.end(None)

    def _within(self, work: Callable[..., Any], *args: Any) -> Any:
        """Call what is the app's, in its visit. Each time anew: in between the thread is the server's."""
        visit = self._visit
        current = visit.site.gate.current
        token = current.set(visit)
        try:
            return work(*args)
        except BaseException as error:
            self._end(error)
            raise
        finally:
            current.reset(token)

    def _end(self, error: BaseException | None) -> None:
        self._visit.is_stream = not self._visit.is_sized  # an app that is a generator starts with its first part
        self._visit.end(error)


class _SizedBody(_Body):
    """Of a list: servers give a Content-Length to a response of one part, and ask for it like this."""

    _body: Sequence[bytes]

    def __iter__(self) -> Iterator[bytes]:
        self._visit.is_sending = True
        for part in self._body:  # nothing of it is the app's own code
            yield part
            self._visit.is_started = True
        self._visit.is_started = self._visit.status > 0
        self._visit.end(None)

    def __len__(self) -> int:
        return len(self._body)

    def close(self) -> None:
        if not self._visit.is_ended:
            super().close()


def _health(site: Site, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    made = page(site, WsgiRequest(site, environ), environ.get("QUERY_STRING", ""))
    start_response(made.line, made.headers)
    return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else made.body]


def _not_found(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """As if the route were not there."""
    start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "9")])
    return [b"Not Found"]
