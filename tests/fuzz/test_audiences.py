"""Audiences: whatever an app says of who asks, a decision; never an exception, and no fault for what a context may hold."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from flaggate import Context, Gate
from flaggate.decide.compile import compile_flag
from flaggate.decide.explain import explain
from flaggate.errors import DocumentError
from flaggate.flags.document import flag_from_json
from flaggate.flags.model import Flag
from flaggate.rollout.state import Rollout, Status
from flaggate.stores.memory import MemoryStore
from tests.flags import strategies
from tests.fuzz.counting import fuzzed
from tests.fuzz.hostile import ANY_TEXT, ODD_TEXT, VALUES

NOW = datetime(2026, 3, 2, tzinfo=UTC)
_OWN = st.sampled_from(["seats", "app.version", "signed_up", "Größe", "a b", "0", ""])
_OPERANDS = (
    ANY_TEXT
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.sampled_from([">=2.1", "==1.*", "10.0.0.0/8", "::/0", "2026-01-01T00:00:00Z"])
)
_OPERATORS = st.sampled_from(
    ["not", "at_least", "below", "prefix", "suffix", "contains", "version", "in_network", "before", "after", "exists"]
)
_CONDITIONS = _OPERANDS | st.lists(_OPERANDS, max_size=3) | st.dictionaries(_OPERATORS, _OPERANDS, max_size=3)
_ATTRIBUTES = st.sampled_from(["user", "staff", "group", "tier", "city", "city_id", "country", "ip"]) | _OWN
_WRITTEN = st.dictionaries(_ATTRIBUTES | ANY_TEXT, _CONDITIONS, min_size=1, max_size=3)

_PLAIN = st.sampled_from(
    [0, 1, -1.5, float("nan"), float("inf"), True, "2.1", "1!2.0.post1+a", "10.1.2.3", "2026-03-02T10:00:00Z", NOW,
     NOW.replace(tzinfo=None), datetime.max, datetime.min.replace(tzinfo=UTC)]
) | ODD_TEXT | st.text(max_size=20) | st.just(5000).map(lambda digits: 10**digits)  # fmt: skip
_TEXT_WORDS = ("tier", "city", "region", "country", "ip")


def contexts(
    keys: st.SearchStrategy[Any], values: st.SearchStrategy[Any], groups: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """The words of a Context."""
    known = dict.fromkeys(("user", "account", "visitor"), keys) | dict.fromkeys(_TEXT_WORDS, values)
    more = {
        "staff": st.booleans(),
        "groups": st.lists(groups, max_size=3),
        "attributes": st.dictionaries(_OWN, values, max_size=3),
    }
    return st.fixed_dictionaries({}, optional=known | more)


def flag_of(written: Any, share: float) -> Flag | None:
    """A flag whose only stage has this audience; None if nobody may write that."""
    stages = [{"name": "some", "audience": written, "share": share, "soak": "0s"}, {"name": "all"}]
    document = {"description": "A", "owner": "o", "stages": stages, "deny": {"user": "nobody"}}
    try:
        return flag_from_json("a", document)
    except DocumentError as error:
        str(error)
        return None


def running(flag: Flag) -> Rollout:
    return Rollout("a", "a", Status.RUNNING, NOW, "o", stage=1, attempt=1)


_AUDIENCES = strategies.audiences() | _WRITTEN
_SHARES = st.sampled_from([0, 0.001, 50, 99.999, 100])


@fuzzed(
    100,
    written=_AUDIENCES,
    share=_SHARES,
    known=contexts(
        st.text(max_size=9) | st.integers() | st.sampled_from(["\0", "\ufffd", "a" * 9000]), _PLAIN, st.text(max_size=5)
    ),
)
def test_what_a_context_may_hold_is_decided(written: Any, share: float, known: dict[str, Any]) -> None:
    """And explained as it is decided."""
    flag = flag_of(written, share)
    if flag is None:
        return
    compiled, context = compile_flag(flag, running(flag), {}), Context(**known)
    decision = compiled.decide(context)
    assert compiled.is_on(context) == decision.is_on
    assert explain(flag, running(flag), context, {}).decision == decision


GROUPS = (
    st.text(max_size=5)
    | st.integers()
    | st.none()
    | st.binary(max_size=3)
    | st.just(5000).map(lambda digits: 10**digits)
)


@contextmanager
def a_gate() -> Iterator[Gate]:
    logging.disable()
    gate = Gate.open(MemoryStore(), background=False)
    gate.refresh()
    try:
        yield gate
    finally:
        gate.close()
        logging.disable(logging.NOTSET)


@fuzzed(60, a_gate, written=_AUDIENCES, share=_SHARES, known=contexts(ANY_TEXT, VALUES, GROUPS))
def test_what_no_context_should_hold_is_off_at_worst(
    gate: Gate, written: Any, share: float, known: dict[str, Any]
) -> None:
    flag = flag_of(written, share)
    if flag is None:
        return
    compiled = compile_flag(flag, running(flag), {})
    context = Context(**known)
    decision = gate.decided(replace(gate.begun(), decide={"a": compiled.decide}), "a", context)
    assert decision.reason == "fault" or decision == compiled.decide(context)
    assert explain(flag, running(flag), context, {}).decision == decision
