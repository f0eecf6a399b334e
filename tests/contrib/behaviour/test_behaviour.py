"""What a visitor sees, what caches are told and what is counted: the same in every framework, and without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest

from flaggate.errors import UnknownFlagError
from flaggate.rollout.state import Verb
from flaggate.testing import override
from flaggate.web.caching import OVERRULING
from flaggate.web.visitor import COOKIE
from tests.contrib.behaviour.asking import BEHIND_FLAG, FOR_ANYONE, PRIVATE, ROUTES, SECRET, USER, Answer, Framework
from tests.contrib.behaviour.frameworks import FRAMEWORKS, framework_named
from tests.contrib.scenes import Switchboard
from tests.runtime.scenes import bring, turn
from tests.web.city_files import IN_LEEDS, IN_MANCHESTER, city_file

Ask = Callable[..., Answer]
PLACED = """
[flags.placed]
description = "Reads the place"
owner = "owner@example.com"
audience = { city = "Manchester", country = "GB" }
"""


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> Framework:
    return framework_named(request.param)


@pytest.fixture
def board(framework: Framework) -> Iterator[Switchboard]:
    with framework.board() as made:
        yield made


@pytest.fixture
def ask(framework: Framework, board: Switchboard, tmp_path: Path) -> Ask:
    """Ask the framework's site for a path, as a user and from an address; `team`, `tiered` and `placed` are on, and half
    of all visitors have `tried`."""
    (tmp_path / "cities.mmdb").write_bytes(city_file())
    bring(board.store, PLACED)
    board.start("tried")
    gate = board.on("team", "adas", "tiered", "placed", "banner")
    settings = {"trusted_proxies": ["192.0.2.1"], "secret_keys": ["of the site"], "routes": ROUTES}
    settings |= {"health": "/flaggate/health"}
    site: Any = framework.site(gate, geo=tmp_path / "cities.mmdb", **settings)

    def asked(path: str, user: str | None = None, *, peer: str = "203.0.113.7", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return framework.ask(site, path, {**named, **({USER: user} if user else {})}, peer)

    return asked


def told(answer: Answer) -> dict[str, str]:
    """What it says to caches."""
    return {name: answer.headers[name] for name in ("cache-control", "vary") if name in answer.headers}


@pytest.mark.parametrize("path", BEHIND_FLAG)
def test_who_has_it_is_served_it(ask: Ask, board: Switchboard, path: str) -> None:
    """Anonymous, signed in, staff; each request is counted once, and caches are told."""
    without, with_it = BEHIND_FLAG[path]
    for user, (status, body) in ((None, without), ("bob", without), ("ada", with_it)):
        answer = ask(path, user)
        assert answer.status == status
        assert body is None or answer.body == body
        assert told(answer) == PRIVATE
    assert board.counted("team") == {"on": (1, 0), "off": (2, 0)}
    if path == "/moved":
        assert ask(path).headers["location"] == "/asks"


def test_a_gate_of_the_table_that_reads_the_user(ask: Ask) -> None:
    assert (ask("/secret").status, ask("/secret", "bob").status, ask("/secret", "ada").body) == (404, 404, SECRET)


def test_killed_it_is_off_for_everyone_at_the_next_request(ask: Ask, board: Switchboard) -> None:
    assert ask("/asks", "ada").body == "new"
    turn(board.store, Verb.KILL, "team")
    board.gate.refresh()
    assert ask("/asks", "ada").body == "old"
    assert ask("/gated", "ada").status == 404


def test_an_unknown_flag_is_off_and_in_a_test_an_error(ask: Ask, board: Switchboard) -> None:
    assert ask("/unknown", "ada").body == "old"
    assert board.gate.health().unknown == {"no-such-flag": 1}
    with override({"team": True}), pytest.raises(UnknownFlagError):
        ask("/unknown", "ada")


@pytest.mark.parametrize("path", ["/fails", "/stream-fails"])
def test_a_view_that_fails_is_an_error_of_those_who_had_it(ask: Ask, board: Switchboard, path: str) -> None:
    for user in ("ada", "ada", "bob"):
        ask(path, user)
    assert board.counted("team") == {"on": (2, 2), "off": (1, 1)}


def test_whoever_signs_in_is_somebody_else_from_there_on(ask: Ask, board: Switchboard) -> None:
    assert ask("/signs-in", "bob").body == "old new"
    assert board.counted("team") == {}, "it answered both ways"
    assert ask("/signs-in", "ada").body == "new new"
    assert board.counted("team") == {"on": (1, 0)}


def test_the_tier_is_what_the_app_says(ask: Ask) -> None:
    assert (ask("/tier", "grace").body, ask("/tier", "bob").body) == ("new", "old")


def test_the_city_is_of_the_address_and_the_address_of_the_peer_or_of_its_proxy(ask: Ask) -> None:
    assert ask("/city", peer=IN_MANCHESTER).body == "new"
    assert ask("/city", peer=IN_LEEDS).body == "old"
    assert told(ask("/city", peer=IN_LEEDS)) == {"cache-control": "private"}
    assert ask("/city", peer=IN_LEEDS, x_forwarded_for=IN_MANCHESTER).body == "old", "anyone can write that"
    assert ask("/city", peer="192.0.2.1", x_forwarded_for=IN_MANCHESTER).body == "new"
    assert ask("/city", peer="192.0.2.1", x_forwarded_for=f"{IN_MANCHESTER}, {IN_LEEDS}").body == "old"


@pytest.mark.parametrize("user", [None, "bob", "ada"])
def test_what_a_page_says_to_caches_by_itself_stays_only_if_it_is_for_everyone(ask: Ask, user: str | None) -> None:
    """None of them is to keep what was made for one, whichever header it obeys first."""
    for path in ("/public", "/public-banner"):
        headers = ask(path, user).headers
        assert {name: headers.get(name.lower()) for name in FOR_ANYONE} == FOR_ANYONE
    answer = ask("/public-team", user)
    assert answer.body == ("new" if user == "ada" else "old")
    assert told(answer) == {"cache-control": "max-age=600, private", "vary": "Accept-Language, Cookie, Authorization"}
    assert answer.headers.keys().isdisjoint(OVERRULING)


def test_a_visitor_is_known_by_a_cookie_that_we_signed(ask: Ask, board: Switchboard) -> None:
    first = ask("/visited")
    value = SimpleCookie(first.headers["set-cookie"])[COOKIE].value
    again = ask("/visited", cookie=f"a=b; {COOKIE}={value}")
    assert "set-cookie" not in again.headers
    assert (again.status, again.body, told(again)) == (200, first.body, {"cache-control": "private", "vary": "Cookie"})
    assert told(first) == told(again)
    arms = {"on": "treatment", "off": "control"}
    ((arm, counted),) = ((arms[arm], n) for arm, n in board.counted("tried").items() if arm in arms)
    assert counted == (2, 0)
    assert board.counted("tried")[arm] == (1, 0), "nobody knew whether it would come back"
    for forged in (f"x{value}", value[::-1], value.partition(".")[0]):
        assert "set-cookie" in ask("/visited", cookie=f"{COOKIE}={forged}").headers


def test_the_process_says_how_it_is_doing(ask: Ask, board: Switchboard) -> None:
    """To anyone, by no flag's name, never kept, and never counted."""
    answer = ask("/flaggate/health", peer="192.0.2.1", x_forwarded_for=IN_MANCHESTER)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.headers["content-type"] == "application/json"
    said = json.loads(answer.body)
    assert (said["serving"], said["problem"], said["address"]) == (True, False, IN_MANCHESTER)
    assert said["revision"] == board.gate.health().revision > 0
    assert board.counted("team") == {}
    assert ask("/flaggate/health/no").status == 404


def test_a_test_says_otherwise(ask: Ask, board: Switchboard) -> None:
    with override({"team": True}):
        assert ask("/gated").status == 200
        assert told(ask("/asks")) == {}, "it reads nobody"
    with override({"team": lambda context: context.user == "bob"}):
        assert (ask("/asks", "bob").body, ask("/asks", "ada").body) == ("new", "old")
    assert ask("/gated").status == 404
    assert board.counted("team") == {"off": (1, 0)}
