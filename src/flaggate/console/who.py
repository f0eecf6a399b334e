"""Who has it: a made-up person, and the steps of their decision."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final

from flaggate.decide.context import Context
from flaggate.decide.explain import Explanation, explain
from flaggate.runtime.overview import Standing
from flaggate.stores.base import Store
from flaggate.stores.record import segments_in

__all__ = ["WORDS", "asked_about", "trace"]

WORDS: Final = {
    "user": "User",
    "account": "Account",
    "tier": "Tier",
    "groups": "Groups, with commas",
    "city": "City",
    "country": "Country (GB)",
    "region": "Region",
    "visitor": "Visitor",
    "ip": "Address",
}


def asked_about(fields: Mapping[str, str]) -> tuple[Context | None, str | None]:
    """Who is meant; or what is wrong with what was typed."""
    words: dict[str, Any] = {name: value.strip() for name in WORDS if (value := fields.get(name, "")).strip()}
    if "ip" in words:
        try:
            ip_address(words["ip"])
        except ValueError:
            return None, f"Address: {words['ip']!r} is none; such as 203.0.113.9"
    groups = [group.strip() for group in words.pop("groups", "").split(",") if group.strip()]
    try:
        return Context(**words, groups=groups, staff=bool(fields.get("staff"))), None
    except (TypeError, ValueError) as error:
        return None, str(error)


def trace(store: Store, one: Standing, context: Context) -> Explanation:
    """The decision, and how it came to it. Raises StoreError."""
    segments = dict(segments_in(store.changes().rows))
    return explain(one.flag, one.rollout, context, segments)
