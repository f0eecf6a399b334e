"""The plans, and the short words, that the tests of control share."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flaggate.flags.document import parse
from flaggate.rollout.state import Event, Verb, rollout_to_json
from flaggate.runtime.control import Applied, Control, Outcome
from flaggate.stores.base import Changes, Store
from flaggate.stores.record import read_flag

__all__ = [
    "BANNER",
    "CHECKOUT",
    "DEPUTY",
    "INVOICES",
    "NOW",
    "OWNER",
    "TO_THE_WATCH",
    "VIP",
    "act",
    "apply",
    "control_of",
    "everything",
    "stored",
    "with_id",
]

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
OWNER = "owner@example.com"
DEPUTY = "deputy@example.com"

CHECKOUT = """
[flags.checkout]
description = "The new checkout"
owner = "owner@example.com"
deputies = ["deputy@example.com"]
stages = [
    { name = "staff", audience = { staff = true }, soak = "0s" },
    { name = "half", share = 50, soak = "24h", min_sample = 500 },
    { name = "everyone" },
]
guards = [{ metric = "errors", limit = "1%" }]
"""
BANNER = """
[flags.banner]
description = "The spring banner"
owner = "owner@example.com"
"""

INVOICES = CHECKOUT.replace("checkout", "invoices").replace('soak = "0s"', "approval = true")

VIP = """
[segments.vip]
audience = { tier = "vip" }
"""
TO_THE_WATCH = (Verb.START, Verb.ADVANCE, Verb.ADVANCE)


def control_of(store: Store) -> Control:
    return Control(store, now=lambda: NOW)


def apply(store: Store, text: str, *, actor: str = OWNER, prune: bool = False, dry_run: bool = False) -> Applied:
    return control_of(store).apply(parse(text), actor=actor, prune=prune, dry_run=dry_run)


def act(store: Store, verb: Verb, name: str = "checkout", *, actor: str = OWNER, reason: str | None = "why") -> Outcome:
    return control_of(store).act(verb, name, actor=actor, reason=reason)


def everything(store: Store) -> tuple[Changes, list[Event]]:
    """Everything that is stored."""
    return store.changes(), store.history(limit=10_000)


def stored(store: Store, name: str = "checkout") -> dict[str, Any]:
    return rollout_to_json(read_flag(store, name).rollout)


def with_id(event: Event, number: int) -> Event:
    return replace(event, id=number)
