"""Whose address a request has, on real servers: what a client writes changes nothing unless a trusted proxy sent it.

Peers are told apart by the loopback's addresses: 127.0.0.1 is a proxy of ours, 127.0.0.2 is anybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from flaggate.stores import open_store
from flaggate.web.visitor import COOKIE
from tests.e2e.nginx import needs_nginx, nginx
from tests.e2e.servers import LOCAL, STRANGER, Headers, Server, ask, free_port, serving
from tests.e2e.sites import SETTINGS
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
CLIENT = "203.0.113.7"
ON_A_PORT = (
    "gunicorn, one worker", "gunicorn behind ProxyFix", "gunicorn asgi", "uvicorn, one worker",
    "uvicorn --no-proxy-headers", "hypercorn", "hypercorn wsgi", "daphne", "waitress", "granian wsgi", "granian asgi",
    "uWSGI",
)  # fmt: skip
ON_A_SOCKET = (
    "gunicorn, one worker", "gunicorn asgi", "uvicorn --uds", "hypercorn", "hypercorn wsgi", "daphne",
    "waitress --unix-socket", "granian --uds", "uWSGI",
)  # fmt: skip
REWRITES = "uvicorn, one worker"
"""By default it puts what X-Forwarded-For says in the place of a peer on the loopback."""
BY_ASGI = (
    REWRITES, "uvicorn --no-proxy-headers", "gunicorn asgi", "hypercorn", "hypercorn wsgi", "daphne", "granian asgi",
)  # fmt: skip
"""No app can tell which of these it is, and so whether it does; "hypercorn wsgi" does not say its name either."""
TAKES_UNDERSCORES = ("hypercorn wsgi", "granian wsgi", "uWSGI")
"""To these X_Forwarded_For is X-Forwarded-For: a proxy of ours must not let it through; nginx does not."""


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of that name; pytest has those tests together that share one."""
    folder = tmp_path_factory.mktemp("server")
    url = f"sqlite:///{folder}/flags.db"
    running(open_store(url)).close()
    with serving(request.param, url, folder) as started:
        yield started


def is_hidden(name: str, header: tuple[str, str]) -> bool:
    """Whether a site that does not read X-Forwarded-For cannot know the peer on 127.0.0.1: uvicorn may have replaced
    it by what is there. Then there is no address, rather than a wrong one."""
    return name in BY_ASGI and header[0] == "X-Forwarded-For" and (name == REWRITES or LOCAL in header[1])


def address(where: int | Path, site: str, *headers: tuple[str, str], source: str = LOCAL) -> str | None:
    """The client's address as the site sees it, of a request with these headers."""
    found: str | None = ask(where, f"/{site}/address", headers, source=source).json()["address"]
    return found


# --- directly -------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ON_A_PORT, indirect=True)
def test_what_a_stranger_writes_changes_nothing(server: Server) -> None:
    """Whomever the site trusts, and whichever header it reads."""
    port = server.port
    for site in SETTINGS:
        for header in FORGED:
            assert address(port, site, header, source=STRANGER) == STRANGER, (site, header)


@pytest.mark.parametrize("server", ON_A_PORT, indirect=True)
def test_what_anybody_writes_changes_nothing_where_nobody_is_trusted(server: Server) -> None:
    port = server.port
    for header in FORGED:
        assert address(port, "nobody", header) == (None if is_hidden(server.name, header) else LOCAL), header
    if server.name == REWRITES:
        assert "the server seems to take the client's address from X-Forwarded-For" in server.words()


@pytest.mark.parametrize("server", ON_A_PORT, indirect=True)
def test_what_a_trusted_proxy_writes_counts_and_only_in_its_header(server: Server) -> None:
    port = server.port
    told = {
        "X-Forwarded-For": f"{SPOOFED}, {CLIENT}",
        "Forwarded": f"for={SPOOFED}, for={CLIENT}",
        "X_Forwarded_For": CLIENT,
        "X-Real-IP": CLIENT,
    }
    believed = {
        (site, header[0])
        for site in ("x-forwarded-for", "forwarded")
        for header in told.items()
        if address(port, site, header) == CLIENT
    }
    expected = {("x-forwarded-for", "X-Forwarded-For"), ("forwarded", "Forwarded")}
    if server.name in TAKES_UNDERSCORES:
        expected.add(("x-forwarded-for", "X_Forwarded_For"))
    assert believed == expected


