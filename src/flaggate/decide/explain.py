"""Why it is on or off for this one: the trace of a decision in plain words.

The answer comes from the compiled flag itself, each condition from the same source; only the words
are made here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flaggate.decide.bucket import bucket
from flaggate.decide.compile import compile_condition, compile_flag
from flaggate.decide.context import Context
from flaggate.decide.decision import Decision
from flaggate.flags.audience import ATTRIBUTES, Audience, Condition, Operator
from flaggate.flags.canonical import percent
from flaggate.flags.conditions import audience_to_json
from flaggate.flags.model import FULL_SHARE, Flag, Segment, Stage
from flaggate.rollout.state import EXPOSING, Rollout, Status

__all__ = ["Explanation", "explain"]


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
    return f"{prefix}bucket {place:,} {is_in} below {stage.share_thousandths:,}"


def _ask(audience: Audience, context: Context, segments: Mapping[str, Segment]) -> tuple[bool, str]:
    """Whether the audience matches, and the conditions that said so."""
    if not audience:
        return True, "everyone, yes"
    failed = []
    for table in audience:
        # As the flag does, ask no condition after one that fails.
        failing = next((c for c in table if not compile_condition(c, segments)(context)), None)
        if failing is None:
            return True, ", ".join(_answered(c, context, is_met=True) for c in table)
        failed.append(_answered(failing, context, is_met=False))
    return False, ", or ".join(dict.fromkeys(failed))


# --- conditions in words ----------------------------------------------------------------------


def _answered(condition: Condition, context: Context, *, is_met: bool) -> str:
    """What was asked, the answer, and what was found: "city is Manchester: no, it is Leeds"."""
    found = "" if _says_all(condition, is_met=is_met) else _found(condition, context)
    return f"{_asked(condition)}: {'yes' if is_met else 'no'}{found and ', '}{found}"


def _says_all(condition: Condition, *, is_met: bool) -> bool:
    """Whether yes or no leaves nothing to say of what was found."""
    if condition.operator == "exists":
        return is_met is not condition.operand
    return (
        condition.operator == "segment"
        or condition.attribute == "staff"
        or (is_met and condition.operator == "equals" and len(condition.operand) == 1)
    )


def _asked(condition: Condition) -> str:
    """The condition as a person would say it."""
    attribute, operator = condition.attribute, condition.operator
    ((_, written),) = audience_to_json(((condition,),)).items()
    operand = written[operator] if isinstance(written, dict) else written
    if operator == "exists" and attribute == "group":
        return "in a group" if operand else "in no group"
    if operator == "exists":
        return f"{attribute} is known" if operand else f"{attribute} is not known"
    values = " or ".join(_shown(value) for value in (operand if isinstance(operand, list) else [operand]))
    if attribute == "staff":
        return "staff" if operand is (operator == "equals") else "not staff"
    if operator == "segment":
        return f"in segment {values}"
    if attribute == "group":
        return _GROUP_WORDS[operator].format(values)
    return f"{attribute} {_WORDS[operator].format(values)}"


_WORDS: Final[dict[Operator, str]] = {
    "equals": "is {}", "not": "is not {}", "at_least": "is at least {}", "below": "is below {}",
    "prefix": "begins with {}", "suffix": "ends with {}", "contains": "contains {}", "version": "is a version {}",
    "in_network": "is in {}", "before": "is before {}", "after": "is after {}",
}  # fmt: skip
_GROUP_WORDS: Final[dict[Operator, str]] = {
    "equals": "in group {}", "not": "in a group, but not in {}", "prefix": "in a group that begins with {}",
    "suffix": "in a group that ends with {}", "contains": "in a group that contains {}",
}  # fmt: skip


def _found(condition: Condition, context: Context) -> str:
    """What the context holds for the condition: "it is Leeds"."""
    name = condition.attribute
    if name == "group":
        return f"groups are {', '.join(sorted(map(_text, context.groups)))}" if context.groups else "in no group"
    value: Any = getattr(context, name) if name in ATTRIBUTES else context.attributes.get(name)
    return "it is not known" if value is None else f"it is {_shown(value)}"


def _shown(value: object) -> str:
    """A value; text in quotes where it would pass for something else: "7" is not 7."""
    if isinstance(value, bool):
        return "true" if value else "false"
    is_deceptive = isinstance(value, str) and _DECEPTIVE.fullmatch(value)
    return f'"{value}"' if is_deceptive else _text(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # the app's own; a number of more digits than Python writes: the flag was decided all the same
        return f"a value of {type(value).__name__} that cannot be shown"


_DECEPTIVE: Final = re.compile(r"|\s.*|.*\s|[-+]?\d+(\.\d+)?|true|false|not known", re.DOTALL | re.IGNORECASE)
