"""The answer to "is it on for this one?"."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Arm", "Decision", "Reason"]

Reason: TypeAlias = Literal[
    "killed", "denied", "not_started", "rolled_back", "stage", "no_match", "no_unit", "off", "on", "override",
    "preview", "unknown", "fault",
]  # fmt: skip
Arm: TypeAlias = Literal["treatment", "control"]


class Decision(NamedTuple):  # not a dataclass: that module takes 14 ms to import, half of what we may
    """On or off, and why. Its truth value is `is_on`."""

    flag: str
    is_on: bool
    reason: Reason
    """`stage`: an audience matched, and the bucket decided if the share asked for it; `no_match`: none did;
    `no_unit`: one did, but its share needs a key that the context lacks; `on`, `off`: a switch."""
    stage: str | None = None
    """The earliest stage that let it in."""
    arm: Arm | None = None
    """Set only where the current stage's share decided."""

    def __bool__(self) -> bool:
        return self.is_on
