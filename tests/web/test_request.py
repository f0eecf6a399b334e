"""Who asks, as the middleware of both protocols tells it: by the app's own function, and looked up when a rule reads it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

from flaggate import Context, Gate
from flaggate.errors import SettingError
from flaggate.rollout.state import Verb
from flaggate.runtime.visit import Visit
from flaggate.web.context import RequestContext
from tests.runtime.scenes import FRIENDS, bring, seen, turn
from tests.web.scenes import FLAGS, PEER, Speaks, SpeaksWsgi

EITHER = """
[flags.either]
description = "Staff, or those who pay"
owner = "owner@example.com"
audience = [{ staff = true }, { tier = "pro" }]

[flags.scored]
description = "Reads an own attribute"
owner = "owner@example.com"
audience = { score = { at_least = 2 } }
"""


@pytest.fixture(autouse=True)
def more_flags(gate: Gate) -> None:
    bring(gate.store, FLAGS + EITHER + FRIENDS)
    for name in ("either", "scored", "friendly"):
        turn(gate.store, Verb.ON, name)
    gate.refresh()


class Who:
    """A context function that notes its calls."""

    def __init__(self, given: Any = None) -> None:
        self.given = given
        self.askers: list[Any] = []

    def __call__(self, asker: Any) -> Any:
        self.askers.append(asker)
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


class Lazy:
    """A value that is looked up, and notes how often it was."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def asking(gate: Gate, *names: str) -> Callable[[], str]:
    """A view that asks these flags, and says which are on."""
    return lambda: " ".join(name for name in names if gate.is_on(name))


def visit_of(gate: Gate) -> Visit:
    visit = gate.current.get()
    assert visit is not None
    return visit


# --- the function ---------------------------------------------------------------------------


def test_it_is_called_once_and_given_the_request(gate: Gate, protocol: Speaks) -> None:
    who = Who({"user": "ada", "tier": "pro"})
    app = protocol.site(gate, asking(gate, "team", "tiered", "team", "either", "scored"), context=who)
    assert protocol.ask(app, "/here").body == b"team tiered team either"
    (asker,) = who.askers
    assert asker.get("path", asker.get("PATH_INFO")) == "/here"


@pytest.mark.parametrize("names", [(), ("banner",), ("nowhere",), ("banner", "nowhere", "banner")])
def test_it_is_not_called_where_no_flag_reads_who_asks(gate: Gate, protocol: Speaks, names: tuple[str, ...]) -> None:
    """A switch that is on for everyone costs no session and no query."""
    who = Who(ZeroDivisionError())
    protocol.ask(protocol.site(gate, asking(gate, *names), context=who))
    assert who.askers == []
    assert gate.health().faults == {}


def test_a_flag_that_has_not_started_or_is_killed_needs_nobody_either(gate: Gate, protocol: Speaks) -> None:
    who = Who({"user": "ada"})
    turn(gate.store, Verb.KILL, "team")
    turn(gate.store, Verb.ROLLBACK, "half")
    gate.refresh()
    assert protocol.ask(protocol.site(gate, asking(gate, "team", "half"), context=who)).body == b""
    assert who.askers == []


@pytest.mark.parametrize(
    ("given", "on"),
    [
        (None, ""),
        ({}, ""),
        ({"user": "ada"}, "team friendly"),
        (MappingProxyType({"user": "ada"}), "team friendly"),
        (Context("ada"), "team friendly"),
        (Context("bob", tier="pro", staff=True, attributes={"score": 3}), "team tiered either scored office"),
        ({"ip": "198.51.100.1", "tier": "pro"}, "tiered either"),
        (Context(ip="198.51.100.1", tier="pro"), "tiered either"),
        ({"user": "", "groups": None, "attributes": None, "staff": 1}, ""),
    ],
)
def test_it_may_give_words_a_context_or_nothing(gate: Gate, protocol: Speaks, given: Any, on: str) -> None:
    """What it does not give is looked up: here the address."""
    names = ("team", "tiered", "either", "scored", "friendly", "office")
    expected = set(on.split()) | ({"office"} if "198" not in repr(given) else set())
    app = protocol.site(gate, asking(gate, *names), context=Who(given))
    assert set(protocol.ask(app).body.decode().split()) == expected


