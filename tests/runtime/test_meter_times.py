"""How long requests took, and those that never answer."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaggate import Context, Gate
from flaggate.flags.document import parse
from flaggate.rollout.edges import EDGES_MS
from flaggate.rollout.state import Verb
from flaggate.runtime import duties as duties_module
from flaggate.runtime import visit as visit_module
from flaggate.runtime.meter import HANG_SECONDS
from flaggate.runtime.visit import Visit
from flaggate.stores.memory import MemoryStore
from tests.runtime.conftest import OpenGate
from tests.runtime.scenes import bring, seen, turn, until

LIMITS = (220, 400, 820, 1_234_567)
"""In milliseconds: among the edges already, between two, and beyond all."""

PLAN = """
[flags.banner]
description = "A switch"
owner = "owner@example.com"

[flags.guarded]
description = "With limits of its own"
owner = "owner@example.com"
stages = [
    { name = "some", share = 50, soak = "0s", guards = [{ metric = "slow", slower_than = "1234567ms", limit = "5%" }] },
    { name = "everyone" },
]
guards = [
    { metric = "errors", limit = "1%" },
    { metric = "slow", slower_than = "220ms", limit = "5%" },
    { metric = "slow", slower_than = "400ms", limit = "5%" },
    { metric = "slow", slower_than = "820ms", limit = "5%" },
]
"""


def make_gate(open_gate: OpenGate, **options: Any) -> Gate:
    store = MemoryStore()
    bring(store, PLAN)
    turn(store, Verb.ON, "banner")
    return open_gate(store, **options)


@pytest.fixture
def gate(open_gate: OpenGate) -> Gate:
    return make_gate(open_gate)


def histogram(gate: Gate, name: str) -> Mapping[str, int]:
    """Of the one answer that was given."""
    gate.flush()
    (count,) = gate.store.counts(name)
    return count.histogram


def took(gate: Gate, name: str, milliseconds: float | None) -> None:
    """A request that asked the flag took so long."""
    visit = gate.visit(Context("ada"))
    visit.is_on(name)
    gate.meter.count(visit, is_error=False, milliseconds=milliseconds)


# --- edges ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("milliseconds", "edge"),
    [
        (0.0, "1"),
        (1.0, "1"),
        (1.0001, "1.1"),
        (8.2, "8.2"),
        (10.0, "10"),
        (220.0, "220"),
        (400.0, "430"),
        (820.0, "820"),
        (820.1, "910"),
        (56_000.0, "56000"),
        (56_000.1, "inf"),
    ],
)
def test_a_request_is_counted_under_the_first_edge_that_it_did_not_exceed(
    gate: Gate, milliseconds: float, edge: str
) -> None:
    took(gate, "banner", milliseconds)
    assert histogram(gate, "banner") == {edge: 1}


@pytest.mark.parametrize("limit", LIMITS)
def test_the_limit_of_a_guard_is_an_edge(gate: Gate, limit: int) -> None:
    """So that "slower than 400 ms" is counted exactly; the guards of all stages are there from the start."""
    for milliseconds in (limit - 0.01, limit, limit + 0.01):
        took(gate, "guarded", milliseconds)
    counts = histogram(gate, "guarded")
    assert counts[str(limit)] == 2
    assert sum(counts.values()) == 3
    assert sum(count for edge, count in counts.items() if float(edge) > limit) == 1


def test_the_edges_are_a_tenth_apart_and_no_edge_is_written_like_another() -> None:
    assert sorted(set(EDGES_MS)) == list(EDGES_MS)
    assert {float(f"{edge:g}") for edge in EDGES_MS} == set(EDGES_MS)
    steps = [above / below for below, above in pairwise(EDGES_MS)]
    assert min(steps) > 1.06
    assert max(steps) < 1.17


_times = st.lists(st.one_of(st.floats(0, 2_000_000), st.sampled_from([*EDGES_MS, *map(float, LIMITS)])), max_size=50)


@given(times=_times)
def test_every_request_is_under_exactly_one_edge(times: list[float]) -> None:
    store = MemoryStore()
    bring(store, PLAN)
    gate = Gate.open(store)
    for milliseconds in times:
        took(gate, "guarded", milliseconds)
    gate.close()
    edges = sorted({*EDGES_MS, *map(float, LIMITS)})
    expected: dict[float, int] = {}
    for milliseconds in times:
        index = bisect_left(edges, milliseconds)
        edge = edges[index] if index < len(edges) else float("inf")
        expected[edge] = expected.get(edge, 0) + 1
    found = [count.histogram for count in store.counts()]
    assert [{float(edge): count for edge, count in each.items()} for each in found] == ([expected] if times else [])


def test_without_a_time_a_request_is_counted_and_the_histogram_has_none_of_it(gate: Gate) -> None:
    """A stream lasts as long as it lasts."""
    took(gate, "banner", None)
    took(gate, "banner", 5.0)
    assert histogram(gate, "banner") == {"5.1": 1}
    assert seen(gate) == {("banner", 0, 0, "on"): (2, 0)}


def test_a_visit_is_measured_from_its_start_to_its_end(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.25])
    monkeypatch.setattr(visit_module, "perf_counter", lambda: next(clock))
    with gate.visit(Context("ada")) as visit:
        visit.is_on("banner")
    assert histogram(gate, "banner") == {"270": 1}


def test_a_new_limit_is_an_edge_from_then_on(gate: Gate) -> None:
    took(gate, "guarded", 450.0)
    plan = parse(PLAN.replace('"400ms"', '"450ms"'))
    gate.control.apply(plan, actor="owner@example.com")
    gate.refresh()
    took(gate, "guarded", 450.0)
    assert histogram(gate, "guarded") == {"470": 1, "450": 1}


# --- clients that leave ---------------------------------------------------------------------


def test_a_client_that_left_before_the_response_is_a_lower_bound_and_no_request(gate: Gate) -> None:
    visit = gate.visit(Context("ada"))
    visit.is_on("banner")
    gate.meter.count_gone(visit, 5_000.0)
    took(gate, "banner", 5.0)
    assert histogram(gate, "banner") == {"5100": 1, "5.1": 1}
    assert seen(gate) == {("banner", 0, 0, "on"): (1, 0)}


def test_who_left_is_not_counted_again(gate: Gate) -> None:
    visit = gate.visit(Context("ada"))
    with visit:
        visit.is_on("banner")
        visit.is_on("nowhere")
        gate.meter.count_gone(visit, 5_000.0)
        gate.meter.count_gone(visit, 9_000.0)
    assert histogram(gate, "banner") == {"5100": 1}
    assert seen(gate) == {("banner", 0, 0, "on"): (0, 0)}


# --- hangs ----------------------------------------------------------------------------------


class Request(Visit):
    """A request as a server has it: it asks, then its response starts, or does not."""

    is_started = False

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate, gate.begun(), Context("ada"))
        self.meter = gate.meter

    def __enter__(self) -> Request:
        super().__enter__()
        self.is_on("banner")
        self.meter.waiting[self] = self
        return self

    def waits(self) -> bool:
        return not self.is_started


def test_a_request_that_hangs_is_an_error_at_once_and_is_not_counted_at_its_end(open_gate: OpenGate) -> None:
    gate = make_gate(open_gate, hang_seconds=0.0)
    with Request(gate):
        gate.keep()
        (count,) = gate.store.counts()  # without waiting for the next flush
        assert (count.flag, count.requests, count.errors, count.histogram) == ("banner", 1, 1, {})
        gate.keep()
    assert seen(gate) == {("banner", 0, 0, "on"): (1, 1)}


def test_who_hangs_and_fails_or_leaves_at_last_is_one_error(open_gate: OpenGate) -> None:
    gate = make_gate(open_gate, hang_seconds=0.0)

    def hang_and_fail() -> None:
        with Request(gate):
            gate.keep()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        hang_and_fail()
    with Request(gate) as request:
        gate.keep()
        gate.meter.count_gone(request, 30_000.0)
    assert seen(gate) == {("banner", 0, 0, "on"): (2, 2)}


def test_a_response_that_started_may_take_its_time(open_gate: OpenGate) -> None:
    gate = make_gate(open_gate, hang_seconds=0.0)
    with Request(gate) as request:
        request.is_started = True
        gate.keep()
        assert gate.store.counts() == []
    assert seen(gate) == {("banner", 0, 0, "on"): (1, 0)}


def test_a_response_that_started_and_is_never_ended_is_forgotten(open_gate: OpenGate) -> None:
    """Some test clients close nothing."""
    gate = make_gate(open_gate, hang_seconds=0.0)
    request = Request(gate).__enter__()
    request.is_started = True
    gone = ref(request)
    gate.keep()
    gate.current.set(None)
    del request
    assert gone() is None


def test_a_request_that_waits_for_less_than_that_does_not_hang(open_gate: OpenGate) -> None:
    gate = make_gate(open_gate, hang_seconds=3600.0)
    with Request(gate):
        gate.refresh()
        assert gate.store.counts() == []
    assert seen(gate) == {("banner", 0, 0, "on"): (1, 0)}


def test_a_request_that_ended_does_not_hang(open_gate: OpenGate) -> None:
    gate = make_gate(open_gate, hang_seconds=0.0)
    with Request(gate):
        pass
    left = Request(gate)
    left.begun = 0.0
    gate.meter.waiting[left] = left
    gate.meter.leave(left)
    gate.keep()
    assert seen(gate) == {("banner", 0, 0, "on"): (1, 0)}


def test_the_keeper_finds_it(open_gate: OpenGate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duties_module, "FLUSH_SECONDS", 3600.0)
    gate = make_gate(open_gate, background=True, hang_seconds=0.01)
    with Request(gate):
        until(gate.store.counts, "the hang is counted")
    gate.close()
    assert [(count.requests, count.errors) for count in gate.store.counts()] == [(1, 1)]


def test_a_request_hangs_after_twenty_seconds_unless_told_otherwise() -> None:
    assert HANG_SECONDS == 20.0
