"""Asking a gate: it answers whatever happens."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flaggate import Context, Decision, Gate
from flaggate.errors import StoreError
from flaggate.rollout.state import Verb
from flaggate.stores import open_store
from flaggate.stores.base import Write
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore
from tests.runtime.conftest import OpenGate
from tests.runtime.scenes import FLAGS, FRIENDS, NOW, bring, put, run, turn

ADA = Context("ada", tier="pro")


class Touchy:
    """What an app may put among its own attributes by mistake."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("do not compare me")

    __hash__ = None  # type: ignore[assignment]  # as for whatever compares its own way


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "flaggate"]


def test_every_way_to_ask_agrees(store: SqlStore, open_gate: OpenGate) -> None:
    bring(store)
    turn(store, Verb.ON, "tiered")
    gate = open_gate(store)
    assert gate.is_on("tiered", ADA)
    assert not gate.is_on("tiered", Context("bob", tier="free"))
    assert gate.decide("tiered", ADA) == Decision("tiered", True, "on")
    assert gate.decisions(ADA) == {
        "banner": Decision("banner", False, "off"),
        "half": Decision("half", False, "not_started"),
        "tiered": Decision("tiered", True, "on"),
    }
    explained = gate.explain("tiered", ADA)
    assert explained.decision == gate.decide("tiered", ADA)
    assert str(explained) == "kill: no; on for: tier is pro or team: yes, it is pro; on"


def test_without_context_it_asks_for_nobody(store: SqlStore, open_gate: OpenGate) -> None:
    bring(store)
    turn(store, Verb.ON, "tiered")
    turn(store, Verb.ON, "banner")
    gate = open_gate(store)
    assert gate.is_on("banner")
    assert gate.decide("tiered") == Decision("tiered", False, "no_match")
    assert gate.decisions()["banner"].is_on
    assert str(gate.explain("tiered")) == "kill: no; on for: tier is pro or team: no, it is not known; off"


def test_without_context_it_asks_for_the_visit(store: SqlStore, open_gate: OpenGate) -> None:
    bring(store)
    turn(store, Verb.ON, "tiered")
    gate = open_gate(store)
    with gate.visit(ADA) as visit:
        assert gate.is_on("tiered")
        assert gate.decide("tiered") is visit.decide("tiered")
        assert gate.decisions()["tiered"].is_on
        assert gate.explain("tiered").decision.is_on
        assert not gate.is_on("tiered", Context("bob"))
    assert not gate.is_on("tiered")


def test_an_unknown_flag_is_off_said_once_and_counted(
    store: SqlStore, open_gate: OpenGate, caplog: pytest.LogCaptureFixture
) -> None:
    bring(store)
    gate = open_gate(store)
    assert gate.decide("baner", ADA) == Decision("baner", False, "unknown")
    assert not gate.is_on("baner", ADA)
    with gate.visit(ADA) as visit:
        assert not visit.is_on("baner")
    assert gate.health().unknown == {"baner": 3}
    assert errors(caplog) == [f"flag 'baner' is not in {store.url}; it is off; did you mean 'banner'?"]
    assert str(gate.explain("baner", ADA)) == "there is no flag baner; off"


def test_names_that_visitors_make_up_fill_no_memory(store: SqlStore, open_gate: OpenGate) -> None:
    bring(store)
    gate = open_gate(store)
    logging.disable()
    try:
        for number in range(3000):
            gate.is_on(f"made-up-{number}", ADA)
    finally:
        logging.disable(logging.NOTSET)
    counted = gate.health().unknown
    assert len(counted) == 1000
    assert gate.decide("made-up-2999", ADA).reason == "unknown"


