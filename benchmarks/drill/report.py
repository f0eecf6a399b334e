"""What was promised, and what was seen: as lines while the drills run, and as the table of RESULTS.md."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.drill.seen import Drill

__all__ = ["Result", "line", "table"]


@dataclass(frozen=True, slots=True)
class Result:
    """Of one drill on one store."""

    drill: Drill
    store: str
    seen: str
    broken: tuple[str, ...]
    seconds: float

    @property
    def is_kept(self) -> bool:
        return not self.broken


def line(result: Result) -> str:
    """For a terminal."""
    word = "kept  " if result.is_kept else "BROKEN"
    lines = [
        f"{word} {result.drill.name} on {result.store} ({result.seconds:.0f} s)",
        f"  promised: {result.drill.promise}",
    ]
    lines.append(f"  seen: {result.seen}")
    lines += [f"  broken: {words}" for words in result.broken]
    return "\n".join(lines)


def table(results: list[Result]) -> str:
    """In Markdown."""
    rows = ["| drill | store | promised | seen | |", "|---|---|---|---|---|"]
    known = ""
    for result in results:
        name, promise = (result.drill.name, result.drill.promise) if result.drill.name != known else ("", "")
        known = result.drill.name
        word = "kept" if result.is_kept else "**broken**"
        rows.append(f"| {name} | {result.store} | {promise} | {result.seen} | {word} |")
    return "\n".join(rows)
