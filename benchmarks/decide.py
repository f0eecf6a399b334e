"""Deciding beside a hand-written function that does the same checks. Prints a table; takes about a minute.

    python benchmarks/decide.py

Both get the same ready-made contexts. Each figure is the median of 20 runs on the thread's CPU clock,
taken in turn with the hand-written function's, and the ratio is the median of the pairs' ratios.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import timeit
import tracemalloc
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.peers.plan import STAGE, by_hand
from flaggate import Context, Gate
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores.memory import MemoryStore

RUNS = 20
CALLS = 20_000
PLAN = (Path(__file__).parents[1] / "src" / "flaggate" / "cli" / "demo" / "plan.toml").read_text()

# --- measuring ------------------------------------------------------------------------------


def compare(name: str, call: str, reference: str, **names: Any) -> None:
    """Time two expressions in turn; written out, so that no wrapper's price hides the difference."""
    timers = [timeit.Timer(text, timer=time.thread_time, globals=names) for text in (call, reference)]
    pairs = [tuple(timer.timeit(CALLS) / CALLS * 1e9 for timer in timers) for _ in range(RUNS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"| {name:<52} | {ours:>7.0f} ns | {theirs:>7.0f} ns | {ratio:>5.2f} |")


def gate_with(more_flags: int = 0, members: int = 0) -> Gate:
    """A gate whose new-invoicing stands at "tenth"; its other flags are copies of it, or ask a segment."""
    text = PLAN
    for number in range(more_flags):
        text += PLAN.replace("new-invoicing", f"other-{number}")
    if members:
        names = ", ".join(f'"member-{number}"' for number in range(members))
        text += f'\n[segments.pilot]\nunit = "user"\nmembers = [{names}]\n'
        text += '\n[flags.pilot]\ndescription = "x"\nowner = "x"\naudience = {segment = "pilot"}\n'
    control = Control(MemoryStore())
    control.apply(parse(text), actor="bench")
    for name in ["new-invoicing", *(f"other-{number}" for number in range(more_flags))]:
        control.act(Verb.START, name, actor="release-owner@example.com")
        for _ in range(STAGE - 1):
            control.act(Verb.ADVANCE, name, actor="bench", reason="bench")
    if members:
        control.act(Verb.ON, "pilot", actor="bench")
    gate = Gate.open(control.store, background=False)
    gate.refresh()
    return gate


def main() -> None:
    staff = Context("user-1", account="a-1", staff=True, city="Leeds", country="GB", tier="free")
    falls_through = Context("user-2", account="a-1", city="Leeds", country="GB", tier="free")
    few, many = gate_with(), gate_with(more_flags=2_000)
    for context in (staff, falls_through):
        assert few.is_on("new-invoicing", context) == by_hand(context)
    print(f"Python {sys.version.split()[0]}\n")
    print("| call | ours | beside it | ratio |\n|---|---|---|---|")
    names: dict[str, Any] = {"few": few, "many": many, "by_hand": by_hand, "context": staff}
    ask = "{}.is_on('new-invoicing', context)"
    for words, names["context"] in (("no hash (staff)", staff), ("falls through to the share", falls_through)):
        compare(f"is_on, {words} / by hand", ask.format("few"), "by_hand(context)", **names)
        compare(f"decide, {words} / by hand", "few.decide('new-invoicing', context)", "by_hand(context)", **names)
        compare(f"is_on, {words}, 2 001 flags / 1 flag", ask.format("many"), ask.format("few"), **names)
    ten, hundred_thousand, member = gate_with(members=10), gate_with(members=100_000), Context("member-7")
    compare(
        "is_on, segment of 100 000 / of 10",
        "large.is_on('pilot', member)",
        "small.is_on('pilot', member)",
        large=hundred_thousand,
        small=ten,
        member=member,
    )
    with few.visit(falls_through):
        compare(
            "is_on, already answered in this visit / by hand", "few.is_on('new-invoicing')", "by_hand(context)", **names
        )
    names["flags"] = [f"other-{number}" for number in range(100)]
    compare(
        "100 different flags of 2 001 / 100 times by hand",
        "for flag in flags: many.is_on(flag, context)",
        "for flag in flags: by_hand(context)",
        **names,
    )
    _loading()
    _importing()


def _loading() -> None:
    store = gate_with(more_flags=2_000).store
    start = time.perf_counter()
    Gate.open(store, background=False).refresh()
    seconds = time.perf_counter() - start
    tracemalloc.start()
    gate = Gate.open(store, background=False)
    gate.refresh()
    size = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    assert gate.health().revision  # still there while its size was taken
    print(f"\nLoading 2 001 flags from a store in memory: {seconds * 1000:.0f} ms, {size:.1f} MB")


def _importing() -> None:
    """Whole processes, in turn: bare Python beside one that imports the package."""
    seconds: dict[str, list[float]] = {"pass": [], "import flaggate": []}
    for _ in range(RUNS):
        for code, found in seconds.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            found.append(time.perf_counter() - start)
    bare, ours = (statistics.median(found) * 1000 for found in seconds.values())
    print(f"import flaggate: {ours - bare:.0f} ms over bare Python ({bare:.0f} ms)")


if __name__ == "__main__":
    main()
