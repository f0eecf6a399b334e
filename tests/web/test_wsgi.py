"""What a request through the WSGI middleware counts, whatever shape its body has; and that it is a valid component."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from flaggate import Gate
from flaggate.rollout.state import Verb
from flaggate.web.wsgi import FlaggateMiddleware
from tests.runtime.scenes import seen
from tests.web.scenes import BANNER, Clock, ask_wsgi, change, counted, http_environ, in_thread, running, times

LENGTH = ("Content-Length", "4")
PLAIN = ("Content-Type", "text/plain")


def site(
    gate: Gate, make_body: Callable[[], Iterable[bytes]], *headers: tuple[str, str], status: str = "200 OK"
) -> Any:
    """An app that asks for the banner, and answers with this body."""

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        gate.is_on("banner")
        start_response(status, list(headers))
        return make_body()

    return FlaggateMiddleware(app, gate)


class Closing:
    """A body that notes how often it was closed."""

    def __init__(self, *parts: bytes, error: Exception | None = None) -> None:
        self.parts = parts
        self.error = error
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)

    def close(self) -> None:
        self.closed += 1
        if self.error is not None:
            raise self.error


# --- how it ended ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "errors"), [("200 OK", 0), ("304 Not Modified", 0), ("404 Not Found", 0), ("500 Oh", 1), ("503 Busy", 1)]
)
def test_a_status_of_500_and_above_is_an_error(gate: Gate, status: str, errors: int) -> None:
    assert ask_wsgi(site(gate, lambda: [b"ok"], status=status)).status == int(status[:3])
    assert counted(gate) == (1, errors, 1)


def _fail() -> Iterable[bytes]:
    raise ZeroDivisionError


def _fail_in_the_middle() -> Iterator[bytes]:
    yield b"ok"
    raise ZeroDivisionError


@pytest.mark.parametrize("make_body", [_fail, _fail_in_the_middle], ids=["view", "body"])
def test_an_exception_is_an_error_and_goes_on_to_the_server(gate: Gate, make_body: Callable[[], Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        ask_wsgi(site(gate, make_body, LENGTH))
    assert counted(gate) == (1, 1, 1)


def test_what_fails_after_the_whole_body_does_not_make_the_response_worse(gate: Gate) -> None:
    made = Closing(b"ok", error=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        ask_wsgi(site(gate, lambda: made, LENGTH))
    assert made.closed == 1
    assert counted(gate) == (1, 0, 1)


@pytest.mark.parametrize("headers", [[], [LENGTH]], ids=["held", "sent"])
def test_the_last_status_counts(gate: Gate, headers: list[tuple[str, str]]) -> None:
    """An app that finds out too late may begin anew, as PEP 3333 has it."""

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        gate.is_on("team")
        start_response("200 OK", headers)
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Oh", [("Vary", "Accept")], sys.exc_info())
        return [b"sorry"]

    answer = ask_wsgi(FlaggateMiddleware(app, gate))
    assert (answer.status, answer.header("vary")) == (500, ["Accept, Cookie, Authorization"])
    assert seen(gate)["team", 0, 0, "off"] == (1, 1)


def test_an_app_that_never_starts_its_response_has_failed(gate: Gate) -> None:
    def app(_environ: WSGIEnvironment, _start_response: StartResponse) -> list[bytes]:
        gate.is_on("banner")
        return []

    for _ in FlaggateMiddleware(app, gate)(http_environ(), lambda *_: list[bytes]().append):
        raise AssertionError("there is nothing")
    assert counted(gate) == (1, 1, 1)


def test_what_asks_no_flag_is_not_counted(gate: Gate) -> None:
    def app(_environ: WSGIEnvironment, _start_response: StartResponse) -> Iterable[bytes]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask_wsgi(FlaggateMiddleware(app, gate))
    assert seen(gate) == {}


# --- how long it took -----------------------------------------------------------------------


def _generator_app(gate: Gate, clock: Clock, *headers: tuple[str, str]) -> WSGIApplication:
    """One that starts its response with its first part, as PEP 3333 allows."""

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        clock.now += 0.2
        gate.is_on("banner")
        start_response("200 OK", list(headers))
        yield b"ok"
        clock.now += 0.2
        yield b"ok"

    return FlaggateMiddleware(app, gate)


def test_the_time_is_to_the_end_of_the_body(gate: Gate, clock: Clock) -> None:
    """Not to the app's return; with what the client takes for it."""

    def slow() -> Iterator[bytes]:
        clock.now += 0.3
        yield b"ok"
        clock.now += 0.3
        yield b"ok"

    for _ in site(gate, slow, ("content-length", "4"))(http_environ(), lambda *_: list[bytes]().append):
        clock.now += 0.1  # for sending it
    assert times(gate, "banner") == {"820": 1}
    for _ in site(gate, lambda: [b"ok", b"ok"])(http_environ(), lambda *_: list[bytes]().append):
        clock.now += 0.5
    assert times(gate, "banner") == {"820": 1, "1000": 1}


