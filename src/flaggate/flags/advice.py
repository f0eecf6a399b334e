"""What is allowed but may not be meant: `flaggate check` says it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from flaggate.errors import closest
from flaggate.flags.audience import ATTRIBUTES, Audience, attributes_of
from flaggate.flags.canonical import percent
from flaggate.flags.guards import METRICS
from flaggate.flags.model import Flag, Guard, Stage, guards_judged_in

__all__ = ["advice", "misspelt"]

_PLACES = frozenset({"city", "city_id", "region", "country", "ip"})


def advice(flags: Mapping[str, Flag]) -> Iterator[tuple[str, str]]:
    """Pairs of a path and what to think about there."""
    yield from misspelt(flags)
    for flag in flags.values():
        for stage in flag.stages:
            yield from ((f"flags.{flag.name}.stages.{stage.name}", words) for words in _stage(flag, stage))
        yield from _dates(flag)


def misspelt(flags: Mapping[str, Flag]) -> Iterator[tuple[str, str]]:
    """Of these those that let in, or fail to deny, whom nobody meant, and guards that nothing is counted for."""
    for flag in flags.values():
        path = f"flags.{flag.name}"
        yield from _misspelt(f"{path}.deny", flag.deny)
        yield from _misspelt(f"{path}.audience", flag.audience)
        for stage in flag.stages:
            yield from _misspelt(f"{path}.stages.{stage.name}.audience", stage.audience)
            yield from _misspelt_metrics(f"{path}.stages.{stage.name}", stage.guards)
        yield from _misspelt_metrics(path, flag.guards)


def _stage(flag: Flag, stage: Stage) -> Iterator[str]:
    is_last = stage is flag.stages[-1]
    if not is_last and stage.min_sample is None:
        yield "no min_sample: silence counts as fine here"
    if stage.has_control and flag.unit == "user" and attributes_of(stage.audience) & _PLACES:
        yield f"{percent(stage.share_thousandths)} % of a place by user: who leaves the place leaves the stage"
    if stage.share_thousandths == 0:
        yield "a share of 0 lets in nobody"
    if not any(guard.rolls_back for guard in guards_judged_in(flag, stage)):
        yield "no rollback guard is judged here: the rollout will not start"


def _dates(flag: Flag) -> Iterator[tuple[str, str]]:
    latest: tuple[datetime, str] | None = None
    for stage in flag.stages:
        if stage.not_before is None:
            continue
        if latest is not None and stage.not_before < latest[0]:
            path = f"flags.{flag.name}.stages.{stage.name}.not_before"
            yield path, f"this has passed by then: stage {latest[1]}, before it, waits for a later date"
        else:
            latest = stage.not_before, stage.name


def _misspelt(path: str, audience: Audience) -> Iterator[tuple[str, str]]:
    for name in sorted(attributes_of(audience) - set(ATTRIBUTES)):
        meant = closest(name, ATTRIBUTES)
        if meant:
            yield f"{path}.{name}", f'"{name}" is taken for one of the app\'s own attributes; did you mean "{meant}"?'


def _misspelt_metrics(path: str, guards: Sequence[Guard]) -> Iterator[tuple[str, str]]:
    for index, guard in enumerate(guards):
        meant = None if guard.query is not None or guard.metric in METRICS else closest(guard.metric, METRICS)
        if meant:
            words = f'"{guard.metric}" is taken for a metric of the app\'s own; did you mean "{meant}"?'
            yield f"{path}.guards[{index}].metric", words
