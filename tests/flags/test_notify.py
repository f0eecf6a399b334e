"""The table `notify`: who is told of what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flaggate.flags.canonical import flag_to_json
from flaggate.flags.difference import Change, difference
from flaggate.flags.document import flag_from_json, parse
from flaggate.flags.model import Flag, Recipient
from flaggate.flags.notify import KINDS, told
from flaggate.rollout.revision import revise
from flaggate.rollout.state import Rollout, Status, Verb

BANNER = """
[flags.banner]
description = "A switch"
owner = "owner@example.com"
"""
ROLLOUT = """
[flags.banner]
description = "A rollout"
owner = "owner@example.com"
stages = [{ name = "some", share = 50, soak = "1h" }, { name = "everyone" }]
guards = [{ metric = "errors", limit = "1%" }]
"""
TABLE = """
[flags.banner.notify]
owner = "all"
oncall = ["rollback", "kill"]
"ada@example.com" = ["approval"]
"""


def read(text: str) -> Flag:
    return parse(text).flags["banner"]


def test_each_recipient_has_its_kinds_or_all() -> None:
    assert read(BANNER + TABLE).notify == (
        Recipient("ada@example.com", ("approval",)),
        Recipient("oncall", ("rollback", "kill")),
        Recipient("owner", None),
    )


@pytest.mark.parametrize(("written", "meant"), [(None, None), ({}, ())])
def test_an_empty_table_is_not_none(written: dict[str, Any] | None, meant: tuple[Recipient, ...] | None) -> None:
    """It says that nobody is told; without one owner and deputies are."""
    flag = read(BANNER + ("" if written is None else "notify = {}"))
    assert flag.notify == meant
    assert flag_to_json(flag).get("notify") == written
    assert flag_from_json("banner", flag_to_json(flag)) == flag


def test_comes_back_from_the_canonical_form() -> None:
    flag = read(ROLLOUT + TABLE)
    written = flag_to_json(flag)
    assert written["notify"] == {"ada@example.com": ["approval"], "oncall": ["rollback", "kill"], "owner": "all"}
    assert flag_from_json("banner", written) == flag


def test_a_change_is_shown_recipient_by_recipient() -> None:
    before, after = read(BANNER + TABLE), read(BANNER + TABLE.replace('"kill"]', '"off"]').replace('owner = "all"', ""))
    assert list(difference(flag_to_json(before), flag_to_json(after))) == [
        Change("notify.oncall", ["rollback", "kill"], ["rollback", "off"]),
        Change("notify.owner", "all", None),
    ]


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PAUSED, Status.WATCHING, Status.COMPLETED])
def test_may_change_at_any_time_and_restarts_no_evidence(status: Status) -> None:
    stage = 1 if status in {Status.RUNNING, Status.PAUSED} else 2
    now = datetime(2026, 3, 2, tzinfo=UTC)
    rollout = Rollout("banner", "banner", status, now, "owner@example.com", stage=stage, attempt=1)
    assert revise(read(ROLLOUT), read(ROLLOUT + TABLE), rollout, now) == rollout


def test_who_is_told_of_a_kind() -> None:
    flag = read(BANNER + TABLE)
    assert [*told(flag, frozenset({"kill"}))] == ["oncall", "owner"]
    assert [*told(flag, frozenset({"approval"}))] == ["ada@example.com", "owner"]
    assert [*told(flag, frozenset({"edit", "owner"}))] == ["owner"]
    assert [*told(read(BANNER), frozenset({"edit"}))] == ["owner", "deputies"]
    assert [*told(None, frozenset({"edit"}))] == ["owner", "deputies"]
    assert [*told(read(BANNER + "notify = {}"), frozenset({"kill"}))] == []


def test_every_verb_has_a_kind() -> None:
    assert {verb.partition(" ")[0] for verb in Verb} <= set(KINDS)
