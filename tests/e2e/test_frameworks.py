"""The site of tests/contrib/behaviour on real servers: each server with each protocol that it speaks, each framework, and
nobody gets past a gate, to another address, or lost on the way to the counts."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Final

import pytest

from flaggate.rollout.state import Verb
from flaggate.stores import open_store
from flaggate.stores.base import Store
from flaggate.web.caching import OVERRULING
from flaggate.web.visitor import COOKIE
from tests.contrib.behaviour.asking import BEHIND_FLAG, FOR_ANYONE, PRIVATE, SECRET, USER
from tests.contrib.scenes import FLAGS
from tests.e2e.servers import LOCAL, STRANGER, Headers, Reply, Server, serving
from tests.runtime.scenes import bring, turn, until
from tests.web.city_files import IN_LEEDS, IN_MANCHESTER, city_file

SERVED: Final = (
    ("gunicorn, one worker", "flask"), ("gunicorn asgi", "starlette"), ("uvicorn, one worker", "fastapi"),
    ("hypercorn", "django, async"), ("hypercorn wsgi", "flask"), ("daphne", "django, async"), ("daphne", "asgi"),
    ("waitress", "flask"), ("granian wsgi", "flask"), ("granian asgi", "fastapi"), ("uWSGI", "django"),
)  # fmt: skip
"""Not all with all: what differs between frameworks differs on any server, and the other way round."""
PLACED: Final = """
[flags.placed]
description = "Reads the place"
owner = "owner@example.com"
audience = { city = "Manchester", country = "GB" }
"""
ADA: Final = (USER, "ada")
BOB: Final = (USER, "bob")


class Site:
    """A server with the site, and what it was asked."""

    def __init__(self, server: Server, framework: str) -> None:
        self.server = server
        self.framework = framework
        self.asked: Counter[str] = Counter()
        """Requests that asked `team`, by the arm in which they are to be counted; and errors."""

    def ask(self, path: str, *headers: tuple[str, str], source: str = LOCAL, method: str = "GET") -> Reply:
        return self.server.ask(path, headers, source=source, method=method)

    def count(self, *headers: tuple[str, str], is_error: bool = False) -> None:
        arm = "on" if ADA in headers else "off"
        self.asked[arm] += 1
        self.asked[f"{arm}, failed"] += is_error


def flags(folder: Path) -> Store:
    """Where `team` is on for ada, `adas` too, `placed` for Manchester, and half of all visitors have `tried`."""
    made = open_store(f"sqlite:///{folder}/flags.db")
    bring(made, FLAGS)
    bring(made, PLACED)
    for name in ("team", "adas", "tiered", "placed", "banner"):
        turn(made, Verb.ON, name)
    turn(made, Verb.START, "tried")
    return made


@pytest.mark.parametrize(("name", "framework"), SERVED)
def test_on_a_real_server(tmp_path: Path, name: str, framework: str) -> None:
    store = flags(tmp_path)
    cities = tmp_path / "cities.mmdb"
    cities.write_bytes(city_file())
    environment = {"SITE_FRAMEWORK": framework, "SITE_CITIES": str(cities)}
    with serving(name, store.url, tmp_path / "server", app="tests.e2e.framework_site:app", **environment) as server:
        site = Site(server, framework)
        check_pages(site)
        check_failures(site)
        check_head(site)
        check_gate_cannot_be_passed(site)
        check_address(site)
        check_visitor(site)
        check_kill(site, store)
        if name in ("waitress", "uWSGI"):  # they end, or may do so, without letting Python know
            until(lambda: counted(store) == site.asked, "the counts are written")
        server.end()
    assert counted(store) == site.asked, server.words()
    store.close()


def counted(store: Store) -> Counter[str]:
    found: Counter[str] = Counter()
    for count in store.counts("team"):
        found[count.arm] += count.requests
        found[f"{count.arm}, failed"] += count.errors
    return found


def check_pages(site: Site) -> None:
    """As the table has them, asked by several at once."""

    def check(path: str, user: tuple[tuple[str, str], ...]) -> None:
        without, with_it = BEHIND_FLAG[path]
        status, body = with_it if ADA in user else without
        reply = site.ask(path, *user)
        assert (path, reply.status) == (path, status)
        assert body is None or reply.body.decode() == body
        assert {name: reply.headers[name] for name in PRIVATE} == PRIVATE

    asked = [(path, user) for path in BEHIND_FLAG for user in ((), (BOB,), (ADA,)) * 2]
    with ThreadPoolExecutor(4) as clients:
        list(clients.map(check, *zip(*asked, strict=True)))
    for _, user in asked:
        site.count(*user)
    for path in ("/public", "/public-banner"):
        headers = site.ask(path, ADA).headers
        assert {name: headers[name] for name in FOR_ANYONE} == FOR_ANYONE
    headers = site.ask("/public-team", BOB).headers
    site.count(BOB)
    assert headers["Cache-Control"] == "max-age=600, private"
    assert headers["Vary"] == "Accept-Language, Cookie, Authorization"
    assert not any(name in headers for name in OVERRULING)


def check_failures(site: Site) -> None:
    with suppress(ConnectionError):  # uWSGI has no page for it
        assert site.ask("/fails", ADA).status == 500
    site.count(ADA, is_error=True)
    if site.server.name == "daphne":
        return  # it leaves the connection open
    with suppress(HTTPException, ConnectionError):  # it has begun: all that is left is to break off
        site.ask("/stream-fails", ADA)
    site.count(ADA, is_error=True)


def check_head(site: Site) -> None:
    """Gated and counted like GET."""
    if site.server.name == "hypercorn wsgi":
        return  # it answers 500 to whatever has no body, with flaggate or without
    for path in ("/tabled", "/stream", "/asks"):
        for user in (BOB, ADA):
            reply = site.ask(path, user, method="HEAD")
            assert reply.body == b""
            if site.framework == "fastapi" and (path != "/tabled" or user == ADA):
                assert reply.status == 405, "its routes are for one method"
            else:
                assert reply.status == (404 if (path, user) == ("/tabled", BOB) else 200)
                assert {name: reply.headers[name] for name in PRIVATE} == PRIVATE
            if site.framework != "fastapi" or path == "/tabled":
                site.count(user)


SPELLINGS: Final = (
    "/secret", "/secret/", "//secret", "///secret//", "/./secret", "/x/../secret", "/../secret", "/%2e/secret",
    "/x/%2e%2e/secret", "/x%2F..%2Fsecret", "/%73ecret", "/%2573ecret", "/%2Fsecret", "/secret%2F", "%2Fsecret", "secret",
    "/secret%0A", "/secret%00", "/secret%0D%0A", "/secret%20", "/secret;x=1", "/secret%3Fx", "/secret?x", "/secret#x",
    "/secret%zz", "/%C0%AFsecret", "/%FF/../secret", "\\secret", "/\\secret", "/%5Csecret", "*",
    "http://here/secret", "HTTP://here/secret", "http://here//secret", "http://here/x/../secret", "http:///secret",
    "http://here:80/secret", "//here/secret", "/x/secret", "/secret/secret",
)  # fmt: skip
NAMES_OF_ROOTS: Final = (
    "Daphne-Root-Path", "Script-Name", "SCRIPT_NAME", "X-Script-Name", "X-Forwarded-Prefix", "Path-Info", "PATH_INFO",
    "X-Original-URL", "X-Rewrite-URL",
)  # fmt: skip
"""With which proxies say where an app stands, or what it was asked for."""
ROOTS: Final = (
    ("/secret", "/secret"), ("/secret", "/old"), ("/x", "/x/secret"), ("/x", "/xsecret"), ("/", "/secret"),
    ("/", "//secret"), ("/s", "/secret"), ("/secret", "/secret/secret"),
)  # fmt: skip


def check_gate_cannot_be_passed(site: Site) -> None:
    """In whichever spelling a server takes the path, with whatever root a client names."""
    assert site.ask("/secret", ADA).body.decode() == SECRET
    asked: list[tuple[str, Headers]] = [(path, [BOB]) for path in SPELLINGS]
    asked += [(path, [BOB, (name, root)]) for name in NAMES_OF_ROOTS for root, path in ROOTS]
    for path, headers in asked:
        with suppress(HTTPException, ConnectionError):  # some of these are no requests
            assert SECRET.encode() not in site.server.ask(path, headers).body, (path, headers)


def check_address(site: Site) -> None:
    """What a trusted proxy says counts, and what anybody else writes does not."""

    def place(*headers: tuple[str, str], source: str) -> str:
        return site.ask("/city", *headers, source=source).body.decode()

    name = "X-Forwarded-For"
    assert place((name, f"{IN_LEEDS}, {IN_MANCHESTER}"), source=LOCAL) == "new"
    assert place((name, IN_MANCHESTER), (name, IN_LEEDS), source=LOCAL) == "old"
    assert place((name, IN_LEEDS), (name.lower(), IN_MANCHESTER), source=LOCAL) == "new"
    for header in (name, "X_Forwarded_For", "X-Real-IP", "Remote-Addr", "REMOTE_ADDR", "X-Client-IP", "Client-IP"):
        assert place((header, IN_MANCHESTER), source=STRANGER) == "old", header
    assert place(("Forwarded", f"for={IN_MANCHESTER}"), source=STRANGER) == "old"
    assert place((name, f"{IN_MANCHESTER}, {LOCAL}"), (name, LOCAL), source=STRANGER) == "old"


def check_visitor(site: Site) -> None:
    first = site.ask("/visited")
    value = SimpleCookie(first.headers["Set-Cookie"])[COOKIE].value
    cookies: list[Headers] = [
        [("Cookie", f"a=b; {COOKIE}={value}")],
        [("Cookie", "a=b"), ("Cookie", f"{COOKIE}={value}")],
    ]
    for lines in cookies:
        again = site.server.ask("/visited", lines)
        assert "Set-Cookie" not in again.headers, lines
        assert (again.status, again.body) == (200, first.body)
    visitor, _, signature = value.rpartition(".")
    for forged in (f"another.{signature}", visitor, f"{visitor}.", f"{visitor}.{signature[::-1]}"):
        reply = site.ask("/visited", ("Cookie", f"{COOKIE}={forged}"))
        replaced = SimpleCookie(reply.headers["Set-Cookie"])[COOKIE].value
        assert replaced.rpartition(".")[0] not in (visitor, "another")
        assert (reply.headers["Cache-Control"], reply.headers["Vary"]) == ("private", "Cookie")


def check_kill(site: Site, store: Store) -> None:
    """It arrives in each process of the server."""

    def asked() -> bytes:
        body = site.ask("/asks", ADA).body
        site.asked["on" if body == b"new" else "off"] += 1
        return body

    assert asked() == b"new"
    turn(store, Verb.KILL, "team")
    until(lambda: {asked() for _ in range(8)} == {b"old"}, "the kill has arrived")
