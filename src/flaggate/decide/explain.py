"""Why it is on or off for this one: the trace of a decision in plain words.

The answer comes from the compiled flag itself, each condition from the same source; only the words
are made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flaggate.decide.bucket import bucket
from flaggate.decide.compile import compile_condition, compile_flag
from flaggate.decide.context import Context
from flaggate.decide.decision import Decision
from flaggate.flags.audience import ATTRIBUTES, Audience, Condition
from flaggate.flags.canonical import percent
from flaggate.flags.model import FULL_SHARE, Flag, Segment, Stage
from flaggate.rollout.state import EXPOSING, Rollout, Status

__all__ = ["Explanation", "explain", "grouped"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and the ordered steps to it. Its text is one line: the steps, then on or off."""

    decision: Decision
    steps: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join((*self.steps, "on" if self.decision.is_on else "off"))


def explain(flag: Flag, rollout: Rollout, context: Context, segments: Mapping[str, Segment]) -> Explanation:
    """Decide, and say how: kill, deny, status, then stages 1..current in order. Raises nothing."""
    try:
        decision = compile_flag(flag, rollout, segments).decide(context)
        return Explanation(decision, tuple(_steps(flag, rollout, context, segments, decision)))
    except Exception as error:  # the decision of an app would be a fault, for the same reason
        return Explanation(Decision(flag.name, False, "fault"), (f"a rule failed: {error!r}",))


def grouped(number: int) -> str:
    """A whole number in groups of three digits: 41 208."""
    return f"{number:,}".replace(",", " ")


def _steps(
    flag: Flag, rollout: Rollout, context: Context, segments: Mapping[str, Segment], decision: Decision
) -> list[str]:
    if rollout.killed:
        return ["kill: yes"]
    steps = ["kill: no"]
    if flag.deny:
        is_denied, words = _ask(flag.deny, context, segments)
        steps.append(f"deny: {words}" if is_denied else "deny: no")
        if is_denied:
            return steps
    if rollout.status in EXPOSING:
        for stage in flag.stages[: rollout.stage]:
            steps.append(f"{stage.name}: {_stage(flag, rollout, stage, context, segments)}")
            if stage.name == decision.stage:
                break
    elif rollout.status is Status.ON:
        steps.append(f"on for: {_ask(flag.audience, context, segments)[1]}")
    else:
        steps.append(f"status: {rollout.status.replace('_', ' ')}")
    return steps


def _stage(flag: Flag, rollout: Rollout, stage: Stage, context: Context, segments: Mapping[str, Segment]) -> str:
    is_matched, words = _ask(stage.audience, context, segments)
    if not is_matched or stage.share_thousandths == FULL_SHARE:
        return words
    prefix = f"{words}, " if stage.audience else ""
    key = getattr(context, flag.unit)
    if key is None:
        unit = "an account" if flag.unit == "account" else f"a {flag.unit}"
        return f"{prefix}but a share of {percent(stage.share_thousandths)} % needs {unit}, and there is none"
    place = bucket(flag.cohort or rollout.salt, key)
    is_in = "is" if place < stage.share_thousandths else "is not"
    return f"{prefix}bucket {grouped(place)} {is_in} below {grouped(stage.share_thousandths)}"


def _ask(audience: Audience, context: Context, segments: Mapping[str, Segment]) -> tuple[bool, str]:
    """Whether the audience matches, and the conditions that said so."""
    if not audience:
        return True, "everyone, yes"
    failed = []
    for table in audience:
        # As the flag does, ask no condition after one that fails.
        failing = next((c for c in table if not compile_condition(c, segments)(context)), None)
        if failing is None:
            return True, ", ".join(dict.fromkeys(_value(c, context) for c in table)) + ", yes"
        failed.append(_value(failing, context))
    return False, ", ".join(dict.fromkeys(failed)) + ", no"


def _value(condition: Condition, context: Context) -> str:
    """What the context holds for the condition: "city is Leeds"."""
    if condition.operator == "segment":
        return f"segment {' or '.join(condition.operand)}"
    if condition.attribute == "group":
        return f"groups are {', '.join(sorted(context.groups))}" if context.groups else "in no group"
    if condition.attribute == "staff":
        return "staff" if context.staff else "not staff"
    name = condition.attribute
    value: Any = getattr(context, name) if name in ATTRIBUTES else context.attributes.get(name)
    return f"{name} is not known" if value is None else f"{name} is {value}"
