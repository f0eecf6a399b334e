"""(Flag, Rollout) -> decide(context) -> Decision, compiled once per change.

The source of a small function is written for the flag's shape. It holds no text of the flag: names
and values are looked up as globals of the function, so nothing a person wrote is ever executed, and
flags of the same shape share one compilation. `is_on` is the same source with bools for decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, Final

from flaggate.decide import bucket
from flaggate.decide.context import Context
from flaggate.decide.decision import Arm, Decision, Reason
from flaggate.flags.audience import ATTRIBUTES, OPERATORS, Audience, Condition, attributes_of, segments_of
from flaggate.flags.model import FULL_SHARE, Flag, Segment, Stage
from flaggate.rollout.state import EXPOSING, Rollout, Status

__all__ = ["CompiledFlag", "compile_condition", "compile_flag", "constant_flag"]

_NO_KEY: Final = bucket.BUCKETS
"""The bucket of a context without a unit key: below no share under 100."""


@dataclass(frozen=True, slots=True)
class CompiledFlag:
    """A flag where it stands, ready to be asked. Both functions may raise what a rule raises."""

    decide: Callable[[Context], Decision]
    is_on: Callable[[Context], bool]
    reads: frozenset[str]
    """The context attributes that a decision may read; own attributes by their own names."""


def constant_flag(decision: Decision) -> CompiledFlag:
    """A flag that answers the same to everyone."""
    source = _Source(decision.flag)
    source.line(f"return {source.answer(decision.is_on, decision.reason)}")
    return source.compiled(frozenset())


def compile_flag(flag: Flag, rollout: Rollout, segments: Mapping[str, Segment]) -> CompiledFlag:
    """Compile the flag where it stands.

    Raises:
        KeyError: a segment that the flag asks is not among `segments`.
    """
    if rollout.killed:
        return constant_flag(Decision(flag.name, False, "killed"))
    source = _Source(flag.name, segments)
    source.constants |= {"murmur3": bucket.murmur3, "prefix": bucket.prefix(flag.cohort or rollout.salt)}
    if flag.deny:
        source.line(f"if {source.audience(flag.deny)}: return {source.answer(False, 'denied')}")
    audiences = [flag.deny]
    reads_unit = False
    if rollout.status in EXPOSING:
        stages = flag.stages[: rollout.stage]
        _write_stages(source, stages, flag.unit)
        audiences += [stage.audience for stage in stages]
        reads_unit = any(stage.share_thousandths < FULL_SHARE for stage in stages)
    elif rollout.status is Status.ON:
        if flag.audience:
            source.line(f"if not ({source.audience(flag.audience)}): return {source.answer(False, 'no_match')}")
        source.line(f"return {source.answer(True, 'on')}")
        audiences.append(flag.audience)
    else:
        source.line(f"return {source.answer(False, _WHY_OFF[rollout.status])}")
    unit = frozenset({flag.unit}) if reads_unit else frozenset[str]()
    return source.compiled(unit.union(*(_reads(audience, segments) for audience in audiences)))


_WHY_OFF: Final[dict[Status, Reason]] = {
    Status.DRAFT: "not_started",
    Status.ROLLED_BACK: "rolled_back",
    Status.OFF: "off",
}


def compile_condition(condition: Condition, segments: Mapping[str, Segment]) -> Callable[[Context], bool]:
    """One condition alone, by the same source: for `explain`."""
    source = _Source("", segments)
    source.line(f"return bool({source.condition(condition)})")
    return source.function(source.constants)


def _reads(audience: Audience, segments: Mapping[str, Segment]) -> frozenset[str]:
    reads = attributes_of(audience)
    for name in segments_of(audience):
        segment = segments[name]
        reads |= attributes_of(segment.audience) if segment.unit is None else {segment.unit}
    return reads


# --- the stages -----------------------------------------------------------------------------


def _write_stages(source: _Source, stages: tuple[Stage, ...], unit: str) -> None:
    """Write the effective share, the bucket and the arm for stages 1..current.

    In the written function `b` is the bucket (-1 = not asked yet), `is_wider` says that a stage with
    a larger share than the current one matched (so that there is no arm), `let_in` and `let_in_arm`
    hold the earliest smaller stage that let it in, without and with the arm.
    """
    current = stages[-1]
    writer = _StageWriter(source, unit, current)
    if any(stage.share_thousandths < FULL_SHARE for stage in stages):
        source.line("b = -1")
    if any(writer.may_be_arm(stage) for stage in stages[:-1]):
        source.line("let_in = let_in_arm = None")
        writer.has_let_in = True
    if any(writer.is_wider(stage) for stage in stages[:-1]):
        source.line("is_wider = False")
        writer.has_wider = True
    if any(stage.share_thousandths < FULL_SHARE for stage in stages[:-1]):
        source.line("is_matched = False")
        writer.has_matched = True
    for stage in stages[:-1]:
        writer.write_earlier(stage)
    writer.write_current()
    writer.write_rest()


@dataclass(slots=True)
class _StageWriter:
    source: _Source
    unit: str
    current: Stage
    has_let_in: bool = False
    has_wider: bool = False
    has_matched: bool = False

    def may_be_arm(self, stage: Stage) -> bool:
        """An earlier stage whose units are in the current stage's treatment, if that one matches too."""
        return stage.share_thousandths <= self.current.share_thousandths < FULL_SHARE

    def is_wider(self, stage: Stage) -> bool:
        return self.current.share_thousandths < stage.share_thousandths < FULL_SHARE

    def write_earlier(self, stage: Stage) -> None:
        indent = self._open(stage)
        on = self.source.answer(True, "stage", stage.name)
        first = f"let_in if let_in is not None else {on}" if self.has_let_in else on
        if stage.share_thousandths == FULL_SHARE:
            self.source.line(f"{indent}return {first}")
            return
        self._load_bucket(indent)
        self.source.line(f"{indent}is_matched = True")
        if self.may_be_arm(stage):
            arm = self.source.answer(True, "stage", stage.name, "treatment")
            self.source.line(f"{indent}if let_in is None and b < {stage.share_thousandths}:")
            self.source.line(f"{indent}    let_in = {on}")
            self.source.line(f"{indent}    let_in_arm = {arm}")
        else:
            self.source.line(f"{indent}if b < {stage.share_thousandths}: return {first}")
            if self.is_wider(stage):
                self.source.line(f"{indent}is_wider = True")

    def write_current(self) -> None:
        stage, source = self.current, self.source
        indent = self._open(stage)
        if stage.share_thousandths == FULL_SHARE:
            source.line(f"{indent}return {source.answer(True, 'stage', stage.name)}")
            return
        self._load_bucket(indent)
        treatment = source.answer(True, "stage", stage.name, "treatment")
        first = f"let_in_arm if let_in is not None else {treatment}" if self.has_let_in else treatment
        source.line(f"{indent}if b < {stage.share_thousandths}: return {first}")
        source.line(f"{indent}if b == {_NO_KEY}: return {source.answer(False, 'no_unit')}")
        if self.has_wider:
            source.line(f"{indent}if is_wider: return {source.answer(False, 'stage')}")
        source.line(f"{indent}return {source.answer(False, 'stage', arm='control')}")

    def write_rest(self) -> None:
        """The current stage's audience does not match."""
        source = self.source
        if self.has_let_in:
            source.line("if let_in is not None: return let_in")
        if self.has_matched:
            no_unit, off = source.answer(False, "no_unit"), source.answer(False, "stage")
            source.line(f"if is_matched: return {no_unit} if b == {_NO_KEY} else {off}")
        source.line(f"return {source.answer(False, 'no_match')}")

    def _open(self, stage: Stage) -> str:
        self.source.line(f"if {self.source.audience(stage.audience)}:")
        return "    "

    def _load_bucket(self, indent: str) -> None:
        self.source.line(f"{indent}if b < 0:")
        self.source.line(f"{indent}    key = c.{self.unit}")
        self.source.line(f"{indent}    b = {bucket.EXPRESSION.format(key='key')} if key is not None else {_NO_KEY}")