def test_without_a_function_nobody_asks_but_has_an_address(gate: Gate, protocol: Speaks) -> None:
    assert protocol.ask(protocol.site(gate, asking(gate, "team", "office", "local"))).body == b"office"


async def _asynchronous(_request: Any) -> None: ...


class _AsynchronousObject:
    async def __call__(self, _request: Any) -> None: ...


@pytest.mark.parametrize(
    "context", [_asynchronous, functools.partial(_asynchronous), _AsynchronousObject(), "user", {"user": "ada"}]
)
def test_what_has_to_be_awaited_and_what_is_no_function_is_refused_at_once(
    gate: Gate, protocol: Speaks, context: Any
) -> None:
    with pytest.raises(SettingError, match=r"context: .*; allowed: a plain function of the request"):
        protocol.site(gate, asking(gate), context=context)


# --- what fails -----------------------------------------------------------------------------


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_where_it_raises_what_reads_anything_is_off_and_the_request_goes_on(
    gate: Gate, protocol: Speaks, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not called again in this request: a database that is away may take seconds to say so."""
    who = Who(LookupError("the session is gone"))
    app = protocol.site(gate, asking(gate, "banner", "team", "office", "team"), context=who)
    for times in (1, 2):
        answer = protocol.ask(app)
        assert (answer.status, answer.body) == (200, b"banner")
        assert len(who.askers) == times
    expected = "flag {!r} failed and is off: who asks could not be told: LookupError('the session is gone') ({}, line "
    for name, line in zip(("team", "office"), said(caplog), strict=True):
        assert line.startswith(expected.format(name, __file__))
    assert gate.health().faults == {"team": 2, "office": 2}
    assert seen(gate) == {("banner", 0, 0, "on"): (2, 0)}


def test_where_it_raises_an_explanation_says_what_would_be_decided(gate: Gate, protocol: Speaks) -> None:
    def respond() -> str:
        return " | ".join(f"{gate.decide(name).reason}: {gate.explain(name)}" for name in ("team", "banner", "nowhere"))

    app = protocol.site(gate, respond, context=Who(LookupError("the session is gone")))
    team, banner, nowhere = protocol.ask(app).body.decode().split(" | ")
    assert team.startswith("fault: who asks could not be told: LookupError('the session is gone') (")
    assert team.endswith("; off")
    assert banner == "on: kill: no; on for: everyone, yes; on"
    assert nowhere == "unknown: there is no flag nowhere; off"


def test_a_value_that_raises_concerns_only_what_reads_it(
    gate: Gate, protocol: Speaks, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"user": "ada", "tier": Lazy(AttributeError("the account is gone"))}
    app = protocol.site(gate, asking(gate, "team", "tiered"), context=Who(given))
    assert protocol.ask(app).body == b"team"
    (line,) = said(caplog)
    problem = "'tier' of who asks could not be told: AttributeError('the account is gone')"
    assert line.startswith(f"flag 'tiered' failed and is off: {problem} ({__file__}, line ")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"usr": "ada"}, "'usr' is no word of Context; allowed: account, attributes, city, "),
        ({"user": object}, "'user' of who asks: a key is text, a whole number or a UUID"),
        ({"user": 1.5}, "'user' of who asks: a key is text, a whole number or a UUID, not 1.5"),
        ({"groups": "beta"}, "groups is a list of names, not one text"),
        ("ada", "the app's function gave 'ada'; allowed: a mapping, such as"),
        ([("user", "ada")], "the app's function gave [('user', 'ada')]; allowed: a mapping"),
    ],
)
def test_what_it_should_not_give_is_said_in_words(
    gate: Gate, protocol: Speaks, caplog: pytest.LogCaptureFixture, given: Any, problem: str
) -> None:
    assert protocol.ask(protocol.site(gate, asking(gate, "team"), context=Who(given))).body == b""
    assert problem in said(caplog)[0]


def test_a_function_that_should_have_been_awaited_is_told_so(
    gate: Gate, protocol: Speaks, caplog: pytest.LogCaptureFixture
) -> None:
    """Hidden behind a plain one, it is found when it is called."""

    async def load() -> dict[str, str]:
        return {"user": "ada"}

    app = protocol.site(gate, asking(gate, "team"), context=lambda _: load())
    assert protocol.ask(app).body == b""
    assert "gave <coroutine object" in said(caplog)[0]


@pytest.mark.parametrize("count", [1, 2])
def test_a_value_that_should_have_been_awaited_is_told_so_too(
    gate: Gate, protocol: Speaks, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    async def load() -> str:
        return "ada"

    app = protocol.site(gate, asking(gate, *["team", "friendly"][:count]), context=Who({"user": load}))
    assert protocol.ask(app).body == b""
    problem = "failed and is off: 'user' of who asks is a coroutine; await it before, and give what it gave"
    assert said(caplog) == [f"flag {name!r} {problem}" for name in ("team", "friendly")[:count]]


@pytest.mark.parametrize("staff", ["yes", 1])
def test_staff_is_true_and_nothing_else_and_that_is_said(
    gate: Gate, protocol: Speaks, caplog: pytest.LogCaptureFixture, staff: Any
) -> None:
    bring(
        gate.store,
        '[flags.ours]\ndescription = "Reads staff"\nowner = "owner@example.com"\naudience = { staff = true }',
    )
    turn(gate.store, Verb.ON, "ours")
    gate.refresh()
    for given in (staff, lambda: staff):
        app = protocol.site(gate, asking(gate, "ours"), context=Who({"staff": given}))
        assert protocol.ask(app).body == b""
        assert said(caplog) == [f"staff={staff!r} of who asks is not True, and so not staff"]


# --- what waits -----------------------------------------------------------------------------


def test_a_function_among_the_words_is_called_when_a_rule_reads_it_and_once(gate: Gate, protocol: Speaks) -> None:
    for staff, calls in ((True, 0), (False, 1)):
        tier, unused = Lazy("pro"), Lazy("acme")
        who = Who({"staff": staff, "tier": tier, "account": unused})
        app = protocol.site(gate, asking(gate, "either", "team", "tiered" if calls else "either"), context=who)
        assert b"either" in protocol.ask(app).body
        assert (tier.calls, unused.calls) == (calls, 0)


WORDS: dict[str, Any] = {
    "user": 7, "account": "acme", "visitor": "v-1", "staff": True, "groups": ["beta"], "tier": "pro", "city": "Leeds",
    "city_id": 2644688, "region": "England", "country": "GB", "ip": "203.0.113.9", "attributes": {"score": 3},
}  # fmt: skip


@pytest.mark.parametrize("is_lazy", [False, True], ids=["values", "functions"])
def test_every_word_means_what_it_means_in_a_context(gate: Gate, protocol: Speaks, is_lazy: bool) -> None:
    contexts: list[Context] = []
    given = {word: Lazy(value) if is_lazy else value for word, value in WORDS.items()}

    def respond() -> str:
        contexts.append(visit_of(gate).context)
        return ""

    protocol.ask(protocol.site(gate, respond, context=Who(given)))
    assert contexts == [Context(**WORDS)]
    with pytest.raises(AttributeError, match="a Context has no 'town'"):
        contexts[0].town  # type: ignore[attr-defined]  # noqa: B018


def test_a_context_shows_what_is_known_and_looks_nothing_up_for_it(gate: Gate, protocol: Speaks) -> None:
    tier = Lazy("pro")
    app = protocol.site(gate, lambda: repr(visit_of(gate).context), context=Who({"user": "ada", "tier": tier}))
    assert protocol.ask(app).body == b"RequestContext(user='ada')"
    assert tier.calls == 0


def test_a_changed_context_looks_up_what_still_waits_when_it_is_read(gate: Gate, protocol: Speaks) -> None:
    tier, account, calls = Lazy("pro"), Lazy("acme"), []

    def respond() -> str:
        first = visit_of(gate).context
        assert first.account == "acme"
        second = first.replace(user="bob")
        assert type(second) is RequestContext
        calls.append((tier.calls, account.calls))
        assert (second.user, second.account, second.tier, second.ip) == ("bob", "acme", "pro", PEER)
        calls.append((tier.calls, account.calls))
        return ""

    protocol.ask(protocol.site(gate, respond, context=Who({"user": "ada", "tier": tier, "account": account})))
    assert calls == [(0, 1), (1, 1)]


# --- somebody signs in ----------------------------------------------------------------------


def signing_in(gate: Gate, *, before: str = "", after: str = "", **changes: Any) -> Callable[[], str]:
    """A view that asks flags, learns who it is, and asks flags; it says which were on."""

    def respond() -> str:
        first = asking(gate, *before.split())()
        visit_of(gate).identify(**changes)
        return f"{first} | {asking(gate, *after.split())()}"

    return respond


def test_after_signing_in_flags_are_decided_again(gate: Gate, protocol: Speaks) -> None:
    tier = Lazy("pro")
    respond = signing_in(gate, before="team banner", after="team banner tiered", user="ada")
    answer = protocol.ask(protocol.site(gate, respond, context=Who({"tier": tier})))
    assert answer.body == b"banner | team banner tiered"
    assert tier.calls == 1


def test_a_flag_that_answered_differently_is_not_counted_for_the_request(gate: Gate, protocol: Speaks) -> None:
    """DESIGN 5: nobody knows which of its answers made the request what it was."""
    respond = signing_in(gate, before="team banner either", after="team either", user="ada")
    protocol.ask(protocol.site(gate, respond, context=Who({"staff": True})))
    assert seen(gate) == {("banner", 0, 0, "on"): (1, 0), ("either", 0, 0, "on"): (1, 0)}


def test_a_flag_that_is_not_asked_again_is_counted_as_it_was(gate: Gate, protocol: Speaks) -> None:
    protocol.ask(protocol.site(gate, signing_in(gate, before="team", user="ada")))
    assert seen(gate) == {("team", 0, 0, "off"): (1, 0)}


def test_without_words_the_function_is_asked_again(gate: Gate, protocol: Speaks) -> None:
    who = Who({})

    def respond() -> str:
        first = gate.is_on("team")
        who.given = {"user": "ada"}
        visit_of(gate).identify()
        return f"{first} {gate.is_on('team')}"

    assert protocol.ask(protocol.site(gate, respond, context=who)).body == b"False True"
    assert len(who.askers) == 2
    assert seen(gate) == {}


def test_signing_in_before_any_question_changes_nothing_else(gate: Gate, protocol: Speaks) -> None:
    respond = signing_in(gate, after="team tiered", user="ada")
    assert protocol.ask(protocol.site(gate, respond, context=Who({"tier": "pro"}))).body == b" | team tiered"
    assert {key[3] for key in seen(gate)} == {"on"}


def test_signing_in_looks_nothing_up_for_it(gate: Gate, protocol: Speaks) -> None:
    """A user that waits to be loaded would be the new one by now, or fail."""
    user = Lazy(ZeroDivisionError())
    respond = signing_in(gate, before="banner", after="team", user="ada")
    assert protocol.ask(protocol.site(gate, respond, context=Who({"user": user}))).body == b"banner | team"
    assert user.calls == 0


def test_signing_in_where_nobody_can_tell_who_asks_goes_on(gate: Gate, protocol: Speaks) -> None:
    who = Who(ZeroDivisionError())
    respond = signing_in(gate, before="team", after="team banner", user="ada")
    assert protocol.ask(protocol.site(gate, respond, context=who)).body == b" | banner"
    assert len(who.askers) == 1


def test_asked_again_it_may_know(gate: Gate, protocol: Speaks) -> None:
    who = Who(ZeroDivisionError())

    def respond() -> str:
        first = gate.is_on("team")
        who.given = {"user": "ada"}
        visit_of(gate).identify()
        return f"{first} {gate.is_on('team')}"

    assert protocol.ask(protocol.site(gate, respond, context=who)).body == b"False True"


def test_a_word_that_is_none_is_the_apps_mistake(gate: Gate, protocol: Speaks) -> None:
    with pytest.raises(TypeError, match="'usr' is no word of Context"):
        protocol.ask(protocol.site(gate, signing_in(gate, usr="ada")))


# --- the address ----------------------------------------------------------------------------

TRUSTING: dict[str, Any] = {"trusted_proxies": ["10.0.0.0/8", "unix"]}


@pytest.mark.parametrize(
    ("settings", "peer", "headers", "is_office"),
    [
        ({}, PEER, {}, True),
        ({}, PEER, {"X-Forwarded-For": "198.51.100.1"}, True),
        ({}, "198.51.100.1", {"X-Forwarded-For": PEER, "Forwarded": f"for={PEER}", "X-Real-IP": PEER}, False),
        (TRUSTING, "10.0.0.1", {"X-Forwarded-For": f"198.51.100.1, {PEER}"}, True),
        (TRUSTING, "10.0.0.1", {"X-Forwarded-For": f"{PEER}, 198.51.100.1"}, False),
        (TRUSTING, "10.0.0.1", {"Forwarded": f"for={PEER}"}, False),
        (TRUSTING | {"proxy_header": "Forwarded"}, "10.0.0.1", {"Forwarded": f"for={PEER}"}, True),
        (TRUSTING | {"proxy_header": "Forwarded"}, "10.0.0.1", {"X-Forwarded-For": PEER}, False),
        (TRUSTING, None, {"X-Forwarded-For": PEER}, True),
        ({}, None, {"X-Forwarded-For": PEER}, False),
    ],
)
def test_the_address_is_the_peers_or_what_trusted_proxies_say(
    gate: Gate, protocol: Speaks, settings: dict[str, Any], peer: str | None, headers: dict[str, str], is_office: bool
) -> None:
    app = protocol.site(gate, asking(gate, "office"), **settings)
    assert protocol.ask(app, headers=[*headers.items()], peer=peer).body == (b"office" if is_office else b"")


@pytest.mark.parametrize(
    ("headers", "is_office"),
    [
        ({"X-Forwarded-For": PEER}, False),  # the true peer is told by nobody
        ({"X-Forwarded-For": "198.51.100.1"}, True),  # not what the server has put there
    ],
)
def test_an_address_that_the_server_may_have_taken_from_the_header_decides_nothing(
    gate: Gate, caplog: pytest.LogCaptureFixture, headers: dict[str, str], is_office: bool
) -> None:
    """uvicorn does so for peers on loopback. Off, and not a missing address, which no `deny` would match."""
    from tests.web.scenes import SpeaksAsgi

    protocol = SpeaksAsgi()
    app = protocol.site(gate, asking(gate, "office"))
    for _ in range(2):
        assert protocol.ask(app, headers=[*headers.items()]).body == (b"office" if is_office else b"")
    assert [message[:45] for message in said(caplog)] == (
        []
        if is_office
        else ["the server seems to take the client's address", "flag 'office' failed and is off: who is at th"]
    )


def test_werkzeugs_proxy_fix_in_front_is_not_trusted_twice(gate: Gate) -> None:
    from werkzeug.middleware.proxy_fix import ProxyFix

    protocol = SpeaksWsgi()
    answers = []
    for settings in ({}, TRUSTING):
        app = ProxyFix(protocol.site(gate, asking(gate, "office"), **settings), x_for=1)
        for forwarded in (PEER, f"{PEER}, 10.0.0.3"):
            headers = [("X-Forwarded-For", forwarded)]
            answers.append(protocol.ask(app, headers=headers, peer="10.0.0.1").body == b"office")
    assert answers == [False, False, True, True]
