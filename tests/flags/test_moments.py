"""`not_before`: one moment is one moment, in whatever zone and syntax it was written."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaggate.errors import RevisionError
from flaggate.flags import fields
from flaggate.flags.canonical import flag_to_json, segment_to_json
from flaggate.flags.difference import Change, difference
from flaggate.flags.document import flag_from_json, parse
from flaggate.flags.model import Flag
from flaggate.flags.place import Place
from flaggate.flags.words import condition_words
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores.memory import MemoryStore
from flaggate.stores.record import read_flag
from tests.runtime.control_plans import TO_THE_WATCH, act, control_of

NINE: Final = datetime(2026, 12, 1, 9, tzinfo=UTC)
THE_SAME: Final = [
    "2026-12-01T09:00:00Z",
    "2026-12-01 09:00:00+00:00",
    "2026-12-01T10:00:00.000+01:00",
    "2026-11-30T23:30:00-09:30",
]


def written(moment: str, text: str = "{}") -> str:
    """The text of a plan that leaves its first stage no earlier."""
    return f"""
    flags.a = {{ description = "A", owner = "owner@example.com", stages = [
        {{ name = "half", share = 50, not_before = {text.format(moment)} }}, {{ name = "everyone" }},
    ], guards = [{{ metric = "errors", limit = "1%" }}] }}
    """


def flag(moment: str, text: str = "{}") -> Flag:
    return parse(written(moment, text)).flags["a"]


@pytest.mark.parametrize("text", ["{}", '"{}"'], ids=["a date-time of TOML", "text, as in JSON"])
@pytest.mark.parametrize("moment", THE_SAME)
def test_the_same_moment_is_the_same_flag_and_no_difference(moment: str, text: str) -> None:
    one, other = flag(THE_SAME[0]), flag(moment, text)
    assert one == other
    assert other.stages[0].not_before == NINE
    assert flag_to_json(other)["stages"][0]["not_before"] == "2026-12-01T09:00:00+00:00"
    assert list(difference(flag_to_json(one), flag_to_json(other))) == []


@pytest.mark.parametrize("moment", THE_SAME)
def test_nor_is_it_one_in_an_audience(moment: str) -> None:
    of = "[segments.a]\naudience = {{ signed_up = {{ after = {} }} }}".format
    one, other = (parse(of(each)).segments["a"] for each in (THE_SAME[0], moment))
    assert one == other
    assert segment_to_json(one) == segment_to_json(other)


_OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=_OFFSETS), _OFFSETS)
def test_any_moment_reads_back_to_the_microsecond(moment: datetime, offset: timezone) -> None:
    kept = flag_to_json(flag(moment.isoformat(), '"{}"'))
    read = flag_from_json("a", json.loads(json.dumps(kept)))
    assert read.stages[0].not_before == moment
    assert flag_to_json(read) == kept == flag_to_json(flag(moment.astimezone(offset).isoformat(), '"{}"'))


@pytest.mark.parametrize(
    "value",
    [
        "2026-12-01T09:00:00",
        "2026-12-01",
        "09:00",
        "tomorrow",
        "",
        1_796_115_600,
        True,
        datetime(2026, 12, 1, 9),
        NINE.date(),
        NINE.timetz(),
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
    ],
)
def test_no_moment(value: object) -> None:
    place = Place("<test>")
    assert fields.MOMENT.read(value, place) is None
    assert [mistake.allowed for mistake in place.mistakes] == [
        "allowed: a date and time with its zone: 2026-01-01T00:00:00Z"
    ]


def test_another_moment_is_a_difference_and_has_words() -> None:
    one, other = flag(THE_SAME[0]), flag("2026-12-01T09:00:00+02:00")
    assert list(difference(flag_to_json(one), flag_to_json(other))) == [
        Change("stages.half.not_before", "2026-12-01T09:00:00+00:00", "2026-12-01T07:00:00+00:00")
    ]
    assert list(condition_words(other)) == ["not_before Tue 01 Dec 2026 07:00 UTC", ""]


# --- revisions ------------------------------------------------------------------------------------


@pytest.fixture
def control() -> Control:
    return control_of(MemoryStore())


def applied(control: Control, **dates: str) -> Any:
    """Apply a plan of three stages, of which the first two wait for these dates; what changed."""
    stages = [
        {"name": name, "share": share, "not_before": dates[name]} for name, share in (("tenth", 10), ("half", 50))
    ]
    guards = [{"metric": "errors", "limit": "1%"}]
    plan = {
        "description": "A",
        "owner": "owner@example.com",
        "stages": [*stages, {"name": "everyone"}],
        "guards": guards,
    }
    document = json.dumps({"flags": {"a": plan}})
    events = control.apply(parse(document, syntax="json"), actor="owner@example.com").events
    return [change for event in events for change in event.evidence["difference"]]


def test_what_a_running_stage_waits_for_cannot_change_and_a_later_one_s_can(control: Control) -> None:
    applied(control, tenth=THE_SAME[0], half="2026-12-02T09:00:00Z")
    act(control.store, Verb.START, "a")
    assert applied(control, tenth=THE_SAME[3], half="2026-12-02T09:00:00Z") == []  # nothing to change
    later = "2026-12-03T09:00:00Z"
    assert [path for path, *_ in applied(control, tenth=THE_SAME[0], half=later)] == ["stages.half.not_before"]
    with pytest.raises(RevisionError, match=r"stage tenth: what must be true before it is left cannot change"):
        applied(control, tenth=later, half=later)


def test_nor_what_a_stage_before_it_waited_for(control: Control) -> None:
    dates = {"tenth": THE_SAME[0], "half": THE_SAME[0]}
    applied(control, **dates)
    for verb in TO_THE_WATCH:
        act(control.store, verb, "a")
    for stage in dates:
        with pytest.raises(RevisionError, match=f"stage {stage}: what must be true before it is left cannot change"):
            applied(control, **dates | {stage: "2026-12-03T09:00:00Z"})
    assert read_flag(control.store, "a").flag.stages[0].not_before == NINE
