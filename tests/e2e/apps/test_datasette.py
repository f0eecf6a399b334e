"""Datasette behind flags, by a plugin that puts flaggate's middleware around it: an ASGI app that is not Starlette's.

It looks at the raw path, begins with its lifespan, streams, and signs in by a cookie of its own.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from flaggate.rollout.state import Verb
from flaggate.stores import open_store
from flaggate.stores.base import Store
from tests.e2e.apps.client import Client, Heard, asked, assert_same, await_off
from tests.e2e.apps.served import await_listening, needs, serving
from tests.e2e.servers import Server
from tests.runtime.scenes import bring, turn

pytestmark = needs(datasette="datasette")

PLUGINS = Path(__file__).with_name("datasette_plugins")
FLAGS = """
[flags.numbers]
description = "A table, in each of its formats"
owner = "owner@example.com"

[flags.writing]
description = "A form"
owner = "owner@example.com"

[flags.inspection]
description = "What only root sees"
owner = "owner@example.com"
audience = { user = "root" }
"""
ADDING = {"sql": "insert into notes (text) values (:text)", "write": True, "on_success_redirect": "/notes/notes"}
COMMAND = "datasette serve notes.db --immutable=frozen.db --metadata=metadata.json --secret=none --root --port=0"
GATES = {"numbers": "/notes/+(n|%6e)umbers", "writing": "/notes/add(_|%5F)note", "inspection": "/-/metadata"}
"""Which paths ask which flag."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """What the plugin will open, all flags on."""
    for name in ("plain", "flagged"):
        make_folder(tmp_path / name)
    with closing(open_store(f"sqlite:///{tmp_path}/flagged/flags.db", create=True)) as made:
        bring(made, FLAGS)
        for flag in ("numbers", "writing", "inspection"):
            turn(made, Verb.ON, flag)
        yield made


def make_folder(folder: Path) -> None:
    shutil.copytree(PLUGINS, folder / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "metadata.json").write_text(json.dumps({"databases": {"notes": {"queries": {"add_note": ADDING}}}}))
    with closing(sqlite3.connect(folder / "notes.db")) as notes, notes:
        notes.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        notes.execute("CREATE TABLE numbers (id INTEGER PRIMARY KEY, square INTEGER)")
        notes.executemany("INSERT INTO numbers VALUES (?, ?)", [(n, n * n) for n in range(2500)])
    with closing(sqlite3.connect(folder / "frozen.db")) as frozen, frozen:
        frozen.execute("CREATE TABLE letters (letter TEXT)")


@pytest.fixture
def servers(store: Store, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """Without and with flaggate."""
    with (
        serving(COMMAND, tmp_path / "plain") as plain,
        serving(f"{COMMAND} --plugins-dir=plugins", tmp_path / "flagged") as flagged,
    ):
        await_listening(plain, flagged)
        yield plain, flagged


def session(server: Server) -> list[Heard]:
    """Somebody looks at data; root writes."""
    (token,) = re.findall(r"token=(\w+)", server.words())
    with Client(server.port, server.folder) as nobody, Client(server.port, server.folder) as root:
        look_around(nobody)
        root.get(f"/-/auth-token?token={token}")
        assert root.follow().status == 200
        write(root)
        return nobody.heard + root.heard


def look_around(nobody: Client) -> None:
    for path in ("/", "/notes", "/notes/numbers?_sort_desc=square", "/notes/numbers/7", "/notes?sql=select+1+as+one"):
        assert nobody.get(path).status == 200
    assert len(json.loads(nobody.get("/notes/numbers.json?_shape=array&_size=10").raw)) == 10
    streamed = nobody.get("/notes/numbers.csv?_stream=on&_size=max")
    assert streamed.headers["transfer-encoding"] == "chunked"
    assert streamed.text.splitlines()[-1] == f"2499,{2499**2}"
    assert nobody.get("/frozen.db").raw.startswith(b"SQLite format 3")
    assert nobody.get("/notes/").location == "/notes"
    assert nobody.get("/notes/nothing").status == 404
    assert nobody.get("/notes/numbers/7000").status == 404
    assert nobody.get("/notes?sql=delete+from+notes").status == 400
    style = nobody.get("/-/static/app.css")
    assert style.headers["content-type"] == "text/css"
    assert nobody.ask("HEAD", "/notes/numbers").status == 200
    assert nobody.ask("OPTIONS", "/notes/numbers").raw == b"ok"


def write(root: Client) -> None:
    assert root.post("/notes/add_note", {"text": "without a token"}).status == 403
    root.get("/notes/add_note")
    assert root.submit("/notes/add_note", text="the first").location == "/notes/notes"
    page = root.follow().text
    assert "the first" in page
    assert "Query executed" in page
    assert root.get("/-/metadata.json").status == 200
    root.get("/-/logout")
    assert root.submit("/-/logout").location == "/"
    assert "You are now logged out" in root.follow().text


def test_it_answers_what_it_answers_without(servers: tuple[Server, Server], store: Store) -> None:
    with ThreadPoolExecutor() as threads:
        before, after = threads.map(session, servers)
    assert_same(before, after, for_some="/-/metadata")
    counts = asked(after, GATES) + look_at_what_is_off(servers[1], store)
    servers[1].end()
    assert {(count.flag, count.arm): count.requests for count in store.counts()} == counts


def look_at_what_is_off(server: Server, store: Store) -> Counter[tuple[str, str]]:
    """How often it asked which flag, and what that was."""
    for flag in ("writing", "numbers"):
        turn(store, Verb.OFF, flag)
    with Client(server.port, server.folder) as nobody:
        counts = await_off(nobody, "/notes/numbers", GATES)
    with Client(server.port, server.folder) as nobody:
        for path in ("/notes/numbers.json", "/notes/numbers.csv?_stream=on", "/notes//numbers", "/notes/%6eumbers/7"):
            assert nobody.get(path).text == "Not Found"
        assert nobody.get("/-/metadata.json").text == "Not Found"  # it is root's
        assert "<title>notes: notes: 1 row</title>" in nobody.get("/notes/add%5Fnote").text
        posted = nobody.post("/notes/add_note", {"text": "the second"})
        assert posted.status == nobody.post("/notes/notes", {"text": "the second"}).status
        assert nobody.get("/notes/notes.json?_shape=array").text.count("text") == 1
        assert nobody.get("/notes").status == 200
        return counts + asked(nobody.heard, GATES, off=GATES)
