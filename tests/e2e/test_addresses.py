"""Whose address a request has, on real servers: what a client writes changes nothing unless a trusted proxy sent it.

Peers are told apart by the loopback's addresses: 127.0.0.1 is a proxy of ours, 127.0.0.2 is anybody.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from flaggate.stores import open_store
from flaggate.web.visitor import COOKIE
from tests.e2e.servers import LOCAL, STRANGER, Server, ask, ended, free_port, serving
from tests.e2e.sites import SETTINGS
from tests.runtime.scenes import until
from tests.web.scenes import running

SPOOFED = "198.51.100.9"
FORGED = (
    ("X-Forwarded-For", SPOOFED),
    ("X-Forwarded-For", f"{SPOOFED}, {LOCAL}"),
    ("Forwarded", f"for={SPOOFED}"),
    ("Forwarded", f'for="{SPOOFED}:4711";proto=https, for={LOCAL}'),
    ("X_Forwarded_For", SPOOFED),
    ("X-Real-IP", SPOOFED),
)
ON_A_PORT = (
    "gunicorn, one worker", "gunicorn behind ProxyFix", "uvicorn, one worker", "uvicorn --no-proxy-headers", "waitress",
    "granian wsgi", "granian asgi",
)  # fmt: skip
ON_A_SOCKET = ("gunicorn, one worker", "uvicorn --uds")
REWRITES = "uvicorn, one worker"
"""By default it puts what X-Forwarded-For says in the place of a peer on the loopback."""
ASGI = (REWRITES, "uvicorn --no-proxy-headers", "granian asgi")

Started = Callable[[str], Server]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Starts a server, the first time that it is named."""
    folder = tmp_path_factory.mktemp("servers")
    url = f"sqlite:///{folder}/flags.db"
    running(open_store(url)).close()
    servers: dict[str, Server] = {}
    with ExitStack() as stack:

        def start(name: str) -> Server:
            if name not in servers:
                servers[name] = stack.enter_context(serving(name, url, folder / str(len(servers))))
            return servers[name]

        yield start


def is_hidden(name: str, header: tuple[str, str]) -> bool:
    """Whether a site that does not read X-Forwarded-For cannot know the peer on 127.0.0.1: uvicorn may have replaced
    it by what is there. Then there is no address, rather than a wrong one."""
    return name in ASGI and header[0] == "X-Forwarded-For" and (name == REWRITES or LOCAL in header[1])


def address(where: int | Path, site: str, header: tuple[str, str], *, source: str = LOCAL) -> str | None:
    """The client's address as the site sees it, of a request with this header."""
    found: str | None = ask(where, f"/{site}/address", dict([header]), source=source).json()["address"]
    return found


# --- directly -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ON_A_PORT)
def test_what_a_stranger_writes_changes_nothing(started: Started, name: str) -> None:
    """Whomever the site trusts, and whichever header it reads."""
    port = started(name).port
    for site in SETTINGS:
        for header in FORGED:
            assert address(port, site, header, source=STRANGER) == STRANGER, (site, header)


@pytest.mark.parametrize("name", ON_A_PORT)
def test_what_anybody_writes_changes_nothing_where_nobody_is_trusted(started: Started, name: str) -> None:
    port = started(name).port
    for header in FORGED:
        assert address(port, "nobody", header) == (None if is_hidden(name, header) else LOCAL), header
    if name == REWRITES:
        assert "the server seems to take the client's address from X-Forwarded-For" in started(name).words()


@pytest.mark.parametrize("name", ON_A_PORT)
def test_what_a_trusted_proxy_writes_counts_and_only_in_its_header(started: Started, name: str) -> None:
    port = started(name).port
    told = {
        "X-Forwarded-For": f"{SPOOFED}, 203.0.113.7",
        "Forwarded": f"for={SPOOFED}, for=203.0.113.7",
        "X_Forwarded_For": "203.0.113.7",
        "X-Real-IP": "203.0.113.7",
    }
    believed = {
        (site, header[0])
        for site in ("x-forwarded-for", "forwarded")
        for header in told.items()
        if address(port, site, header) == "203.0.113.7"
    }
    expected = {("x-forwarded-for", "X-Forwarded-For"), ("forwarded", "Forwarded")}
    if name == "granian wsgi":
        expected.add(("x-forwarded-for", "X_Forwarded_For"))  # a proxy of ours must not let it through; nginx does not
    assert believed == expected


