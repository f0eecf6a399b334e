"""Flags that are made and edited in the console."""

from __future__ import annotations

import re
import time
import tomllib
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaggate.console.forms import document_of, draft_of, fields_of
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.runtime.rights import Right
from flaggate.stores.base import Kind, Row
from flaggate.stores.memory import MemoryStore
from flaggate.stores.record import read_flag
from tests.console.scenes import PLAN, Visitor
from tests.runtime.guarded import Clock
from tests.seed import SEED

MADE = {
    "name": "made",
    "description": "Made here",
    "stages-1-name": "tenth",
    "stages-1-share": "10.5",
    "stages-1-soak": "1h",
    "stages-1-audience": '{ city = "Manchester" }',
    "stages-2-name": "everyone",
    "guards-1-metric": "errors",
    "guards-1-limit": "1%",
}


@pytest.mark.parametrize("text", [PLAN, SEED.read_text(encoding="utf-8")], ids=["plan", "seed"])
def test_a_form_and_a_file_say_the_same(text: str) -> None:
    for name, flag in parse(text).flags.items():
        draft = draft_of(name, fields_of(flag))
        assert draft.mistakes == ()
        assert draft.flag == flag
        assert parse(document_of(flag)).flags[name] == flag
        assert tomllib.loads(document_of(flag))


def test_it_is_checked_then_saved_then_edited(owner: Visitor, store: MemoryStore) -> None:
    said = owner.press("/new", **MADE, what="check")
    assert "This would change: a new flag" in said
    assert "stage 1, tenth: 10.5 % of" in said
    assert store.get("flag", "made") is None, "a dry run"
    assert "Done: saved" in owner.save("/new", **MADE)
    flag = read_flag(store, "made").flag
    assert (flag.owner, flag.stages[0].share_thousandths) == ("owner@example.com", 10_500)
    assert "there is a flag made already" in owner.press("/new", **MADE, what="save")
    more = {"guards-1-limit": "2%", "what": "check"}
    assert "guards" in owner.press("/flags/made/edit", **more)
    assert "Done: saved" in owner.save("/flags/made/edit", **more)
    assert str(read_flag(store, "made").flag.guards[0].limit) == "0.02"
    assert "This would change nothing" in owner.save("/flags/made/edit")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "Not A Name"}, "Not A Name"),
        ({"owner": ""}, '"owner" is missing'),
        ({"stages-1-share": "ten"}, "Stage 1: share, percent: 'ten' cannot be read"),
        ({"stages-1-share": "110"}, "110"),
        ({"stages-1-audience": '{ city = "Manchester"'}, "Stage 1: audience"),
        ({"stages-1-audience": '{ city = "M" }\nowner = "eve"'}, "Stage 1: audience"),
        ({"stages-1-soak": ""}, "Stage 1: nothing says when this stage may be left"),
        ({"guards-1-metric": ""}, 'Guard 1: "metric" is missing'),
        ({"guards-1-limit": "lots"}, 'Guard 1: limit: "lots" is not allowed'),
        ({"guards-3-metric": "errors", "guards-3-limit": "lots"}, 'Guard 3: limit: "lots" is not allowed'),
        ({"stages-2-soak": "24h"}, "Stage 2: soak: the last stage is never left"),
        ({"stages-1-name": "Not a name"}, 'Stage 1: name: "Not a name" is not allowed'),
        ({"stages-1-approval": "nobody"}, 'Stage 1: approval: "nobody" is not allowed'),
        ({"deny": "[[]]"}, "never 1: []"),
    ],
)
def test_a_wrong_form_says_where_and_keeps_what_was_typed(
    owner: Visitor, store: MemoryStore, fields: dict[str, str], words: str
) -> None:
    before = store.revision()
    said = owner.press("/new", **MADE | {"what": "save", "owner": "owner@example.com"} | fields)
    assert "Nothing was saved" in said
    assert words in said
    assert (owner.status, store.revision()) == (422, before)


def test_an_edit_that_a_rollout_in_progress_does_not_take(owner: Visitor) -> None:
    owner.save("/new", **MADE)
    owner.do("start", "made")
    said = owner.save("/flags/made/edit", **{"stages-1-share": "20"})
    assert owner.status == 409
    assert "Nothing was saved" in said


