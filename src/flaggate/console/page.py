"""One flag, one screen: what the page says, in its order. The templates only set it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import log
from typing import Any, Final

from markupsafe import Markup

from flaggate.console.board import Need, health, need, pill
from flaggate.console.buttons import Button, buttons, people_buttons
from flaggate.console.guard_charts import guard_chart, guard_name, moment_words, percent_words, traffic_of
from flaggate.console.people import Person
from flaggate.flags.model import FULL_SHARE, Flag, guards_judged_in
from flaggate.flags.words import audience_words, condition_words, guard_words, span_words, stage_words
from flaggate.rollout.evidence import CRIES, sure
from flaggate.rollout.holds import HoldKind
from flaggate.rollout.progress import LEASE_TICKS
from flaggate.rollout.state import Event, Rollout, Status, Verb, current_stage
from flaggate.rollout.tick import is_looked_at
from flaggate.rollout.verdict import Verdict
from flaggate.rollout.verdict_words import allowed_words, breach_words, sure_words, verdict_words
from flaggate.rollout.waits import Wait
from flaggate.rollout.words import answers, standing, who_has_it
from flaggate.runtime.kept_notices import notices_words
from flaggate.runtime.lease_words import tells
from flaggate.runtime.overview import Overview, Standing
from flaggate.runtime.reach import reach_of, serving_words
from flaggate.runtime.sight import sight_in
from flaggate.runtime.ticker import NOTICES
from flaggate.stores.base import REQUESTS, Arm, Count, Store, UnitSum, Window

__all__ = ["Page", "page", "sentence"]

_EVENTS: Final = 200
_CHART_HOURS: Final = 48
_ARMS: Final[tuple[Arm, ...]] = ("on", "treatment", "control", "off")


@dataclass(frozen=True, slots=True)
class Step:
    """A stage of the plan."""

    name: str
    words: str
    conditions: str
    when: str
    """past, here, stopped or ahead."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that it waits for."""

    words: str
    ends: str
    fraction: float | None
    """How far it is; None = it has no progress."""


@dataclass(frozen=True, slots=True)
class GuardRow:
    """A guard, as of the last look."""

    name: str
    allowed: str
    now: str
    interval: str
    control: str
    requests: str
    verdict: str
    words: str
    evidence: float
    """Towards a rollback: 0 to 1, on a scale of its logarithm."""
    sure: str
    on_breach: str
    chart: Markup | None


@dataclass(frozen=True, slots=True)
class Exposure:
    """An arm of where the flag stands."""

    arm: str
    requests: int
    errors: int
    units: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """All of it."""

    name: str
    description: str
    need: Need
    pill: str
    sentence: str
    buttons: Sequence[Button]
    owner: str
    deputies: str
    people: Sequence[Button]
    watch: Item | None
    killed: str | None
    reached: str
    """Whether it is off everywhere by now, where somebody or something has stopped it."""
    breach: Sequence[str]
    steps: Sequence[Step]
    deny: str
    audience: str
    has_it: str
    waits: Sequence[Item]
    guards: Sequence[GuardRow]
    planned_guards: Sequence[str]
    planned_charts: Sequence[tuple[str, Markup]]
    """Of guards that are not judged now, by their names: what was seen before."""
    exposure: Sequence[Exposure]
    split: str
    sights: Sequence[str]
    looks: Sequence[str]
    events: Sequence[Event]
    version: int
    source: str
    """Where it is declared: file or console."""


def page(store: Store, seen: Overview, one: Standing, person: Person, *, is_read_only: bool) -> Page:
    """Everything about one flag. Raises StoreError."""
    flag, rollout = one.flag, one.rollout
    events = [event for event in store.history(flag.name, limit=_EVENTS) if event.kind == "flag"]
    windows = store.windows(flag.name, one.now.timestamp() - _CHART_HOURS * 3600)
    counts = [
        count for count in store.counts(flag.name) if (count.attempt, count.stage) == (rollout.attempt, rollout.stage)
    ]
    units = store.units(flag.name, rollout.attempt, rollout.stage) if rollout.stage else []
    judgement = one.judgement
    watch = next((wait for wait in one.waits if wait.kind == "watch"), None)
    return Page(
        name=flag.name,
        description=flag.description,
        need=need(one),
        pill=pill(one, need(one)),
        sentence=sentence(one),
        buttons=buttons(flag, rollout, person, one.now, is_read_only=is_read_only),
        owner=answers(rollout),
        deputies=", ".join(rollout.deputies),
        people=people_buttons(flag, rollout, person, one.now, is_read_only=is_read_only),
        watch=None if watch is None else _item(watch),
        killed=_killed(rollout, events),
        reached=_reached(seen) if rollout.killed or rollout.status is Status.ROLLED_BACK else "",
        breach=tuple(_rolled_back(rollout, events)),
        steps=tuple(_steps(flag, rollout)),
        deny=audience_words(flag.deny) if flag.deny else "",
        audience=audience_words(flag.audience) if flag.is_switch else "",
        has_it=who_has_it(flag, rollout) or "nobody",
        waits=tuple(_item(wait) for wait in one.waits if wait.kind != "watch"),
        guards=() if judgement is None else tuple(_guards(one, judgement.verdicts, windows, events)),
        planned_guards=tuple(_planned_guards(flag, rollout)),
        planned_charts=() if judgement is not None else tuple(_planned_charts(one, windows, events)),
        exposure=tuple(_exposure(counts, units)),
        split=_split(one, units),
        sights=tuple(
            f"In stage {told.stage}, of what its guards count, {told.words}, at the traffic of the last hours"
            for told in sight_in(windows, flag, rollout, one.now.timestamp())
        ),
        looks=tuple(_looks(seen, one)),
        events=tuple(reversed(events)),
        version=one.version,
        source=one.source,
    )


