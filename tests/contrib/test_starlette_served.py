"""A FastAPI app with Starlette's routes on a real uvicorn: from its start to its last counts, below a path of its own."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flaggate.stores import open_store
from flaggate.stores.base import Store
from tests.contrib.scenes import Switchboard
from tests.e2e.servers import LOCAL, Reply, ask, ended
from tests.runtime.scenes import until

pytest.importorskip("uvicorn", reason="pip install uvicorn")
pytest.importorskip("wsproto", reason="pip install wsproto")

APP = """
from typing import Annotated

from fastapi import Depends, FastAPI, WebSocket
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from flaggate import Gate
from flaggate.contrib.fastapi import FlaggateMiddleware, feature_required, flag_on, require_feature

app = FastAPI()
app.add_middleware(
    FlaggateMiddleware, gate=Gate.open("sqlite:///flags.db"), context=lambda asked: {"tier": asked.query_params.get("tier")}
)


@app.get("/flag_on")
async def new(is_new: Annotated[bool, Depends(flag_on("tiered"))]) -> bool:
    return is_new


@app.get("/gated")
@feature_required("tiered", otherwise="/flag_on")
def gated() -> str:
    return "new"


@app.get("/broken")
@feature_required("tiered")
async def broken() -> str:
    raise LookupError


async def page(request):
    return PlainTextResponse("mounted")


app.router.routes.append(feature_required("tiered", otherwise="/flag_on")(Mount("/v2", routes=[Route("/page", page)])))


async def greet(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


app.websocket("/gated/greet")(feature_required("tiered")(greet))
app.websocket("/required/greet", dependencies=[Depends(require_feature("tiered"))])(greet)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """What the server will open, with its flags."""
    made = open_store(f"sqlite:///{tmp_path}/flags.db", create=True)
    Switchboard(made).on("tiered")
    yield made
    made.close()


class Running:
    """A uvicorn in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.port = 0

    def listens(self) -> bool:
        found = re.search(r"running on http://127\.0\.0\.1:(\d+)", self.log.read_text())
        assert found is not None or self.process.poll() is None, self.log.read_text()
        self.port = 0 if found is None else int(found[1])
        return self.port > 0

    def ask(self, path: str) -> Reply:
        return ask(self.port, path)

    def greeted(self, path: str) -> bytes:
        """What a WebSocket hears: all bytes that the server sends to somebody who wants one."""
        words = f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        words += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        heard = b""
        with closing(socket.create_connection((LOCAL, self.port), timeout=30)) as connection:
            connection.sendall(words.encode())
            while b"hello" not in heard and (part := connection.recv(4096)):
                heard += part
        return heard


@contextmanager
def uvicorn(folder: Path, *options: str, app: str = APP) -> Iterator[Running]:
    (folder / "app.py").write_text(app)
    command = [sys.executable, "-m", "uvicorn", "--port=0", "--lifespan=on", "--ws=wsproto", *options, "app:app"]
    log = folder / "server.log"
    with log.open("wb") as written:
        process = subprocess.Popen(command, cwd=folder, stdout=written, stderr=written, start_new_session=True)
    with ended(process):
        yield Running(process, log)


def test_from_start_to_end(tmp_path: Path, store: Store) -> None:
    """Every request that was answered is in the counts that are written when the server stops."""
    with uvicorn(tmp_path) as server:
        until(server.listens, "uvicorn listens")
        assert [server.ask(f"/flag_on{query}").json() for query in ("?tier=pro", "")] == [True, False]
        assert server.ask("/gated?tier=pro").json() == "new"
        assert server.ask("/broken?tier=pro").status == 500
        assert server.ask("/broken").status == 404
        for path in ("/gated/greet", "/required/greet"):
            assert b" 101 " in server.greeted(f"{path}?tier=pro")
            assert server.greeted(path).startswith(b"HTTP/1.1 403 ")
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        counts = {count.arm: (count.requests, count.errors) for count in store.counts("tiered")}
        assert counts == {"on": (3, 1), "off": (2, 0)}, server.log.read_text()
        assert server.log.read_text().count("\nLookupError") == 1


def test_below_a_path_of_its_own(tmp_path: Path, store: Store) -> None:
    with uvicorn(tmp_path, "--root-path=/shop") as server:
        until(server.listens, "uvicorn listens")
        for path in ("/gated", "/v2/page"):
            moved = server.ask(path)
            assert (moved.status, moved.headers["location"]) == (302, "/shop/flag_on")
            assert server.ask(f"{path}?tier=pro").status == 200


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('trusted_proxies="10.0.0.0/8"', "trusted_proxies: 10.0.0.0/8; allowed: a list"),
        ('routes={"v2": "tiered"}', "allowed: a table of paths and flags"),
    ],
)
def test_a_wrong_setting_ends_it_at_start(tmp_path: Path, store: Store, setting: str, said: str) -> None:
    with uvicorn(tmp_path, app=APP.replace("context=lambda", f"{setting}, context=lambda")) as server:
        assert server.process.wait(60) != 0
        assert said in server.log.read_text()
