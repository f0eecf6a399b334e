"""What was counted, for a Prometheus server that scrapes the app: the sums of all processes, whichever answers.

from prometheus_client import REGISTRY, make_asgi_app
REGISTRY.register(FlaggateCollector(gate))
app.mount("/metrics", make_asgi_app())
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from flaggate.errors import StoreError, UnreadableError
from flaggate.rollout.edges import EDGES_MS
from flaggate.rollout.seen import Tally, added_up
from flaggate.rollout.state import Rollout, Status
from flaggate.runtime.gate import Gate
from flaggate.runtime.judging import tally_of
from flaggate.stores.base import Count
from flaggate.stores.record import rollout_of

__all__ = ["FlaggateCollector"]

_EDGES_MS: Final = EDGES_MS[::4]
"""Six to a power of ten: each of them is a series."""


class FlaggateCollector(Collector):
    """Reads the store when it is scraped: its sums are of all workers, so that there is nothing to merge.

    A store that does not answer leaves the samples out, and `flaggate_up` is 0.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def describe(self) -> Iterable[Metric]:
        """Nothing: to register it asks no store."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All samples."""
        try:
            counts = self._gate.store.counts()
        except StoreError:
            yield GaugeMetricFamily("flaggate_up", "Whether the store of the flags answers.", 0)
            return
        yield GaugeMetricFamily("flaggate_up", "Whether the store of the flags answers.", 1)
        yield from _counted(_by_arm(counts))
        stage = GaugeMetricFamily("flaggate_stage", "The current stage, counted from 1; 0 = none.", labels=["flag"])
        killed = GaugeMetricFamily("flaggate_killed", "Whether the flag is killed.", labels=["flag"])
        status = GaugeMetricFamily("flaggate_status", "1 for the status that it has.", labels=["flag", "status"])
        for name, rollout in _rollouts(self._gate):
            stage.add_metric([name], rollout.stage)
            killed.add_metric([name], rollout.killed)
            for one in Status:
                status.add_metric([name, one.value], rollout.status is one)
        yield from (stage, killed, status)


def _rollouts(gate: Gate) -> Iterator[tuple[str, Rollout]]:
    for row in gate.begun().flag_rows():
        with suppress(UnreadableError):  # those who ask it say so
            yield row.name, rollout_of(row)


def _by_arm(counts: Iterable[Count]) -> Mapping[tuple[str, str], Tally]:
    """Over all attempts and stages: a counter only grows."""
    found: dict[tuple[str, str], list[Tally]] = {}
    for count in counts:
        found.setdefault((count.flag, count.arm), []).append(tally_of(count))
    return {key: added_up(tallies) for key, tallies in found.items()}


def _counted(tallies: Mapping[tuple[str, str], Tally]) -> Iterator[Metric]:
    labels = ["flag", "arm"]
    requests = CounterMetricFamily("flaggate_requests", "Finished requests that asked the flag.", labels=labels)
    errors = CounterMetricFamily("flaggate_errors", "Those of them that failed.", labels=labels)
    took = HistogramMetricFamily(
        "flaggate_request_duration_seconds", "How long they took, as far as they were timed.", labels=labels
    )
    for key, tally in tallies.items():
        requests.add_metric(key, tally.requests)
        errors.add_metric(key, tally.errors)
        took.add_metric(key, list(_buckets(tally.histogram)), sum_value=None)
    yield from (requests, errors, took)


def _buckets(histogram: Mapping[str, int]) -> Iterator[tuple[str, float]]:
    """Cumulative, in seconds, as Prometheus has them. Always the same ones: one that came with its first request would
    begin at whatever is below it, and rate() would miss that."""
    edges = [(float(edge), count) for edge, count in histogram.items()]
    for milliseconds in (*_EDGES_MS, float("inf")):
        passed = sum(count for edge, count in edges if edge <= milliseconds)
        yield "+Inf" if milliseconds == float("inf") else f"{milliseconds / 1000:.6g}", passed
