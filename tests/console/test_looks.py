"""What the console's pages say."""

from __future__ import annotations

import re

import pytest

from flaggate import Gate
from flaggate.console.charts import Line, chart
from flaggate.runtime.control import Control
from flaggate.runtime.judging import Judging
from flaggate.runtime.ticker import Ticker
from flaggate.stores.base import Presence, Write
from flaggate.stores.memory import MemoryStore
from tests.console.scenes import Visitor
from tests.runtime.guarded import Clock


def begin(owner: Visitor) -> None:
    """It stands at a tenth of everyone."""
    owner.do("start")
    owner.do("advance", reason="now")


def look(store: MemoryStore, clock: Clock, looks: int = 1) -> None:
    ticker = Ticker(store, judge=Judging(store), now=clock)
    for _ in range(looks):
        clock.passes(5)
        ticker.tick(store.changes().rows)


def traffic(store: MemoryStore, failing: bool, people: int = 400) -> None:
    from flaggate import Context

    gate = Gate.open(store, background=False)
    gate.refresh()
    for number in range(people):
        with gate.visit(Context(f"u{number}")) as visit:
            if visit.is_on("invoicing") and failing:
                visit.fail()
    gate.flush()
    gate.close()


def test_the_sentence(owner: Visitor, store: MemoryStore, clock: Clock) -> None:
    assert "invoicing is a draft since Mon 02 Mar 2026 12:00" in owner.get("/flags/invoicing")
    begin(owner)
    traffic(store, failing=False)
    look(store, clock)
    assert (
        "invoicing is at 10 % of everyone, stage 2 of 3, not enough traffic to tell; next is everyone, no earlier than "
        "Tue 03 Mar 2026 12:00" in owner.get("/flags/invoicing")
    )
    assert "waiting for 24 h of soak, min_sample" in owner.get("/flags/invoicing")


def test_a_guard_that_breaches_says_so_with_its_numbers(owner: Visitor, store: MemoryStore, clock: Clock) -> None:
    begin(owner)
    traffic(store, failing=True)
    look(store, clock)
    page = owner.get("/flags/invoicing")
    assert "rolled back" in page
    assert "requests with the feature failed (100 %)" in page
    assert "sure that this is worse than you allow" in page
    assert "nobody has it" in page
    board = owner.get("/")
    assert board.index("invoicing") < board.index("banner")
    assert "rolled back" in board


def test_guards_exposure_and_charts(owner: Visitor, store: MemoryStore, clock: Clock) -> None:
    begin(owner)
    for _ in range(3):
        traffic(store, failing=False)
        look(store, clock)
        clock.passes(600)
    look(store, clock)
    page = owner.html("/flags/invoicing")
    assert page.count('<svg class="chart"') == 3
    assert page.count("<title id=") == page.count("<desc id=") == 3
    assert "errors against control" in page
    text = owner.get("/flags/invoicing")
    assert "treatment" in text
    assert "% of 400 users have it, 10 % were to" in text or "% of 256 users have it, 10 % were to" in text
    owner.do("rollback")
    assert owner.html("/flags/invoicing").count('<svg class="chart"') == 3, "what was seen is shown still"


def test_what_a_kill_has_reached(owner: Visitor, store: MemoryStore, clock: Clock) -> None:
    """As of now; who serves an older revision is named."""
    begin(owner)
    assert "2 processes" not in owner.get("/flags/invoicing")
    for number in (1, 2):
        store.say(Presence(str(number), f"web-{number}:4711", store.revision(), 0.0, 1e9))
    assert "2 processes serve flags, the newest revision" in owner.get("/flags/invoicing")
    said = owner.do("kill")
    assert "Reached 0 of 2 processes." in said
    assert "web-1:4711 serves revision" in said
    for number in (1, 2):
        store.say(Presence(str(number), f"web-{number}:4711", store.revision(), 0.0, 1e9))
    assert "Reached 2 of 2 processes." in owner.get("/flags/invoicing")


