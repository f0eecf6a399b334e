"""Who is there: what processes say of themselves, until they end or fall silent."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from flaggate.stores.base import PRESENCE_SPANS, Presence, Store, Write
from flaggate.testing.contract.acting import an_event
from flaggate.testing.contract.leasing import Timed

__all__ = ["PresenceContract"]

_SPAN: Final = 10.0


def _one(process: str, revision: int = 1) -> Presence:
    return Presence(process, f"host of {process}", revision, 0.25, _SPAN)


class PresenceContract(Timed):
    """What every store keeps of the processes that serve flags."""

    def test_nobody_is_there_in_a_new_store(self, store: Store) -> None:
        assert store.presences() == []
        store.unsay("one")
        assert store.presences() == []

    def test_a_process_is_there_with_what_it_said(self, store: Store) -> None:
        """At the store's time, whatever the process thinks that it is."""
        store.say(replace(_one("one", 7), said_at=1.0))
        assert store.presences() == [replace(_one("one", 7), said_at=self.clock())], "is self.clock the store's?"

    def test_what_it_says_next_takes_the_place(self, store: Store) -> None:
        store.say(_one("one", 1))
        self.clock.move(3.0)
        store.say(_one("one", 2))
        assert store.presences() == [replace(_one("one", 2), said_at=self.clock())]

    def test_they_come_by_who_they_are(self, store: Store) -> None:
        for process in ("b", "c", "a"):
            store.say(_one(process))
        assert [presence.process for presence in store.presences()] == ["a", "b", "c"]

    def test_who_falls_silent_is_there_no_more(self, store: Store) -> None:
        """After three times its own span; and if it wakes up, it is."""
        store.say(_one("one"))
        store.say(replace(_one("slow"), every_seconds=100 * _SPAN))
        self.clock.move(PRESENCE_SPANS * _SPAN - 0.5)
        assert [presence.process for presence in store.presences()] == ["one", "slow"]
        self.clock.move(1.0)
        assert [presence.process for presence in store.presences()] == ["slow"]
        store.say(_one("one"))
        assert [presence.process for presence in store.presences()] == ["one", "slow"]

    def test_who_comes_later_hides_nobody(self, store: Store) -> None:
        """What is forgotten then is over."""
        store.say(_one("one"))
        self.clock.move(PRESENCE_SPANS * _SPAN - 0.5)
        store.say(_one("two"))
        assert [presence.process for presence in store.presences()] == ["one", "two"]
        self.clock.move(1.0)
        store.say(_one("three"))
        assert [presence.process for presence in store.presences()] == ["three", "two"]

    def test_who_ends_is_there_no_more(self, store: Store) -> None:
        store.say(_one("one"))
        store.say(_one("two"))
        store.unsay("one")
        assert [presence.process for presence in store.presences()] == ["two"]

    def test_a_clock_that_is_turned_back_hides_who_is_from_its_future(self, store: Store) -> None:
        """Until they say something again."""
        store.say(_one("one"))
        self.clock.move(-3600.0)
        assert store.presences() == []
        store.say(_one("one"))
        assert [presence.process for presence in store.presences()] == ["one"]

    def test_it_touches_neither_the_revision_nor_a_version(self, store: Store) -> None:
        store.commit([Write("flag", "a", 0, {})], [an_event("a")])
        before = store.revision(), store.changes(), store.history(), store.counts(), store.pulse()
        store.say(_one("one"))
        store.unsay("one")
        assert (store.revision(), store.changes(), store.history(), store.counts(), store.pulse()) == before
