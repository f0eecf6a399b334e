"""Two ASGI apps from PyPI in a Starlette app, each mounted behind a flag.

starlette-admin has middleware, sessions, uploads and downloads of its own; ariadne serves HTTP and WebSockets by GraphQL.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("wsproto", reason="pip install wsproto")

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, RejectConnection, Request, TextMessage

from flaggate.rollout.state import Verb
from flaggate.stores import open_store
from flaggate.stores.base import Store
from tests.e2e.apps.client import HOST, Client, Heard, asked, assert_same, await_off
from tests.e2e.apps.served import UVICORN, await_listening, needs, serving
from tests.e2e.servers import LOCAL, Server
from tests.runtime.scenes import bring, turn

pytestmark = needs(starlette_admin="starlette-admin", ariadne="ariadne", uvicorn="uvicorn")

NEWSROOM = Path(__file__).with_name("newsroom")
FLAGS = """
[flags.admin]
description = "All of starlette-admin"
owner = "owner@example.com"

[flags.writing]
description = "Its form for another article"
owner = "owner@example.com"

[flags.graphql]
description = "All of ariadne"
owner = "owner@example.com"

[flags.files]
description = "Pictures, for ada"
owner = "owner@example.com"
audience = { user = "ada" }
"""
GATES = {"writing": "/admin/article/create", "files": "/admin/_files/", "admin": "/admin/", "graphql": "/graphql/"}
"""Which paths ask which flag."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """What the app will open, all flags on."""
    for name in ("plain", "flagged"):
        shutil.copytree(NEWSROOM, tmp_path / name / "newsroom", ignore=shutil.ignore_patterns("__pycache__"))
    with closing(open_store(f"sqlite:///{tmp_path}/flagged/flags.db", create=True)) as made:
        bring(made, FLAGS)
        for flag in ("admin", "writing", "graphql", "files"):
            turn(made, Verb.ON, flag)
        yield made


@pytest.fixture
def servers(store: Store, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """Without and with flaggate."""
    with (
        serving(f"{UVICORN} --ws=wsproto newsroom.plain:app", tmp_path / "plain") as plain,
        serving(f"{UVICORN} --ws=wsproto --lifespan=on newsroom.flagged:app", tmp_path / "flagged") as flagged,
    ):
        await_listening(plain, flagged)
        yield plain, flagged


def session(server: Server) -> list[Heard]:
    with Client(server.port, server.folder) as nobody, Client(server.port, server.folder) as ada:
        look_around(nobody)
        write(ada)
        return nobody.heard + ada.heard


def look_around(nobody: Client) -> None:
    assert nobody.get("/").text == f"http://{HOST}/admin/, None"
    assert nobody.get("/admin").location == f"http://{HOST}/admin/"
    nobody.get("/admin/")
    assert "Login to your account" in nobody.follow().text
    style = nobody.get("/admin/static/css/select2-tabler.css")
    assert nobody.get(style.path, If_None_Match=style.headers["etag"]).status == 304
    assert nobody.get(style.path, Range="bytes=0-99").raw == style.raw[:100]
    assert nobody.get("/admin/static/nothing.css").status == 404
    assert nobody.get("/admin/article/list").status == 303
    assert nobody.get("/nothing").text == "Not Found"
    assert "GraphiQL" in nobody.get("/graphql/").text
    question = json.dumps({"query": '{ greeting(name: "ada") }'})
    answer = nobody.ask("POST", "/graphql/", {"Content-Type": "application/json"}, question)
    assert json.loads(answer.raw) == {"data": {"greeting": "hello ada"}}
    assert nobody.ask("POST", "/graphql/", {"Content-Type": "application/json"}, "{").status == 400
    assert nobody.ask("PUT", "/graphql/").status == 405


LOGIN = "/admin/login?next=/admin/article/list"
CREATE = "/admin/article/create"
TOKEN = "starlette_admin_csrftoken"


def write(ada: Client) -> None:
    ada.get(LOGIN)
    assert ada.submit(LOGIN, username="ada", password="of bob").status == 400
    assert ada.submit(LOGIN, username="ada", password="of ada").status == 303
    assert "Articles" in ada.follow().text
    assert ada.post(CREATE, {"title": "without a token"}).status == 403
    ada.get(CREATE)
    assert ada.submit(CREATE, title="", text="").status == 422
    picture = "line\n" * 50_000
    assert ada.upload(CREATE, "picture", ("picture.txt", picture), title="the first", text="a text").status == 303
    page = ada.follow().text
    assert "the first" in page
    (found,) = re.findall(rf"{HOST}(/admin/_files/[^\"]+)", page)
    assert ada.get(found).text == picture
    assert ada.get(found, Range="bytes=5-9").status == 206
    edit = "/admin/article/edit?pk=1"
    ada.get(edit)
    assert ada.submit(edit, title="the last", text="").status == 303
    assert "the last" in ada.follow().text
    assert ada.get("/admin/article/detail?pk=7").status == 404
    export = "/admin/_api/article/action?name=export&all=1"
    assert ada.post(export, {"format": "csv"}, X_CSRFToken=ada.cookie(TOKEN)).status == 200
    assert "the last" in ada.heard[-1].body
    ada.get("/admin/")
    assert ada.submit("/admin/logout").status == 303
    assert ada.get("/").text.endswith("None")


def test_it_answers_what_it_answers_without(servers: tuple[Server, Server], store: Store) -> None:
    with ThreadPoolExecutor() as threads:
        before, after = threads.map(session, servers)
        assert_same(before, after, for_some="/admin/_files/")
        said = threads.map(subscribe, servers)
    assert [*said] == [["graphql-transport-ws", "connection_ack", "next 0", "next 1", "next 2", "complete"]] * 2
    counts = asked(after, GATES) + look_at_what_is_off(servers[1], store)
    servers[1].end()
    assert "Traceback" not in servers[1].words()
    assert {(count.flag, count.arm): count.requests for count in store.counts()} == counts


def look_at_what_is_off(server: Server, store: Store) -> Counter[tuple[str, str]]:
    """How often it asked which flag, and what that was."""
    with Client(server.port, server.folder) as bob, Client(server.port, server.folder) as nobody:
        bob.get(LOGIN)
        bob.submit(LOGIN, username="bob", password="of bob")
        assert bob.get("/admin/_files/local/picture.txt").text == "Not Found"  # it is ada's
        counts = asked(bob.heard, GATES, off=["files"])
        for flag in ("writing", "graphql"):
            turn(store, Verb.OFF, flag)
        counts += await_off(nobody, "/graphql/", GATES)
    assert subscribe(server) == ["403"]
    with Client(server.port, server.folder) as ada, Client(server.port, server.folder) as nobody:
        ada.get(LOGIN)
        ada.submit(LOGIN, username="ada", password="of ada")
        assert "<h1>Articles</h1>" in ada.get(CREATE).text  # the list
        assert ada.post(CREATE, {"title": "the next"}, X_CSRFToken=ada.cookie(TOKEN)).status == 405
        assert "the next" not in ada.get("/admin/article/list").text
        counts += asked(ada.heard, GATES, off=["writing"])
        turn(store, Verb.OFF, "admin")
        counts += await_off(nobody, LOGIN, GATES)
    with Client(server.port, server.folder) as nobody:
        for path in ("/admin/", "/admin/article/list", "/admin/nothing", "/admin/static/css/select2-tabler.css"):
            assert nobody.get(path).text == "Not Found"
        assert nobody.post(LOGIN, {}).text == "Not Found"
        assert nobody.get("/").text == f"http://{HOST}/admin/, None"
        return counts + asked(nobody.heard, GATES, off=GATES)


def subscribe(server: Server) -> list[str]:
    """What a WebSocket of the protocol graphql-transport-ws hears until it is closed, in short."""
    heard: list[str] = []
    wanted = {"id": "1", "type": "subscribe", "payload": {"query": "subscription { counting(to: 3) }"}}
    talk = WSConnection(ConnectionType.CLIENT)
    with closing(socket.create_connection((LOCAL, server.port), timeout=30)) as connection:

        def send(event: Event) -> None:
            connection.sendall(talk.send(event))

        send(Request(host=HOST, target="/graphql/", subprotocols=["graphql-transport-ws"]))
        while part := connection.recv(4096):
            talk.receive_data(part)
            for event in talk.events():
                match event:
                    case RejectConnection():
                        return [f"{event.status_code}"]
                    case AcceptConnection():
                        heard.append(f"{event.subprotocol}")
                        for message in {"type": "connection_init"}, wanted:
                            send(TextMessage(json.dumps(message)))
                    case TextMessage():
                        message = json.loads(event.data)
                        number = message.get("payload", {}).get("data", {}).get("counting", "")
                        heard.append(f"{message['type']} {number}".strip())
                        if message["type"] == "complete":
                            send(CloseConnection(1000))
                    case CloseConnection():
                        return heard
    return heard
