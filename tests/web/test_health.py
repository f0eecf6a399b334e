"""The health page: when it says that a process serves what was said, and that nobody's flags are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flaggate import Gate
from flaggate.errors import SettingError, StoreError
from flaggate.stores.memory import MemoryStore
from flaggate.web import asgi, wsgi
from tests.runtime.scenes import UnreliableStore, bring
from tests.web.scenes import Answer, Exchange, Speaks, ask_wsgi, http_environ, http_scope, running

PATH = "/flaggate/health"


def health(gate: Gate, protocol: Speaks, **asked: Any) -> Answer:
    return protocol.ask(protocol.site(gate, lambda: "the app's own", health=PATH), asked.pop("path", PATH), **asked)


def silent(**options: Any) -> tuple[UnreliableStore, Gate]:
    """A store that does not answer, and a gate on it."""
    store = UnreliableStore(MemoryStore())
    store.error = StoreError(store.url, "gone")
    made: Any = store
    return store, Gate.open(made, background=False, **options)


def said(answer: Answer) -> Any:
    return json.loads(answer.body)


def test_a_process_that_serves_says_so(gate: Gate, protocol: Speaks) -> None:
    answer = health(gate, protocol)
    assert (answer.status, answer.header("Cache-Control"), answer.header("Content-Type")) == (
        200,
        ["no-store"],
        ["application/json"],
    )
    assert answer.header("Content-Length") == [str(len(answer.body))]
    assert said(answer) == {
        "serving": True,
        "begun": True,
        "revision": gate.health().revision,
        "asked_seconds": said(answer)["asked_seconds"],
        "keeper": False,
        "problem": False,
        "address": "203.0.113.7",
    }


def test_other_paths_are_the_apps(gate: Gate, protocol: Speaks) -> None:
    assert health(gate, protocol, path=f"{PATH}/more").body == b"the app's own"
    assert protocol.ask(protocol.site(gate, lambda: "the app's own"), PATH).body == b"the app's own"


def test_nothing_was_ever_seen(protocol: Speaks) -> None:
    store, gate = silent()
    answer = health(gate, protocol)
    assert answer.status == 503
    assert (said(answer)["serving"], said(answer)["begun"], said(answer)["problem"]) == (False, True, True)
    assert b"gone" not in answer.body
    store.error = None
    gate.refresh()
    assert health(gate, protocol).status == 200, "an empty store says what is, too"
    gate.close()


def test_an_outage_takes_no_process_out_of_service(protocol: Speaks) -> None:
    store = UnreliableStore(MemoryStore())
    bring(store.inner)
    made: Any = store
    gate = Gate.open(made, background=False)
    assert health(gate, protocol).status == 200
    store.error = StoreError(store.url, "gone")
    gate.refresh()
    answer = health(gate, protocol)
    assert (answer.status, said(answer)["problem"]) == (200, True)
    gate.close()


def test_the_copy_on_disk_counts_as_said(protocol: Speaks, tmp_path: Path) -> None:
    store = MemoryStore()
    Gate.open(running(store).store, background=False, directory=tmp_path).refresh()
    _, gate = silent(directory=tmp_path)
    assert health(gate, protocol).status == 200
    gate.close()


@pytest.mark.parametrize(("off", "status"), [("*", 200), ("banner", 503)])
def test_the_off_switch_says_something_where_it_says_it_of_all(
    protocol: Speaks, monkeypatch: pytest.MonkeyPatch, off: str, status: int
) -> None:
    monkeypatch.setenv("FLAGGATE_OFF", off)
    _, gate = silent()
    assert health(gate, protocol).status == status
    gate.close()


def test_until_the_first_pull_has_ended(protocol: Speaks) -> None:
    """A store that keeps everybody waiting: neither it nor a copy has said anything."""
    store, _ = silent()
    store.error = None
    store.is_open.clear()
    made: Any = store
    gate = Gate.open(made, background=True)
    answer = health(gate, protocol)
    assert (answer.status, said(answer)["begun"]) == (503, False)
    store.is_open.set()
    gate.close()


def test_whose_request_nobody_can_tell(gate: Gate) -> None:
    site = asgi.FlaggateMiddleware(_nothing, gate, health=PATH)
    scope = http_scope(PATH, headers=[("X-Forwarded-For", "203.0.113.7")])
    assert said(Exchange().run(site, scope).answer())["address"] is None


def test_live_asks_nothing() -> None:
    store, gate = silent()
    site = asgi.FlaggateMiddleware(_nothing, gate, health=PATH)
    answer = Exchange().run(site, http_scope(PATH, query_string=b"live")).answer()
    assert (answer.status, said(answer)) == (200, {"live": True})
    in_wsgi = wsgi.FlaggateMiddleware(_nothing_by_wsgi, gate, health=PATH)
    assert ask_wsgi(in_wsgi, http_environ(PATH, QUERY_STRING="live")).status == 200
    assert not store.asked.is_set()
    gate.close()


def test_head_has_no_body(gate: Gate) -> None:
    site = asgi.FlaggateMiddleware(_nothing, gate, health=PATH)
    in_wsgi = wsgi.FlaggateMiddleware(_nothing_by_wsgi, gate, health=PATH)
    for answer in (
        Exchange().run(site, http_scope(PATH, method="HEAD")).answer(),
        ask_wsgi(in_wsgi, http_environ(PATH, REQUEST_METHOD="HEAD")),
    ):
        assert (answer.status, answer.body) == (200, b"")
        assert int(answer.header("Content-Length")[0]) > 0


def test_below_the_apps_root(gate: Gate) -> None:
    site = asgi.FlaggateMiddleware(_nothing, gate, health=PATH)
    scope = http_scope(f"/shop{PATH}", root_path="/shop")
    assert Exchange().run(site, scope).answer().status == 200
    in_wsgi = wsgi.FlaggateMiddleware(_nothing_by_wsgi, gate, health=PATH)
    assert ask_wsgi(in_wsgi, http_environ(PATH, SCRIPT_NAME="/shop")).status == 200


@pytest.mark.parametrize("wrong", ["health", "/", "/health/*", "/health?live", "/<int:n>", 3, ["/health"]])
def test_what_is_no_path_is_refused(gate: Gate, protocol: Speaks, wrong: Any) -> None:
    with pytest.raises(SettingError, match=r"^health: .*; allowed: a path of its own: /flaggate/health"):
        protocol.site(gate, lambda: "", health=wrong)


async def _nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    raise AssertionError("the app is not asked")


def _nothing_by_wsgi(_environ: Any, _start_response: Any) -> Any:
    raise AssertionError("the app is not asked")
