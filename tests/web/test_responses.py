"""What a response says of what it depends on: to caches, and to a browser whose visitor is new."""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

import pytest

from flaggate import Context, Gate
from flaggate.rollout.state import Verb
from flaggate.web.asgi import FlaggateMiddleware
from flaggate.web.caching import OVERRULING
from flaggate.web.context import RequestContext
from flaggate.web.visitor import COOKIE, Visitors
from tests.runtime.scenes import bring, seen, turn
from tests.web.scenes import FLAGS, KEY, Answer, Speaks, SpeaksAsgi

EVERYBODY = """
[flags.everybody]
description = "All visitors, by two stages"
owner = "owner@example.com"
unit = "visitor"
stages = [
    { name = "all", share = 100, soak = "0s" },
    { name = "everyone" },
]
guards = [{ metric = "errors", limit = "1%" }]

[flags.also-tried]
description = "Half of all visitors, others than those of tried"
owner = "owner@example.com"
unit = "visitor"
stages = [
    { name = "some", share = 50, soak = "0s" },
    { name = "everyone" },
]
guards = [{ metric = "errors", limit = "1%" }]
"""


def asking(gate: Gate, *names: str) -> Callable[[], str]:
    """A view that asks these flags, and says which are on."""
    return lambda: " ".join(name for name in names if gate.is_on(name))


# --- caches ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "cache_control", "vary"),
    [
        ((), [], []),
        (("banner",), [], []),
        (("nowhere",), [], []),
        (("local",), ["private"], []),
        (("office", "banner"), ["private"], []),
        (("tried",), ["private"], ["Cookie"]),
        (("tried", "local"), ["private"], ["Cookie"]),
        (("team",), ["private"], ["Cookie, Authorization"]),
        (("half",), ["private"], ["Cookie, Authorization"]),
        (("banner", "tried", "tiered", "nowhere"), ["private"], ["Cookie, Authorization"]),
    ],
)
def test_it_says_exactly_what_was_read(
    gate: Gate, protocol: Speaks, names: tuple[str, ...], cache_control: list[str], vary: list[str]
) -> None:
    answer = protocol.ask(protocol.site(gate, asking(gate, *names)))
    assert (answer.header("cache-control"), answer.header("vary")) == (cache_control, vary)


@pytest.mark.parametrize(
    ("says", "cache_control", "vary"),
    [
        ([("Cache-Control", "public, max-age=60"), ("Vary", "Accept")], "max-age=60, private", "Accept, Cookie, Authorization"),
        ([("Vary", "Accept"), ("Vary", "cookie")], "private", "Accept, cookie, Authorization"),
        ([("cache-control", "no-store"), ("vary", "*")], "no-store", "*"),
        ([("Cache-Control", "max-age=60"), ("Cache-Control", "s-maxage=9")], "max-age=60, private", "Cookie, Authorization"),
    ],
)  # fmt: skip
def test_what_the_app_says_stays(
    gate: Gate, protocol: Speaks, says: list[tuple[str, str]], cache_control: str, vary: str
) -> None:
    app = protocol.site(gate, asking(gate, "team"), says=[*says, ("X-Own", "1"), ("X-Own", "2")])
    answer = protocol.ask(app)
    assert (answer.header("cache-control"), answer.header("vary")) == ([cache_control], [vary])
    assert answer.header("x-own") == ["1", "2"]