def test_what_is_saved_is_what_was_shown(owner: Visitor, store: MemoryStore) -> None:
    """Without a check, or with another word since, it is checked first."""
    assert "This would change" in owner.press("/new", **MADE, what="save")
    assert store.get("flag", "made") is None
    owner.save("/new", **MADE)
    checked = owner.browser.post("/flags/made/edit", data=owner._filled("/flags/made/edit") | {"guards-1-limit": "2%"})
    found = dict(re.findall(r'name="(checked|version)" value="([^"]*)"', checked.text))
    said = owner.press("/flags/made/edit", **found | {"guards-1-limit": "50%", "what": "save"})
    assert "This would change" in said
    assert str(read_flag(store, "made").flag.guards[0].limit) == "0.01"


def test_two_who_edit_at_once_do_not_undo_each_other(owner: Visitor, store: MemoryStore) -> None:
    owner.save("/new", **MADE)
    seen = owner._filled("/flags/made/edit")
    owner.save("/flags/made/edit", **{"guards-1-limit": "0.2%"})
    said = owner.send("/flags/made/edit", **seen | {"description": "Anew", "what": "check"})
    assert (owner.status, "owner@example.com apply" in said) == (409, True)
    assert "Check it again" in said
    assert str(read_flag(store, "made").flag.guards[0].limit) == "0.002"
    again = owner.browser.post(
        "/flags/made/edit", data=seen | {"description": "Anew", "version": "2", "what": "check"}
    ).text
    assert "0.2" in again[again.index("This would change") :][:300], "what it would undo is shown"


def test_a_segment_that_is_not_there_is_refused(owner: Visitor, store: MemoryStore) -> None:
    """It would be off for everyone, and nobody would know."""
    owner.save("/new", **MADE)
    said = owner.save("/flags/made/edit", deny='{ segment = "nope" }')
    assert "made asks for a segment nope; allowed: none is declared" in said
    assert read_flag(store, "made").flag.deny == ()


@pytest.mark.parametrize(
    ("fields", "right"),
    [
        ({"owner": "eve@example.com"}, Right.ADVANCE),
        ({"deputies": "eve@example.com"}, Right.ADVANCE),
        ({"deny": "", "what": "save"}, Right.ADVANCE),
        ({"audience": ""}, Right.ADVANCE),
    ],
)
def test_who_may_only_edit_lets_nobody_in(
    store: MemoryStore, clock: Clock, fields: dict[str, str], right: Right
) -> None:
    owner = Visitor(store, clock=clock)
    made = {"name": "made", "description": "A switch", "deny": '{ account = ["acme"] }', "audience": "{ staff = true }"}
    owner.save("/new", **made)
    owner.do("on", "made")
    editor = Visitor(store, "eve@example.com", {Right.VIEW, Right.EDIT}, clock=clock)
    before = store.revision()
    assert "it takes the right to advance" in editor.save("/flags/made/edit", **fields)
    assert store.revision() == before
    assert "Done: saved" in editor.save("/flags/made/edit", description="Anew")
    both = Visitor(store, "eve@example.com", {Right.VIEW, Right.EDIT, right}, clock=clock)
    assert "Done: saved" in both.save("/flags/made/edit", **fields)


def test_in_the_watch_nobody_names_themselves(store: MemoryStore, clock: Clock) -> None:
    owner = Visitor(store, clock=clock)
    owner.save("/new", **MADE)
    owner.do("start", "made")
    owner.do("advance", "made", reason="now")
    assert "in watch" in owner.get("/flags/made")
    eve = Visitor(store, "eve@example.com", clock=clock)
    said = eve.save("/flags/made/edit", owner="eve@example.com")
    assert "the owner stays: during the watch this is for owner@example.com" in said


@pytest.mark.parametrize(
    "number", ["1e999999", "1e-999999", "inf", "nan", "sNaN", "\u0661\u0660", "9" * 4000, "0." + "1" * 4000]
)
@pytest.mark.parametrize(
    "field", ["stages-1-share", "stages-1-min_sample", "guards-1-vs_control", "guards-1-limit", "deny"]
)
def test_a_number_that_nobody_means_is_answered_at_once(owner: Visitor, field: str, number: str) -> None:
    begun = time.monotonic()
    owner.press("/new", **MADE | {field: f"{{ x = {number} }}" if field == "deny" else number, "what": "check"})
    assert owner.status == 422
    assert time.monotonic() - begun < 5


def test_what_is_typed_has_no_nul(owner: Visitor, store: MemoryStore) -> None:
    """However it is written: PostgreSQL keeps none."""
    body = f"token={owner.token()}&reason=a%00b\0c".encode()
    assert owner.browser.post("/flags/banner/do/kill", content=body).status_code == 303
    assert store.history("banner", limit=1)[0].reason == "a\ufffdb\ufffdc"


