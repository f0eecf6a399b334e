"""A check of any input, run a few times in each test run, and up to a million times by `make fuzz`.

FLAGGATE_FUZZ multiplies how many inputs each check sees; FLAGGATE_FUZZ_SEED draws others. The same two give the same inputs.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import thread_time
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

__all__ = ["INPUTS", "SCALE", "SLOWEST", "fuzzed"]

SCALE: Final = float(os.environ.get("FLAGGATE_FUZZ", "1"))
INPUTS: Final = "fuzz inputs"
SLOWEST: Final = "fuzz slowest"
"""What a test records: how many it saw, and the CPU seconds of the slowest."""
_SEED: Final = int(os.environ.get("FLAGGATE_FUZZ_SEED", "0"))
_A_PART: Final = 1000
"""Inputs to one test: Hypothesis keeps what it has tried, and xdist hands out tests."""
_MOST_SECONDS: Final = 20.0
"""Of CPU for one input, which takes milliseconds: what hangs is found, and no busy machine is."""
_SETTINGS: Final = settings(
    deadline=None,
    database=None,
    suppress_health_check=[*HealthCheck],
    phases=[Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
)


def fuzzed(
    inputs: int, world: Callable[[], AbstractContextManager[Any]] | None = None, **drawn: SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a test of a check, which is given values drawn by name.

    Args:
        inputs: How many it sees at scale 1.
        world: What the check works on, and is given first; made anew for each thousand inputs. None = nothing.
    """
    wanted = max(1, round(inputs * SCALE))
    parts = [min(_A_PART, wanted - begun) for begun in range(0, wanted, _A_PART)]

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @pytest.mark.fuzz
        @pytest.mark.parametrize(
            ("part", "inputs"), [*enumerate(parts)], ids=[str(part) for part, _ in enumerate(parts)]
        )
        def test(part: int, inputs: int, record_property: Callable[[str, object], None]) -> None:
            tally, slowest = 0, 0.0
            with nullcontext() if world is None else world() as where:
                given_first = () if world is None else (where,)

                def each(**values: Any) -> None:
                    nonlocal tally, slowest
                    begun = thread_time()
                    check(*given_first, **values)
                    took = thread_time() - begun
                    assert took < _MOST_SECONDS, f"{took:.1f} s of CPU for one input"
                    tally, slowest = tally + 1, max(slowest, took)

                each.__qualname__ = check.__qualname__
                run = seed(_SEED * 1_000_003 + part)(settings(_SETTINGS, max_examples=inputs)(given(**drawn)(each)))
                try:
                    run()
                finally:
                    record_property(INPUTS, tally)
                    record_property(SLOWEST, slowest)
            if SCALE > 1:
                gc.collect()  # which tests do seldom: a long run would hold hundreds of MB that nobody wants

        test.__doc__, test.__module__ = check.__doc__, check.__module__
        return test

    return decorate
