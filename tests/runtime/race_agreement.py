"""What has to hold of a store whoever raced for it, and whoever died in between."""

from flaggate.rollout.state import Event, rollout_to_json
from flaggate.stores.base import Row, Store
from flaggate.stores.record import record_of

__all__ = ["assert_state_and_events_agree"]


def assert_state_and_events_agree(store: Store) -> None:
    """Each write of a flag or segment has one event, and its events lead step by step to what is stored."""
    changes, events = store.changes(), store.history(limit=100_000)
    assert changes.revision == store.revision()
    assert {(event.kind, event.name) for event in events} == {
        (row.kind, row.name) for row in changes.rows if row.kind != "definitions"
    }
    for row in changes.rows:
        if row.kind != "definitions":
            _assert_chain(row, [event for event in events if (event.kind, event.name) == (row.kind, row.name)])


def _assert_chain(row: Row, events: list[Event]) -> None:
    assert len(events) == row.version
    before = None
    for event in events:
        assert event.before == before
        before = event.after
    if row.document is None:
        assert before is None
    elif row.kind == "flag":
        assert before == rollout_to_json(record_of(row).rollout)
