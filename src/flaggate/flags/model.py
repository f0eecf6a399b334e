"""What is declared: flags, stages, guards, segments. Pure data, made by `flaggate.flags.document`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from flaggate.flags.audience import EVERYONE, Audience, segments_of

__all__ = [
    "AUTOMATIC",
    "FULL_SHARE",
    "Approval",
    "Flag",
    "Guard",
    "Hours",
    "Recipient",
    "Segment",
    "Stage",
    "Unit",
    "guards_judged_in",
    "segments_asked",
]

Unit: TypeAlias = Literal["user", "account", "visitor"]
Approval: TypeAlias = Literal["any", "other"]
"""Who may approve: anyone with the right, or anyone but the person who asked."""

AUTOMATIC: Final = "flaggate"
"""Who acts where the clock or a guard does."""

FULL_SHARE: Final = 100_000
"""The share of everyone, in thousandths of a percent."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A metric and what it may be: against a limit, against control, or a query's answer."""

    metric: str
    """`errors`, `slow`, what the app measures itself, or with a `query` a name for what it asks."""
    limit: Decimal | None = None
    """The largest fraction (0..1) of the exposed requests that may be bad; of a `query` the largest answer."""
    at_least: Decimal | None = None
    """The smallest fraction (0..1) of the exposed requests for which the app measured it; of a `query` the smallest
    answer."""
    vs_control: Decimal | None = None
    """At most so many times the control's."""
    slower_than_ms: int | None = None
    """`slow` with a `limit`: a request is bad when it took longer, in milliseconds."""
    query: str | None = None
    """In PromQL: asked of a Prometheus server."""
    every_seconds: int | None = None
    """How often it is asked; None = not a query."""
    for_seconds: int | None = None
    """For how long its answers have to be over the limit; None = one is enough, or not a query."""
    on_breach: Literal["rollback", "hold", "warn"] = "rollback"
    on_no_data: Literal["hold", "rollback", "ignore"] = "hold"
    on_shared: Literal["rollback", "hold"] = "rollback"
    """What happens when it is over the limit without the feature as well."""
    observe: bool = False
    """Judge and show, and never act."""

    @property
    def key(self) -> str | None:
        """Under which its bad requests are counted by unit; None for a query."""
        if self.query is not None:
            return None
        if self.metric != "slow":
            return self.metric if self.at_least is None else f"no {self.metric}"
        return "slower" if self.slower_than_ms is None else f"slow {self.slower_than_ms}"

    @property
    def rolls_back(self) -> bool:
        """Whether its breach is one of the rollout."""
        return self.on_breach == "rollback" and not self.observe


@dataclass(frozen=True, slots=True)
class Hours:
    """The hours in which a stage may be left: days (0 = Monday), minutes of the day, IANA zone."""

    days: tuple[int, ...]
    start_minute: int
    end_minute: int
    zone: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the plan: an audience, a share, and what must be true before it is left."""

    name: str
    audience: Audience = EVERYONE
    share_thousandths: int = FULL_SHARE
    """Thousandths of a percent, 0..100 000: 10 % is 10 000."""
    soak_seconds: int | None = None
    min_sample: int | None = None
    """Exposed requests that must have been seen in this stage."""
    approval: Approval | None = None
    not_before: datetime | None = None
    """An aware moment."""
    hours: Hours | None = None
    prove: bool = False
    guards: tuple[Guard, ...] = ()

    @property
    def has_control(self) -> bool:
        """Whether some of the audience is left out by the share, to be compared with."""
        return 0 < self.share_thousandths < FULL_SHARE


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who is told, and of what."""

    to: str
    """A tag of the Apprise configuration; `owner` and `deputies` are the rollout's own people."""
    kinds: tuple[str, ...] | None = None
    """None = of everything."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A named switch that is declared. Without stages it is a switch."""

    name: str
    description: str
    owner: str
    deputies: tuple[str, ...] = ()
    unit: Unit = "user"
    cohort: str | None = None
    """The salt to use instead of the flag's own, so that two flags let in the same units."""
    deny: Audience = ()
    """Who never has it. Unlike elsewhere, no table means nobody."""
    audience: Audience = EVERYONE
    """Of a switch; a rollout's audiences are its stages'."""
    stages: tuple[Stage, ...] = ()
    guards: tuple[Guard, ...] = ()
    notify: tuple[Recipient, ...] | None = None
    """None = not said: owner and deputies are told everything."""

    @property
    def is_switch(self) -> bool:
        """Whether it is turned on and off by hand only."""
        return not self.stages


@dataclass(frozen=True, slots=True)
class Segment:
    """A named, reusable audience, or a list of members."""

    name: str
    audience: Audience = EVERYONE
    unit: Unit | None = None
    """What the members are; None = this segment is an audience."""
    members: frozenset[str] = frozenset()


def guards_judged_in(flag: Flag, stage: Stage) -> tuple[Guard, ...]:
    """The flag's and the stage's guards that have something to judge by in this stage.

    A guard against control needs a control, which a share of 0 or 100 does not have.
    """
    return tuple(g for g in flag.guards + stage.guards if g.vs_control is None or stage.has_control)


def segments_asked(flag: Flag) -> frozenset[str]:
    """The segments that a flag's audiences name."""
    audiences = (flag.deny, flag.audience, *(stage.audience for stage in flag.stages))
    return frozenset[str]().union(*(segments_of(audience) for audience in audiences))
