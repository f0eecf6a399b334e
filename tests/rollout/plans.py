"""A plan of four stages and a switch, where they may stand, and acts upon them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from flaggate import Flag, Guard, Stage
from flaggate.flags.audience import Condition
from flaggate.rollout.moves import Act
from flaggate.rollout.state import Rollout, Status, Verb

OWNER: Final = "owner@example.com"
DEPUTY: Final = "deputy@example.com"
OTHER: Final = "other@example.com"
BEFORE: Final = datetime(2026, 3, 1, 8, tzinfo=UTC)
NOW: Final = BEFORE + timedelta(hours=30)

GUARD: Final = Guard("errors", limit=Decimal("0.01"))
STAFF: Final = ((Condition("staff", "equals", (True,)),),)
PLAN: Final = Flag(
    "invoicing",
    "The overhauled invoicing system",
    OWNER,
    (DEPUTY,),
    stages=(
        Stage("internal", STAFF, soak_seconds=0),
        Stage("tenth", share_thousandths=10_000, soak_seconds=0),
        Stage("half", share_thousandths=50_000, soak_seconds=86_400, min_sample=500, approval="any"),
        Stage("everyone"),
    ),
    guards=(GUARD,),
)
SWITCH: Final = Flag("banner", "A banner", OWNER, (DEPUTY,))
STAGE: Final = {
    Status.DRAFT: 0,
    Status.RUNNING: 2,
    Status.PAUSED: 2,
    Status.WATCHING: 4,
    Status.COMPLETED: 4,
    Status.ROLLED_BACK: 2,
    Status.OFF: 0,
    Status.ON: 0,
}
"""Where the rollouts of these tests stand."""


def flag_for(status: Status) -> Flag:
    """The plan, or the switch."""
    return SWITCH if status in {Status.OFF, Status.ON} else PLAN


def standing(
    status: Status,
    *,
    killed: bool = False,
    accepted_by: str | None = OWNER,
    owner: str = OWNER,
    stage: int | None = None,
) -> Rollout:
    """A rollout in a status."""
    flag = flag_for(status)
    return Rollout(
        flag.name,
        flag.name,
        status,
        BEFORE,
        owner,
        flag.deputies,
        accepted_by,
        stage=STAGE[status] if stage is None else stage,
        attempt=3,
        revision=1,
        killed=killed,
    )


def act(
    verb: Verb, actor: str = OWNER, reason: str | None = "because", owner: str | None = None,
    deputies: tuple[str, ...] | None = None,
) -> Act:  # fmt: skip
    """Something that is done now; `owner set` names somebody else if nothing is said."""
    if verb is Verb.OWNER_SET and owner is None and deputies is None:
        owner = OTHER
    return Act(verb, actor, NOW, reason, owner, deputies)
