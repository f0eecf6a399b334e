"""What people do by the console's buttons, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from flaggate.errors import StoreError
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.runtime.rights import Right
from flaggate.stores.memory import MemoryStore
from flaggate.stores.record import read_flag
from tests.console.scenes import Visitor
from tests.runtime.guarded import Clock

HOOK = "a token of sixteen or more"


def status(store: MemoryStore, flag: str = "invoicing") -> str:
    rollout = read_flag(store, flag).rollout
    return f"{rollout.status} {rollout.stage}" + (" killed" if rollout.killed else "")


def test_a_rollout_from_its_start_to_a_restart(owner: Visitor, store: MemoryStore) -> None:
    assert "invoicing is a draft" in owner.get("/flags/invoicing")
    assert "Done: start" in owner.do("start")
    assert status(store) == "running 1"
    assert "This passes over: soak" not in owner.do("advance")
    assert owner.status == 409, "it needs a reason"
    assert status(store) == "running 1"
    assert "stage 2 of 3" in owner.do("advance", reason="staff had it for a day")
    assert "Done: approve" in owner.do("approve")
    assert "Done: pause" in owner.do("pause")
    assert "Done: resume" in owner.do("resume")
    assert "stage 1 of 3" in owner.do(Verb.STEP_BACK)
    assert "nobody has it" in owner.do("rollback", reason="it looks odd")
    assert status(store) == "rolled_back 1"
    assert "Type the flag's name" in owner.do("restart", reason="mended", name="invoicings")
    assert (owner.status, status(store)) == (422, "rolled_back 1")
    assert "Done: restart" in owner.do("restart", reason="mended", name="invoicing")
    assert status(store) == "running 1"
    activity = owner.get("/flags/invoicing")
    assert all(words in activity for words in ("staff had it for a day", "it looks odd", "mended", "stage 1 -> 2"))


def test_a_kill_takes_two_clicks_and_an_unkill_more(owner: Visitor, store: MemoryStore) -> None:
    owner.do("start")
    assert '/flags/invoicing/do/kill"' in owner.html("/")
    assert "invoicing is killed: off for everyone" in owner.do("kill")
    assert status(store) == "running 1 killed"
    assert "killed Mon 02 Mar" in owner.get("/flags/invoicing")
    assert "Kill" not in owner.get("/").split("invoicing")[1].split("banner")[0]
    assert "advance refused" in owner.do("advance", reason="all the same")
    owner.do("unkill", reason="mended")
    assert status(store) == "running 1 killed"
    owner.do("unkill", reason="mended", name="invoicing")
    assert status(store) == "running 1"


def test_a_switch(owner: Visitor, store: MemoryStore) -> None:
    owner.do("on", "banner")
    assert status(store, "banner") == "on 0"
    assert "it is on for everyone" in owner.get("/flags/banner")
    owner.do("off", "banner")
    assert status(store, "banner") == "off 0"


def test_the_owner_hands_over(owner: Visitor, store: MemoryStore) -> None:
    assert "Say to whom" in owner.do(Verb.OWNER_SET)
    assert "deputy@example.com (not accepted)" in owner.do(Verb.OWNER_SET, owner="deputy@example.com")
    deputy = Visitor(store, "deputy@example.com")
    assert "Done: owner accept" in deputy.do(Verb.OWNER_ACCEPT)
    assert "Why not accept?" in deputy.get("/flags/invoicing")


@pytest.mark.parametrize("verb", list(Verb))
def test_nothing_is_done_without_a_token_a_right_or_anybody(store: MemoryStore, verb: Verb) -> None:
    before = store.revision()
    path = f"/flags/invoicing/do/{verb}"
    fields = {"reason": "why", "name": "invoicing", "owner": "x", "version": "1"}
    anybody = Visitor(store)
    anybody.send(path, **fields)
    assert anybody.status == 403
    anybody.send(path, **fields, token=Visitor(store).token())
    assert anybody.status == 403, "of another browser"
    viewer = Visitor(store, rights={Right.VIEW})
    viewer.press(path, **fields)
    assert viewer.status == (403 if verb in legible() else 404)
    reader = Visitor(store, is_read_only=True)
    reader.press(path, **fields)
    assert reader.status == (403 if verb in legible() else 404)
    nobody = Visitor(store, None)
    nobody.send(path, **fields, token=anybody.token())
    assert nobody.status == 401
    assert store.revision() == before


def legible() -> frozenset[Verb]:
    from flaggate.console.buttons import WORDS

    return frozenset(WORDS)


def test_somebody_was_faster(owner: Visitor, store: MemoryStore, clock: Clock) -> None:
    owner.do("start")
    version = str(read_flag(store, "invoicing").version)
    token = owner.token()
    Control(store, now=clock).act(Verb.PAUSE, "invoicing", actor="deputy@example.com")
    said = owner.send("/flags/invoicing/do/rollback", token=token, version="0")
    assert status(store) == "rolled_back 1", "a rollback wins"
    said = owner.send("/flags/invoicing/do/restart", token=token, version=version, reason="again", name="invoicing")
    assert owner.status == 409
    assert "deputy@example.com" in said
    assert status(store) == "rolled_back 1"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/flags/nowhere", 404),
        ("/flags/nowhere/do/kill", 404),
        ("/flags/invoicing/do/explode", 404),
        ("/nowhere", 404),
        ("/static/../app.py", 404),
        ("/static/app.py", 404),
        ("/flags/invoicing/edit", 409),
    ],
)
def test_what_is_not_there(owner: Visitor, path: str, code: int) -> None:
    owner.get(path)
    assert owner.status == code


def test_an_alert_may_roll_back_and_nothing_else(store: MemoryStore, clock: Clock) -> None:
    console = Visitor(store, None, clock=clock, hook_token=HOOK)
    Control(store, now=clock).act(Verb.START, "invoicing", actor="owner@example.com")

    def post(path: str, token: str | None = HOOK) -> Any:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return console.browser.post(path, headers=headers)

    assert [post("/hooks/rollback/invoicing", token).status_code for token in (None, "", HOOK[:-1], "wrong")] == [
        401
    ] * 4
    assert status(store) == "running 1"
    assert post("/hooks/rollback/nowhere").status_code == 404
    assert post("/hooks/rollback/banner").status_code == 409
    assert post("/flags/invoicing/do/kill").status_code == 401
    done = post("/hooks/rollback/invoicing?reason=too+slow")
    assert (done.status_code, done.json()) == (200, {"flag": "invoicing", "status": "rolled_back", "changed": True})
    assert post("/hooks/rollback/invoicing").json()["changed"] is False
    event = store.history("invoicing")[-1]
    assert (event.verb, event.actor, event.reason) == ("rollback", "alert", "too slow")
    assert Visitor(store, None).browser.post("/hooks/rollback/invoicing").status_code == 401, "there is no token"


def test_without_a_store(owner: Visitor, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    token = owner.token()

    def fails(*_: Any, **__: Any) -> Any:
        raise StoreError("memory://", "the disk is gone")

    monkeypatch.setattr(store, "changes", fails)
    assert "The store does not answer: the disk is gone" in owner.get("/")
    assert owner.status == 503
    owner.send("/flags/invoicing/do/kill", token=token)
    assert owner.status == 503
