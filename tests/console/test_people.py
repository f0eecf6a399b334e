"""Who is at the console, and who is not."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from flaggate.console import Person, create_console
from flaggate.console.people import by_header
from flaggate.errors import SettingError
from flaggate.runtime.rights import Right
from flaggate.stores.memory import MemoryStore
from tests.console.scenes import KEY, Visitor

OTHER_KEY = "another key that signs elsewhere"


def browser(app: Any, **settings: Any) -> TestClient:
    return TestClient(app, base_url="http://console.example", follow_redirects=False, **settings)


def test_a_link_signs_one_in_once(store: MemoryStore) -> None:
    app = create_console(store, secret_key=KEY)
    token = app.state.sessions.link(Person("owner@example.com"))
    ada, eve = browser(app), browser(app)
    assert ada.get("/").status_code == 401
    assert ada.get(f"/sign-in?token={token[:-2]}xx").status_code == 401
    signed_in = ada.get(f"/sign-in?token={token}")
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")
    assert "owner@example.com" in ada.get("/").text
    assert eve.get(f"/sign-in?token={token}").status_code == 401
    assert eve.get("/").status_code == 401
    cookie = app.state.sessions.cookie
    eve.cookies.set(cookie, ada.cookies[cookie][:-3] + "abc")
    assert eve.get("/").status_code == 401, "a forged session"
    forged = create_console(MemoryStore(), secret_key=OTHER_KEY)
    other = forged.state.sessions.link(Person("eve"))
    elsewhere = browser(forged)
    elsewhere.get(f"/sign-in?token={other}")
    eve.cookies.set(cookie, elsewhere.cookies[forged.state.sessions.cookie])
    assert eve.get("/").status_code == 401, "of another console"


def test_a_session_is_found_beside_cookies_that_are_none(store: MemoryStore) -> None:
    """As a browser sends those of other paths, and of apps that quote theirs."""
    app = create_console(store, secret_key=KEY)
    ada, eve = browser(app), browser(app)
    ada.get(f"/sign-in?token={app.state.sessions.link(Person('owner@example.com'))}")
    name = app.state.sessions.cookie
    ours = f"{name}={ada.cookies[name]}"
    for line in (f'a="\\"; {ours}', f"{ours}; {name}=other", f"{name}=other;{ours}", f"{name}; =; {ours} ;"):
        assert eve.get("/", headers={"Cookie": line}).status_code == 200, line
    for line in (f"{name}={'a' * 5000}", f"x{ours}", f'a="{ours}"', ours.replace("=", "=x", 1), ours.upper()):
        assert eve.get("/", headers={"Cookie": line}).status_code == 401, line


def test_one_signs_out(store: MemoryStore) -> None:
    app = create_console(store, secret_key=KEY)
    ada = browser(app)
    ada.get(f"/sign-in?token={app.state.sessions.link(Person('owner@example.com'))}")
    token = ada.get("/").text.split('name="token" value="')[1].split('"')[0]
    assert ada.post("/sign-out", data={"token": "x"}).status_code == 403
    assert ada.post("/sign-out", data={"token": token}).status_code == 303
    assert ada.get("/").status_code == 401


@pytest.mark.parametrize(
    ("peer", "header", "code"),
    [
        ("10.0.0.7", "ada@example.com", 200),
        ("10.0.0.7", None, 401),
        ("10.0.0.7", " ", 401),
        ("10.0.0.7", "flaggate", 401),
        ("192.0.2.1", "ada@example.com", 401),
        ("nonsense", "ada@example.com", 401),
    ],
)
def test_a_header_is_believed_of_the_proxy_alone(store: MemoryStore, peer: str, header: str | None, code: int) -> None:
    app = create_console(store, secret_key=KEY, who=by_header("X-User", ["10.0.0.0/8"]))
    ada = browser(app, client=(peer, 4711))
    answer = ada.get("/", headers={} if header is None else {"X-User": header})
    assert answer.status_code == code
    assert ada.get("/", headers=[("X-User", "a"), ("X-User", "b")]).status_code == 401


@pytest.mark.parametrize("proxies", [[], ["proxy.example"], ["10.0.0.0/99"]])
def test_proxies_are_addresses(proxies: list[str]) -> None:
    with pytest.raises(SettingError, match="proxies"):
        by_header("X-User", proxies)


@pytest.mark.parametrize("key", ["", "short", 3, None])
def test_a_key_that_is_none(store: MemoryStore, key: Any) -> None:
    with pytest.raises(SettingError, match="secret_key") as caught:
        create_console(store, secret_key=key)
    assert "short" not in str(caught.value)


@pytest.mark.parametrize("person", [Person(""), Person("flaggate"), Person("ada", frozenset())])
def test_who_may_not_look(store: MemoryStore, person: Person) -> None:
    """Under a name that nobody can act as, or without any right."""
    answer = browser(create_console(store, secret_key=KEY, who=lambda _request: person)).get("/")
    assert answer.status_code == 403
    assert "invoicing" not in answer.text


@pytest.mark.parametrize("given", ["", "flaggate", 3, Person("ada", frozenset({"fly"}))])  # type: ignore[arg-type]
def test_what_the_app_says_is_nobody(store: MemoryStore, given: Any) -> None:
    app = create_console(store, secret_key=KEY, who=lambda _request: given)
    with pytest.raises(SettingError, match="who: "):
        browser(app).get("/")


def test_the_app_says_who_with_which_rights(store: MemoryStore) -> None:
    killer = Visitor(store, "on-call@example.com", rights={Right.VIEW, Right.KILL})
    page = killer.get("/flags/invoicing")
    assert "it takes the right to advance, which you do not have" in page
    assert "Done: kill" in killer.do("kill")
    assert store.history("invoicing")[-1].actor == "on-call@example.com"


def test_a_form_of_one_person_is_not_anothers(store: MemoryStore) -> None:
    """The browser is the same; somebody else has signed in to the app since."""
    visitor = Visitor(store)
    token = visitor.token()
    visitor.name = "deputy@example.com"
    visitor.send("/flags/banner/do/kill", token=token, version="1")
    assert visitor.status == 403


def test_over_tls_the_cookie_stays_there(store: MemoryStore) -> None:
    app = create_console(store, secret_key=KEY, who=lambda _: Person("ada"))
    answer = TestClient(app, base_url="https://console.example").get("/")
    assert "secure" in answer.headers["set-cookie"].lower()
