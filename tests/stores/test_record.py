"""Rows as flags, rollouts and segments."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from flaggate.errors import FlaggateError, UnknownFlagError
from flaggate.flags.document import parse
from flaggate.rollout.state import Status, born
from flaggate.stores.base import Row, Write
from flaggate.stores.memory import MemoryStore
from flaggate.stores.record import document_of, read_flag, record_of, segment_of, segment_write
from tests.seed import SEED

AT = datetime(2026, 3, 2, 9, 0, 0, 123_456, tzinfo=UTC)
FLAG = parse(SEED.read_text()).flags["new-invoicing"]
ROLLOUT = replace(
    born(FLAG, AT), status=Status.PAUSED, accepted_by="deputy@example.com", stage=3, attempt=2, revision=4, killed=True
)


def test_a_record_reads_what_it_wrote() -> None:
    store = MemoryStore()
    store.commit([Write("flag", FLAG.name, 0, document_of(FLAG, born(FLAG, AT)))], [])
    store.commit([read_flag(store, FLAG.name).write(FLAG, ROLLOUT)], [])
    record = read_flag(store, FLAG.name)
    assert (record.flag, record.rollout, record.version) == (FLAG, ROLLOUT, 2)


def test_a_segment_reads_what_it_wrote() -> None:
    text = '[segments.a]\naudience = { tier = "vip" }\n[segments.b]\nunit = "account"\nmembers = ["x", "y"]\n'
    for segment in parse(text).segments.values():
        write = segment_write(segment, 3)
        assert (write.kind, write.name, write.expected) == ("segment", segment.name, 3)
        assert segment_of(Row("segment", segment.name, 4, write.document)) == segment


def test_a_flag_that_is_not_there_is_told_with_the_closest_one() -> None:
    store = MemoryStore()
    store.commit([Write("flag", "new-invoicing", 0, document_of(FLAG, ROLLOUT))], [])
    with pytest.raises(UnknownFlagError) as caught:
        read_flag(store, "new-invoice")
    assert caught.value.suggestion == "new-invoicing"


def _changed(**rollout: Any) -> dict[str, Any]:
    document = document_of(FLAG, ROLLOUT)
    return document | {"rollout": document["rollout"] | rollout}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"flag": {}},
        document_of(FLAG, ROLLOUT) | {"rollout": None},
        document_of(FLAG, ROLLOUT) | {"flag": "x"},
        document_of(FLAG, ROLLOUT) | {"flag": {"description": "x", "owner": "o", "invented": 1}},
        _changed(status="levitating"),
        _changed(since="yesterday"),
        _changed(since=None),
    ],
)
def test_a_document_of_another_time_is_an_error_that_names_the_flag(document: dict[str, Any]) -> None:
    """Of a newer flaggate, or broken: never another exception, and never half understood."""
    with pytest.raises(FlaggateError, match="new-invoicing"):
        record_of(Row("flag", "new-invoicing", 1, document))


def test_a_segment_that_cannot_be_read_is_an_error_that_names_it() -> None:
    for document in (None, {}, {"audience": 5}, {"invented": 1}):
        with pytest.raises(FlaggateError, match="vip"):
            segment_of(Row("segment", "vip", 1, document))
