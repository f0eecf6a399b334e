"""Behind a real nginx that keeps whatever it may: nobody is served a page that was made for another."""

from __future__ import annotations

from http.cookies import SimpleCookie
from pathlib import Path
from typing import Final

import pytest

from flaggate.web.visitor import COOKIE
from tests.contrib.behaviour.asking import BEHIND_FLAG, USER
from tests.e2e.nginx import needs_nginx, nginx
from tests.e2e.servers import STRANGER, Reply, ask, free_port, serving
from tests.e2e.test_frameworks import flags
from tests.web.city_files import LEEDS, MANCHESTER, city_file

IN_MANCHESTER: Final = "127.0.0.3"
IN_LEEDS: Final = "127.0.0.4"
# A careless one: it keeps what says nothing of caches, and for one key whoever asks.
CACHE: Final = """
proxy_cache_path {folder}/cache levels=1 keys_zone=pages:1m inactive=1h use_temp_path=off;
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://127.0.0.1:{backend};
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_cache pages; proxy_cache_key $request_uri; proxy_cache_valid 200 302 404 1h;
        add_header X-Cache $upstream_cache_status always;
    }}
}}
"""


@needs_nginx
@pytest.mark.parametrize(
    ("name", "framework"),
    [("gunicorn, one worker", "flask"), ("gunicorn, one worker", "django"), ("uvicorn, one worker", "starlette")],
)
def test_behind_a_caching_nginx(tmp_path: Path, name: str, framework: str) -> None:
    store, port = flags(tmp_path), free_port()
    cities = tmp_path / "cities.mmdb"
    cities.write_bytes(city_file({f"{IN_MANCHESTER}/32": MANCHESTER, f"{IN_LEEDS}/32": LEEDS}))
    environment = {"SITE_FRAMEWORK": framework, "SITE_CITIES": str(cities)}
    with (
        serving(name, store.url, tmp_path / "server", app="tests.e2e.framework_site:app", **environment) as server,
        nginx(CACHE.format(folder=tmp_path, port=port, backend=server.port), tmp_path, port),
    ):
        check_users(port)
        check_places(port)
        check_visitors(port)
        check_what_is_for_everyone(port)
    store.close()


def got(port: int, path: str, user: str | None = None, *, source: str = STRANGER) -> Reply:
    return ask(port, path, {} if user is None else {USER: user}, source=source)


def check_users(port: int) -> None:
    """Two of them and somebody unknown, whoever comes first; also of a page that says that anyone may keep it for ten
    minutes, in each of the headers that are obeyed before Cache-Control."""
    pages = {**BEHIND_FLAG, "/public-team": ((200, "old"), (200, "new"))}
    for path, (without, with_it) in pages.items():
        for user in (None, "ada", "bob", "ada", None):
            reply = got(port, path, user)
            status, body = with_it if user == "ada" else without
            assert (path, reply.status, reply.headers["X-Cache"]) == (path, status, "MISS")
            assert body is None or reply.body.decode() == body


def check_places(port: int) -> None:
    for source, body in ((IN_LEEDS, b"old"), (IN_MANCHESTER, b"new"), (STRANGER, b"old"), (IN_MANCHESTER, b"new")):
        reply = got(port, "/city", source=source)
        assert (reply.body, reply.headers["X-Cache"]) == (body, "MISS")


def check_visitors(port: int) -> None:
    """Nobody is given the cookie of another, nor the page."""
    cookies = [SimpleCookie(got(port, "/visited").headers["Set-Cookie"])[COOKIE].value for _ in range(3)]
    assert len(set(cookies)) == 3
    for value in cookies:
        replies = [ask(port, "/visited", {"Cookie": f"{COOKIE}={value}"}) for _ in range(2)]
        assert len({reply.body for reply in replies}) == 1
        assert all(reply.headers["X-Cache"] == "MISS" and "Set-Cookie" not in reply.headers for reply in replies)


def check_what_is_for_everyone(port: int) -> None:
    """A page that asked no flag, also one that says nothing of caches; and one whose flag reads nobody."""
    for path in ("/old", "/public", "/public-banner"):
        first = got(port, path, "ada")
        assert (path, first.headers["X-Cache"]) == (path, "MISS")
        for user in ("ada", "bob", None):
            kept = got(port, path, user)
            assert (path, kept.headers["X-Cache"], kept.body) == (path, "HIT", first.body)
