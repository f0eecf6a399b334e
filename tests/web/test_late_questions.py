"""What is asked too late: after the headers were sent, and after the visit has ended."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from flaggate import Gate
from flaggate.rollout.state import Verb
from flaggate.web import asgi, wsgi
from tests.runtime.scenes import seen
from tests.web.scenes import (
    BANNER,
    KEY,
    Clock,
    Exchange,
    Speaks,
    SpeaksAsgi,
    ask_wsgi,
    body,
    change,
    http_environ,
    in_thread,
    start,
)

# --- after the headers ------------------------------------------------------------------------


def ask_in_between(gate: Gate, protocol: Speaks, before: list[str], after: list[str], **settings: Any) -> None:
    """A request that asks some flags before its headers are sent, and some after."""

    def ask(names: list[str]) -> None:
        for name in names:
            gate.is_on(name)

    async def asgi_app(_scope: asgi.Scope, _receive: asgi.Receive, send: asgi.Send) -> None:
        ask(before)
        await send(start())
        ask(after)
        await send(body())

    def wsgi_app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        ask(before)
        start_response("200 OK", [])
        yield b"first"
        ask(after)

    if isinstance(protocol, SpeaksAsgi):
        Exchange().run(asgi.FlaggateMiddleware(asgi_app, gate, **settings))
    else:
        ask_wsgi(wsgi.FlaggateMiddleware(wsgi_app, gate, **settings))


def test_a_visitor_that_is_drawn_too_late_for_its_cookie_is_told_of(
    gate: Gate, protocol: Speaks, caplog: pytest.LogCaptureFixture
) -> None:
    """Caches know already that it depends on who asks."""
    ask_in_between(gate, protocol, ["team"], ["tried"], secret_keys=[KEY])
    assert [record.getMessage() for record in caplog.records] == [
        "flag 'tried' is asked after the headers were sent: its visitor has no cookie"
    ]


@pytest.mark.parametrize("before", [[], ["banner"], ["office"]])
def test_a_flag_that_reads_who_asks_is_told_of_once(
    gate: Gate, protocol: Speaks, caplog: pytest.LogCaptureFixture, before: list[str]
) -> None:
    """Whatever was asked in time: a cache may keep what was made for one, and give it to another."""
    for _ in range(2):
        ask_in_between(gate, protocol, before, ["banner", "team", "team"])
    said = [record.getMessage() for record in caplog.records]
    assert said == ["flag 'team' is asked after the headers were sent: caches are told nothing of it"]


@pytest.mark.parametrize(
    ("before", "after"), [([], ["banner"]), ([], ["nowhere"]), (["team"], ["banner", "team", "tiered", "office"])]
)
def test_a_flag_of_which_caches_need_to_be_told_nothing_more_is_not(
    gate: Gate, protocol: Speaks, caplog: pytest.LogCaptureFixture, before: list[str], after: list[str]
) -> None:
    ask_in_between(gate, protocol, before, after)
    assert [record.getMessage() for record in caplog.records if "headers" in record.getMessage()] == []


def test_what_a_wsgi_app_asks_after_it_said_how_long_its_response_is_comes_too_late(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        gate.is_on("team")
        return [b"ok"]

    assert ask_wsgi(wsgi.FlaggateMiddleware(app, gate)).header("vary") == []
    assert "flag 'team' is asked after the headers were sent" in caplog.text


# --- after the end ----------------------------------------------------------------------------


@pytest.mark.parametrize("make_body", [lambda: [b"ok"], lambda: (b"ok",), lambda: iter([b"ok"])])
def test_what_outlives_a_wsgi_request_that_asked_nothing_sees_what_changes(
    gate: Gate, clock: Clock, make_body: Callable[[], Iterable[bytes]]
) -> None:
    """A thread with a copied context: its visit is over with the app's call, or with the body, and nothing is counted."""
    kept: list[contextvars.Context] = []

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        kept.append(contextvars.copy_context())
        return make_body()

    for _ in wsgi.FlaggateMiddleware(app, gate)(http_environ(), lambda *_: list[bytes]().append):
        pass  # nothing has a close() that would have to be called
    answers: list[bool] = []

    def ask() -> None:
        answers.append(kept[0].run(gate.is_on, "banner"))

    in_thread(ask)
    change(gate, Verb.KILL, "banner")
    in_thread(ask)
    assert answers == [True, False]
    clock.now += 20
    gate.keep()
    assert seen(gate) == {}


def test_where_who_asks_could_not_be_told_a_late_question_raises_nothing_either(gate: Gate, protocol: Speaks) -> None:
    kept: list[contextvars.Context] = []

    def respond() -> str:
        kept.append(contextvars.copy_context())
        return f"{gate.is_on('banner')} {gate.is_on('team')}"

    def who(_: Any) -> Any:
        raise LookupError("the session is gone")

    assert protocol.ask(protocol.site(gate, respond, context=who)).body == b"True False"
    late = kept[0]
    assert [late.run(gate.decide, name).reason for name in ("banner", "team", "nowhere")] == ["on", "fault", "unknown"]
    assert str(late.run(gate.explain, "team")).startswith("who asks could not be told: LookupError")
    assert seen(gate) == {BANNER: (1, 0)}
