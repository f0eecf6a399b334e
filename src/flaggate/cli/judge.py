"""judge: writes down what a rollout's guards see, and has a plan's guards judge what was written down."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from flaggate.cli.ending import ended_by_signals, wait
from flaggate.cli.guards import print_verdicts
from flaggate.cli.options import as_json, definitions_option, flag_argument, store_or_definitions
from flaggate.cli.render import line, local_time, print_json, print_json_line
from flaggate.errors import UnknownFlagError
from flaggate.flags.model import Flag, Guard
from flaggate.rollout.judge import judge as judged
from flaggate.rollout.seen import Sample, Seen, Tally, Units
from flaggate.rollout.state import Rollout, Status, born, current_stage
from flaggate.rollout.tick import is_looked_at, verdict_to_json
from flaggate.rollout.verdict import Answer, Judgement
from flaggate.rollout.verdict_words import verdict_words
from flaggate.runtime.definitions import load
from flaggate.runtime.judging import seen_of
from flaggate.stores.base import Store
from flaggate.stores.record import read_flag

__all__ = ["judge"]

_EVERY_SECONDS: Final = 5.0
_UNASKED: Final = Sample(None, Answer.NO_DATA, "a query's answers are not in a record")
_ARMS: Final = ("on", "treatment", "control")


@dataclass(frozen=True, slots=True)
class _Look:
    """One line of a record."""

    at: datetime
    stage: str
    attempt: int
    seen: Seen


@click.command(
    help="Write down what the guards of a running rollout see (--record), or have a plan's guards judge what was "
    "written down (--replay), with other limits if you like. Moves nothing."
)
@flag_argument
@click.option(
    "--record", "to", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Append a line every five seconds, until Ctrl-C.",
)  # fmt: skip
@click.option(
    "--replay", "source", metavar="FILE", type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Judge its lines, one look each.",
)  # fmt: skip
@definitions_option("Take the plan from this file, not from a store.")
@store_or_definitions
@as_json
def judge(
    flag: str, to: Path | None, source: Path | None, definitions: str | None, store: Store | None, is_json: bool
) -> None:
    """Record or replay."""
    if (to is None) == (source is None):
        raise click.UsageError("say --record FILE or --replay FILE")
    if source is not None:
        plan = _plan(flag, definitions, store)
        _replay(plan, list(_read(source)), is_json=is_json)
        return
    if store is None:
        raise click.UsageError("--record reads a store: leave --definitions out")
    assert to is not None
    _record(store, flag, to)


def _plan(name: str, definitions: str | None, store: Store | None) -> Flag:
    if store is not None:
        return read_flag(store, name).flag
    assert definitions is not None  # one of the two is there
    flags = load(definitions).definitions.flags
    if name not in flags:
        raise UnknownFlagError(name, flags)
    return flags[name]


# --- recording --------------------------------------------------------------------------------


def _record(store: Store, name: str, to: Path) -> None:
    read_flag(store, name)  # one that is not there is wrong input; one that does not run yet is waited for
    line(f"writes what the guards of {name} see to {to}, every {_EVERY_SECONDS:g} s, until Ctrl-C", err=True)
    with to.open("a", encoding="utf-8") as file, ended_by_signals() as is_ended:
        while not is_ended():
            record = read_flag(store, name)
            stage = current_stage(record.flag, record.rollout)
            if stage is not None and is_looked_at(record.rollout):
                look = _Look(datetime.now(UTC), stage.name, record.rollout.attempt, seen_of(store, record.rollout))
                file.write(json.dumps(_to_json(look), separators=(",", ":")) + "\n")
                file.flush()
            wait(_EVERY_SECONDS, is_ended)


def _to_json(look: _Look) -> dict[str, Any]:
    seen = look.seen
    arms = {
        name: [tally.requests, tally.errors, dict(tally.histogram), dict(tally.measured)]
        for name, tally in seen.arms.items()
        if name in _ARMS
    }
    units = [[*key, arm, *sums] for key, by_arm in seen.units.items() for arm, sums in by_arm.items()]
    return {
        "at": look.at.isoformat(), "stage": look.stage, "attempt": look.attempt, "pulse": seen.pulse, "arms": arms,
        "units": units,
    }  # fmt: skip


# --- replaying --------------------------------------------------------------------------------


def _read(source: Path) -> Iterator[_Look]:
    with source.open(encoding="utf-8", errors="replace") as file:  # bytes that are no text are no JSON, either
        for number, text in enumerate(file, 1):
            try:
                yield _from_json(json.loads(text))
            except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
                raise click.BadParameter(f"line {number} of {source} is none of a record: {error!r}") from error


def _from_json(written: Mapping[str, Any]) -> _Look:
    arms = {
        name: Tally(int(requests), int(errors), _counts(histogram), _counts(measured))
        for name, (requests, errors, histogram, measured) in written["arms"].items()
    }
    units: dict[tuple[str, int, int], dict[str, Units]] = {}
    for metric, span, began, arm, *sums in written["units"]:
        units.setdefault((str(metric), int(span), int(began)), {})[str(arm)] = Units(*map(int, sums))
    for tally in arms.values():
        for edge in tally.histogram:
            float(edge)  # or it is none
    seen = Seen(arms, units, int(written["pulse"]))
    return _Look(datetime.fromisoformat(written["at"]), written["stage"], int(written["attempt"]), seen)


def _counts(written: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(count) for name, count in written.items()}


def _replay(flag: Flag, looks: list[_Look], *, is_json: bool) -> None:
    names = [stage.name for stage in flag.stages]
    every = (*flag.guards, *(guard for stage in flag.stages for guard in stage.guards))
    unasked = {guard.query: _UNASKED for guard in every if guard.query is not None}
    kept: Mapping[str, Any] | None = None
    place, said, latest = (0, ""), tuple[Answer, ...](), None
    for look in looks:
        if look.stage not in names:
            raise click.BadParameter(f"the record is of stage {look.stage}; the plan has {', '.join(names) or 'none'}")
        if place != (look.attempt, look.stage):
            place, kept, said = (look.attempt, look.stage), None, ()
        judgement = judged(
            flag, _standing(flag, look, names), replace(look.seen, samples=unasked), kept, look.at, is_soaked=True
        )
        assert judgement is not None  # it has that stage
        kept, latest = judgement.kept, judgement
        answers = tuple(verdict.answer for verdict in judgement.verdicts)
        if is_json:
            print_json_line(_line(flag, look, judgement))
        elif answers != said:
            line(f"{local_time(look.at)} {look.stage}: {_words(flag, judgement)}")
        said = answers
        if any(verdict.rolls_back for verdict in judgement.verdicts):
            break
    if latest is None:
        print_json(None) if is_json else line("the record is empty")
    elif not is_json:
        print_verdicts(latest.verdicts)


def _standing(flag: Flag, look: _Look, names: list[str]) -> Rollout:
    rollout = replace(born(flag, look.at), status=Status.RUNNING, attempt=look.attempt)
    return replace(rollout, stage=names.index(look.stage) + 1)


def _line(flag: Flag, look: _Look, judgement: Judgement) -> dict[str, Any]:
    verdicts = [verdict_to_json(verdict, flag.unit) for verdict in judgement.verdicts]
    return {"at": look.at.isoformat(), "stage": look.stage, "guards": verdicts, "split": judgement.split}


def _words(flag: Flag, judgement: Judgement) -> str:
    guilty = [verdict for verdict in judgement.verdicts if verdict.rolls_back]
    if guilty:
        return "rolled back: " + "; ".join(verdict_words(verdict, flag.unit) for verdict in guilty)
    return ", ".join(f"{_short(verdict.guard)} {verdict.answer.replace('_', ' ')}" for verdict in judgement.verdicts)


def _short(guard: Guard) -> str:
    return guard.metric if guard.vs_control is None else f"{guard.metric} against control"
