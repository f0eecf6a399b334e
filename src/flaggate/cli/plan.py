"""plan: who would have a flag in each stage, before anything starts. By the very code that answers an app."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import click

from flaggate.cli.contexts import STDIN, Asking, read_contexts
from flaggate.cli.options import as_json, definitions_option, flag_argument, store_or_definitions
from flaggate.cli.render import line, print_json, print_table
from flaggate.decide.compile import compile_flag
from flaggate.errors import FlaggateError, UnknownFlagError
from flaggate.flags.model import Flag, Segment, Unit
from flaggate.flags.words import audience_words, counted, stage_words
from flaggate.rollout.state import Rollout, Status, born
from flaggate.runtime.definitions import load
from flaggate.stores.base import Store
from flaggate.stores.record import flag_row, record_of, segments_in

__all__ = ["plan"]

_SHOWN: Final = 10
_KEYS: Final[Mapping[Unit, str]] = {"user": "a user", "account": "an account", "visitor": "a visitor"}


@dataclass(frozen=True, slots=True)
class _Stage:
    """Who has it in a stage, or while a switch is on."""

    name: str
    lets_in: str
    """Whom this stage adds, by the plan."""
    having: tuple[Asking, ...]
    """All who have it then: by this stage, or by one before it."""
    new: int
    """How many of them had it in no stage before."""
    off: Mapping[str, int]
    """How many have it not, by the reason of the decision."""


@click.command(
    help="A dry run: which of these contexts would have the flag in each stage. Moves nothing, and asks no app."
)
@flag_argument
@click.option(
    "--contexts", "source", metavar="FILE", required=True, type=click.Path(dir_okay=False, allow_dash=True),
    help="One JSON object a line, with a Context's arguments as keys, or one JSON list of them; - is standard input.",
)  # fmt: skip
@definitions_option("Take the flag from this file, not from a store.")
@click.option("--all", "is_whole", is_flag=True, help=f"Name them all, not the first {_SHOWN}.")
@store_or_definitions
@as_json
def plan(flag: str, source: str, definitions: str | None, is_whole: bool, store: Store | None, is_json: bool) -> None:
    """Show who would have it."""
    declared, rollout, segments = _stored(store, flag) if store is not None else _from_file(str(definitions), flag)
    asking = read_contexts(source)
    stages = _stages(declared, rollout, segments, asking)
    if is_json:
        print_json(_to_json(declared, rollout, asking, stages))
        return
    where = "standard input" if source == STDIN else source
    line(f"{declared.name}, {counted(len(asking), 'context')} of {where}:")
    print_table(("stage", "lets in", "have it", "new", "who"), [_cells(stage, is_whole) for stage in stages])
    for words in _remarks(declared, rollout, stages):
        line(words)


def _stored(store: Store, name: str) -> tuple[Flag, Rollout, Mapping[str, Segment]]:
    record = record_of(flag_row(store, name))
    return record.flag, record.rollout, dict(segments_in(store.changes().rows))


def _from_file(file: str, name: str) -> tuple[Flag, Rollout, Mapping[str, Segment]]:
    definitions = load(file).definitions
    flag = definitions.flags.get(name)
    if flag is None:
        raise UnknownFlagError(name, definitions.flags)
    return flag, born(flag, datetime.now(UTC)), definitions.segments


def _stages(
    flag: Flag, rollout: Rollout, segments: Mapping[str, Segment], asking: Sequence[Asking]
) -> tuple[_Stage, ...]:
    """Who has it in each stage, as if the rollout stood there."""
    rollout = replace(rollout, killed=False)
    if flag.is_switch:
        places = [("on", audience_words(flag.audience), replace(rollout, status=Status.ON))]
    else:
        places = [
            (stage.name, stage_words(stage), replace(rollout, status=Status.RUNNING, stage=number))
            for number, stage in enumerate(flag.stages, 1)
        ]
    had: set[int] = set()
    found = []
    for name, lets_in, there in places:
        having, off = _asked(flag, there, segments, asking)
        numbers = {each.number for each in having}
        found.append(_Stage(name, lets_in, having, len(numbers - had), off))
        had |= numbers
    return tuple(found)


def _asked(
    flag: Flag, rollout: Rollout, segments: Mapping[str, Segment], asking: Sequence[Asking]
) -> tuple[tuple[Asking, ...], Mapping[str, int]]:
    """Who has it there, and why the others have it not."""
    try:
        decide = compile_flag(flag, rollout, segments).decide
    except KeyError as error:
        raise FlaggateError(f"{flag.name}: segment {error.args[0]} is missing or cannot be read") from error
    having, off = [], Counter[str]()
    for each in asking:
        try:
            decision = decide(each.context)
        except Exception:  # whatever a rule raises: an app is answered off then, too
            off["fault"] += 1
            continue
        if decision.is_on:
            having.append(each)
        else:
            off[decision.reason] += 1
    return tuple(having), off


def _cells(stage: _Stage, is_whole: bool) -> Sequence[str]:
    shown = stage.having if is_whole else stage.having[:_SHOWN]
    names = ", ".join(each.name for each in shown)
    more = len(stage.having) - len(shown)
    who = f"{names} and {more:,} more" if more else names or "nobody"
    return stage.name, stage.lets_in, f"{len(stage.having):,}", f"+{stage.new:,}" if stage.new else "", who


def _remarks(flag: Flag, rollout: Rollout, stages: Sequence[_Stage]) -> Iterator[str]:
    """What the table does not say."""
    if flag.deny:
        yield f"never: {audience_words(flag.deny)}; {counted(stages[0].off.get('denied', 0), 'context')} here"
    for stage in stages:
        if keyless := stage.off.get("no_unit"):
            yield f"{stage.name}: no share lets in {counted(keyless, 'context')} without {_KEYS[flag.unit]}"
        if faults := stage.off.get("fault"):
            yield f"{stage.name}: a rule fails for {counted(faults, 'context')}, which is off; explain says why"
    if rollout.killed:
        yield "it is killed now: nobody has it until it is unkilled"


def _to_json(flag: Flag, rollout: Rollout, asking: Sequence[Asking], stages: Sequence[_Stage]) -> dict[str, Any]:
    return {
        "flag": flag.name,
        "killed": rollout.killed,
        "contexts": [{"number": each.number, "name": each.name} for each in asking],
        "stages": [
            {
                "name": stage.name,
                "lets_in": stage.lets_in,
                "count": len(stage.having),
                "new": stage.new,
                "off": dict(stage.off),
                "has_it": [each.number for each in stage.having],
            }
            for stage in stages
        ],
    }
