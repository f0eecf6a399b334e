"""The commands that move a flag: one for each verb."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from flaggate.cli.off import hint, off_here
from flaggate.cli.options import acting, as_json, flag_argument, names, program, store_option, text
from flaggate.cli.render import line, print_json
from flaggate.errors import MoveError, StoreError, UnknownFlagError
from flaggate.rollout.state import Status, Verb, born
from flaggate.rollout.words import standing, who_has_it
from flaggate.runtime.control import Control, Outcome, utc_now
from flaggate.runtime.off_switch import EVERYTHING
from flaggate.runtime.reach import STOPS, Reach, await_reach, reach_to_json, reach_words
from flaggate.runtime.sight import Sight, sight
from flaggate.stores.base import Store

__all__ = ["moves", "owner"]

_ADVANCE: Final = "Go on to the next stage; passing over a condition needs a reason."
_HELP: Final[dict[Verb, str]] = {
    Verb.START: "Begin a draft's rollout at its first stage.",
    Verb.APPROVE: "Say that this stage may be left, where the plan asks for it.",
    Verb.ADVANCE: _ADVANCE,
    Verb.STEP_BACK: "Go back one stage, and pause there.",
    Verb.PAUSE: "Stay at this stage; who has it keeps it.",
    Verb.RESUME: "Let a paused rollout go on.",
    Verb.RESTART: "Begin a rolled back rollout anew; needs a reason.",
    Verb.ROLLBACK: "Off for everyone; the rollout is over until it is restarted.",
    Verb.KILL: "Off for everyone, now. The plan is kept.",
    Verb.UNKILL: "Undo a kill; needs a reason.",
    Verb.COMPLETE: "End the watch, before its 48 observed hours do: the rollout is done, and who has it keeps it. "
    "Needs a reason.",
    Verb.ON: "Turn a switch on.",
    Verb.OFF: "Turn a switch off.",
}


_TAKES_OVER: Final = frozenset({Verb.START, Verb.RESTART, Verb.ADVANCE, Verb.UNKILL})
_SAY_WHO_HAS_IT: Final = frozenset(
    {Verb.START, Verb.ADVANCE, Verb.RESTART, Verb.STEP_BACK, Verb.RESUME, Verb.UNKILL, Verb.ON}
)


def _print(outcome: Outcome, verb: Verb, control: Control, is_json: bool) -> None:
    flag, rollout, event = outcome.flag, outcome.rollout, outcome.event
    if is_json:
        reach = _reach(outcome, verb, control.store)
        reached = {} if reach is None else reach_to_json(reach)
        print_json(
            reached
            | {
                "flag": flag.name,
                "verb": verb,
                "changed": event is not None,
                "status": rollout.status,
                "stage": rollout.stage,
                "killed": rollout.killed,
                "attempt": rollout.attempt,
                "owner": rollout.owner,
                "accepted_by": rollout.accepted_by,
                "evidence": dict(event.evidence) if event else {},
            }
        )
        return
    if event is None:
        line(f"{flag.name}: nothing to change; it is {standing(flag, rollout)}")
        return
    line(f"{flag.name}: {verb}; it is {standing(flag, rollout)}")
    for words in _more(outcome, verb, control):
        line(f"  {words}")
    if (reach := _reach(outcome, verb, control.store)) is not None:
        for words in reach_words(reach, time.time()):
            line(f"  {words}")


def _reach(outcome: Outcome, verb: Verb, store: Store) -> Reach | None:
    """Who has it off by now, where that is the point of it."""
    if verb not in STOPS or outcome.revision is None:
        return None
    try:
        return await_reach(store, outcome.revision)
    except StoreError as error:  # it is done all the same
        line(f"whether it has reached every process cannot be told: {error}", err=True)
        return None


def _more(outcome: Outcome, verb: Verb, control: Control) -> list[str]:
    flag, rollout = outcome.flag, outcome.rollout
    lines = []
    passed = outcome.event.evidence.get("passed_over") if outcome.event else None
    if passed:
        lines.append(f"passed over: {', '.join(passed)}")
    having = who_has_it(flag, rollout)
    if verb in _SAY_WHO_HAS_IT and having is not None:
        lines.append(f"has it now: {having}")
    if verb is Verb.KILL:
        lines.append(f"off for everyone; {program()} unkill {flag.name} --reason WHY takes it back")
    if verb in {Verb.OWNER_SET, Verb.OWNER_AWAY} and rollout.accepted_by != rollout.owner:
        answers = f"until then {rollout.accepted_by} answers" if rollout.accepted_by else "until then nobody answers"
        lines.append(f"{rollout.owner} or a deputy has to accept: {program()} owner accept {flag.name}; {answers}")
    before = (outcome.event.before or {}).get("accepted_by") if outcome.event else None
    if verb in _TAKES_OVER and before not in (None, rollout.accepted_by):
        lines.append(f"{rollout.accepted_by} answers for it now, and {before} no longer")
    if rollout.status is Status.WATCHING and verb in {Verb.START, Verb.ADVANCE, Verb.RESTART}:
        lines.append(
            f"that was the last stage; {rollout.accepted_by} watches: 48 observed hours end the watch, or somebody does: "
            f"{program()} complete {flag.name} --reason WHY"
        )
    if verb in {Verb.START, Verb.RESTART}:
        lines += [
            _sight_words(one) for one in sight(control.store, flag, born(flag, rollout.since), utc_now().timestamp())
        ]
    if verb is Verb.APPROVE and rollout.status is Status.RUNNING:
        rest = ", ".join(str(hold) for hold in control.holds(flag, rollout))
        lines.append(f"waits for {rest}" if rest else "waits for nothing more: the next look enters the next stage")
    return lines


def _sight_words(one: Sight) -> str:
    if one.is_blind:
        return f"stage {one.stage} could hardly be judged: {one.words}, at the traffic of the last hours"
    return f"in stage {one.stage} {one.words}, at the traffic of the last hours"


def _act(verb: Verb, flag: str, store: Store, actor: str, reason: str | None, is_json: bool, **more: Any) -> None:
    control = Control(store)
    try:
        outcome = control.act(verb, flag, actor=actor, reason=reason, **more)
    except StoreError as error:
        if verb in {Verb.KILL, Verb.ROLLBACK}:
            error.add_note(hint(store, flag))
        raise
    except MoveError as error:
        if verb is Verb.START and "accept" in error.why:
            error.add_note(
                f"You are {actor}: --as says who starts it, {program()} owner accept {flag} --as who answers."
            )
        raise
    except UnknownFlagError as error:
        if verb is Verb.KILL and flag == EVERYTHING:
            error.add_note(f"A kill is of one flag: kill each by its name, as {program()} status lists them.")
            error.add_note(hint(store, flag))
        raise
    _print(outcome, verb, control, is_json)
    off = off_here(store)
    if verb in _SAY_WHO_HAS_IT and off.covers(flag):
        line("it is off on this machine all the same (FLAGGATE_OFF or the off file)", err=True)


def _command(verb: Verb, words: str) -> click.Command:
    @click.command(verb.split(" ")[-1], help=words)
    @flag_argument
    @store_option
    @acting
    @as_json
    def command(flag: str, store: Store, actor: str, reason: str | None, is_json: bool) -> None:
        _act(verb, flag, store, actor, reason, is_json)

    return command


@click.command("advance", help=_ADVANCE)
@flag_argument
@click.option("--to", metavar="STAGE", callback=text, help="Only if this is the next stage: nobody was faster.")
@store_option
@acting
@as_json
def _advance(flag: str, to: str | None, store: Store, actor: str, reason: str | None, is_json: bool) -> None:
    _act(Verb.ADVANCE, flag, store, actor, reason, is_json, to=to)


moves: Final = [_advance if verb is Verb.ADVANCE else _command(verb, words) for verb, words in _HELP.items()]


@click.group(help="Who answers for the rollback.")
def owner() -> None:
    """The group of the owner's commands."""


owner.add_command(_command(Verb.OWNER_ACCEPT, "Answer for it from now on; for the owner or a deputy."))
owner.add_command(_command(Verb.OWNER_AWAY, "Say that you do not answer for it for now."))


@owner.command("set", help="Name another owner, who then has to accept.")
@flag_argument
@click.argument("who", callback=names)
@click.option(
    "--deputy", "deputies", metavar="WHO", multiple=True, callback=names,
    help="A new deputy; may be said several times.",
)  # fmt: skip
@store_option
@acting
@as_json
def _owner_set(
    flag: str, who: str, deputies: tuple[str, ...], store: Store, actor: str, reason: str | None, is_json: bool
) -> None:
    _act(Verb.OWNER_SET, flag, store, actor, reason, is_json, owner=who, deputies=deputies or None)