# --- writing source -------------------------------------------------------------------------


def _any_matches(values: Iterable[str], operator: Callable[[Any, Any], bool], operand: object) -> bool:
    return any(operator(value, operand) for value in values)


@dataclass(slots=True)
class _Source:
    """The function that is being written, and the values that it names."""

    flag: str
    segments: Mapping[str, Segment] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Decision] = field(default_factory=dict)

    def line(self, text: str) -> None:
        self.lines.append(f"    {text}")

    def constant(self, value: object) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def answer(self, is_on: bool, reason: Reason, stage: str | None = None, arm: Arm | None = None) -> str:
        decision = Decision(self.flag, is_on, reason, stage, arm)
        for name, known in self.answers.items():
            if known == decision:
                return name
        name = f"a{len(self.answers)}"
        self.answers[name] = decision
        return name

    def function(self, constants: dict[str, Any]) -> Callable[[Context], Any]:
        code = _compiled("def decide(c):\n" + "\n".join(self.lines))
        # A code object of its own: CPython's inline caches of globals live in it.
        return FunctionType(code.replace(co_name="decide"), constants)

    def compiled(self, reads: frozenset[str]) -> CompiledFlag:
        decide = self.function(self.constants | self.answers)
        bools = {name: decision.is_on for name, decision in self.answers.items()}
        return CompiledFlag(decide, self.function(self.constants | bools), reads)

    def audience(self, audience: Audience) -> str:
        tables = (" and ".join(self.condition(condition) for condition in table) for table in audience)
        return " or ".join(f"({table})" for table in tables) or "True"

    def condition(self, condition: Condition) -> str:
        attribute, operand = condition.attribute, condition.operand
        if condition.operator == "segment":
            return "(" + " or ".join(self._segment(self.segments[name]) for name in operand) + ")"
        if attribute == "group":
            return self._on_groups(condition)
        if attribute == "staff":
            return f"c.staff is {(operand == (True,)) is (condition.operator == 'equals')}"
        value = f"c.{attribute}" if attribute in ATTRIBUTES else f"c.attributes.get({self.constant(attribute)})"
        if condition.operator == "exists":
            return f"{value} is not None" if operand else f"{value} is None"
        if condition.operator == "equals" and attribute in ATTRIBUTES:
            one = f"{value} == {self.constant(operand[0])}"
            return one if len(operand) == 1 else f"{value} in {self.constant(frozenset(operand))}"
        operator = self.constant(OPERATORS[condition.operator])
        return f"((v := {value}) is not None and {operator}(v, {self.constant(operand)}))"

    def _on_groups(self, condition: Condition) -> str:
        operand = condition.operand
        match condition.operator:
            case "equals" if len(operand) == 1:
                return f"{self.constant(operand[0])} in c.groups"
            case "equals":
                return f"not {self.constant(frozenset(operand))}.isdisjoint(c.groups)"
            case "not":
                return f"(c.groups and {self.constant(frozenset(operand))}.isdisjoint(c.groups))"
            case "exists":
                return "c.groups" if operand else "not c.groups"
        operator = self.constant(OPERATORS[condition.operator])
        return f"{self.constant(_any_matches)}(c.groups, {operator}, {self.constant(operand)})"

    def _segment(self, segment: Segment) -> str:
        if segment.unit is None:
            return self.audience(segment.audience)
        return f"c.{segment.unit} in {self.constant(segment.members)}"


@lru_cache(maxsize=1024)
def _compiled(source: str) -> CodeType:
    names: dict[str, Any] = {}
    exec(compile(source, "<flaggate>", "exec"), names)  # noqa: S102  # written above, of no one's text
    code: CodeType = names["decide"].__code__
    return code
