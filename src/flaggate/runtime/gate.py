"""Gate: what an app asks. It answers from a snapshot in memory; all store I/O is in the keeper's thread.

Importing this module is quick: what reads and compiles flags is imported at the first question.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from flaggate.decide.context import NOBODY, Context
from flaggate.decide.decision import Decision
from flaggate.errors import FlaggateError, UnknownFlagError
from flaggate.runtime.duties import TICK_SECONDS, Duties
from flaggate.runtime.keeper import Keeper
from flaggate.runtime.meter import HANG_SECONDS, Meter
from flaggate.runtime.override import is_overriding, look_up_names, overridden
from flaggate.runtime.process import (
    flush_with_multiprocessing,
    importing,
    is_before_workers,
    is_on_event_loop,
    is_under_test_runner,
    watch,
)
from flaggate.runtime.prometheus_url import checked_url
from flaggate.runtime.trouble import Trouble, say
from flaggate.runtime.visit import Visit
from flaggate.stores import open_store

if TYPE_CHECKING:
    from flaggate.decide.explain import Explanation
    from flaggate.runtime.control import Control
    from flaggate.runtime.pull import Puller
    from flaggate.runtime.snapshot import Snapshot
    from flaggate.runtime.ticker import Looked
    from flaggate.stores.base import Store

__all__ = ["FIRST_WAIT_SECONDS", "Gate", "Health"]

END_SECONDS: Final = 5.0
"""How long a process that ends, or a gate that is closed, waits for a store: for the pull that is under way, and all that
is said last."""
_LAST_WAIT_SECONDS: Final = 0.5
"""How long of that for another thread's pull."""
FIRST_WAIT_SECONDS: Final = 1.0
"""How long the first question of a process waits for the first snapshot; never on an event loop."""


class Health(NamedTuple):
    """How this process is doing."""

    revision: int
    """Of the snapshot that answers; 0 = none was ever seen."""
    is_keeper_alive: bool
    problem: str | None
    """What the last pull ran into, or why counts wait; None = nothing."""
    unknown: Mapping[str, int]
    """How often flags were asked that are not there."""
    faults: Mapping[str, int]
    """How often a rule of a flag failed; it was off then."""
    asked_seconds: float
    """How long ago the store confirmed what answers; since when this process is there, if it never did."""
    is_begun: bool
    """Whether the first pull has ended, whatever came of it."""
    is_serving: bool
    """Whether what answers was said: by the store, by the copy on disk, or by the off switch for all flags. Else everything
    is off because nothing was ever seen."""