def test_a_body_in_pieces_without_a_length_is_a_stream_and_has_no_time(gate: Gate, clock: Clock) -> None:
    assert ask_wsgi(_generator_app(gate, clock)).body == b"okok"
    assert counted(gate) == (1, 0, 0)


def test_an_app_that_is_a_generator_and_says_its_length_has_a_time(gate: Gate, clock: Clock) -> None:
    assert ask_wsgi(_generator_app(gate, clock, LENGTH)).body == b"okok"
    assert times(gate, "banner") == {"430": 1}


@pytest.mark.parametrize("made", [[b"ok", b"ok"], (b"ok", b"ok")])
def test_a_list_has_a_time_and_keeps_its_length(gate: Gate, made: Any) -> None:
    """Servers give a response of one part a Content-Length, if they can see that it is one."""
    result: Any = site(gate, lambda: made)(http_environ(), lambda *_: list[bytes]().append)
    assert len(result) == 2
    assert b"".join(result) == b"okok"
    result.close()
    assert counted(gate) == (1, 0, 1)


@pytest.mark.parametrize("name", ["banner", None])
def test_a_list_that_can_be_closed_is_closed(gate: Gate, name: str | None) -> None:
    closed: list[bool] = []

    class Parts(list[bytes]):
        def close(self) -> None:
            closed.append(name is None or gate.is_on(name))

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [LENGTH])
        return Parts([str(name and gate.is_on(name)).encode()])

    ask_wsgi(FlaggateMiddleware(app, gate))
    assert closed == [True]


def test_what_was_written_by_hand_is_part_of_the_response(gate: Gate) -> None:
    """PEP 3333's write(), for apps older than it."""

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])(b"by hand, ")
        return [str(gate.is_on("banner")).encode()]

    assert ask_wsgi(FlaggateMiddleware(app, gate)).body == b"by hand, True"
    assert counted(gate) == (1, 0, 0)  # asked when the answer was on its way: how long that took says nothing


def test_a_file_is_handed_to_the_server_as_it_is(gate: Gate) -> None:
    """It sends it by itself, but only what it made itself; how long that takes nobody knows."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        gate.is_on("banner")
        start_response("200 OK", [])
        made: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"file"))
        return made

    middleware = FlaggateMiddleware(app, gate)
    result = middleware({**http_environ(), "wsgi.file_wrapper": FileWrapper}, lambda *_: list[bytes]().append)
    assert type(result) is FileWrapper
    assert counted(gate) == (1, 0, 0)
    as_function = {**http_environ(), "wsgi.file_wrapper": lambda file: FileWrapper(file)}  # uWSGI's is one
    assert ask_wsgi(middleware, as_function).body == b"file"
    assert counted(gate) == (2, 0, 0)


# --- clients that leave ---------------------------------------------------------------------


def test_who_leaves_in_the_middle_is_not_counted(gate: Gate) -> None:
    made = Closing(b"ok", b"ok", b"ok")
    for make_body in (lambda: made, lambda: [b"ok", b"ok", b"ok"]):
        result: Any = site(gate, make_body, LENGTH)(http_environ(), lambda *_: list[bytes]().append)
        parts = iter(result)
        assert [next(parts), next(parts)] == [b"ok", b"ok"]  # the first one was sent, or it had not come back
        result.close()
        assert counted(gate) is None
    assert made.closed == 1


def test_who_leaves_before_the_response_starts_has_waited(gate: Gate, clock: Clock) -> None:
    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"never"

    asking = FlaggateMiddleware(app, gate, routes={"/*": "banner"})
    result: Any = asking(http_environ(), lambda *_: list[bytes]().append)
    clock.now += 0.4
    result.close()
    assert seen(gate) == {BANNER: (0, 0)}
    assert times(gate, "banner") == {"430": 1}


def test_a_head_request_whose_body_is_not_taken_is_a_whole_one(gate: Gate) -> None:
    app = site(gate, lambda: Closing(b"ok", b"ok"), LENGTH)
    result: Any = app(http_environ(REQUEST_METHOD="HEAD"), lambda *_: list[bytes]().append)
    result.close()
    assert counted(gate) == (1, 0, 1)


@pytest.mark.parametrize(("code", "expected"), [(None, (0, 0, 1)), (0, (0, 0, 1)), (1, (1, 1, 1))])
def test_a_worker_that_is_told_to_end_has_not_failed(
    gate: Gate, code: int | None, expected: tuple[int, int, int]
) -> None:
    """gunicorn raises SystemExit in a worker that is to end at once, and one with a code where its time was up."""

    def leave() -> Iterable[bytes]:
        raise SystemExit(code)

    with pytest.raises(SystemExit):
        ask_wsgi(site(gate, leave))
    assert counted(gate) == expected


# --- hangs ----------------------------------------------------------------------------------


def test_a_response_that_does_not_start_is_an_error_at_once_and_only_once(gate: Gate, clock: Clock) -> None:
    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        gate.is_on("banner")
        clock.now += 20
        in_thread(gate.keep)
        assert [(count.requests, count.errors) for count in gate.store.counts()] == [(1, 1)]
        start_response("200 OK", [])
        return [b"late"]

    assert ask_wsgi(FlaggateMiddleware(app, gate)).body == b"late"
    assert counted(gate) == (1, 1, 0)


# --- one visit, one snapshot ----------------------------------------------------------------


def test_a_body_is_made_within_its_visit(gate: Gate) -> None:
    """While it is iterated, though a kill arrives, and while it is closed; in between the thread is the server's."""
    asked_at_the_end: list[bool] = []

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            yield str(gate.is_on("team")).encode()
            yield str(gate.is_on("banner")).encode()
        finally:
            asked_at_the_end.append(gate.is_on("team"))

    middleware = FlaggateMiddleware(app, gate, context=lambda _: {"user": "ada"})
    result: Any = middleware(http_environ(), lambda *_: list[bytes]().append)
    parts = iter(result)
    assert next(parts) == b"True"
    assert gate.current.get() is None
    for name in ("banner", "team"):
        change(gate, Verb.KILL, name)
    assert next(parts) == b"True"
    result.close()
    assert asked_at_the_end == [True]
    assert gate.current.get() is None