@pytest.mark.parametrize(
    ("flag", "context"),
    [
        pytest.param("tiered", Context(tier=["pro"]), id="an attribute that cannot be hashed"),  # type: ignore[arg-type]  # the point
        pytest.param("tuned", Context(attributes={"mood": Touchy()}), id="an own attribute that cannot be compared"),
        pytest.param("tiered", {"tier": "pro"}, id="a dict instead of a context"),
    ],
)
def test_a_rule_that_fails_is_off_said_and_counted(
    store: SqlStore, open_gate: OpenGate, caplog: pytest.LogCaptureFixture, flag: str, context: Any
) -> None:
    bring(
        store, FLAGS + '[flags.tuned]\ndescription = "x"\nowner = "owner@example.com"\naudience = { mood = "good" }\n'
    )
    for name in ("tiered", "tuned", "banner"):
        turn(store, Verb.ON, name)
    turn(store, Verb.START, "half")
    gate = open_gate(store)
    assert gate.decide(flag, context) == Decision(flag, False, "fault")
    assert not gate.is_on(flag, context)
    with gate.visit(context):
        assert not gate.is_on(flag)
        assert gate.is_on("banner")
    assert gate.health().faults == {flag: 3}
    assert len(errors(caplog)) == 1
    assert errors(caplog)[0].startswith(f"flag '{flag}' failed and is off: ")
    explained = str(gate.explain(flag, context))
    assert explained.startswith("a rule failed: ")
    assert explained.endswith("; off")


def test_a_key_that_no_encoding_knows_is_off_and_said(store: SqlStore, tmp_path: Path) -> None:
    """In a process of its own: a hash written in C may take it badly."""
    bring(store)
    turn(store, Verb.START, "half")
    script = """
import logging, sys
from flaggate import Context, Gate
logging.disable()
gate = Gate.open(sys.argv[1])
print(gate.decide("half", Context("\\ud800")).reason, gate.health().faults)
"""
    assert run(tmp_path, script, store.url) == "fault {'half': 1}\n"


ROLLOUT: dict[str, Any] = {
    "flag": "broken", "salt": "broken", "status": "running", "since": NOW.isoformat(), "owner": "owner@example.com",
    "deputies": [], "accepted_by": None, "stage": 0, "attempt": 1, "revision": 0, "killed": False,
}  # fmt: skip
FLAG = {"description": "x", "owner": "owner@example.com"}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"flag": 1}, id="no rollout"),
        pytest.param({"flag": {"description": 3}, "rollout": ROLLOUT}, id="a flag with mistakes"),
        pytest.param({"flag": FLAG, "rollout": ROLLOUT}, id="running without a stage"),
        pytest.param({"flag": FLAG, "rollout": ROLLOUT | {"stage": "one"}}, id="a stage that is no number"),
        pytest.param({"flag": FLAG, "rollout": ROLLOUT | {"status": "asleep"}}, id="a status of another version"),
    ],
)
def test_a_stored_flag_that_nobody_can_read_is_off_and_the_others_go_on(
    store: SqlStore, open_gate: OpenGate, caplog: pytest.LogCaptureFixture, document: dict[str, Any]
) -> None:
    bring(store)
    turn(store, Verb.ON, "banner")
    gate = open_gate(store)
    assert gate.is_on("banner", ADA)
    put(store, "flag", "broken", document)
    gate.refresh()
    gate.refresh()
    assert gate.decide("broken", ADA) == Decision("broken", False, "fault")
    assert gate.is_on("banner", ADA)
    turn(store, Verb.KILL, "banner")
    gate.refresh()
    assert gate.decide("banner", ADA).reason == "killed"
    assert [message for message in errors(caplog) if message.startswith("flag 'broken' is off: ")] == errors(caplog)
    assert len(errors(caplog)) == 1
    assert str(gate.explain("broken", ADA)).endswith("; off")


def test_a_segment_that_nobody_can_read_turns_off_who_asks_it(
    store: SqlStore, open_gate: OpenGate, caplog: pytest.LogCaptureFixture
) -> None:
    bring(store, FLAGS + FRIENDS)
    turn(store, Verb.ON, "friendly")
    turn(store, Verb.ON, "banner")
    gate = open_gate(store)
    assert gate.is_on("friendly", ADA)
    put(store, "segment", "friends", {"unit": 5})
    gate.refresh()
    assert gate.decide("friendly", ADA).reason == "fault"
    assert gate.is_on("banner", ADA)
    assert str(gate.explain("friendly", ADA)) == "segment friends is missing or cannot be read; off"
    assert errors(caplog) == ["flag 'friendly' is off: segment friends is missing or cannot be read"]
    put(store, "segment", "friends", {"unit": "user", "members": ["bob"]})
    gate.refresh()
    assert gate.is_on("friendly", Context("bob"))
    assert not gate.is_on("friendly", ADA)


