"""Every page in a real browser: for those who see little, who have no mouse, who hold a phone, or who allow no script."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

import pytest
from axe_playwright_python.base import AXE_SCRIPT, AxeResults  # type: ignore[import-untyped]  # it has no types
from playwright.sync_api import Browser, Page, ViewportSize
from starlette.requests import Request

from flaggate.console import Person, create_console
from flaggate.stores.memory import MemoryStore
from flaggate.stores.record import read_flag
from tests.console.chromium import chromium, served
from tests.console.needs import every_need
from tests.console.scenes import KEY
from tests.runtime.guarded import Clock
from tests.runtime.scenes import OWNER

DESKTOP: Final[ViewportSize] = {"width": 1280, "height": 900}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
Scheme: TypeAlias = Literal["light", "dark"]


class Site(NamedTuple):
    """A console with a flag of each need, at its address."""

    store: MemoryStore
    url: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    clock = Clock()
    store = every_need(clock)

    def who(request: Request) -> Person | None:
        return None if request.url.query == "nobody" else Person(OWNER)

    with served(create_console(store, secret_key=KEY, who=who, now=clock)) as url:
        yield Site(store, url)


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def pressed(path: str, button: str, **fields: str) -> Callable[[Page, str], None]:
    """A page that a form leads to."""

    def lead(page: Page, url: str) -> None:
        page.goto(f"{url}{path}")
        for name, text in fields.items():
            page.locator(f"[name={name}]").fill(text)
        page.locator("main").get_by_role("button", name=button).first.click()

    return lead


PAGES: Final[dict[str, str | Callable[[Page, str], None]]] = {
    "board": "/",
    "board without a match": "/?q=nothing&owner=ada",
    "draft": "/flags/draft",
    "running, with guards and charts": "/flags/running",
    "breaching": "/flags/breaching",
    "killed": "/flags/killed",
    "rolled back": "/flags/rolled-back",
    "watching": "/flags/watching",
    "approval, just advanced": "/flags/approval?done=advance",
    "switch": "/flags/banner",
    "unreadable": "/flags/unreadable",
    "kill": "/flags/running/do/kill",
    "unkill": "/flags/killed/do/unkill",
    "unkill, refused": pressed("/flags/killed/do/unkill", "Unkill", reason="x", name="another"),
    "advance, passing over": "/flags/running/do/advance",
    "who has it": "/flags/running/who?user=u1&tier=pro",
    "who has it, of nobody": "/flags/running/who?ip=nonsense",
    "new": "/new",
    "new, with mistakes": pressed("/new", "Check", name="Not A Name", deny="[[]]"),
    "edit, with its difference": pressed("/flags/made/edit", "Check", description="Another", deputies=""),
    "toml": "/flags/running/toml",
    "problem": "/nothing",
    "nobody": "/?nobody",
}


def show(page: Page, url: str, name: str) -> None:
    """Open one of PAGES."""
    where = PAGES[name]
    if isinstance(where, str):
        page.goto(url + where)
    else:
        where(page, url)


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(name: str, site: Site, page: Page) -> None:
    """In either scheme and at either width: of the four together two say it for a page, and the next one has the others."""
    schemes: list[Scheme] = ["light", "dark"] if list(PAGES).index(name) % 2 else ["dark", "light"]
    page.set_viewport_size(DESKTOP)
    show(page, site.url, name)
    page.evaluate(AXE_SCRIPT)
    for scheme, size in zip(schemes, (DESKTOP, PHONE), strict=True):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        found = AxeResults(page.evaluate("axe.run({resultTypes: ['violations']})"))
        assert found.violations_count == 0, f"{scheme}, {size['width']} wide: {found.generate_report()}"
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], (
        "the page itself does not scroll sideways"
    )


def test_a_kill_takes_two_presses_of_a_key(site: Site, page: Page) -> None:
    page.set_viewport_size(DESKTOP)
    page.goto(site.url)
    for _ in range(100):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Kill watching":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/flags/watching/do/kill")
    page.keyboard.press("Enter")
    page.get_by_text("watching is killed: off for everyone").wait_for()
    assert read_flag(site.store, "watching").rollout.killed


def test_the_first_tab_leads_past_the_header(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/flags/running")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Advance to everyone"


def test_without_a_script_nothing_is_lost_but_that_it_refreshes(site: Site, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()

    def press(name: str) -> None:
        page.get_by_role("link", name=name, exact=True).click()
        page.get_by_role("button", name=re.compile(f"^{name.split(' to ')[0]}")).click()

    page.goto(site.url)
    page.get_by_label("Search flags").fill("draft")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="draft", exact=True).click()
    press("Start")
    page.get_by_text("draft is at staff, stage 1 of 3").wait_for()
    page.get_by_text("Why not approve?").click()
    page.get_by_text("this stage asks for no approval").wait_for()
    press("Kill")
    page.get_by_text("draft is killed: off for everyone").wait_for()
    assert read_flag(site.store, "draft").rollout.killed
    context.close()