def test_an_alert_has_no_nul(store: MemoryStore) -> None:
    class Strict(MemoryStore):
        def get(self, kind: Kind, name: str) -> Row | None:
            assert "\0" not in name, "which PostgreSQL refuses"
            return super().get(kind, name)

    strict = Strict()
    Control(strict).apply(parse(PLAN), actor="owner@example.com")
    Control(strict).act(Verb.START, "invoicing", actor="owner@example.com")
    alert = Visitor(strict, hook_token="a token of an alert")
    headers = {"Authorization": "Bearer a token of an alert"}
    assert alert.browser.post("/hooks/rollback/a%00b", headers=headers).status_code == 404
    assert alert.browser.post("/hooks/rollback/invoicing?reason=a%00b", headers=headers).status_code == 200
    assert strict.history("invoicing", limit=1)[0].reason == "a\ufffdb"
    assert alert.browser.post("/flags/a%00b/do/kill", data={"token": alert.token()}).status_code == 404


def test_what_is_nested_without_an_end_is_a_mistake(owner: Visitor) -> None:
    owner.press("/new", **MADE | {"deny": "[" * 3000, "what": "check"})
    assert owner.status == 422


def test_what_the_form_has_no_field_for_stays(owner: Visitor, store: MemoryStore, clock: Clock) -> None:
    text = """
    [flags.full]
    description = "All of it"
    owner = "owner@example.com"
    deputies = ["b, c@example.com"]
    cohort = "invoices"
    stages = [
        { name = "half", share = 50, soak = "1h", guards = [{ metric = "slow", slower_than = "1s", limit = "1%" }] },
        { name = "all" },
    ]
    guards = [{ metric = "errors", limit = "1%" }]
    """
    definitions = parse(text)
    Control(store, now=clock).apply(definitions, actor="owner@example.com", source="console")
    assert "This would change nothing" in owner.save("/flags/full/edit")
    assert "Done: saved" in owner.save("/flags/full/edit", description="Anew")
    flag = read_flag(store, "full").flag
    assert flag == replace(definitions.flags["full"], description="Anew")


def test_as_many_rows_as_there_are(owner: Visitor, store: MemoryStore) -> None:
    many = {f"guards-{number}-{key}": value for number in range(2, 41) for key, value in
            {"metric": f"m{number}", "limit": "1%", "on_breach": "hold"}.items()}  # fmt: skip
    assert "Done: saved" in owner.save("/new", **MADE | many)
    assert len(read_flag(store, "made").flag.guards) == 40
    assert "This would change nothing" in owner.save("/flags/made/edit")


def test_a_flag_with_stages_has_no_audience_of_its_own(owner: Visitor) -> None:
    assert "a flag with stages has none of its own" in owner.press(
        "/new", **MADE, audience="{ staff = true }", what="check"
    )


TEXTS = st.text(max_size=30)
NAMES = st.one_of(
    TEXTS,
    st.sampled_from(
        ["token", "version", "reason", "name", "owner", "to", "what", "stages-1-name", "guards-99-x", "deny"]
    ),
)
PATHS = st.sampled_from(
    ["/new", "/flags/invoicing/edit", "/flags/invoicing/do/start", "/flags/invoicing/do/kill", "/sign-out",
     "/flags/banner/do/unkill", "/flags/invoicing/do/owner%20set", "/hooks/rollback/invoicing"]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(PATHS, st.dictionaries(NAMES, TEXTS, max_size=8), st.booleans())
def test_no_form_breaks_it(owner: Visitor, path: str, fields: dict[str, str], is_ours: bool) -> None:
    ours: dict[str, Any] = {"token": owner.token(), "version": "1"} if is_ours else {}
    owner.send(path, **fields | ours)
    assert owner.status < 500


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    st.text(max_size=40),
    st.sampled_from(
        [
            "/flags/{}",
            "/flags/{}/do/kill",
            "/flags/invoicing/do/{}",
            "/?q={}",
            "/?owner={}",
            "/flags/invoicing/who?user={}&ip={}",
            "/static/{}",
            "/sign-in?token={}",
        ]
    ),
)
def test_no_address_breaks_it(owner: Visitor, text: str, path: str) -> None:
    owner.get(path.replace("{}", quote(text, safe="")))
    assert owner.status < 500
