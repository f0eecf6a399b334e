"""What of the plan waffle does not know."""

from __future__ import annotations

from typing import Any

from django.db import models
from waffle.models import AbstractUserFlag

from benchmarks.peers.plan import DENIED, half


class PlanFlag(AbstractUserFlag):  # type: ignore[misc]  # waffle has no types
    """A flag whose plan denies an account and lets in half of Manchester."""

    is_plan: Any = models.BooleanField(default=False)

    def is_active_for_user(self, user: Any) -> Any:
        """Whether it is on; None leaves that to the dice."""
        if not self.is_plan:
            return super().is_active_for_user(user)
        row = user.row
        if row["account"] in DENIED:
            return False
        if row["city"] == "Manchester" and row["country"] == "GB":
            if half(row["user"]):
                return True
            return super().is_active_for_user(user) or False
        return super().is_active_for_user(user)
