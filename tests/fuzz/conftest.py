"""At the end of a run: how many inputs each check saw."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.fuzz.counting import INPUTS, SCALE, SLOWEST


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line for each check, and the sum; in a short run the sum alone."""
    seen, slowest = Counter[str](), dict[str, float]()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            said: dict[str, Any] = dict(getattr(report, "user_properties", ()))
            if INPUTS in said and report.when == "call":
                name = report.nodeid.partition("[")[0].rpartition("/")[2]
                seen[name] += said[INPUTS]
                slowest[name] = max(slowest.get(name, 0.0), said[SLOWEST])
    if not seen:
        return
    if SCALE > 1:
        for name, count in sorted(seen.items()):
            terminalreporter.write_line(f"fuzz: {count:>9,}  slowest {slowest[name] * 1000:6.1f} ms  {name}")
    terminalreporter.write_line(f"fuzz: {seen.total():>9,} inputs")
