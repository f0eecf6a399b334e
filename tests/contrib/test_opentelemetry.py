"""Each flag that is asked is an event of the span in which it was asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flaggate import Context, Gate
from flaggate.contrib.opentelemetry import EVENT, instrument, uninstrument
from flaggate.decide.decision import Decision
from flaggate.rollout.state import Verb
from flaggate.stores.memory import MemoryStore
from tests.runtime.scenes import bring, turn

SPANS = InMemorySpanExporter()
PROVIDER = TracerProvider()
PROVIDER.add_span_processor(SimpleSpanProcessor(SPANS))


@pytest.fixture
def gate() -> Iterator[Gate]:
    store = MemoryStore()
    bring(store)
    turn(store, Verb.ON, "banner")
    turn(store, Verb.START, "half")
    gate = Gate.open(store, background=False)
    gate.refresh()
    instrument(gate)
    yield gate
    gate.close()
    SPANS.clear()


def told(gate: Gate, *names: str, user: str = "ada") -> list[dict[str, object]]:
    """The events of a span in which these flags were asked, each twice."""
    SPANS.clear()
    with PROVIDER.get_tracer("tests").start_as_current_span("request"), gate.visit(Context(user)) as visit:
        for name in (*names, *names):
            visit.is_on(name)
        gate.decisions()
    (span,) = SPANS.get_finished_spans()
    assert all(event.name == EVENT for event in span.events)
    return [dict(event.attributes or {}) for event in span.events]


def test_by_the_semantic_conventions(gate: Gate) -> None:
    assert told(gate, "banner") == [
        {
            "feature_flag.key": "banner",
            "feature_flag.provider.name": "flaggate",
            "feature_flag.result.variant": "on",
            "feature_flag.result.reason": "static",
        }
    ]
    (split,) = told(gate, "half")
    assert split["feature_flag.result.reason"] == "split"
    (off,) = told(gate, "tiered")
    assert (off["feature_flag.result.variant"], off["feature_flag.result.reason"]) == ("off", "disabled")
    (unknown,) = told(gate, "nowhere")
    assert (unknown["feature_flag.result.reason"], unknown["error.type"]) == ("error", "flag_not_found")
    assert "ada" not in repr((split, off, unknown))


def test_outside_of_a_span_and_once_it_is_taken_away_nothing_is_told(gate: Gate) -> None:
    with gate.visit(Context("ada")) as visit:
        assert visit.is_on("banner")
    assert trace.get_current_span().is_recording() is False
    uninstrument(gate)
    assert told(gate, "banner") == []


def test_a_listener_that_fails_keeps_no_request(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    def fails(_decision: Decision) -> None:
        raise ZeroDivisionError

    gate.on_asked = fails
    for _ in range(3):
        with gate.visit(Context("ada")) as visit:
            assert visit.is_on("banner")
    assert [record.getMessage() for record in caplog.records] == [
        "who is told of each flag that is asked failed: ZeroDivisionError()"
    ]
    gate.on_asked = None
    gate.told(Decision("banner", True, "on"))