def test_a_segment_that_is_gone_turns_off_who_asks_it(store: SqlStore, open_gate: OpenGate) -> None:
    bring(store, FRIENDS)
    turn(store, Verb.ON, "friendly")
    gate = open_gate(store)
    assert gate.is_on("friendly", ADA)
    row = store.get("segment", "friends")
    assert row is not None
    store.commit([Write("segment", "friends", row.version, None)], [])
    gate.refresh()
    assert gate.decide("friendly", ADA).reason == "fault"


def test_a_switch_goes_on_and_off(store: SqlStore, open_gate: OpenGate) -> None:
    bring(store)
    gate = open_gate(store)
    answers = []
    for verb in (Verb.ON, Verb.KILL, Verb.UNKILL, Verb.OFF):
        turn(store, verb, "banner")
        gate.refresh()
        answers.append(gate.decide("banner", ADA))
    assert [(answer.is_on, answer.reason) for answer in answers] == [
        (True, "on"), (False, "killed"), (True, "on"), (False, "off"),
    ]  # fmt: skip
    assert all(answer.stage is None and answer.arm is None for answer in answers)


def test_everything_is_off_while_nothing_was_ever_seen(
    open_gate: OpenGate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = SqlStore(f"sqlite:///{tmp_path}/not-there.db", create=False)
    gate = open_gate(missing)
    assert gate.decide("banner", ADA) == Decision("banner", False, "unknown")
    assert gate.decisions(ADA) == {}
    with gate.visit(ADA) as visit:
        assert not visit.is_on("banner")
    health = gate.health()
    assert health.revision == 0
    assert health.problem is not None
    assert "there is no such file" in health.problem
    assert f"flag 'banner' is off: nothing was ever seen of {missing.url}" in errors(caplog)


def test_health_before_the_first_question(store: SqlStore, open_gate: OpenGate) -> None:
    assert open_gate(store).health()[:5] == (0, False, None, {}, {})


def test_a_log_handler_may_ask_a_flag_and_may_fail(
    store: SqlStore, open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(store)
    put(store, "flag", "broken", {})
    gate = open_gate(store)
    asked = []

    def ask_and_fail(record: logging.LogRecord) -> bool:
        asked.append(gate.is_on("banner", ADA))
        raise RuntimeError("the log is full")

    logger = logging.getLogger("flaggate")
    monkeypatch.setattr(logger, "filters", [*logger.filters, ask_and_fail])
    assert gate.decide("unheard-of", ADA) == Decision("unheard-of", False, "unknown")
    assert asked == [False, False]  # of the flag that cannot be read, in the first pull; of the one that is not there


def test_a_closed_gate_answers_as_before(store: SqlStore, open_gate: OpenGate) -> None:
    bring(store)
    turn(store, Verb.ON, "banner")
    gate = open_gate(store)
    assert gate.is_on("banner", ADA)
    gate.close()
    turn(store, Verb.KILL, "banner")
    assert gate.is_on("banner", ADA)
    with gate.visit(ADA) as visit:
        assert visit.is_on("banner")


def test_a_gate_closed_before_it_was_asked_answers_off(store: SqlStore, open_gate: OpenGate) -> None:
    bring(store)
    gate = open_gate(store, background=True)
    gate.close()
    assert not gate.is_on("banner", ADA)
    assert not gate.health().is_keeper_alive


def test_a_url_that_names_no_store_is_refused_at_once() -> None:
    with pytest.raises(StoreError, match="names no store"):
        Gate.open("mongodb://flags")


def test_a_gate_opens_a_url_and_changes_it_by_its_control(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/flags.db"
    gate = Gate.open(url)
    assert not gate.is_on("banner", ADA)
    assert "there is no such file; flaggate apply makes it" in str(gate.health().problem)
    assert list(tmp_path.iterdir()) == [], "an app that only asks makes no store"
    with closing(open_store(url)) as store:
        bring(store)
    gate.refresh()
    gate.control.act(Verb.ON, "banner", actor="owner@example.com")
    gate.refresh()
    assert gate.is_on("banner", ADA)
    gate.close()


def test_two_gates_do_not_mix(open_gate: OpenGate) -> None:
    one, other = MemoryStore(), MemoryStore()
    for store in (one, other):
        bring(store)
    turn(one, Verb.ON, "banner")
    gates = open_gate(one), open_gate(other)
    assert [gate.is_on("banner", ADA) for gate in gates] == [True, False]
    with gates[0].visit(ADA):
        assert [gate.is_on("banner") for gate in gates] == [True, False]
