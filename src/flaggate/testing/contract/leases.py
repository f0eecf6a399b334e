"""The lease: one process at a time has it, and what only its holder writes is refused to others."""

from __future__ import annotations

import threading
from functools import partial
from itertools import chain
from typing import Final

from flaggate.errors import ConflictError
from flaggate.stores.base import Lease, Row, Store, Write
from flaggate.testing.contract.acting import an_event, failures_of
from flaggate.testing.contract.leasing import SECONDS, Timed, holder_of, is_refused, losses, take

__all__ = ["LeaseContract"]

_ROUNDS: Final = 10


class LeaseContract(Timed):
    """What every store keeps of the lease."""

    def test_a_new_store_is_leased_to_nobody(self, store: Store) -> None:
        assert store.lease() is None
        store.release_lease("one")
        assert store.lease() is None

    def test_the_lease_is_of_who_took_it(self, store: Store) -> None:
        """For so long, by the clock that the store was given."""
        assert take(store, "one", seconds=SECONDS)
        assert store.lease() == Lease("one", "host of one", self.clock(), SECONDS), "is self.clock the store's?"

    def test_another_is_refused_while_it_lasts(self, store: Store) -> None:
        """Who asks changes nothing, whatever length it asks for."""
        take(store, "one")
        lease = store.lease()
        for passed in (0.0, 5.0, SECONDS - 5.1):
            self.clock.move(passed)
            assert not take(store, "two")
            assert not take(store, "two", seconds=1.0)
            assert store.lease() == lease

    def test_the_holder_renews_it(self, store: Store) -> None:
        """From when it asks, and for as long as it asks for then."""
        for seconds in (SECONDS, SECONDS, 30.0):
            self.clock.move(10.0)
            assert take(store, "one", seconds=seconds)
            assert store.lease() == Lease("one", "host of one", self.clock(), seconds)
        self.clock.move(20.0)
        assert not take(store, "two")

    def test_it_is_over_after_its_time(self, store: Store) -> None:
        """Then the next one has it, and the former holder is another like any."""
        take(store, "one")
        self.clock.move(SECONDS)
        assert store.lease() is None
        assert take(store, "two")
        assert not take(store, "one")
        assert holder_of(store) == "two"

    def test_who_slept_over_its_time_may_have_it_again(self, store: Store) -> None:
        """If nobody else was there."""
        take(store, "one")
        self.clock.move(3600.0)
        assert take(store, "one")
        assert not take(store, "two")

    def test_a_lease_that_is_released_is_free_at_once(self, store: Store) -> None:
        take(store, "one")
        store.release_lease("one")
        assert store.lease() is None
        assert take(store, "two")

    def test_nobody_releases_anothers_lease(self, store: Store) -> None:
        """Nor a former holder the next one's: it may have slept before it came to that."""
        take(store, "one")
        store.release_lease("two")
        assert holder_of(store) == "one"
        self.clock.move(SECONDS)
        take(store, "two")
        store.release_lease("one")
        assert holder_of(store) == "two"

    def test_a_clock_that_is_turned_back_leaves_nobody_waiting(self, store: Store) -> None:
        """Not for an hour; by little, as clocks of machines differ, the lease stands."""
        take(store, "one")
        self.clock.move(-5.0)
        assert holder_of(store) == "one"
        assert not take(store, "two")
        self.clock.move(-3600.0)
        assert store.lease() is None
        assert take(store, "two")
        assert not take(store, "one")

    def test_of_threads_that_ask_at_once_one_gets_it(self, store: Store) -> None:
        """Round by round, after each lease is over."""
        everyone = threading.Barrier(4)
        winners: list[str] = []

        def race(holder: str) -> None:
            for _ in range(_ROUNDS):
                everyone.wait()
                if take(store, holder):
                    winners.append(holder)
                if everyone.wait() == 0:  # one of them
                    assert holder_of(store) == winners[-1]
                    self.clock.move(SECONDS)

        assert failures_of(everyone, [partial(race, f"thread {number}") for number in range(4)]) == []
        assert len(winners) == _ROUNDS

    def test_the_lease_touches_neither_the_revision_nor_a_version(self, store: Store) -> None:
        store.commit([Write("flag", "a", 0, {})], [an_event("a")])
        before = store.revision(), store.changes(), store.history(), store.counts()
        take(store, "one")
        take(store, "two")
        store.release_lease("one")
        assert (store.revision(), store.changes(), store.history(), store.counts()) == before

    # --- fenced commits ---------------------------------------------------------------------

    def test_a_fenced_commit_of_the_holder_is_written(self, store: Store) -> None:
        """It renews nothing, and is a compare-and-set as any."""
        take(store, "one")
        lease = store.lease()
        self.clock.move(SECONDS - 1.0)
        revision = store.commit([Write("flag", "a", 0, {"n": 1})], [an_event("a")], holder="one")
        assert (store.revision(), store.get("flag", "a")) == (revision, Row("flag", "a", 1, {"n": 1}))
        assert len(store.history("a")) == 1
        assert store.lease() == lease
        try:
            store.commit([Write("flag", "a", 0, {"n": 2})], [], holder="one")
        except ConflictError:
            assert store.get("flag", "a") == Row("flag", "a", 1, {"n": 1})
        else:
            raise AssertionError(f"{store.url} took a write that expected another version")

    def test_a_fenced_commit_of_anybody_else_writes_nothing(self, store: Store) -> None:
        """Of another while it lasts; of the holder once it is over, released, or somebody else's."""
        store.commit([Write("flag", "a", 0, {})], [an_event("a")])
        before = store.revision(), store.changes(), store.history()

        def commit() -> object:
            return store.commit([Write("flag", "a", 1, {"n": 2})], [an_event("a")], holder="one")

        for what in chain(["nobody took it"], losses(store, self.clock)):
            assert is_refused(commit), what
            assert (store.revision(), store.changes(), store.history()) == before

    def test_a_commit_that_is_not_fenced_asks_for_no_lease(self, store: Store) -> None:
        """A kill waits for nobody."""
        take(store, "one")
        store.commit([Write("flag", "a", 0, {"n": 1})], [])
        assert store.get("flag", "a") == Row("flag", "a", 1, {"n": 1})
