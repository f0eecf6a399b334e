"""A page that stays up to date while somebody looks at it: what it takes away from nobody, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flaggate.console import Person, create_console
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores.memory import MemoryStore
from tests.console.chromium import chromium, served
from tests.console.scenes import KEY
from tests.runtime.guarded import Clock
from tests.runtime.scenes import OWNER, until


class Line:
    """Between the script and the console: it can be held, and lead elsewhere. What people open goes by it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.asked: list[str] = []
        self.is_held = False
        self.elsewhere: Response | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if headers.get(b"sec-fetch-mode") != b"cors":
            await self.app(scope, receive, send)
            return
        self.asked.append(scope["path"] + "?" + scope["query_string"].decode())
        while self.is_held:
            await asyncio.sleep(0.01)
        await (self.elsewhere or self.app)(scope, receive, send)


class Open(NamedTuple):
    """A page that is open, of a rollout that goes on."""

    page: Page
    line: Line
    url: str
    control: Control

    def look(self, query: str = "") -> None:
        """Open the flag's page."""
        self.page.goto(f"{self.url}/flags/invoicing{query}")

    def passes(self, milliseconds: int) -> None:
        """By the browser's clock."""
        self.page.clock.fast_forward(milliseconds)

    def asks(self) -> None:
        """The script does."""
        so_far = len(self.line.asked)
        self.passes(2000)
        until(lambda: len(self.line.asked) > so_far, "the script asks")

    def is_changed(self) -> None:
        """Somebody else pauses it."""
        self.control.act(Verb.PAUSE, "invoicing", actor="deputy@example.com")

    def sees_the_change(self) -> None:
        """Within the next turn."""
        self.asks()
        self.page.get_by_text("stage 1 of 3, paused").wait_for()

    def is_answered(self) -> None:
        """What was held, and what the script makes of it."""
        with self.page.expect_event("requestfinished"):
            self.line.is_held = False
        self.page.evaluate("fetch('/static/icon.svg', {mode: 'no-cors'}).then((answer) => answer.text())")

    @property
    def mark(self) -> str:
        """What it says of its age."""
        return self.page.locator("#age").inner_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def opened(browser: Browser, store: MemoryStore, clock: Clock) -> Iterator[Open]:
    control = Control(store, now=clock)
    control.act(Verb.START, "invoicing", actor=OWNER)
    line = Line(create_console(store, secret_key=KEY, who=lambda _: Person(OWNER), now=clock))
    context = browser.new_context(viewport={"width": 700, "height": 500})
    page = context.new_page()
    page.clock.install()
    with served(line) as url:
        try:
            yield Open(page, line, url, control)
        finally:
            line.is_held = False
            context.close()


def test_a_click_is_not_lost(opened: Open) -> None:
    """The answer comes between the press and the click."""
    opened.look()
    opened.line.is_held = True
    opened.asks()
    opened.page.get_by_role("link", name="Pause").hover()
    opened.page.mouse.down()
    opened.is_changed()
    opened.is_answered()
    opened.page.mouse.up()
    opened.page.wait_for_url("**/do/pause")


@pytest.mark.parametrize(
    ("do", "is_let_be"),
    [
        ("getSelection().selectAllChildren(document.querySelector('.sentence'))", True),
        ("getSelection().selectAllChildren(document.querySelector('header'))", False),
        ("document.querySelector('main input, main a').focus()", False),
    ],
)
def test_what_is_selected_stays_and_a_link_is_found_again(opened: Open, do: str, is_let_be: bool) -> None:
    opened.look()
    opened.line.is_held = True
    opened.asks()
    opened.page.evaluate(do)
    opened.is_changed()
    opened.is_answered()
    assert opened.page.get_by_text("stage 1 of 3, paused").is_visible() is not is_let_be


