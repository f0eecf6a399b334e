"""What is kept of a rollout, and how an event is told."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flaggate import Stage
from flaggate.rollout.state import (
    EXPOSING,
    Approval,
    Event,
    Rollout,
    Status,
    Verb,
    born,
    rollout_from_json,
    rollout_to_json,
)
from tests.rollout.plans import DEPUTY, NOW, OWNER, PLAN, STAFF, SWITCH


def test_a_flag_is_born_off() -> None:
    draft = born(PLAN, NOW)
    assert draft == Rollout("invoicing", "invoicing", Status.DRAFT, NOW, OWNER, (DEPUTY,))
    assert draft.accepted_by is None
    assert born(SWITCH, NOW).status is Status.OFF
    assert born(replace(SWITCH, stages=(Stage("all", STAFF),)), NOW).status is Status.DRAFT
    assert not {Status.DRAFT, Status.OFF, Status.ROLLED_BACK} & EXPOSING


_times = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))]))
_texts = st.text(max_size=5)


@given(
    rollout=st.builds(
        Rollout, _texts, _texts, st.sampled_from(Status), _times, _texts, st.lists(_texts, max_size=2).map(tuple),
        st.none() | _texts, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.booleans(), st.none() | _texts,
        st.none() | st.builds(Approval, _texts, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
        st.none() | st.dictionaries(_texts, st.lists(st.floats(allow_nan=False))),
    )
)  # fmt: skip
def test_json_keeps_all_of_a_rollout(rollout: Rollout) -> None:
    kept: dict[str, Any] = json.loads(json.dumps(rollout_to_json(rollout)))
    assert rollout_from_json(kept) == rollout


def test_an_event_is_told_in_one_line() -> None:
    at = datetime(2026, 3, 2, 14, 5, 6, tzinfo=UTC)
    event = Event("invoicing", Verb.ROLLBACK, OWNER, at)
    assert str(event) == "2026-03-02 14:05:06 UTC owner@example.com rollback"
    assert str(replace(event, reason="errors")) == "2026-03-02 14:05:06 UTC owner@example.com rollback: errors"


def test_what_an_older_flaggate_kept_is_read() -> None:
    kept = rollout_to_json(born(PLAN, NOW))
    for name in ("asked_by", "approval", "breach"):
        del kept[name]
    assert rollout_from_json(kept) == born(PLAN, NOW)
    assert rollout_from_json(kept | {"mood": "good"}) == born(PLAN, NOW), "and what a newer one keeps is passed over"