@pytest.mark.parametrize("name", ON_A_SOCKET)
def test_on_a_unix_socket_there_is_no_peer_but_there_may_be_a_proxy(started: Started, name: str) -> None:
    where = started(name).socket
    for header in FORGED:
        assert address(where, "nobody", header) is None, header
    assert address(where, "x-forwarded-for", ("X-Forwarded-For", f"{SPOOFED}, 203.0.113.7")) == "203.0.113.7"
    assert address(where, "forwarded", ("Forwarded", f"for={SPOOFED}, for=203.0.113.7")) == "203.0.113.7"


# --- behind nginx ---------------------------------------------------------------------------

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
BEHIND = (
    ("gunicorn, one worker", "port"), ("gunicorn, one worker", "socket"), ("gunicorn behind ProxyFix", "port"),
    ("uvicorn, one worker", "port"), ("uvicorn --no-proxy-headers", "port"), ("uvicorn --uds", "socket"),
    ("waitress", "port"), ("granian wsgi", "port"), ("granian asgi", "port"),
)  # fmt: skip
CONFIGURATION = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{
        listen 127.0.0.1:{appends};
        location / {{ proxy_pass http://{backend}; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }}
    }}
    server {{
        listen 127.0.0.1:{sets};
        location / {{ proxy_pass http://{backend}; proxy_set_header Forwarded "for=$remote_addr"; }}
    }}
    server {{
        listen 127.0.0.1:{extends};
        location / {{ proxy_pass http://{backend}; proxy_set_header Forwarded "$http_forwarded, for=$remote_addr"; }}
    }}
}}
"""


@pytest.mark.skipif(NGINX is None, reason="nginx is missing: apt-get install nginx-light")
@pytest.mark.parametrize(("name", "by"), BEHIND)
def test_behind_nginx_the_address_is_the_one_that_nginx_saw(
    started: Started, tmp_path: Path, name: str, by: str
) -> None:
    """What the client wrote stands left of it, and changes nothing; nginx drops names with underscores."""
    server = started(name)
    ports = {word: free_port() for word in ("appends", "sets", "extends")}
    backend = f"127.0.0.1:{server.port}" if by == "port" else f"unix:{server.socket}:"
    user = "user root;" if os.getuid() == 0 else ""  # or its workers do not reach the socket
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=tmp_path, backend=backend, user=user, **ports))
    assert NGINX is not None
    log = tmp_path / "nginx.log"
    with log.open("wb") as written:
        nginx = subprocess.Popen(
            [NGINX, "-p", str(tmp_path), "-c", str(configuration)],
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    with ended(nginx):
        until(lambda: _answers(nginx, ports["appends"]), "nginx answers")
        for header in FORGED:
            assert address(ports["appends"], "x-forwarded-for", header, source=STRANGER) == STRANGER, header
            for port in (ports["sets"], ports["extends"]):  # X-Forwarded-For is passed on as the client wrote it
                seen = address(port, "forwarded", header, source=STRANGER)
                assert seen == (None if is_hidden(name, header) else STRANGER), header
        assert "[emerg]" not in log.read_text()


def _answers(nginx: subprocess.Popen[bytes], port: int) -> bool:
    assert nginx.poll() is None
    try:
        return ask(port, "/nobody/address").status == 200
    except OSError:
        return False


# --- the visitor's cookie -------------------------------------------------------------------


@pytest.mark.parametrize("name", ON_A_PORT)
def test_a_forged_or_foreign_cookie_is_replaced_and_not_believed(started: Started, name: str) -> None:
    server = started(name)
    first = server.ask("/nobody/visitor")
    value = SimpleCookie(first.headers["Set-Cookie"])[COOKIE].value
    visitor, _, signature = value.rpartition(".")
    assert first.json()["visitor"] == visitor
    again = server.ask("/nobody/visitor", {"Cookie": f"a=b; {COOKIE}={value}"})
    assert "Set-Cookie" not in again.headers
    assert {**again.json(), "pid": 0} == {**first.json(), "pid": 0}
    for forged in (f"another.{signature}", visitor, f"{visitor}.", f"{visitor}.{signature[::-1]}"):
        reply = server.ask("/nobody/visitor", {"Cookie": f"{COOKIE}={forged}"})
        replaced = SimpleCookie(reply.headers["Set-Cookie"])[COOKIE].value
        assert reply.json()["visitor"] == replaced.rpartition(".")[0]
        assert reply.json()["visitor"] not in (visitor, "another")
        assert reply.headers["Cache-Control"] == "private"
        assert reply.headers["Vary"] == "Cookie"
