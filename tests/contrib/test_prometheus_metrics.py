"""/metrics: the sums of all processes, whichever is scraped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from flaggate import Gate
from flaggate.contrib.prometheus import FlaggateCollector
from flaggate.errors import StoreError
from flaggate.stores.base import Count, Report, Write
from flaggate.stores.memory import MemoryStore
from tests.runtime.guarded import begin, visits


@pytest.fixture
def open_gate() -> Iterator[Callable[[MemoryStore], Gate]]:
    """Opens gates that this test closes."""
    gates: list[Gate] = []

    def opened(store: MemoryStore) -> Gate:
        gates.append(Gate.open(store, background=False))
        gates[-1].refresh()
        return gates[-1]

    yield opened
    for gate in gates:
        gate.close()


def scraped(gate: Gate) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(FlaggateCollector(gate))
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def test_what_all_processes_counted(open_gate: Callable[[MemoryStore], Gate]) -> None:
    store = MemoryStore()
    begin(store)
    one, other = open_gate(store), open_gate(store)
    for gate in (one, other):
        visits(gate, range(50), fail=lambda number, is_on: is_on and number < 10)
        gate.flush()
    found = scraped(one)
    on, off = (found[f'flaggate_requests_total{{arm="{arm}",flag="checkout"}}'] for arm in ("on", "off"))
    assert on + off == 100
    assert found['flaggate_errors_total{arm="treatment",flag="checkout"}'] > 0
    assert found['flaggate_request_duration_seconds_bucket{arm="on",flag="checkout",le="+Inf"}'] == on
    assert found['flaggate_stage{flag="checkout"}'] == 1
    assert found['flaggate_status{flag="checkout",status="running"}'] == 1
    assert found['flaggate_status{flag="checkout",status="draft"}'] == 0
    assert found['flaggate_killed{flag="checkout"}'] == 0
    assert found["flaggate_up"] == 1
    assert {key for key in scraped(other) if key.startswith("flaggate")} == {
        key for key in found if key.startswith("flaggate")
    }


def test_the_buckets_are_the_same_whatever_was_counted(open_gate: Callable[[MemoryStore], Gate]) -> None:
    """One that came later would begin with what is below it, and rate() would not see that."""
    store = MemoryStore()
    begin(store)
    gate = open_gate(store)
    store.add_counts(Report("p", 1, (Count("checkout", 1, 1, "on", 9, 0, {"5.1": 4, "400": 3, "inf": 2}),)))
    store.add_counts(Report("p", 2, (Count("checkout", 1, 1, "off", 1, 0, {"100": 1}),)))
    found: dict[str, dict[str, float]] = {"on": {}, "off": {}}
    for name, value in scraped(gate).items():
        if match := re.fullmatch(r'flaggate_request_duration_seconds_bucket\{arm="(\w+)".*le="(.+)"\}', name):
            found[match[1]][match[2]] = value
    assert found["on"].keys() == found["off"].keys()
    assert {edge: found["on"][edge] for edge in ("0.0047", "0.0068", "0.33", "0.47", "47", "+Inf")} == {
        "0.0047": 0, "0.0068": 4, "0.33": 4, "0.47": 7, "47": 7, "+Inf": 9,
    }  # fmt: skip
    assert list(found["on"].values()) == sorted(found["on"].values())


def test_a_store_that_does_not_answer(
    open_gate: Callable[[MemoryStore], Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    gate = open_gate(store)

    def fails(*_: object) -> None:
        raise StoreError("memory://", "it is tired")

    monkeypatch.setattr(store, "counts", fails)
    assert scraped(gate) == {"flaggate_up": 0.0}


def test_a_flag_that_cannot_be_read_is_left_out(open_gate: Callable[[MemoryStore], Gate]) -> None:
    store = MemoryStore()
    begin(store)
    store.commit([Write("flag", "odd", 0, {"rollout": 3})], [])
    found = scraped(open_gate(store))
    assert 'flaggate_stage{flag="checkout"}' in found
    assert 'flaggate_stage{flag="odd"}' not in found


def test_registering_asks_nothing(open_gate: Callable[[MemoryStore], Gate], monkeypatch: pytest.MonkeyPatch) -> None:
    gate = open_gate(MemoryStore())
    monkeypatch.setattr(gate.store, "counts", None)
    CollectorRegistry(auto_describe=True).register(FlaggateCollector(gate))
