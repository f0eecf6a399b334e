"""What docs/notifications.md shows is so."""

from __future__ import annotations

import re
from pathlib import Path

from flaggate.flags.document import parse
from flaggate.flags.notify import DEPUTIES, KINDS, OWNER
from flaggate.rollout.state import Verb
from flaggate.runtime.apprise import load
from flaggate.stores.memory import MemoryStore
from tests.runtime.notice_scenes import Target, Teller, configure
from tests.runtime.scenes import ROOT

PAGE = (ROOT / "docs" / "notifications.md").read_text()
STAGES = """
[flags.new-invoicing]
guards = [{ metric = "errors", limit = "1%" }]
stages = [{ name = "half", share = 50, soak = "0s" }, { name = "everyone" }]
"""


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_every_recipient_of_the_plan_is_reached(tmp_path: Path) -> None:
    path = tmp_path / "apprise.yml"
    path.write_text(block("yaml"))
    loaded = load(path)
    assert loaded.refused is None
    flag = parse(block("toml")).flags["new-invoicing"]
    named = [one.to for one in flag.notify or () if one.to not in (OWNER, DEPUTIES)]
    for recipient in (flag.owner, *flag.deputies, *named):
        assert [service.name for service in loaded.services if service.reaches(recipient)], recipient


def test_every_kind_is_there() -> None:
    table = re.findall(r"^\| (`[^|]*) \|", PAGE, re.MULTILINE)
    assert re.findall(r"`([a-z-]+)`", " ".join(table)) == list(KINDS)


def test_the_message_is_what_they_are_told(tmp_path: Path, target: Target) -> None:
    title, body = block("text").strip().split("\n\n")
    teller = Teller(MemoryStore(), configure(tmp_path / "apprise.yml", {target.url(): "always"}))
    head, table = block("toml").split("[flags.new-invoicing.notify]")
    more = STAGES.replace("[flags.new-invoicing]\n", "")
    teller.apply(f"{head}{more}[flags.new-invoicing.notify]{table}")
    teller.act(Verb.START, "new-invoicing", actor="release-owner@example.com")
    teller.act(Verb.ADVANCE, "new-invoicing", actor="release-owner@example.com")
    teller.tell(0)
    teller.act(Verb.KILL, "new-invoicing", actor="support@example.com", reason="totals are wrong")
    teller.tell(0)
    assert (target.heard[-1].title, target.heard[-1].body) == (title, body)
