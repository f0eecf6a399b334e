"""What the page says and does when not all is well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flaggate.console.board import Need, health, need, pill
from flaggate.errors import BusyError, StoreError
from flaggate.flags.document import parse
from flaggate.rollout.verdict import Answer
from flaggate.runtime.control import Control
from flaggate.runtime.overview import Standing, overview
from flaggate.runtime.rights import Right
from flaggate.stores.base import Write
from flaggate.stores.memory import MemoryStore
from tests.console.scenes import PLAN, Visitor
from tests.console.test_looks import begin, look, traffic
from tests.runtime.guarded import Clock
from tests.runtime.scenes import UnreliableStore

WARNS = PLAN.replace('limit = "1%" }', 'limit = "1%", on_breach = "warn" }').replace('vs_control = 1.25 }', 'vs_control = 1.25, observe = true }')  # fmt: skip


def judged(store: MemoryStore, clock: Clock, **answers: str) -> Standing:
    """Where it stands, with what its guards say changed."""
    one = overview(store, clock()).standing("invoicing")
    judgement = one.judgement
    assert judgement is not None
    verdicts = tuple(
        replace(verdict, answer=Answer(answers.get(verdict.guard.on_breach, verdict.answer)))
        for verdict in judgement.verdicts
    )
    one.__dict__["judgement"] = replace(judgement, verdicts=verdicts)
    return one


@pytest.fixture
def running(owner: Visitor, store: MemoryStore, clock: Clock) -> Visitor:
    begin(owner)
    traffic(store, failing=False)
    look(store, clock)
    return owner


@pytest.mark.parametrize("is_paused", [False, True])
@pytest.mark.parametrize(
    ("answers", "expected", "words"),
    [
        ({"hold": "breach"}, Need.BREACHING, "breaching"),
        ({"rollback": "shared"}, Need.BREACHING, "breaching"),
        ({"hold": "no_data"}, Need.BLIND, "blind"),
        ({"rollback": "error"}, Need.BLIND, "blind"),
    ],
)
def test_it_is_as_healthy_as_its_guards_say(
    running: Visitor, store: MemoryStore, clock: Clock, answers: dict[str, str], expected: Need, words: str, is_paused: bool
) -> None:  # fmt: skip
    """Whatever it waits for: a paused one is seen by people all the same."""
    if is_paused:
        running.do("pause")
        look(store, clock)
    one = judged(store, clock, **answers)
    assert (need(one), pill(one, need(one)), health(one)) == (expected, words, words)


def test_a_warning_is_said(running: Visitor, store: MemoryStore, clock: Clock) -> None:
    one = judged(store, clock)
    warned = tuple(replace(verdict, guard=replace(verdict.guard, on_breach="warn"), answer=Answer.BREACH) for verdict in one.judgement.verdicts)  # type: ignore[union-attr]  # fmt: skip
    one.__dict__["judgement"] = replace(one.judgement, verdicts=warned)  # type: ignore[type-var]
    assert (need(one), health(one)) == (Need.BREACHING, "over a limit that only warns")
    observed = tuple(replace(verdict, guard=replace(verdict.guard, observe=True)) for verdict in warned)
    one.__dict__["judgement"] = replace(one.judgement, verdicts=observed)  # type: ignore[type-var]
    assert health(one) == "healthy"


def test_nobody_looks_is_the_first_thing_said(running: Visitor, store: MemoryStore, clock: Clock) -> None:
    assert "nobody looks" not in running.get("/flags/invoicing")
    clock.passes(120)
    page = running.get("/flags/invoicing")
    assert page.startswith("invoicing nobody looks")
    assert "stage 2 of 3, nobody looks" in page
    assert "nobody looks" in running.get("/")


@pytest.mark.parametrize(("verbs", "words"), [(("start", "pause"), "paused"), (("start",), "running"), ((), "draft")])
def test_the_pill_of_what_needs_nobody(
    owner: Visitor, store: MemoryStore, clock: Clock, verbs: tuple[str, ...], words: str
) -> None:
    for verb in verbs:
        owner.do(verb)
    assert owner.get("/flags/invoicing").startswith(f"invoicing {words}")
    assert owner.get("/flags/banner").startswith("banner off")
    owner.do("on", "banner")
    assert owner.get("/flags/banner").startswith("banner on")


def test_who_rolled_it_back_is_said_where_guards_are(owner: Visitor) -> None:
    begin(owner)
    owner.do("rollback", reason="the invoices are wrong")
    page = owner.get("/flags/invoicing")
    assert "Rolled back: Mon 02 Mar 2026 12:00 UTC by owner@example.com: the invoices are wrong." in page
    assert "tenth stopped here" in page


def test_whom_an_unkill_and_a_restart_let_in(owner: Visitor) -> None:
    begin(owner)
    owner.do("kill")
    assert "It lets in, at once: staff, 10 % of everyone" in owner.get("/flags/invoicing/do/unkill")
    owner.do("unkill", reason="mended", name="invoicing")
    owner.do("rollback")
    assert "It lets in, at once: staff" in owner.get("/flags/invoicing/do/restart")


# --- a kill needs little ------------------------------------------------------------------------


class Halting(UnreliableStore):
    """Of which some methods fail."""

    failing: tuple[str, ...] = ()

    def __getattribute__(self, name: str) -> Any:
        if name in object.__getattribute__(self, "failing"):
            raise StoreError("memory://", f"{name} does not answer")
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("failing", ["history", "lease", "presences", "progress", "changes"])
def test_a_kill_needs_no_more_than_the_row(store: MemoryStore, clock: Clock, failing: str) -> None:
    halting = Halting(store)
    owner = Visitor(halting, clock=clock)
    token = owner.token()
    halting.failing = (failing,)
    page = owner.get("/flags/invoicing/do/kill")
    assert (owner.status, "Kill invoicing" in page) == (200, True)
    answer = owner.browser.post("/flags/invoicing/do/kill", data={"token": token})
    assert answer.status_code == 303
    halting.failing = ()
    assert "is killed" in owner.get("/flags/invoicing")


def test_a_kill_that_is_not_written_is_asked_for_again(store: MemoryStore, clock: Clock) -> None:
    halting = Halting(store)
    owner = Visitor(halting, clock=clock)
    token = owner.token()
    halting.failing = ("commit",)
    said = owner.send("/flags/invoicing/do/kill", token=token)
    assert owner.status == 503
    assert "It is not known to be off: commit does not answer. Press again" in said
    assert "Kill invoicing" in said
    halting.failing = ("get",)
    owner.send("/flags/invoicing/do/pause", token=token, version="1")
    assert owner.status == 503


def test_who_writes_for_long_keeps_nobody_waiting(clock: Clock) -> None:
    """The button is answered, and pressed again: not after a minute."""

    class Busy(UnreliableStore):
        tries = 0

        def commit(self, *given: Any, **more: Any) -> int:
            self.tries += 1
            raise BusyError(self.url, "another writer did not end")

    inner = MemoryStore(clock=clock.unix)
    Control(inner, now=clock).apply(parse(PLAN), actor="owner@example.com")
    busy = Busy(inner)
    owner = Visitor(busy, clock=clock)
    assert "Press again" in owner.do("kill")
    assert busy.tries == 2


def test_a_flag_that_is_not_there(owner: Visitor, store: MemoryStore) -> None:
    token, before = owner.token(), store.revision()
    for verb in ("kill", "on"):
        owner.send(f"/flags/nothing/do/{verb}", token=token, version="1")
        assert (owner.status, store.revision()) == (404, before)


# --- who may what -------------------------------------------------------------------------------


def test_a_viewer_is_offered_nothing(store: MemoryStore, clock: Clock) -> None:
    viewer = Visitor(store, "eve@example.com", {Right.VIEW}, clock=clock)
    board = viewer.get("/")
    assert "Make a flag" not in board
    assert "Kill" not in viewer.html("/").partition("<tbody>")[2]
    for path in ("/new", "/flags/invoicing/edit", "/flags/invoicing/do/kill", "/flags/invoicing/do/start"):
        viewer.get(path)
        assert viewer.status == 403


def test_what_was_done_is_said_and_nothing_else(owner: Visitor) -> None:
    assert "Done: kill." in owner.get("/flags/invoicing?done=kill")
    assert "your password" not in owner.get("/flags/invoicing?done=send+your+password")


def test_who_signed_out_is_out_wherever_the_cookie_went(store: MemoryStore) -> None:
    from starlette.testclient import TestClient

    from flaggate.console import Person, create_console
    from tests.console.scenes import KEY

    app = create_console(store, secret_key=KEY)
    used: list[Person] = []
    app.state.sessions.on_used = used.append
    browser, copy = (TestClient(app, base_url="http://console.example", follow_redirects=False) for _ in range(2))
    token = app.state.sessions.link(Person("owner@example.com"))
    assert browser.head(f"/sign-in?token={token}").status_code == 405
    assert used == []
    browser.get(f"/sign-in?token={token}")
    assert used == [Person("owner@example.com")]
    copy.cookies.update(browser.cookies)
    assert copy.get("/").status_code == 200
    page = browser.get("/flags/banner").text
    form = page.partition('name="token" value="')[2].partition('"')[0]
    assert browser.post("/sign-out", data={"token": form}).status_code == 303
    assert copy.get("/").status_code == 401


def test_two_consoles_on_one_host_leave_each_other_alone(store: MemoryStore) -> None:
    from flaggate.console import create_console

    names = {create_console(store, secret_key=key).state.sessions.cookie for key in ("a" * 16, "b" * 16)}
    assert len(names) == 2


def test_a_slash_more_leads_nowhere(owner: Visitor) -> None:
    """Least of all to a host that the client has made up."""
    answer = owner.browser.get("/flags/invoicing/", headers={"Host": "evil.example"})
    assert (answer.status_code, "location" in answer.headers) == (404, False)


def test_a_row_that_cannot_be_read_says_that_it_was_killed(owner: Visitor, store: MemoryStore) -> None:
    owner.do("kill")
    killed = store.get("flag", "invoicing")
    assert killed is not None
    broken = dict(killed.document or {}) | {"flag": {"description": 3}}
    store.commit([Write("flag", "invoicing", killed.version, broken)], [])
    page = owner.get("/flags/invoicing")
    assert "off wherever it is asked, and killed" in page
    assert "/do/kill" not in owner.html("/flags/invoicing")
