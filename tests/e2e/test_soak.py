"""The soak, for as long as a test may take; and that it would tell a worker that grows."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak import MB_AN_HOUR, NOISE_MB, Sample, Span, soak

pytest.importorskip("gunicorn", reason="pip install gunicorn")


@pytest.mark.long
def test_half_a_minute_of_load_and_changes(tmp_path: Path) -> None:
    """Every request is counted where it belongs, and no worker is lost or grows."""
    soaked = soak("sqlite", tmp_path, 30, per_second=60, every=0.5)
    assert soaked.problems == []
    assert soaked.counted == soaked.sent
    assert {"kill", "unkill", "advance", "rollback", "restart", "edit of the share"} <= soaked.done.keys()
    assert {arm for _, _, arm in soaked.sent} == {"on", "off", "treatment", "control"}
    assert soaked.requests() > 300


def span(minutes: float, mb_an_hour: float = 0.0, threads: int = 0, files: int = 0) -> Span:
    """A minute between samples; at each tenth one of the threads and files is gone for a moment, or one more is there."""
    samples = []
    for minute in range(round(minutes) + 1):
        wave = (minute % 10 == 3) - (minute % 10 == 7)
        last = minute > minutes / 2
        rss = 50 + mb_an_hour * minute / 60 + 0.3 * wave
        samples.append(Sample(60.0 * minute, rss, 3 + wave + threads * last, 10 + wave + files * last))
    return Span(samples)


@pytest.mark.parametrize("minutes", [10, 60, 600])
def test_what_stays_as_it_is_is_no_problem(minutes: float) -> None:
    assert [*span(minutes).problems()] == []
    assert [*span(minutes, mb_an_hour=0.9 * MB_AN_HOUR).problems()] == []


def test_each_kind_of_growth_is_told() -> None:
    (problem,) = span(600, mb_an_hour=1.5 * MB_AN_HOUR).problems()
    assert problem.startswith("memory grew by 60.0 MB in 600.0 min; 40.0 are allowed")
    (problem,) = span(15, mb_an_hour=4 * 1.5 * NOISE_MB).problems()
    assert problem.startswith("memory grew by 6.")
    assert [*span(60, threads=1).problems()] == ["threads grew from 2 to 3"]
    assert [*span(60, files=2).problems()] == ["files grew from 9 to 11"]
