"""The commands that move a flag: one for each verb."""

from __future__ import annotations

from typing import Any, Final

import click

from flaggate.cli.options import acting, as_json, store_option
from flaggate.cli.render import print_json, stage_words, standing
from flaggate.rollout.state import Status, Verb, current_stage
from flaggate.runtime.control import Control, Outcome
from flaggate.stores.base import Store

__all__ = ["moves", "owner"]

_HELP: Final[dict[Verb, str]] = {
    Verb.START: "Begin a draft's rollout at its first stage.",
    Verb.ADVANCE: "Go on to the next stage; passing over a condition needs a reason.",
    Verb.STEP_BACK: "Go back one stage, and pause there.",
    Verb.PAUSE: "Stay at this stage; who has it keeps it.",
    Verb.RESUME: "Let a paused rollout go on.",
    Verb.RESTART: "Begin a rolled back rollout anew; needs a reason.",
    Verb.ROLLBACK: "Off for everyone; the rollout is over until it is restarted.",
    Verb.KILL: "Off for everyone, now. The plan is kept.",
    Verb.UNKILL: "Undo a kill; needs a reason.",
    Verb.COMPLETE: "End the watch early; needs a reason.",
    Verb.ON: "Turn a switch on.",
    Verb.OFF: "Turn a switch off.",
}


def _print(outcome: Outcome, verb: Verb, is_json: bool) -> None:
    flag, rollout, event = outcome.flag, outcome.rollout, outcome.event
    if is_json:
        print_json(
            {
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
        click.echo(f"{flag.name}: nothing to change; it is {standing(flag, rollout)}")
        return
    click.echo(f"{flag.name}: {verb}; it is {standing(flag, rollout)}")
    for line in _more(outcome, verb):
        click.echo(f"  {line}")


def _more(outcome: Outcome, verb: Verb) -> list[str]:
    flag, rollout = outcome.flag, outcome.rollout
    lines = []
    passed = outcome.event.evidence.get("passed_over") if outcome.event else None
    if passed:
        lines.append(f"passed over: {', '.join(passed)}")
    stage = current_stage(flag, rollout)
    if verb in {Verb.START, Verb.ADVANCE, Verb.RESTART, Verb.STEP_BACK} and stage is not None:
        lines.append(f"has it now: {', '.join(stage_words(entered) for entered in flag.stages[: rollout.stage])}")
    if verb is Verb.KILL:
        lines.append(f"off for everyone; flaggate unkill {flag.name} --reason WHY takes it back")
    if verb in {Verb.OWNER_SET, Verb.OWNER_AWAY} and rollout.accepted_by != rollout.owner:
        answers = f"{rollout.accepted_by} answers until then" if rollout.accepted_by else "nobody answers until then"
        lines.append(f"{rollout.owner} has to accept: flaggate owner accept {flag.name}; {answers}")
    if rollout.status is Status.WATCHING and verb in {Verb.START, Verb.ADVANCE}:
        lines.append(f"that was the last stage; {rollout.accepted_by} watches for 48 hours")
    return lines


def _act(verb: Verb, flag: str, store: Store, actor: str, reason: str | None, is_json: bool, **more: Any) -> None:
    _print(Control(store).act(verb, flag, actor=actor, reason=reason, **more), verb, is_json)


def _command(verb: Verb, words: str) -> click.Command:
    @click.command(verb.split(" ")[-1], help=words)
    @click.argument("flag")
    @store_option
    @acting
    @as_json
    def command(flag: str, store: Store, actor: str, reason: str | None, is_json: bool) -> None:
        _act(verb, flag, store, actor, reason, is_json)

    return command


moves: Final = [_command(verb, words) for verb, words in _HELP.items()]


@click.group(help="Who answers for the rollback.")
def owner() -> None:
    """The group of the owner's commands."""


owner.add_command(_command(Verb.OWNER_ACCEPT, "Answer for it from now on; for the owner or a deputy."))
owner.add_command(_command(Verb.OWNER_AWAY, "Say that you do not answer for it for now."))


@owner.command("set", help="Name another owner, who then has to accept.")
@click.argument("flag")
@click.argument("who")
@click.option("--deputy", "deputies", metavar="WHO", multiple=True, help="A new deputy; may be said several times.")
@store_option
@acting
@as_json
def _owner_set(
    flag: str, who: str, deputies: tuple[str, ...], store: Store, actor: str, reason: str | None, is_json: bool
) -> None:
    _act(Verb.OWNER_SET, flag, store, actor, reason, is_json, owner=who, deputies=deputies or None)
