"""Nothing that a person wrote is ever part of the written source: it neither runs nor changes an answer."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from dataclasses import replace
from types import CodeType, FunctionType
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaggate import Context, Flag, Stage
from flaggate.decide.compile import compile_flag
from flaggate.decide.explain import explain
from flaggate.flags.audience import Condition
from flaggate.flags.document import parse
from flaggate.flags.model import Segment
from flaggate.rollout.state import Status
from tests.decide.worlds import running

RUNS: Final = "__import__('builtins').flaggate_ran.append(1)"
NASTY: Final = (
    f"x'); {RUNS} #",
    f'x"); {RUNS} #',
    f"\n{RUNS}\n",
    f"\n    {RUNS}",
    f"{{{RUNS}}}",
    f"{{0}}{{key}}{{key.__class__}} {RUNS}",
    f'""" + str({RUNS}) + """',
    f"\\'; {RUNS}; \\",
    f"%s %({RUNS})s",
    "\0",
    "\u2028\u2029\x85\x0c",
    "def decide(c): return True",
    "k0",
    "a0",
    "c",
    "murmur3",
    "None",
    "\uff21\uff22\u0301\U0001f680",
)


@pytest.fixture(autouse=True)
def ran(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """What nasty text would append to if it ran; nothing may."""
    marks: list[int] = []
    monkeypatch.setattr(builtins, "flaggate_ran", marks, raising=False)
    yield marks
    assert marks == []


def _everywhere(text: str) -> tuple[Flag, dict[str, Segment]]:
    """A flag and segments that have the text in every place that holds text."""
    own = f"own {text}"
    stages = (
        Stage(text, ((Condition("city", "equals", (text,)), Condition(own, "equals", (text,))),), 50_000),
        Stage(f"{text} 2", ((Condition("segment", "segment", (text,)),),)),
        Stage(f"{text} 3", ((Condition("group", "equals", (text, "beta")),), (Condition("tier", "prefix", text),))),
    )
    deny = ((Condition("account", "equals", (text,)), Condition("group", "not", (text,))),)
    flag = Flag(text, text, text, (text,), cohort=text, deny=deny, stages=stages)
    return flag, {text: Segment(text, unit="user", members=frozenset({text}))}


def _check(text: str) -> None:
    flag, segments = _everywhere(text)
    compiled = compile_flag(flag, running(flag, 3), segments)
    # (who asks, the stage that lets in, the reason)
    askers = [
        (Context(text), f"{text} 2", "stage"),
        (Context("somebody else"), None, "no_match"),
        (Context(groups=[text]), f"{text} 3", "stage"),
        (Context(tier=text + "."), f"{text} 3", "stage"),
        (Context(account=text, groups=["other"]), None, "denied"),
        (Context(account=text, groups=[text]), f"{text} 3", "stage"),
        (Context(city=text, attributes={f"own {text}": text}), None, "no_unit"),
        (Context(city=text, attributes={"own": text}), None, "no_match"),
    ]
    for context, stage, reason in askers:
        decision = compiled.decide(context)
        assert decision == (text, stage is not None, reason, stage, None)
        assert compiled.is_on(context) is (stage is not None)
        assert explain(flag, running(flag, 3), context, segments).decision == decision


@pytest.mark.parametrize("text", NASTY)
def test_nasty_text_is_only_compared(text: str) -> None:
    _check(text)


@given(text=st.text(min_size=1).filter(lambda text: text not in {"beta", "other"}))
def test_any_text_is_only_compared(text: str) -> None:
    _check(text)


def _texts(code: CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _texts(constant)
        else:
            yield str(constant)
    yield from (*code.co_names, *code.co_varnames, code.co_filename, code.co_name)


def test_the_code_holds_no_text_of_the_flag() -> None:
    """And two flags of one shape are one code: nothing of theirs can be in it."""
    codes = []
    for word in ("qqqq", "zzzz"):
        flag, segments = _everywhere(word)
        compiled = compile_flag(flag, running(flag, 3), segments)
        for ask in (compiled.decide, compiled.is_on):
            assert isinstance(ask, FunctionType)
            assert not any(word in text for text in _texts(ask.__code__))
            codes.append(ask.__code__.co_code)
    assert len(set(codes)) == 1


def test_nasty_text_in_a_definitions_file_is_only_compared() -> None:
    """The way that it comes in: own attribute names and values are free text there."""
    for text in NASTY:
        name, value = _quoted(f"own {text}"), _quoted(text)
        flags = parse(f'flags.f = {{description = "d", owner = "o", audience = {{ {name} = {value} }} }}').flags
        rollout = replace(running(flags["f"], 0), status=Status.ON)
        on = compile_flag(flags["f"], rollout, {})
        assert on.decide(Context(attributes={f"own {text}": text})).is_on
        assert not on.decide(Context(attributes={f"own {text}": text + "."})).is_on


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(letter):08X}" for letter in text) + '"'