# --- the sentence -----------------------------------------------------------------------------


def sentence(one: Standing) -> str:
    """new-invoicing is at 10 % of everyone, stage 4 of 5, healthy; next is everyone, no earlier than ..., waiting for ..."""
    flag, rollout = one.flag, one.rollout
    if rollout.killed:
        return f"{flag.name} is killed: off for everyone ({standing(flag, rollout)})"
    stage = current_stage(flag, rollout)
    if stage is None or rollout.status in {Status.ROLLED_BACK, Status.COMPLETED}:
        has_it = who_has_it(flag, rollout)
        is_what = "a draft" if rollout.status is Status.DRAFT else standing(flag, rollout)
        return f"{flag.name} is {is_what}{_since(one)}" + (f"; it is on for {has_it}" if has_it else "; nobody has it")
    status = "" if rollout.status is Status.RUNNING else f", {rollout.status.replace('_', ' ')}"
    parts = [f"{flag.name} is at {stage_words(stage)}, stage {rollout.stage} of {len(flag.stages)}{status}"]
    if (found := health(one)) is not None:
        parts[0] += f", {found}"
    if one.next is not None:
        later = one.earliest if one.earliest is not None and one.earliest > one.now else None
        parts.append(f"next is {one.next}" + (f", no earlier than {moment_words(later)}" if later else ""))
    if one.waits:
        parts.append(f"waiting for {_and([_wait_words(wait) for wait in one.waits])}")
    return "; ".join(parts)


def _wait_words(wait: Wait) -> str:
    if wait.kind == "soak" and wait.done is not None and wait.of is not None:
        return f"{span_words(max(0.0, wait.of - wait.done))} of soak"
    if wait.kind == "watch" and wait.done is not None and wait.of is not None:
        return f"{span_words(max(0.0, wait.of - wait.done))} of the watch"
    return _WAITING_FOR.get(wait.kind, wait.why)


_WAITING_FOR: Final[dict[str, str]] = {
    HoldKind.UNJUDGED: "a look at its guards",
    HoldKind.BLIND: "guards that see something",
    HoldKind.BREACH: "guards that are not over their limit",
    HoldKind.APPROVAL: "an approval",
    Status.DRAFT: "somebody to start it",
    Status.PAUSED: "somebody to resume it",
}
"""Where why it waits is not what it waits for."""


def _since(one: Standing) -> str:
    return f" since {moment_words(one.rollout.since)}"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


# --- the plan ---------------------------------------------------------------------------------


def _steps(flag: Flag, rollout: Rollout) -> Iterator[Step]:
    for number, (stage, conditions) in enumerate(zip(flag.stages, condition_words(flag), strict=True), 1):
        is_done = number < rollout.stage or rollout.status is Status.COMPLETED
        is_stopped = rollout.killed or rollout.status is Status.ROLLED_BACK
        here = "stopped" if is_stopped else "here"
        when = "past" if is_done else here if number == rollout.stage else "ahead"
        own = "; ".join([conditions, *map(guard_words, stage.guards)]).strip("; ")
        yield Step(stage.name, stage_words(stage), own, when)


def _planned_guards(flag: Flag, rollout: Rollout) -> Iterator[str]:
    stage = current_stage(flag, rollout)
    judged = flag.guards if stage is None else guards_judged_in(flag, stage)
    yield from map(guard_words, judged)
    for guard in flag.guards:
        if guard not in judged:
            yield f"{guard_words(guard)} (not judged here: no control)"


def _planned_charts(one: Standing, windows: Sequence[Window], events: Sequence[Event]) -> Iterator[tuple[str, Markup]]:
    stage, traffic = current_stage(one.flag, one.rollout), traffic_of(windows, events)
    for number, guard in enumerate(() if stage is None else guards_judged_in(one.flag, stage), 1):
        drawn = None if guard.query is not None else guard_chart(f"guard-{number}", guard, traffic, one.now)
        if drawn is not None:
            yield guard_name(guard), drawn


def _item(wait: Wait) -> Item:
    fraction = None if wait.done is None or not wait.of else max(0.0, min(1.0, wait.done / wait.of))
    return Item(wait.why, wait.ends or "", fraction)


