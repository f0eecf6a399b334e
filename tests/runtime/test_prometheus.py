"""Guards that ask a Prometheus server: what cannot be told for sure is never taken for fine."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from flaggate import Gate, Guard
from flaggate.errors import SettingError
from flaggate.rollout.seen import Sample
from flaggate.rollout.verdict import Answer
from flaggate.runtime.prometheus import Prometheus
from tests.runtime.scenes import until


class Server:
    """Answers what it is told to, as Prometheus does."""

    def __init__(self) -> None:
        self.status = 200
        self.body: bytes = b""
        self.asked: list[dict[str, list[str]]] = []
        self.tokens: list[str | None] = []
        self.is_open = threading.Event()
        self.is_open.set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # http.server's name
                server.asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
                server.tokens.append(self.headers.get("Authorization"))
                server.is_open.wait(30)
                self.send_response(server.status)
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, *_: object) -> None:
                """pytest shows what matters."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def says(self, kind: str, result: Any) -> None:
        self.body = json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()

    def stop(self) -> None:
        self.is_open.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.stop()


def series(value: str, at: float | None = None) -> dict[str, Any]:
    return {"metric": {}, "value": [time.time() if at is None else at, value]}


@pytest.mark.parametrize("token", [None, "secret"])
def test_one_number_is_the_answer(server: Server, token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if token is not None:
        monkeypatch.setenv("FLAGGATE_PROMETHEUS_TOKEN", token)
    asks = Prometheus(server.url + "/")
    server.says("vector", [series("0.25")])
    assert asks.ask('sum(rate(x{job="a"}[5m]))') == Sample(0.25)
    server.says("scalar", [time.time(), "7"])
    assert asks.ask("7") == Sample(7.0)
    assert [asked["query"] for asked in server.asked] == [['sum(rate(x{job="a"}[5m]))'], ["7"]]
    assert server.tokens == [None if token is None else "Bearer secret"] * 2


@pytest.mark.parametrize(
    ("kind", "result", "problem", "why"),
    [
        ("vector", [], Answer.NO_DATA, "it has no series"),
        (
            "vector",
            [series("1"), series("2")],
            Answer.ERROR,
            "it has 2 series, and a guard takes one: sum(...), max(...)",
        ),
        ("vector", [series("NaN")], Answer.NO_DATA, "it is NaN"),
        ("vector", [series("+Inf")], Answer.NO_DATA, "it is +Inf"),
        ("vector", [series("1", 1_000.0)], Answer.NO_DATA, "its sample is of another time"),
        ("matrix", [{"metric": {}, "values": []}], Answer.ERROR, "it is a matrix; a guard takes one number"),
        ("string", [0, "x"], Answer.ERROR, "it is a string; a guard takes one number"),
    ],
)
def test_what_is_no_number_is_never_fine(server: Server, kind: str, result: Any, problem: Answer, why: str) -> None:
    server.says(kind, result)
    assert Prometheus(server.url).ask("x") == Sample(None, problem, why)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (400, b'{"status": "error", "error": "parse error"}', "answered 400: parse error"),
        (401, b"who are you", "answered 401"),
        (200, b"<html>", "what it answers is no JSON"),
        (200, b"[]", "answered 200"),
        (200, b'{"status": "success", "data": {}}', "answered something else than Prometheus does"),
        (302, b"", "answered 302"),
        (200, b"x" * 2_000_000, "it answers more than a number"),
    ],
)
def test_a_server_that_fails_is_an_error(server: Server, status: int, body: bytes, why: str) -> None:
    server.status, server.body = status, body
    sample = Prometheus(server.url).ask("x")
    assert (sample.value, sample.problem) == (None, Answer.ERROR)
    assert sample.why is not None
    assert why in sample.why


def test_a_server_that_is_not_there_or_hangs_is_an_error_and_its_password_is_not_shown(server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://ada:secret@127.0.0.1:{free.getsockname()[1]}"
    gone = Prometheus(nowhere).ask("x")
    assert gone.problem is Answer.ERROR
    assert "secret" not in (gone.why or "")
    server.is_open.clear()
    slow = Prometheus(server.url, timeout_seconds=0.2).ask("x")
    assert slow.problem is Answer.ERROR


def guard(**more: Any) -> Guard:
    return Guard("queue", limit=Decimal(5), query="x", **more)


def test_no_look_waits_for_it(server: Server) -> None:
    asks, now = Prometheus(server.url), datetime.now(UTC)
    server.says("vector", [series("3")])
    server.is_open.clear()
    assert asks.samples([guard()], now)["x"] == Sample(None, Answer.NO_DATA, "it was not answered yet")
    assert asks.samples([guard()], now)["x"].problem is Answer.NO_DATA
    server.is_open.set()
    until(lambda: asks.samples([guard()], now)["x"] == Sample(3.0), "it was answered")
    assert len(server.asked) == 1, "every 30 s, unless the guard says otherwise"


def test_it_is_asked_again_when_it_is_time_and_an_old_answer_is_none(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("flaggate.runtime.prometheus.monotonic", lambda: clock[0])
    asks, now, often = Prometheus(server.url), datetime.now(UTC), guard(every_seconds=10)
    server.says("vector", [series("3")])
    asks.samples([often], now)
    until(lambda: asks.samples([often], now)["x"] == Sample(3.0), "it was answered")
    server.is_open.clear()
    clock[0] += 10
    assert asks.samples([often], now)["x"] == Sample(3.0), "the last answer, while it is asked again"
    clock[0] += 20
    assert asks.samples([often], now)["x"] == Sample(None, Answer.NO_DATA, "its last answer is too old")
    server.says("vector", [series("4")])
    server.is_open.set()
    until(lambda: asks.samples([often], now)["x"] == Sample(4.0), "it was answered")


@pytest.mark.parametrize("wrong", ["", "prometheus:9090", "ftp://x", "http://", 3, "http://[x"])
def test_what_is_no_address_is_refused_and_not_shown(wrong: Any) -> None:
    with pytest.raises(SettingError, match=r"^prometheus: \(not shown\); allowed: the address of a Prometheus server"):
        Gate.open("memory://", prometheus=wrong)


def test_without_what_asks_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flaggate.runtime.prometheus_url.find_spec", lambda _: None)
    with pytest.raises(SettingError, match=r"pip install 'flaggate\[prometheus\]'"):
        Gate.open("memory://", prometheus="http://127.0.0.1:9090")


# --- a real one ---------------------------------------------------------------------------------


def test_a_real_prometheus(tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus: apt-get install prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "itself", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    arguments = [f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([program, *arguments, f"--web.listen-address=127.0.0.1:{port}"], stderr=log)
    try:
        asks = Prometheus(url)
        until(lambda: asks.ask("1").value == 1.0, "it answers")
        until(lambda: asks.ask('up{job="itself"}').value == 1.0, "it has scraped")
        assert asks.ask("nothing_of_the_kind").problem is Answer.NO_DATA
        assert asks.ask("0/0").problem is Answer.NO_DATA
        assert asks.ask('{job="itself"}').problem is Answer.ERROR, "many series"
        assert asks.ask("sum(").problem is Answer.ERROR
        assert asks.ask("up[1m]").problem is Answer.ERROR
    finally:
        server.terminate()
        server.wait(30)
    assert asks.ask("1").problem is Answer.ERROR
    urllib.request.urlcleanup()