class Gate:
    """Answers whether a flag is on. Make one per process or app with `Gate.open`."""

    def __init__(
        self,
        store: Store,
        *,
        definitions: str | os.PathLike[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        background: bool | None = None,
        hang_seconds: float = HANG_SECONDS,
        notify: str | os.PathLike[str] | None = None,
        prometheus: str | None = None,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        self.store = store
        self.meter = Meter(hang_seconds)
        self._definitions = definitions
        self._tick_seconds = tick_seconds
        self.directory = store.directory if directory is None else directory
        """Of what this process keeps on disk; None = nothing."""
        self._background = not is_under_test_runner() if background is None else background
        self.current: ContextVar[Visit | None] = ContextVar("flaggate_visit", default=None)
        """The visit of this task or thread."""
        self.on_asked: Callable[[Decision], None] | None = None
        """Told of each flag the first time that it is asked in a visit; must be quick."""
        self._upkeep: list[Callable[[], None]] = []
        self.trouble = Trouble()
        self._duties = Duties(
            store, self.meter, self.trouble, notify=notify, prometheus=prometheus, tick_seconds=tick_seconds
        )
        self._is_closed = False
        self._is_given_up = False
        """Whether the store has kept the end waiting for too long already."""
        self._made_puller: Puller | None = None
        self._snapshot: Snapshot | None = None
        self._of_store: Snapshot | None = None
        """The same without what a test has laid over it."""
        self._is_on: Mapping[str, Callable[[Context], bool]] = {}
        self._decide: Mapping[str, Callable[[Context], Decision]] = {}
        self._keeper: Keeper | None = None
        self._no_thread: str | None = None
        self._looked_at = 0.0
        self._is_starting = False
        self.ready: Snapshot | None = None
        """The snapshot that answers, once the first question of this process was asked: from then on none waits."""
        self._is_pull_held = False
        self._make_locks()
        watch(self)

    @classmethod
    def open(
        cls,
        store: str | Store,
        *,
        definitions: str | os.PathLike[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        background: bool | None = None,
        hang_seconds: float = HANG_SECONDS,
        notify: str | os.PathLike[str] | None = None,
        prometheus: str | None = None,
        tick_seconds: float = TICK_SECONDS,
    ) -> Gate:
        """A gate on a store. Opens and starts nothing yet: that is for the first question.

        Args:
            store: A store or the URL of one.
            definitions: A file to apply whenever its content changes.
            directory: Where to keep the copy of the last snapshot and to look for the `off` file;
                None = where the store says.
            background: Whether to keep up in a thread. None = yes, except under a test runner;
                without it, `refresh` takes over changes.
            hang_seconds: A request whose response has not started by then counts as failed. Keep it below
                the server's own time-out: a worker that is killed tells nothing.
            notify: The file of an Apprise configuration: whom to tell, and how. None = nobody is told by this process.
            prometheus: The address of the server that guards with a `query` ask; with FLAGGATE_PROMETHEUS_TOKEN in the
                environment as a bearer token. None = such guards are blind while this process looks.
            tick_seconds: How often it looks at the rollouts if it is the one that does. After three times as long
                without a look another process takes over.

        Raises:
            StoreError: for a URL that names no store.
            SettingError: for a `notify` that is no file, or a `prometheus` that is no address; or without what they need.
        """
        if prometheus is not None:
            prometheus = checked_url(prometheus)
        if notify is not None:
            with importing():
                from flaggate.runtime.notify import checked_config  # for those who tell

            notify = checked_config(notify, is_read=False)
        # Only who brings definitions makes a store: an empty one would hide that a URL is wrong, or a file lost.
        if isinstance(store, str):
            with importing():  # its driver
                store = open_store(store, create=definitions is not None)
        return cls(
            store,
            definitions=definitions,
            directory=directory,
            background=background,
            hang_seconds=hang_seconds,
            notify=notify,
            prometheus=prometheus,
            tick_seconds=tick_seconds,
        )

    @property
    def control(self) -> Control:
        """The way to change what the store holds."""
        with importing():
            from flaggate.runtime.control import Control  # with all that validates: not for those who only ask

        return Control(self.store)

    # --- asking -----------------------------------------------------------------------------

    def is_on(self, name: str, context: Context | None = None) -> bool:
        """Whether the flag is on for the context; without one, for the visit of this task or thread."""
        if context is None:
            visit = self.current.get()
            return self.decide(name, NOBODY).is_on if visit is None else visit.is_on(name)
        try:
            return self._is_on[name](context)
        except Exception:  # a flag that is not there, a rule that failed, or the first question
            return self.decided(self.begun(), name, context).is_on

    def decide(self, name: str, context: Context | None = None) -> Decision:
        """The decision with its reason; otherwise as `is_on`. Never raises."""
        if context is None:
            visit = self.current.get()
            if visit is not None:
                return visit.decide(name)
            context = NOBODY
        try:
            return self._decide[name](context)
        except Exception:  # as in is_on
            return self.decided(self.begun(), name, context)

    def decisions(self, context: Context | None = None) -> dict[str, Decision]:
        """The decisions of all flags, by name."""
        visit = self.current.get() if context is None else None
        if visit is not None:
            return {name: visit.look(name) for name in visit.snapshot.entries}
        snapshot, asking = self.begun(), NOBODY if context is None else context
        found = {}
        for name in snapshot.entries:
            try:
                found[name] = snapshot.decide[name](asking)
            except Exception:  # a rule that failed, or no context
                found[name] = self.decided(snapshot, name, asking)
        return found

    def explain(self, name: str, context: Context | None = None) -> Explanation:
        """The decision with the steps to it, in words."""
        with importing():
            from flaggate.decide.explain import Explanation, explain  # a person asks; no request does
            from flaggate.stores.record import record_of

        visit = self.current.get() if context is None else None
        snapshot = self.begun() if visit is None else visit.snapshot
        entry = snapshot.entries.get(name)
        try:
            if context is None:
                context = NOBODY if visit is None else visit.context
        except FlaggateError as error:  # the app's own function did not say who asks
            if entry is not None and entry.compiled.reads:
                return Explanation(Decision(name, False, "fault"), (str(error),))
            context = NOBODY  # whoever asks
        decision = self.decided(snapshot, name, context)
        if entry is None:
            return Explanation(decision, (f"there is no flag {name}",))
        if entry.row is None:
            words = "a test says so" if decision.reason == "override" else "the function of a test failed"
            return Explanation(decision, (f"override: {words}",))
        if snapshot.is_off(name):
            return Explanation(decision, ("kill: yes, in this process (FLAGGATE_OFF or the off file)",))
        if entry.problem is not None:
            return Explanation(decision, (entry.problem,))
        record = record_of(entry.row)
        return explain(record.flag, record.rollout, context, snapshot.segments)

    def visit(self, context: Context | None = None) -> Visit:
        """A visit, to be used with `with`: inside it, questions without a context are about this one."""
        return Visit(self, self.begun(), NOBODY if context is None else context)

    def health(self) -> Health:
        """How this process is doing."""
        snapshot, keeper = self._snapshot, self._keeper
        revision = 0 if snapshot is None else snapshot.revision
        is_alive = keeper is not None and keeper.is_alive()
        problem = self._puller.problem or (self._no_thread if keeper is None else keeper.failure)
        problem = problem or self._duties.problem
        is_told = revision > 0 or self._puller.has_answer or (snapshot is not None and snapshot.is_off("*"))
        trouble = dict(self.trouble.unknown), dict(self.trouble.faults)
        return Health(
            revision, is_alive, problem, *trouble, self._puller.asked_seconds, self._is_ready.is_set(), is_told
        )

    @property
    def has_lease(self) -> bool:
        """Whether it is this process that looks at the rollouts and moves them."""
        return self._duties.ticker is not None and self._duties.ticker.has_lease

    def decided(self, snapshot: Snapshot, name: str, context: Context) -> Decision:
        """The decision from a snapshot, whatever happens."""
        decide = snapshot.decide.get(name) if isinstance(name, str) else None
        if decide is None:
            return self._unknown_flag(str(name))
        try:
            return decide(context)
        except Exception as error:
            is_context = isinstance(context, Context)
            what = repr(error) if is_context else f"it was asked with {context!r}, not with a Context"
            return self.trouble.fault(name, what, error)

    def told(self, decision: Decision) -> None:
        """Tell who listens. Raises nothing: the request goes on."""
        try:
            if self.on_asked is not None:
                self.on_asked(decision)
        except Exception as error:
            self.trouble.say_once(f"who is told of each flag that is asked failed: {error!r}")

    def _unknown_flag(self, name: str) -> Decision:
        if is_overriding() and name not in (known := self.begun().entries):  # else the visit began before
            raise UnknownFlagError(name, known)
        snapshot, url = self._snapshot, self.store.url
        is_seen = snapshot is not None and snapshot.revision
        why = f"is not in {url}; it is off" if is_seen else f"is off: nothing was ever seen of {url}"
        return self.trouble.unknown_flag(name, f"flag {name!r} {why}", () if snapshot is None else snapshot.entries)

    # --- keeping up -------------------------------------------------------------------------

    @property
    def _puller(self) -> Puller:
        if self._made_puller is None:
            with importing():
                from flaggate.runtime.pull import Puller  # reads, validates and compiles: 60 ms, at the first question

            with self._begin_lock:
                if self._made_puller is None:  # the keeper and the first question may both come for it
                    self._made_puller = Puller(self.store, self._definitions, self.directory, say)
        return self._made_puller

    def refresh(self) -> None:
        """Take over what changed and hand over what was counted, now and in this thread: for scripts and tests
        without a keeper."""
        self.pull()
        self._look_after()
        self.flush()
        self.begun()

    def keep(self) -> None:
        """One whole round of the keeper. Raises nothing; what went wrong is in `health`."""
        self.serve()
        self.rest()

    def rest(self) -> None:
        """What can wait a moment, of a round of the keeper: the copy on disk, this process's counts, the rollouts."""
        with self._pull_lock:
            self._puller.keep_copy()
        self._look_after()
        if self._duties.is_time_to_tick():
            self._look_off()
            self.tick()

    def _look_after(self) -> None:
        if self._background and self._puller.problem is None:
            self._duties.say(0 if self._snapshot is None else self._snapshot.revision, self._puller.asked_seconds)
        self._look_off()
        for look in self._upkeep:
            look()
        if self.meter.look_for_hangs() or self._duties.is_time_to_flush():
            self.flush()

    def tick(self) -> list[Looked] | None:
        """Look at every rollout now, if this process holds the lease or can have it. Raises nothing.

        Returns:
            What came of each look; None if another process has the lease, or the store does not answer.
        """
        return self._duties.tick(() if self._of_store is None else self._of_store.flag_rows())

    def flush(self, *, is_last: bool = False) -> None:
        """Hand this process's counts to the store now, and if it is the last time let others look at the rollouts.
        Raises nothing; what the store did not take is tried again, the last time at once. That takes five seconds at most
        where there is a keeper: a store that hangs keeps its thread waiting, not this one."""
        if is_last:
            self._end(self._say_last)
        else:
            entries = {} if self.ready is None else self.ready.entries
            self._duties.flush(is_judged=any(entry.judged is not None for entry in entries.values()))

    def upkeep(self, look: Callable[[], None]) -> None:
        """Have the keeper call this in each round. It must be quick, and raise nothing."""
        self._upkeep.append(look)

    def pull(self) -> None:
        """Take over what changed, and keep a copy of it on disk. Raises nothing; what went wrong is in `health`."""
        with self._pull_lock:
            self.serve()
            self._puller.keep_copy()  # last: a kill does not wait for the disk

    def serve(self, *, is_heard: bool = False) -> bool:
        """Take over what changed. Raises nothing.

        Args:
            is_heard: The store told that something was written.

        Returns:
            Whether anything had changed.
        """
        with self._pull_lock:
            puller, before = self._puller, self._of_store
            self._look_off()
            snapshot = puller.pull(is_heard=is_heard)
            if snapshot is not before or not self._is_ready.is_set():
                with self._begin_lock:
                    self._publish(snapshot)
                    self._is_ready.set()
            return snapshot is not before

    def is_cut_off(self) -> bool:
        """Whether the store did not answer, the last time that it was asked."""
        return self._puller.is_cut_off

    def _look_off(self) -> None:
        """A kill by environment or file does not wait for the store, or for what is under way there now and no more: it is
        looked at between any two questions that may wait."""
        with self._pull_lock:
            if self._puller.look_off() and self._is_ready.is_set():
                self._publish(self._puller.snapshot)

    def names(self, sought: Collection[str]) -> frozenset[str] | None:
        """The flags that there are, looked up anew if those that a test seeks are not all known; None = nobody can tell."""
        if self._is_closed:
            return frozenset()
        if self._of_store is not None and self._of_store.entries.keys() >= set(sought):
            return frozenset(self._of_store.entries)
        return look_up_names(self.store, self._definitions, sought)

    def republish(self) -> None:
        """Take over what a test has laid over the store's answers, or taken away."""
        with self._begin_lock:
            if self._of_store is not None:
                self._publish(self._of_store)

    def _publish(self, snapshot: Snapshot) -> None:
        with self._begin_lock:  # or what a test lays over meanwhile would be lost
            self._of_store = snapshot
            snapshot = overridden(snapshot)
            if self.ready is not None:
                self._serve(snapshot)
            self._snapshot = snapshot  # last: what `health` reports is served already

    def _serve(self, snapshot: Snapshot | None) -> None:
        """From now on questions find their answers there; None = each comes to `_begin`, as the first of a process."""
        self._is_on, self._decide = ({}, {}) if snapshot is None else (snapshot.is_on, snapshot.decide)
        self.ready = snapshot

    def begun(self) -> Snapshot:
        """The snapshot that answers."""
        return self.ready or self._begin()

    def _begin(self) -> Snapshot:
        """The first question of a process starts the keeper and waits for it, but not on an event loop."""
        flush_with_multiprocessing()
        is_kept_up = self._is_closed or self._start_keeper() or not self._background
        if not self._is_closed:
            if self._keeper is None:
                if not self._is_ready.is_set() or (not is_kept_up and self._is_time_to_look()):
                    self.pull()
                if is_before_workers():  # nor does a connection go along
                    self.store.before_fork()
                    self.store.after_fork(in_child=False)
            elif not is_on_event_loop() and not self._is_ready.wait(FIRST_WAIT_SECONDS):
                self.trouble.say_once(f"{self.store.url} has not answered yet; answering from what is known")
        known = None if self._is_ready.is_set() else self._puller.without_store()
        with self._begin_lock:
            if known is not None and not self._is_ready.is_set():
                self._publish(known)
            self._serve(self._snapshot if is_kept_up else None)  # until there is a thread each question looks itself
            assert self._snapshot is not None  # published here, or by the pull that is ready
            return self._snapshot

    def _is_time_to_look(self) -> bool:
        """Without a thread a question looks itself, but no more often than the thread would."""
        is_time = monotonic() - self._looked_at >= self.store.poll_seconds
        if is_time:
            self._looked_at = monotonic()
        return is_time

    def _start_keeper(self) -> bool:
        """Whether a keeper runs now."""
        if not self._background or is_before_workers():
            return False
        try:
            with self._begin_lock:
                if self._keeper is None and not self._is_starting:
                    self._is_starting = True  # a signal handler that asks now is not to start another
                    try:
                        poll_seconds = min(self.store.poll_seconds, self._tick_seconds)
                        self._keeper = Keeper(weakref.ref(self), self.store.wait, poll_seconds)
                    finally:
                        self._is_starting = False
            self._no_thread = None
        except RuntimeError as error:  # no thread is to be had: too many, or the interpreter ends
            self._no_thread = f"no thread keeps the flags up to date: {error}"
            self.trouble.say_once(self._no_thread)
        return self._keeper is not None

    def close(self) -> None:
        """Stop the keeper and let go of the store. Answers stay as they are."""
        with self._begin_lock:
            self._is_closed = True
        self._end(self._close)

    def _end(self, last: Callable[[], None]) -> None:
        if self._keeper is None:
            last()
        elif not self._is_given_up:
            self._is_given_up = not self._keeper.stop(last, END_SECONDS)

    def _say_last(self) -> None:
        is_free = self._pull_lock.acquire(timeout=_LAST_WAIT_SECONDS)  # else another thread waits for the store
        try:
            if is_free and not (self._made_puller is not None and self._made_puller.is_hanging):
                self._duties.end()
        finally:
            if is_free:
                self._pull_lock.release()

    def _close(self) -> None:
        self._say_last()
        self.store.close()

    # --- forks ------------------------------------------------------------------------------

    def _make_locks(self) -> None:
        self._is_ready = threading.Event()
        self._begin_lock = threading.RLock()  # a signal handler may ask a flag, too
        """Guards what the first question and the keeper both set; held for moments only."""
        self._pull_lock = threading.RLock()  # a log handler may ask a flag while a pull says something

    def before_fork(self) -> None:
        # Between two rounds if possible: nothing half imported, nothing half written. Not for ever: the store may hang.
        self._is_pull_held = self._pull_lock.acquire(timeout=1.0)
        self._duties.before_fork()
        self.store.before_fork()

    def after_fork(self, *, in_child: bool) -> None:
        if in_child:
            self._begin_anew()
        else:
            if self._is_pull_held:
                self._pull_lock.release()
        self._duties.after_fork(in_child=in_child)
        self.store.after_fork(in_child=in_child)

    def _begin_anew(self) -> None:
        """As before the first question of a process; the snapshot stays, in case the store does not answer."""
        self._make_locks()
        self._keeper = None
        self._is_given_up = False
        self.trouble.begin_anew()
        self.meter.begin_anew()
        if self._made_puller is not None:
            self._made_puller.forked()
        self._serve(None)