def test_a_body_may_be_iterated_by_other_threads_than_made_it(gate: Gate) -> None:
    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [LENGTH])
        for _ in range(4):
            yield str(gate.is_on("team")).encode()

    result: Any = FlaggateMiddleware(app, gate, context=lambda _: {"user": "ada"})(
        http_environ(), lambda *_: list[bytes]().append
    )
    parts, taken = iter(result), []
    for _ in range(4):
        in_thread(lambda: taken.append(next(parts)))
    assert list(parts) == []
    in_thread(result.close)
    assert taken == [b"True"] * 4
    assert seen(gate) == {("team", 0, 0, "on"): (1, 0)}


def test_the_same_gate_around_an_app_twice_is_one_visit(gate: Gate) -> None:
    ask_wsgi(FlaggateMiddleware(site(gate, lambda: [b""], status="500 Oh"), gate))
    assert counted(gate) == (1, 1, 1)


def test_two_gates_around_an_app_are_two_visits(gate: Gate) -> None:
    other = running()

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [LENGTH])
        yield str((gate.is_on("team"), other.is_on("team"))).encode()

    inner = FlaggateMiddleware(app, gate, context=lambda _: {"user": "ada"})
    answer = ask_wsgi(FlaggateMiddleware(inner, other, context=lambda _: {"user": "eve"}))
    assert answer.body == b"(True, False)"
    assert seen(gate)["team", 0, 0, "on"] == seen(other)["team", 0, 0, "off"] == (1, 0)
    other.close()


# --- a valid component ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "make_body",
    [
        lambda: [b"ok", b"ok"],
        lambda: (part for part in [b"ok", b"ok"]),
        lambda: Closing(b"ok", b"ok"),
        lambda: FileWrapper(io.BytesIO(b"okok")),
    ],
    ids=["list", "generator", "iterable", "file"],
)
def test_it_keeps_to_the_protocol_on_both_sides(gate: Gate, make_body: Callable[[], Any], method: str) -> None:
    """wsgiref's validator stands between the server and the middleware, and between the middleware and the app."""

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        gate.is_on("team")
        start_response("200 OK", [PLAIN, LENGTH])
        made: Iterable[bytes] = make_body()
        return made

    middleware = FlaggateMiddleware(validator(app), gate, routes={"/old": "team"})
    environ = {**http_environ(REQUEST_METHOD=method), "wsgi.file_wrapper": FileWrapper}
    answer = ask_wsgi(validator(middleware), environ)
    assert answer.body == b"okok"
    assert answer.headers == [PLAIN, LENGTH, ("Cache-Control", "private"), ("Vary", "Cookie, Authorization")]
    assert ask_wsgi(validator(middleware), http_environ("/old", REQUEST_METHOD=method)).status == 404


def test_the_apps_headers_are_never_changed(gate: Gate) -> None:
    """An app may keep a list, and send it to everyone."""
    headers = [("Cache-Control", "public"), PLAIN]

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        gate.is_on("team")
        start_response("200 OK", headers)
        return [b""]

    answers = [ask_wsgi(FlaggateMiddleware(app, gate)) for _ in range(2)]
    assert headers == [("Cache-Control", "public"), PLAIN]
    for answer in answers:
        assert answer.headers == [PLAIN, ("Cache-Control", "private"), ("Vary", "Cookie, Authorization")]


def test_however_many_status_lines_there_are_each_is_read_right(gate: Gate) -> None:
    for number in range(1100):
        status = 200 if number % 2 else 503

        def app(
            _environ: WSGIEnvironment, start_response: StartResponse, line: str = f"{status} {number}"
        ) -> list[bytes]:
            gate.is_on("banner")
            start_response(line, [])
            return []

        ask_wsgi(FlaggateMiddleware(app, gate))
    assert seen(gate) == {BANNER: (1100, 550)}
