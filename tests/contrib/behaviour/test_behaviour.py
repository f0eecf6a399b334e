"""What a visitor sees, what caches are told and what is counted: the same in every framework, and without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flaggate.errors import UnknownFlagError
from flaggate.rollout.state import Verb
from flaggate.testing import override
from tests.contrib.behaviour.frameworks import FRAMEWORKS, USER, Answer
from tests.contrib.scenes import Switchboard
from tests.runtime.scenes import bring, turn
from tests.web.city_files import IN_LEEDS, IN_MANCHESTER, city_file

Ask = Callable[..., Answer]
PRIVATE = {"cache-control": "private", "vary": "Cookie, Authorization"}
PLACED = """
[flags.placed]
description = "Reads the place"
owner = "owner@example.com"
audience = { city = "Manchester", country = "GB" }
"""


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(framework: str, board: Switchboard, tmp_path: Path) -> Ask:
    """Ask the framework's site for a path, as a user and from an address; `team`, `tiered` and `placed` are on."""
    (tmp_path / "cities.mmdb").write_bytes(city_file())
    bring(board.store, PLACED)
    turn(board.store, Verb.ON, "placed")
    gate = board.on("team", "tiered")
    made = FRAMEWORKS[framework]
    site: Any = made.site(gate, geo=tmp_path / "cities.mmdb", trusted_proxies=["192.0.2.1"])

    def asked(path: str, user: str | None = None, *, peer: str = "203.0.113.7", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return made.ask(site, path, {**named, **({USER: user} if user else {})}, peer)

    return asked


def told(answer: Answer) -> dict[str, str]:
    """What it says to caches."""
    return {name: answer.headers[name] for name in ("cache-control", "vary") if name in answer.headers}


@pytest.mark.parametrize(
    ("path", "without", "with_it"),
    [
        ("/asks", (200, "old"), (200, "new")),
        ("/gated", (404, None), (200, "new")),
        ("/instead", (200, "old"), (200, "new")),
        ("/moved", (302, None), (200, "new")),
        ("/async", (404, None), (200, "new")),
        ("/stream", (200, "old twice"), (200, "new twice")),
        ("/template", (200, "no"), (200, "yes")),
    ],
)
def test_who_has_it_is_served_it(
    ask: Ask, board: Switchboard, path: str, without: tuple[int, str | None], with_it: tuple[int, str | None]
) -> None:
    """Anonymous, signed in, staff; each request is counted once, and caches are told."""
    for user, (status, body) in ((None, without), ("bob", without), ("ada", with_it)):
        answer = ask(path, user)
        assert answer.status == status
        assert body is None or answer.body == body
        assert told(answer) == PRIVATE
    assert board.counted("team") == {"on": (1, 0), "off": (2, 0)}
    if path == "/moved":
        assert ask(path).headers["location"] == "/asks"


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


def test_a_test_says_otherwise(ask: Ask, board: Switchboard) -> None:
    with override({"team": True}):
        assert ask("/gated").status == 200
        assert told(ask("/asks")) == {}, "it reads nobody"
    with override({"team": lambda context: context.user == "bob"}):
        assert (ask("/asks", "bob").body, ask("/asks", "ada").body) == ("new", "old")
    assert ask("/gated").status == 404
    assert board.counted("team") == {"off": (1, 0)}
