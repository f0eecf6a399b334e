"""A snapshot made from changes: what did not change is not compiled again."""

from __future__ import annotations

from flaggate import Context
from flaggate.rollout.state import Verb
from flaggate.runtime.snapshot import Snapshot
from flaggate.stores.base import Changes, Store, Write
from flaggate.stores.memory import MemoryStore
from tests.runtime.scenes import FLAGS, FRIENDS, bring, put, turn

ADA, BOB = Context("ada"), Context("bob")


def taken(store: Store, before: Snapshot | None = None) -> Snapshot:
    before = before or Snapshot()
    return before.updated(store.changes(before.revision))


def recompiled(before: Snapshot, after: Snapshot) -> set[str]:
    return {name for name in after.entries if after.decide[name] is not before.decide.get(name)}


def filled() -> MemoryStore:
    store = MemoryStore()
    bring(store, FLAGS + FRIENDS)
    turn(store, Verb.ON, "friendly")
    return store


def test_only_the_flag_that_changed_is_compiled() -> None:
    store = filled()
    before = taken(store)
    turn(store, Verb.ON, "banner")
    after = taken(store, before)
    assert recompiled(before, after) == {"banner"}
    assert after.is_on["half"] is before.is_on["half"]
    assert after.decide["banner"](ADA).is_on
    assert not before.decide["banner"](ADA).is_on
    assert after.revision == store.revision()


def test_the_flags_that_ask_a_changed_segment_are_compiled() -> None:
    store = filled()
    before = taken(store)
    bring(store, FLAGS + FRIENDS.replace('"ada"', '"bob"'))
    after = taken(store, before)
    assert recompiled(before, after) == {"friendly"}
    assert [after.is_on["friendly"](who) for who in (ADA, BOB)] == [False, True]
    assert [before.is_on["friendly"](who) for who in (ADA, BOB)] == [True, False]


def test_a_flag_waits_for_its_segment_to_come_back() -> None:
    store = filled()
    before = taken(store)
    row = store.get("segment", "friends")
    assert row is not None
    store.commit([Write("segment", "friends", row.version, None)], [])
    without = taken(store, before)
    assert without.problems == {"friendly": "segment friends is missing or cannot be read"}
    put(store, "segment", "friends", {"unit": "user", "members": ["bob"]})
    after = taken(store, without)
    assert after.problems == {}
    assert after.is_on["friendly"](BOB)


def test_a_removed_flag_is_gone() -> None:
    store = filled()
    before = taken(store)
    row = store.get("flag", "banner")
    assert row is not None
    store.commit([Write("flag", "banner", row.version, None)], [])
    after = taken(store, before)
    assert "banner" not in after.decide
    assert "banner" not in after.is_on
    assert "banner" not in after.entries
    assert recompiled(before, after) == set()


def test_off_wins_over_the_store_and_survives_changes() -> None:
    store = filled()
    before = taken(store)
    off = before.with_off(frozenset({"friendly", "not-there"}))
    assert off.decide["friendly"](ADA).reason == "killed"
    assert not off.is_on["friendly"](ADA)
    assert "not-there" not in off.decide
    assert recompiled(before, off) == {"friendly"}
    turn(store, Verb.ON, "banner")
    later = taken(store, off)
    assert later.decide["friendly"](ADA).reason == "killed"
    assert later.decide["banner"](ADA).is_on
    assert later.with_off(frozenset()).decide["friendly"] is before.decide["friendly"]


def test_a_star_turns_everything_off() -> None:
    off = taken(filled()).with_off(frozenset({"*"}))
    assert {off.decide[name](ADA).reason for name in off.entries} == {"killed"}
    assert off.is_off("banner")


def test_its_rows_make_the_same_snapshot_again() -> None:
    before = taken(filled())
    again = Snapshot().updated(Changes(before.revision, before.rows))
    assert again.rows == before.rows
    assert again.segments == before.segments
    assert again.decide["friendly"](ADA) == before.decide["friendly"](ADA)