@pytest.mark.parametrize("server", ON_A_PORT, indirect=True)
def test_of_several_lines_the_last_is_the_nearest(server: Server) -> None:
    """However the server hands them on: one by one, or joined in one of three ways."""
    port = server.port
    lines = [
        [("X-Forwarded-For", SPOOFED), ("x-forwarded-FOR", CLIENT)],
        [("X-Forwarded-For", f"{SPOOFED}, {CLIENT}"), ("X-Forwarded-For", LOCAL)],
        [("X-Forwarded-For", CLIENT), ("X-Forwarded-For", ""), ("X-Forwarded-For", f"{LOCAL},\t{LOCAL} ,")],
        [("X_Forwarded_For", SPOOFED), ("X-Forwarded-For", CLIENT)],
    ]
    for headers in lines:
        assert address(port, "x-forwarded-for", *headers) == CLIENT, headers
        assert address(port, "x-forwarded-for", *headers, source=STRANGER) == STRANGER, headers
    headers = [("X-Forwarded-For", CLIENT), ("X_Forwarded_For", SPOOFED)]
    assert address(port, "x-forwarded-for", *headers) == (SPOOFED if server.name in TAKES_UNDERSCORES else CLIENT)
    headers = [("Forwarded", f"for={SPOOFED}"), ("Forwarded", f'for="{CLIENT}:1"'), ("forwarded", f"for={LOCAL};by=x")]
    assert address(port, "forwarded", *headers) == CLIENT
    assert address(port, "forwarded", *headers, source=STRANGER) == STRANGER


@pytest.mark.parametrize("server", ON_A_SOCKET, indirect=True)
def test_on_a_unix_socket_there_is_no_peer_but_there_may_be_a_proxy(server: Server) -> None:
    where = server.socket
    for header in FORGED:
        assert address(where, "nobody", header) is None, header
    assert address(where, "x-forwarded-for", ("X-Forwarded-For", f"{SPOOFED}, {CLIENT}")) == CLIENT
    assert address(where, "forwarded", ("Forwarded", f"for={SPOOFED}, for={CLIENT}")) == CLIENT


# --- behind nginx ---------------------------------------------------------------------------

PROXIES = """
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
"""
BY_UWSGI = """
uwsgi_param PATH_INFO $document_uri; uwsgi_param QUERY_STRING $query_string;
uwsgi_param REQUEST_METHOD $request_method; uwsgi_param SERVER_PROTOCOL $server_protocol;
uwsgi_param SERVER_NAME $server_name; uwsgi_param SERVER_PORT $server_port; uwsgi_param REMOTE_ADDR $remote_addr;
server {{ listen 127.0.0.1:{plain}; location / {{ uwsgi_pass unix:{folder}/uwsgi; }} }}
server {{
    listen 127.0.0.1:{realip};
    set_real_ip_from {proxy}; real_ip_header X-Forwarded-For;
    location / {{ uwsgi_pass unix:{folder}/uwsgi; }}
}}
"""


@needs_nginx
@pytest.mark.parametrize("server", dict.fromkeys(ON_A_PORT + ON_A_SOCKET), indirect=True)
def test_behind_nginx_the_address_is_the_one_that_nginx_saw(server: Server, tmp_path: Path) -> None:
    """What the client wrote stands left of it, and changes nothing; nginx drops names with underscores."""
    backends = {f"127.0.0.1:{server.port}": bool(server.port), f"unix:{server.socket}:": server.socket.exists()}
    for backend in (backend for backend, is_there in backends.items() if is_there):
        ports = {word: free_port() for word in ("appends", "sets", "extends")}
        with nginx(PROXIES.format(backend=backend, **ports), tmp_path, ports["appends"]):
            for header in FORGED:
                assert address(ports["appends"], "x-forwarded-for", header, source=STRANGER) == STRANGER, header
                for port in (ports["sets"], ports["extends"]):  # X-Forwarded-For is passed on as the client wrote it
                    seen = address(port, "forwarded", header, source=STRANGER)
                    is_untold = is_hidden(server.name, header) and not backend.startswith("unix:")
                    assert seen == (None if is_untold else STRANGER), (backend, header)


