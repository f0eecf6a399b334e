"""How the pages are laid out in a real browser: on a phone, and with words that are long or run the other way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from flaggate.console import Person, create_console
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from tests.console.chromium import chromium, served
from tests.console.needs import every_need
from tests.console.scenes import KEY
from tests.console.test_accessibility import DESKTOP, PHONE
from tests.runtime.guarded import Clock

LONG = "w" * 190
TURNED = ("\u202e", "\u2067", "\u2069\u202e")
"""What follows runs from right to left; the last one first ends what was put around it."""
EVE = "Ev\u202ee\u2069\u202e <b>@example.com</b>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    clock = Clock()
    store = every_need(clock)
    control = Control(store, now=clock)
    plan = f"""
    [flags.{LONG}]
    description = "{LONG}{LONG}"
    owner = "{LONG}@example.com"
    audience = {{ city = "{LONG}" }}

    [flags.turned]
    description = "{"".join(TURNED)}A switch"
    owner = "{EVE}"
    """
    control.apply(parse(plan), actor=EVE)
    for name in (LONG, "turned"):
        control.act(Verb.ON, name, actor=EVE, reason=f"{LONG} and so on")
        control.act(Verb.KILL, name, actor=EVE, reason="it is odd")
    with served(create_console(store, secret_key=KEY, who=lambda _: Person(EVE), now=clock)) as url:
        yield url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport=PHONE)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize(
    ("path", "table", "headers"),
    [
        ("/", "All flags", ["Flag", "Needs", "Where it stands", "Owner", "Waits for", "Requests, 24 h", "Kill"]),
        ("/flags/running", "Table of guards", ["Guard", "Allowed", "Now", "95 % of", "Without it", "Requests", "Verdict"]),
        ("/flags/running", "Table of what was done", ["When", "Who", "What", "Change", "Why"]),
    ],
)  # fmt: skip
def test_a_table_reads_on_a_phone(url: str, page: Page, path: str, table: str, headers: list[str]) -> None:
    """Each cell with its label, none off the screen; for who listens it is a table still."""
    page.goto(url + path)
    region = page.get_by_role("region", name=table)
    assert region.evaluate("region => region.scrollWidth <= region.clientWidth")
    assert region.get_by_role("columnheader").all_inner_texts()[: len(headers)] == headers
    cells = region.get_by_role("row").nth(1).get_by_role("cell")
    assert cells.count() >= len(headers) - 1
    wide = cells.evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect().width).filter(width => width)")
    assert min(wide) > 300, "a row each"
    labels = cells.evaluate_all("cells => cells.map(cell => getComputedStyle(cell, '::before').content)")
    assert f'"{headers[4]}" / ""' in labels
    page.set_viewport_size(DESKTOP)
    assert region.get_by_role("columnheader", name=headers[-1]).bounding_box()["width"] > 40  # type: ignore[index]
    assert region.evaluate("region => region.scrollWidth <= region.clientWidth")


@pytest.mark.parametrize("path", ["/", f"/flags/{LONG}", f"/flags/{LONG}/do/unkill", f"/flags/{LONG}/who", "/new"])
def test_words_without_an_end_are_broken(url: str, page: Page, path: str) -> None:
    page.goto(url + path)
    for size in (PHONE, DESKTOP):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


@pytest.mark.parametrize("path", ["/", "/flags/turned", "/flags/turned/do/unkill"])
def test_what_somebody_wrote_turns_nothing_around(url: str, page: Page, path: str) -> None:
    """In no line: each letter stands to the right of the one before, or below."""
    page.goto(url + path)
    turned = page.evaluate(
        """() => {
            const found = [], words = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
            while (words.nextNode()) {
                const place = (at) => {
                    const range = document.createRange();
                    range.setStart(words.currentNode, at);
                    range.setEnd(words.currentNode, at + 1);
                    return range.getBoundingClientRect();
                };
                for (let at = 1; at < words.currentNode.length; at++) {
                    const one = place(at - 1), next = place(at);
                    if (one.width && next.width && next.top < one.bottom - 4 && next.left < one.left - 1)
                        found.push(words.currentNode.data);
                }
            }
            return found;
        }"""
    )
    assert turned == []
    assert page.get_by_text("Unkill" if "unkill" in path else "killed").first.is_visible()


def test_what_was_checked_is_saved_where_it_was_read(url: str, page: Page) -> None:
    """The reason stands beside, wherever one has scrolled to."""
    page.goto(f"{url}/flags/made/edit")
    page.get_by_label("Description").fill("Another")
    page.get_by_role("button", name="Check").click()
    save = page.get_by_role("button", name="Save it")
    for _ in range(2):
        expect(save).to_be_in_viewport(ratio=1)
        expect(page.get_by_label("Reason")).to_be_in_viewport(ratio=1)
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.get_by_label("Reason").fill("it was wrong")
    save.click()
    page.get_by_text("Done: saved").wait_for()
    page.get_by_text("it was wrong").wait_for()


def test_what_can_be_chosen_is_not_typed(url: str, page: Page) -> None:
    page.goto(f"{url}/new")
    page.get_by_label("Name").first.fill("chosen")
    page.get_by_label("Description").fill("By a form alone")
    stage = page.get_by_role("group", name="Stage 1")
    stage.get_by_label("Name").fill("half")
    stage.get_by_label("Share").fill("50")
    stage.get_by_label("Approval").select_option("somebody else than who let people in")
    page.get_by_role("button", name="Check").click()
    page.get_by_role("group", name="Stage 2").get_by_label("Name").fill("all")
    guard = page.get_by_role("group", name="Guard 1")
    guard.get_by_label("Metric").fill("errors")
    guard.get_by_label("Limit").fill("1%")
    guard.get_by_label("On breach").select_option("only warn")
    page.get_by_role("button", name="Check").click()
    page.get_by_role("button", name="Save it").click()
    page.get_by_text("Done: saved").wait_for()
    page.get_by_role("link", name="Copy as TOML").click()
    page.get_by_text('approval = "other"').wait_for()
    page.get_by_text('on_breach = "warn"').wait_for()