@pytest.mark.parametrize(("most", "axis"), [(1.0, ["0 %", "50 %", "100 %"]), (0.002, ["0 %", "0.115 %", "0.23 %"])])
def test_the_axis_of_a_chart(most: float, axis: list[str]) -> None:
    drawn = chart("errors", "errors", "lately", [Line("with it", [0.0, most])], ["then", "now"])
    assert re.findall(r">([^<>]* %)<", drawn) == axis


def test_the_board_is_searched_and_shows_html_as_text(owner: Visitor, store: MemoryStore) -> None:
    assert "invoicing" not in owner.get("/?q=switch")
    assert "No flag matches" in owner.get("/?q=switch&owner=nobody")
    assert "banner" in owner.get("/?owner=OWNER")
    assert "<b>anew</b>" not in owner.html("/")
    assert "&lt;b&gt;anew&lt;/b&gt;" in owner.html("/")
    owner.do("kill", reason="<script>alert(1)</script>")
    assert "<script>alert" not in owner.html("/flags/invoicing")
    assert "<script>alert(1)</script>" in owner.get("/flags/invoicing")


def test_a_store_without_flags(clock: Clock) -> None:
    assert "No flags in memory:// yet" in Visitor(MemoryStore(), clock=clock).get("/")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "One of our own staff Ask"),
        ("?user=u1&staff=1", "On kill: no deny: no internal: staff: yes"),
        ("?user=u1", "Off kill: no deny: no"),
        ("?account=acme-de&staff=1", "Off kill: no deny: account"),
        ("?groups=a,b&tier=pro&city=Leeds&country=GB", "Off"),
    ],
)
def test_who_has_it(owner: Visitor, query: str, words: str) -> None:
    begin(owner)
    said = owner.get(f"/flags/invoicing/who{query}")
    assert words in said
    assert owner.status == 200


def test_a_flag_that_cannot_be_read_can_be_killed(owner: Visitor, store: MemoryStore) -> None:
    row = store.get("flag", "invoicing")
    assert row is not None
    broken = dict(row.document or {}) | {"flag": {"description": 3}}
    store.commit([Write("flag", "invoicing", row.version, broken)], [])
    assert "cannot be read" in owner.get("/")
    assert "cannot be read" in owner.get("/flags/invoicing")
    for path in ("", "/do/start", "/who", "/toml", "/edit"):
        assert "cannot be read" in owner.get(f"/flags/invoicing{path}")
        assert owner.status == 409
    assert "and killed" in owner.do("kill")
    assert store.get("flag", "invoicing").document["rollout"]["killed"] is True  # type: ignore[union-attr,index]


def test_what_is_safe_to_send(owner: Visitor) -> None:
    answer = owner.browser.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert " style=" not in answer.text
    assert "<script>" not in answer.text
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert owner.browser.get("/static/console.css").headers["content-type"].startswith("text/css")
    assert owner.browser.get("/static/console.js").status_code == 200


def test_of_two_sources_neither_changes_the_others(owner: Visitor, store: MemoryStore, clock: Clock) -> None:
    assert "Declared in a file" in owner.get("/flags/invoicing")
    assert "[[flags.invoicing.stages]]" in owner.get("/flags/invoicing/toml")
    made = {"name": "made", "description": "Here"}
    assert "Done: saved" in owner.save("/new", **made)
    from flaggate.errors import RevisionError
    from flaggate.flags.document import parse

    text = '[flags.made]\ndescription = "There"\nowner = "owner@example.com"\n'
    control = Control(store, now=clock)
    with pytest.raises(RevisionError, match="made is kept by the console"):
        control.apply(parse(text), actor="x")
    assert control.apply(parse(""), actor="x", prune=True).kept == ()
    assert store.get("flag", "made").document is not None  # type: ignore[union-attr]
