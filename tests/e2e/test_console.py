"""A product manager runs the seed plan from the console: in a real browser, with no terminal.

Screenshots are kept in build/screenshots.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from flaggate import Context, Gate
from flaggate.flags.document import parse
from flaggate.runtime.control import Control
from flaggate.stores.sql import SqlStore
from tests.console.chromium import chromium
from tests.runtime.scenes import until
from tests.seed import SEED

OWNER: Final = "release-owner@example.com"
FLAG: Final = "new-invoicing"
SCREENSHOTS: Final = Path(__file__).parents[2] / "build" / "screenshots"


@pytest.fixture
def store(tmp_path: Path) -> SqlStore:
    store = SqlStore(f"sqlite:///{tmp_path}/flags.db")
    Control(store).apply(parse(SEED.read_text(encoding="utf-8")), actor=OWNER)
    return store


@contextmanager
def running(folder: Path, *words: str) -> Iterator[Path]:
    """A command in a process of its own, and what it says."""
    log = folder / f"{words[0]}.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "flaggate", *words],
            env=os.environ | {"FLAGGATE_STORE": f"sqlite:///{folder}/flags.db", "TZ": "UTC"},
            stdout=written,
            stderr=written,
        )
    try:
        until(lambda: log.read_text().strip(), f"{words[0]} says something")
        yield log
    finally:
        process.terminate()
        process.wait(30)


class Traffic:
    """People who ask the flag all the time; with it their pages fail once they are to."""

    def __init__(self, store: SqlStore) -> None:
        self.is_failing = False
        self._gate = Gate.open(SqlStore(store.url), background=True)  # so that a kill has somebody to reach
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._go)

    def _go(self) -> None:
        while not self._is_over.is_set():
            for number in range(400):
                with self._gate.visit(
                    Context(f"u{number}", staff=number < 40, groups=("beta",) if number < 80 else ())
                ) as visit:
                    if visit.is_on(FLAG) and self.is_failing:
                        visit.fail()
            self._gate.flush()
            self._is_over.wait(0.1)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._gate.close()


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of Chromium."""
    with chromium() as browser:
        yield browser.new_context(viewport={"width": 1280, "height": 900}).new_page()


def test_a_product_manager_runs_it_from_draft_to_completed(store: SqlStore, tmp_path: Path, page: Any) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    shots = iter(range(1, 100))
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)

    def see(words: str) -> None:
        page.get_by_text(words).first.wait_for(timeout=20_000)

    def shot(name: str) -> None:
        page.screenshot(path=SCREENSHOTS / f"{next(shots):02}-{name}.png", full_page=True)

    def press(name: str, reason: str = "", /, **fields: str) -> None:
        """A button of the flag's page, and that of the page that it leads to."""
        page.get_by_role("link", name=name, exact=True).click()
        if reason:
            page.get_by_label("Reason").fill(reason)
        for label, text in fields.items():
            page.locator(f"[name={label}]").fill(text)
        shot(f"ask-{name.lower().replace(' ', '-')}")
        page.get_by_role("button", name=re.compile(f"^{name.split(' to ')[0]}")).click()
        see("Done: ")

    with (
        running(tmp_path, "console", "--port", "0", "--as", OWNER) as said,
        running(tmp_path, "run", "--every", "0.3s"),
        Traffic(store) as traffic,
    ):
        link = re.search(r"http://\S+", said.read_text())
        assert link is not None
        page.goto(link[0])
        see("The overhauled invoicing system")
        shot("board")
        page.get_by_role("link", name=FLAG, exact=True).click()
        see(f"{FLAG} is a draft")
        press("Start")
        see("stage 1 of 5")
        press("Advance to manchester", "staff had it for a day")
        press("Advance to beta", "Manchester had it for a day")
        press("Advance to tenth", "beta had it for a day")
        see("stage 4 of 5")
        page.reload()
        shot("tenth")
        page.goto(f"{page.url.split('?')[0]}/who?user=u1&staff=1")
        see("internal: staff: yes")
        shot("who")
        page.go_back()

        press("Kill")  # two clicks, no reason
        see("is killed: off for everyone")
        see("Reached 1 of 1 process.")
        shot("killed")
        press("Unkill", "it was not this", name=FLAG)
        see("stage 4 of 5")

        traffic.is_failing = True
        see("Rolled back:")  # by itself, while somebody looks
        see("requests with the feature failed")
        shot("rolled-back")
        traffic.is_failing = False
        press("Restart", "mended", name=FLAG)
        for stage in ("manchester", "beta", "tenth"):
            press(f"Advance to {stage}", "it was there before")
        press("Approve", "it looks good")
        press("Advance to everyone", "no need to wait")
        see("of the watch")
        shot("everyone")
        press("Complete", "nobody complains")
        see("completed")
        shot("completed")
    assert problems == []