def _killed(rollout: Rollout, events: Sequence[Event]) -> str | None:
    if not rollout.killed:
        return None
    kill = next((event for event in reversed(events) if event.verb == Verb.KILL), None)
    if kill is None:
        return "killed, too long ago to say by whom"
    return f"killed {moment_words(kill.at)} by {kill.actor}" + (f": {kill.reason}" if kill.reason else "")


def _rolled_back(rollout: Rollout, events: Sequence[Event]) -> Iterator[str]:
    """Why: what the guards saw, or who did it."""
    if rollout.breach is not None:
        yield from breach_words(rollout.breach)
    elif rollout.status is Status.ROLLED_BACK:
        for event in reversed(events):
            if event.verb == Verb.ROLLBACK:
                yield f"{moment_words(event.at)} by {event.actor}" + (f": {event.reason}" if event.reason else "")
                return


def _reached(seen: Overview) -> str:
    """As of the newest revision: in a moment at the latest every process has that."""
    return str(reach_of(seen.presences, seen.revision))


# --- guards -----------------------------------------------------------------------------------


def _guards(
    one: Standing, verdicts: Sequence[Verdict], windows: Sequence[Window], events: Sequence[Event]
) -> Iterator[GuardRow]:
    traffic = traffic_of(windows, events)
    for number, verdict in enumerate(verdicts):
        guard, numbers = verdict.guard, verdict.numbers
        evidence = float(numbers.get("evidence", 0.0))
        has_counts = guard.query is None and "requests" in numbers
        yield GuardRow(
            name=guard_name(guard),
            allowed=allowed_words(guard),
            now=percent_words(numbers["rate"]) if has_counts else _value(numbers.get("value")),
            interval=f"{percent_words(numbers['low'])} to {percent_words(numbers['high'])}" if has_counts and numbers["requests"] else "-",
            control=percent_words(numbers["control_rate"]) if has_counts else "-",
            requests=f"{numbers['requests']:,}" + (f" / {numbers['control_requests']:,}" if numbers["control_requests"] else "") if has_counts else "-",
            verdict=verdict.answer.replace("_", " "),
            words=verdict_words(verdict, one.flag.unit),
            evidence=_towards(evidence),
            sure=sure_words(evidence) if sure(evidence) >= 0.5 else "-",
            on_breach="only observes" if guard.observe else guard.on_breach,
            chart=guard_chart(f"guard-{number + 1}", guard, traffic, one.now) if has_counts else None,
        )  # fmt: skip


def _value(value: Any) -> str:
    return "-" if not isinstance(value, int | float) else f"{value:.4g}"


def _towards(evidence: float) -> float:
    """From 1, no sign, to what rolls back."""
    return max(0.0, min(1.0, log(max(evidence, 1.0)) / log(CRIES)))


# --- who had it, and who looks ----------------------------------------------------------------


def _exposure(counts: Sequence[Count], units: Sequence[UnitSum]) -> Iterator[Exposure]:
    met = {one.arm: one.units for one in units if (one.metric, one.span) == (REQUESTS, 0)}
    by_arm = {count.arm: count for count in counts}
    for arm in _ARMS:
        if arm in by_arm and by_arm[arm].requests:
            yield Exposure(arm, by_arm[arm].requests, by_arm[arm].errors, met.get(arm))


def _split(one: Standing, units: Sequence[UnitSum]) -> str:
    stage = current_stage(one.flag, one.rollout)
    if stage is None or not stage.has_control:
        return ""
    if one.judgement is not None and one.judgement.split is not None:
        return f"Not split as designed: {one.judgement.split}"
    met = {each.arm: each.units for each in units if (each.metric, each.span) == (REQUESTS, 0)}
    treatment, control = met.get("treatment", 0), met.get("control", 0)
    if not treatment + control:
        return ""
    designed = 100 * stage.share_thousandths / FULL_SHARE
    return (
        f"Split as designed, within chance: {100 * treatment / (treatment + control):.3g} % of {treatment + control:,} "
        f"{one.flag.unit}s have it, {designed:g} % were to"
    )


def _looks(seen: Overview, one: Standing) -> Iterator[str]:
    if seen.lease is not None:
        every = round(seen.lease.seconds / LEASE_TICKS, 3)
        yield f"{seen.lease.who} looks every {every:g} s, last {moment_words(datetime.fromtimestamp(seen.lease.renewed_at, UTC))}"
    elif is_looked_at(one.rollout):
        yield "Nobody looks now: no process of the app is there, and no flaggate run"
    if one.progress.looked_at is not None and is_looked_at(one.rollout):
        yield f"The guards were judged last {moment_words(one.progress.looked_at)}"
    yield from serving_words(seen.presences, seen.revision, seen.now.timestamp())
    yield from notices_words(seen.kept.get(NOTICES), seen.newest, is_told=tells(seen.lease))
