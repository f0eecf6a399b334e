"""The flags of the app that is served, and who answers for them."""

from __future__ import annotations

from typing import Final

__all__ = ["LOCAL", "OWNER", "PLAN", "ROLLOUT", "SPARE", "SWITCH", "WHERE"]

ROLLOUT: Final = "new-invoicing"
SWITCH: Final = "banner"
LOCAL: Final = "local-offer"
"""On for those in Manchester."""
WHERE: Final = "/where"
"""Here a worker says which revision it serves and what its trouble is, and asks no flag."""
OWNER: Final = "release-owner@example.com"
SPARE: Final = "spare"
PLAN: Final = f"""
[flags.{ROLLOUT}]
description = "The overhauled invoicing system"
owner = "{OWNER}"
stages = [{{ name = "half", share = 50, soak = "24h" }}, {{ name = "everyone" }}]
guards = [
    {{ metric = "errors", limit = "1%" }},
    {{ metric = "errors", vs_control = 1.25 }},
    {{ metric = "slow", slower_than = "10s", limit = "5%" }},
]

[flags.{SWITCH}]
description = "A switch that is killed"
owner = "{OWNER}"

[flags.{SPARE}]
description = "A switch that somebody turns on and off all the time"
owner = "{OWNER}"

[flags.{LOCAL}]
description = "A switch for a city"
owner = "{OWNER}"
audience = {{ city = "Manchester", country = "GB" }}
"""