def test_a_field_is_left_alone(opened: Open) -> None:
    opened.page.goto(opened.url)
    opened.line.is_held = True
    opened.asks()
    opened.page.get_by_label("By owner").fill("ad")
    opened.control.act(Verb.KILL, "invoicing", actor=OWNER)
    opened.is_answered()
    opened.page.keyboard.type("a")
    assert opened.page.get_by_label("By owner").input_value() == "ada"
    assert opened.page.get_by_text("running, stage 1 of 3").is_visible()
    asked = len(opened.line.asked)
    opened.passes(12_000)
    opened.page.get_by_text("Paused while you are in a field.").wait_for()
    assert "Not up to date: as of " in opened.mark
    assert len(opened.line.asked) == asked
    opened.page.keyboard.press("Tab")
    opened.asks()
    opened.page.get_by_text(re.compile("KILLED")).wait_for()
    until(lambda: not opened.mark, "it is up to date")


def test_what_the_server_does_not_know_of_is_kept(opened: Open) -> None:
    """The focus, what was folded out, and how far it was scrolled, either way."""
    opened.look()
    page = opened.page
    page.get_by_text("Why not approve?").click()
    page.get_by_role("region", name="Table of what was done").evaluate("region => region.scrollLeft = 40")
    page.get_by_role("link", name="Kill").focus()
    page.evaluate("scrollTo(0, 123)")
    before = page.get_by_role("link", name="Kill").element_handle()
    opened.is_changed()
    opened.sees_the_change()
    assert not before.evaluate("link => link.isConnected"), "another one stands there"
    assert page.evaluate("document.activeElement.textContent") == "Kill"
    assert page.get_by_text("this stage asks for no approval").is_visible()
    region = page.get_by_role("region", name="Table of what was done")
    assert region.evaluate("region => region.scrollLeft") == 40
    assert page.evaluate("scrollY") == 123


def test_who_reads_on_stays_up_to_date(opened: Open) -> None:
    """What was pressed has the focus ever after."""
    opened.look()
    opened.page.get_by_text("Why not approve?").click()
    opened.passes(1000)
    opened.is_changed()
    opened.sees_the_change()
    assert opened.page.evaluate("document.activeElement.localName") == "summary"


def test_a_server_that_hangs(opened: Open) -> None:
    opened.look()
    assert opened.mark == ""
    opened.line.is_held = True
    opened.asks()
    opened.passes(2000)
    assert len(opened.line.asked) == 1, "one at a time"
    opened.passes(3500)  # it is given up
    opened.asks()
    opened.passes(5000)
    opened.page.get_by_text("The console does not answer.").wait_for()
    assert opened.page.get_by_role("status").last.inner_text().startswith("Not up to date: as of ")
    opened.line.is_held = False
    opened.asks()
    until(lambda: not opened.mark, "it is up to date")


@pytest.mark.parametrize(
    "elsewhere",
    [
        HTMLResponse("<main>Sign in</main>"),
        RedirectResponse("/", 303),
        HTMLResponse("<main data-live>Mended soon</main>", 503),
    ],
    ids=["a page to sign in", "leads there", "out of order"],
)
def test_an_answer_that_is_no_page_of_the_console(opened: Open, elsewhere: Response) -> None:
    opened.look()
    opened.line.elsewhere = elsewhere
    opened.asks()
    opened.passes(10_000)
    opened.page.get_by_text("The console answers with something else: reload the page.").wait_for()
    assert opened.page.get_by_text("invoicing is at staff").is_visible()
    opened.line.elsewhere = None
    opened.asks()
    until(lambda: not opened.mark, "it is up to date")


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("?done=start&a=b", "?a=b"),
        ("?a=b&done=start&c=d", "?a=b&c=d"),
        ("?done=start", "?"),
        ("?undone=1", "?undone=1"),
    ],
)
def test_it_asks_for_the_page_that_is_open(opened: Open, query: str, asked: str) -> None:
    opened.look(query)
    opened.asks()
    assert opened.line.asked == [f"/flags/invoicing{asked}"]
    assert opened.page.get_by_text("Done: start.").count() == query.count("done=start"), "there is time to read it"