@needs_nginx
@pytest.mark.parametrize("server", ["uWSGI"], indirect=True)
def test_behind_nginx_by_the_protocol_of_uwsgi_the_peer_is_the_one_that_nginx_saw(
    server: Server, tmp_path: Path
) -> None:
    """It is told of the client itself, with nobody to be trusted; also where nginx has it of a proxy further out."""
    plain, realip = free_port(), free_port()
    proxies = BY_UWSGI.format(plain=plain, realip=realip, proxy=LOCAL, folder=server.folder)
    with nginx(proxies, tmp_path, plain):
        for header in (*FORGED, ("X-Forwarded-For", STRANGER)):
            for site in SETTINGS:
                assert address(plain, site, header, source=STRANGER) == STRANGER, (site, header)
            assert address(realip, "nobody", header, source=STRANGER) == STRANGER, header
        assert address(realip, "nobody", ("X-Forwarded-For", f"{SPOOFED}, {CLIENT}")) == CLIENT


@needs_nginx
@pytest.mark.parametrize("server", ["daphne --proxy-headers"], indirect=True)
def test_daphne_that_believes_headers_has_no_address_rather_than_a_forged_one(server: Server, tmp_path: Path) -> None:
    """With --proxy-headers it puts the first address of X-Forwarded-For, the client's word, in the place of the peer."""
    ports = {word: free_port() for word in ("appends", "sets", "extends")}
    backend = f"127.0.0.1:{server.port}"
    with nginx(PROXIES.format(backend=backend, **ports), tmp_path, ports["appends"]):
        assert address(ports["appends"], "x-forwarded-for", source=STRANGER) == STRANGER
        for value in (SPOOFED, f"{SPOOFED}, {LOCAL}", "localhost", "", "unknown", f"{LOCAL}, {SPOOFED}"):
            header = "X-Forwarded-For", value
            assert address(ports["appends"], "x-forwarded-for", header, source=STRANGER) in (STRANGER, None), value
            for port in (ports["sets"], ports["extends"]):
                assert address(port, "forwarded", header, source=STRANGER) in (STRANGER, None), value


# --- the visitor's cookie -------------------------------------------------------------------


@pytest.mark.parametrize("server", ON_A_PORT, indirect=True)
def test_a_forged_or_foreign_cookie_is_replaced_and_not_believed(server: Server) -> None:
    first = server.ask("/nobody/visitor")
    value = SimpleCookie(first.headers["Set-Cookie"])[COOKIE].value
    visitor, _, signature = value.rpartition(".")
    assert first.json()["visitor"] == visitor
    lines: list[Headers] = [{"Cookie": f"a=b; {COOKIE}={value}"}, [("Cookie", "a=b"), ("Cookie", f"{COOKIE}={value}")]]
    for cookies in lines:
        again = server.ask("/nobody/visitor", cookies)
        assert "Set-Cookie" not in again.headers
        assert {**again.json(), "pid": 0} == {**first.json(), "pid": 0}
    for forged in (f"another.{signature}", visitor, f"{visitor}.", f"{visitor}.{signature[::-1]}"):
        reply = server.ask("/nobody/visitor", {"Cookie": f"{COOKIE}={forged}"})
        replaced = SimpleCookie(reply.headers["Set-Cookie"])[COOKIE].value
        assert reply.json()["visitor"] == replaced.rpartition(".")[0]
        assert reply.json()["visitor"] not in (visitor, "another")
        assert reply.headers["Cache-Control"] == "private"
        assert reply.headers["Vary"] == "Cookie"