def test_headers_are_known_however_they_are_spelled(gate: Gate) -> None:
    """The specification of ASGI wants lower case; Django's handler does not keep it."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        gate.is_on("team")
        headers = [(b"Cache-Control", b"public"), (b"VARY", b"Accept")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    answer = SpeaksAsgi().ask(FlaggateMiddleware(app, gate))
    assert answer.header("cache-control") == ["private"]
    assert answer.header("vary") == ["Accept, Cookie, Authorization"]


@pytest.mark.parametrize("spell", [str.lower, str.upper, str.title])
@pytest.mark.parametrize("name", sorted({"cache-control", *OVERRULING}))
def test_what_shared_caches_would_obey_is_dropped_however_it_is_spelled(
    gate: Gate, name: str, spell: Callable[[str], str]
) -> None:
    """Each alone: nothing else says that there is anything to be merged."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        gate.is_on("team")
        headers = [(spell(name).encode(), b"public")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    answer = SpeaksAsgi().ask(FlaggateMiddleware(app, gate))
    assert answer.headers == [("cache-control", "private"), ("vary", "Cookie, Authorization")]


def test_what_counts_is_what_a_flag_reads_of_anybody(gate: Gate, protocol: Speaks) -> None:
    """Who is staff may be let in before the place is read; the next one is not."""
    app = protocol.site(gate, asking(gate, "tiered"), context=lambda _: {"tier": "pro"})
    answer = protocol.ask(app)
    assert answer.body == b"tiered"
    assert answer.header("vary") == ["Cookie, Authorization"]


def test_a_list_of_all_flags_depends_on_all_of_them(gate: Gate, protocol: Speaks) -> None:
    answer = protocol.ask(protocol.site(gate, lambda: " ".join(gate.decisions())))
    assert answer.header("vary") == ["Cookie, Authorization"]
    assert seen(gate) == {}, "and nobody asked them"


def test_what_was_read_before_somebody_signed_in_counts_too(gate: Gate, protocol: Speaks) -> None:
    for look in (lambda: gate.is_on("team"), gate.decisions):

        def respond(look: Callable[[], object] = look) -> str:
            look()
            visit = gate.current.get()
            assert visit is not None
            visit.identify(user="ada")
            gate.is_on("banner")
            return ""

        assert protocol.ask(protocol.site(gate, respond)).header("vary") == ["Cookie, Authorization"]


def test_a_route_that_is_not_there_for_somebody_says_so_too(gate: Gate, protocol: Speaks) -> None:
    answer = protocol.ask(protocol.site(gate, lambda: "", routes={"/*": "team"}))
    assert (answer.status, answer.header("cache-control")) == (404, ["private"])
    assert answer.header("vary") == ["Cookie, Authorization"]


# --- visitors -------------------------------------------------------------------------------


def set_cookie(answer: Answer) -> Any:
    """Our cookie in a response; None if there is none."""
    found = [SimpleCookie(value).get(COOKIE) for value in answer.header("set-cookie")]
    assert len(found) <= 1
    return found[0] if found else None


def cookies(value: str) -> list[tuple[str, str]]:
    return [("Cookie", f"session=1; {COOKIE}={value}; theme=dark")]


def visitor_app(gate: Gate, protocol: Speaks, *names: str, keys: tuple[str, ...] = (KEY,), **settings: Any) -> Any:
    return protocol.site(gate, asking(gate, *(names or ("tried",))), secret_keys=keys, **settings)


@pytest.mark.parametrize("names", [("banner",), ("half", "team", "local"), ("nowhere",), ("everybody",)])
def test_no_cookie_is_set_where_no_decision_needs_one(gate: Gate, protocol: Speaks, names: tuple[str, ...]) -> None:
    """Also for a flag by visitors while all of them have it."""
    bring(gate.store, FLAGS + EVERYBODY)
    turn(gate.store, Verb.START, "everybody")
    gate.refresh()
    assert set_cookie(protocol.ask(visitor_app(gate, protocol, *names))) is None


def test_without_keys_there_are_no_visitors(gate: Gate, protocol: Speaks) -> None:
    answer = protocol.ask(protocol.site(gate, lambda: gate.decide("tried").reason), headers=cookies("x"))
    assert (answer.body, set_cookie(answer)) == (b"no_unit", None)


@pytest.mark.parametrize("https", [False, True])
def test_a_new_visitor_gets_one_cookie_that_scripts_and_other_sites_do_not_see(
    gate: Gate, protocol: Speaks, https: bool
) -> None:
    answer = protocol.ask(visitor_app(gate, protocol), https=https)
    cookie = set_cookie(answer)
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Lax", True if https else "")
    assert (cookie["path"], int(cookie["max-age"]) // 86_400) == ("/", 400)
    assert answer.header("vary") == ["Cookie"]


def test_a_visitor_has_the_same_answers_from_the_first_request_on(gate: Gate, protocol: Speaks) -> None:
    bring(gate.store, FLAGS + EVERYBODY)
    turn(gate.store, Verb.START, "also-tried")
    gate.refresh()
    app = visitor_app(gate, protocol, "tried", "also-tried")
    bodies = set()
    for _ in range(40):
        first = protocol.ask(app)
        cookie = set_cookie(first)
        again = protocol.ask(app, headers=cookies(cookie.value))
        assert again.body == first.body
        assert set_cookie(again) is None
        assert again.header("vary") == ["Cookie"]
        bodies.add(first.body)
    assert len(bodies) == 4, "each flag for itself"


def test_a_visitor_has_no_arm_before_the_cookie_came_back(gate: Gate, protocol: Speaks) -> None:
    """A robot that keeps no cookies would be a new unit with each request."""
    app = visitor_app(gate, protocol)
    values = [set_cookie(protocol.ask(app)).value for _ in range(20)]
    first = seen(gate)
    assert {arm for *_, arm in first} == {"on", "off"}
    for value in values:
        protocol.ask(app, headers=cookies(value))
    both = seen(gate)
    sums = {arm: requests for (*_, arm), (requests, _) in both.items()}
    assert (sums["on"], sums["off"]) == tuple(2 * first["tried", 1, 1, arm][0] for arm in ("on", "off"))
    assert (sums["treatment"], sums["control"]) == (sums["on"] // 2, sums["off"] // 2)


def test_who_is_decided_by_something_else_keeps_the_arm(gate: Gate, protocol: Speaks) -> None:
    """A user's arm does not wait for the visitor's cookie."""
    app = visitor_app(gate, protocol, "tried", "half", context=lambda _: {"user": "ada"})
    protocol.ask(app)
    arms = {(flag, arm) for flag, *_, arm in seen(gate)}
    assert {arm for flag, arm in arms if flag == "half"} & {"treatment", "control"}
    assert {arm for flag, arm in arms if flag == "tried"} & {"treatment", "control"} == set()


@pytest.mark.parametrize("value", ["", "v-1", "v-1.", "v-1.c2lnbmF0dXJl", "\xff", "x" * 5000])
def test_a_forged_cookie_is_replaced_and_not_believed(gate: Gate, protocol: Speaks, value: str) -> None:
    contexts: list[Context] = []

    def respond() -> str:
        visit = gate.current.get()
        assert visit is not None
        contexts.append(visit.context)
        return asking(gate, "tried")()

    answer = protocol.ask(protocol.site(gate, respond, secret_keys=[KEY]), headers=cookies(value))
    (context,) = contexts
    assert isinstance(context, RequestContext)
    assert context.visitor == set_cookie(answer).value.rpartition(".")[0]
    assert {arm for *_, arm in seen(gate)} <= {"on", "off"}


def test_a_cookie_of_another_site_is_replaced(gate: Gate, protocol: Speaks) -> None:
    foreign = set_cookie(protocol.ask(visitor_app(gate, protocol, keys=("another",)))).value
    assert set_cookie(protocol.ask(visitor_app(gate, protocol), headers=cookies(foreign))) is not None


def test_after_a_new_key_the_old_cookie_is_believed(gate: Gate, protocol: Speaks) -> None:
    first = protocol.ask(visitor_app(gate, protocol, keys=("old",)))
    answer = protocol.ask(visitor_app(gate, protocol, keys=("new", "old")), headers=cookies(set_cookie(first).value))
    assert (answer.body, set_cookie(answer)) == (first.body, None)


def test_a_visitor_that_the_app_knows_needs_no_cookie(gate: Gate, protocol: Speaks) -> None:
    app = visitor_app(gate, protocol, context=lambda _: {"visitor": "v-1"})
    answer = protocol.ask(app)
    assert (answer.body == b"tried") == gate.is_on("tried", Context(visitor="v-1"))
    assert set_cookie(answer) is None
    assert {arm for *_, arm in seen(gate)} & {"treatment", "control"}


def test_the_key_of_the_cookie_is_the_visitor(gate: Gate, protocol: Speaks) -> None:
    """One that was signed elsewhere with the same key."""
    signed = SimpleCookie(Visitors([KEY]).cookie("v-7", is_https=False))[COOKIE].value
    answer = protocol.ask(visitor_app(gate, protocol), headers=cookies(signed))
    assert (answer.body == b"tried") == gate.is_on("tried", Context(visitor="v-7"))
