"""What guards say, in a table and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flaggate.cli.render import line, print_table
from flaggate.flags.model import Guard
from flaggate.rollout.evidence import sure
from flaggate.rollout.tick import verdict_to_json
from flaggate.rollout.verdict import Verdict
from flaggate.rollout.verdict_words import allowed_words, sure_words
from flaggate.runtime.overview import Standing

__all__ = ["guards_to_json", "print_guards", "print_verdicts"]


def guards_to_json(standing: Standing) -> list[dict[str, Any]] | None:
    """Each verdict with its numbers and its words; None = nothing was judged yet."""
    judgement = standing.judgement
    if judgement is None:
        return None
    return [verdict_to_json(verdict, standing.flag.unit) for verdict in judgement.verdicts]


def print_guards(standing: Standing) -> None:
    """The table, if there is anything to show."""
    judgement = standing.judgement
    if judgement is None or not judgement.verdicts:
        return
    print_verdicts(judgement.verdicts)


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """The same for any verdicts."""
    line("guards:")
    columns = ("", "allowed", "with it", "95 % of", "without", "requests", "evidence", "sure", "verdict")
    print_table(columns, [tuple(_cells(verdict)) for verdict in verdicts])


def _cells(verdict: Verdict) -> Iterator[str]:
    guard, numbers = verdict.guard, verdict.numbers
    yield _name(guard)
    yield allowed_words(guard)
    if guard.query is not None or "requests" not in numbers:
        value = numbers.get("value")
        yield from ("-" if value is None else f"{value:.4g}", "-", "-", "-", "-", "-")
    else:
        yield _percent(numbers["rate"])
        yield f"{_percent(numbers['low'])} to {_percent(numbers['high'])}" if numbers["requests"] else "-"
        yield _percent(numbers["control_rate"])
        control = f" / {numbers['control_requests']:,}" if numbers["control_requests"] else ""
        yield f"{numbers['requests']:,}{control}"
        evidence = numbers["evidence"]
        yield f"{evidence:.2g}" if evidence < 1e6 else "over a million"
        yield sure_words(evidence) if sure(evidence) >= 0.5 else "-"
    said = verdict.answer.replace("_", " ")
    yield f"{said} (observes)" if guard.observe else said


def _name(guard: Guard) -> str:
    return guard.metric if guard.slower_than_ms is None else f"{guard.metric} (over {guard.slower_than_ms:,} ms)"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2g} %" if fraction < 0.0995 else f"{100 * fraction:.0f} %"
