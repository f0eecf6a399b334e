"""Gate: what an app asks. It answers from a snapshot in memory; all store I/O is in the keeper's thread.

Importing this module is quick: what reads and compiles flags is imported at the first question.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NamedTuple

from flaggate.decide.context import NOBODY, Context
from flaggate.decide.decision import Decision
from flaggate.runtime.keeper import Keeper
from flaggate.runtime.visit import Visit
from flaggate.stores import open_store

if TYPE_CHECKING:
    from flaggate.decide.explain import Explanation
    from flaggate.runtime.control import Control
    from flaggate.runtime.pull import Puller
    from flaggate.runtime.snapshot import Snapshot
    from flaggate.stores.base import Store

__all__ = ["FIRST_WAIT_SECONDS", "Gate", "Health"]

FIRST_WAIT_SECONDS: Final = 1.0
"""How long the first question of a process waits for the first snapshot; never on an event loop."""


class Health(NamedTuple):
    """How this process is doing."""

    revision: int
    """Of the snapshot that answers; 0 = none was ever seen."""
    is_keeper_alive: bool
    problem: str | None
    """What the last pull ran into; None = nothing."""
    unknown: Mapping[str, int]
    """How often flags were asked that are not there."""
    faults: Mapping[str, int]
    """How often a rule of a flag failed; it was off then."""


class Gate:
    """Answers whether a flag is on. Make one per process or app with `Gate.open`."""

    def __init__(
        self,
        store: Store,
        *,
        definitions: str | os.PathLike[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        background: bool | None = None,
    ) -> None:
        self.store = store
        self._definitions = definitions
        self._directory = store.directory if directory is None else directory
        self._background = not _is_under_test_runner() if background is None else background
        self._visit: ContextVar[Visit | None] = ContextVar("flaggate_visit", default=None)
        self._unknown: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._said: set[str] = set()
        self._is_closed = False
        self._made_puller: Puller | None = None
        self._keeper: Keeper | None
        self._is_on: Mapping[str, Callable[[Context], bool]]
        self._decide: Mapping[str, Callable[[Context], Decision]]
        self._begin_anew()
        _gates.add(self)

    @classmethod
    def open(
        cls,
        store: str | Store,
        *,
        definitions: str | os.PathLike[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        background: bool | None = None,
    ) -> Gate:
        """A gate on a store. Opens and starts nothing yet: that is for the first question.

        Args:
            store: A store or the URL of one.
            definitions: A file to apply whenever its content changes.
            directory: Where to keep the copy of the last snapshot and to look for the `off` file;
                None = where the store says.
            background: Whether to keep up in a thread. None = yes, except under a test runner;
                without it, `refresh` takes over changes.

        Raises:
            StoreError: for a URL that names no store.
        """
        opened = open_store(store) if isinstance(store, str) else store
        return cls(opened, definitions=definitions, directory=directory, background=background)

    @property
    def control(self) -> Control:
        """The way to change what the store holds."""
        from flaggate.runtime.control import Control  # with all that validates: not for those who only ask

        return Control(self.store)

    # --- asking -----------------------------------------------------------------------------

    def is_on(self, name: str, context: Context | None = None) -> bool:
        """Whether the flag is on for the context; without one, for the visit of this task or thread."""
        if context is None:
            return self.decide(name).is_on
        try:
            return self._is_on[name](context)
        except Exception as error:  # a flag that is not there, a rule that failed, or the first question
            return self._without_table(name, context, error).is_on

    def decide(self, name: str, context: Context | None = None) -> Decision:
        """The decision with its reason; otherwise as `is_on`. Never raises."""
        if context is None:
            visit = self._visit.get()
            if visit is not None:
                return visit.decide(name)
            context = NOBODY
        try:
            return self._decide[name](context)
        except Exception as error:
            return self._without_table(name, context, error)

    def decisions(self, context: Context | None = None) -> dict[str, Decision]:
        """The decisions of all flags, by name."""
        return {name: self.decide(name, context) for name in sorted(self._begun().entries)}

    def explain(self, name: str, context: Context | None = None) -> Explanation:
        """The decision with the steps to it, in words."""
        from flaggate.decide.explain import Explanation, explain  # a person asks; no request does
        from flaggate.stores.record import record_of

        snapshot = self._begun()
        if context is None:
            visit = self._visit.get()
            context = NOBODY if visit is None else visit.context
        decision = self._from(snapshot, name, context)
        row = snapshot.rows.get(("flag", name))
        if row is None:
            return Explanation(decision, (f"there is no flag {name}",))
        if snapshot.is_off(name):
            return Explanation(decision, ("kill: yes, in this process (FLAGGATE_OFF or the off file)",))
        if decision.reason == "fault":
            return Explanation(decision, ("a rule failed; the log says which",))
        record = record_of(row)
        return explain(record.flag, record.rollout, context, snapshot.segments)

    def visit(self, context: Context | None = None) -> Visit:
        """A visit, to be used with `with`: inside it, questions without a context are about this one."""
        return Visit(self._begun(), NOBODY if context is None else context, self._from, self._visit)

    def health(self) -> Health:
        """How this process is doing."""
        puller, keeper = self._puller, self._keeper
        is_alive = keeper is not None and keeper.is_alive()
        return Health(puller.snapshot.revision, is_alive, puller.problem, dict(self._unknown), dict(self._faults))

    def _without_table(self, name: str, context: Context, error: Exception) -> Decision:
        """The answer where the table of this process gave none."""
        if not self._is_begun:
            return self._from(self._begun(), name, context)
        if name in self._decide:
            return self._fault(name, context, error)
        return self._unknown_flag(name)

    def _from(self, snapshot: Snapshot, name: str, context: Context) -> Decision:
        """The decision from a snapshot, whatever happens."""
        decide = snapshot.decide.get(name)
        if decide is None:
            return self._unknown_flag(name)
        try:
            return decide(context)
        except Exception as error:
            return self._fault(name, context, error)

    def _unknown_flag(self, name: str) -> Decision:
        self._unknown[name] += 1
        self._say_once(f"flag {name!r} is not in {self.store.url}; it is off")
        return Decision(name, False, "unknown")

    def _fault(self, name: str, context: object, error: Exception) -> Decision:
        self._faults[name] += 1
        what = repr(error) if isinstance(context, Context) else f"it was asked with {context!r}, not with a Context"
        self._say_once(f"flag {name!r} failed and is off: {what}")
        return Decision(name, False, "fault")

    def _say_once(self, message: str) -> None:
        if message not in self._said and len(self._said) < 1000:  # never a leak, whatever is asked
            from logging import getLogger  # 4 ms that only trouble needs

            self._said.add(message)
            getLogger("flaggate").error(message)

    # --- keeping up -------------------------------------------------------------------------

    @property
    def _puller(self) -> Puller:
        if self._made_puller is None:
            from flaggate.runtime.pull import Puller  # reads, validates and compiles: 60 ms, at the first question

            self._made_puller = Puller(self.store, self._definitions, self._directory, self._say_once)
        return self._made_puller

    def refresh(self) -> None:
        """Take over what changed, now and in this thread: for scripts and tests without a keeper."""
        self.pull()
        self._is_begun = True

    def pull(self) -> None:
        """One round of the keeper. Raises nothing; what went wrong is in `health`."""
        with self._pull_lock:
            self._publish(self._puller.pull())
            self._is_ready.set()

    def _publish(self, snapshot: Snapshot) -> None:
        self._is_on = snapshot.is_on
        self._decide = snapshot.decide

    def _begun(self) -> Snapshot:
        """The snapshot. The first question of a process starts the keeper and waits for it, but not on an event loop."""
        if self._is_begun:
            return self._puller.snapshot
        with self._begin_lock:
            if self._keeper is None and not self._is_begun:
                if self._background:
                    self._keeper = Keeper(weakref.ref(self), self.store.poll_seconds)
                else:
                    self.pull()
        if not _is_on_event_loop():
            self._is_ready.wait(FIRST_WAIT_SECONDS)
        with self._begin_lock:
            if not self._is_begun and not self._is_ready.is_set():
                self._say_once(f"{self.store.url} has not answered yet; answering from what is known")
                self._publish(self._puller.without_store())
            self._is_begun = True
        return self._puller.snapshot

    def close(self) -> None:
        """Stop the keeper and let go of the store. Answers stay as they are."""
        self._is_closed = self._is_begun = True
        if self._keeper is not None:
            self._keeper.stop()
        self.store.close()

    # --- forks ------------------------------------------------------------------------------

    def _begin_anew(self) -> None:
        """As before the first question of a process; the snapshot stays, in case the store does not answer."""
        self._is_begun = self._is_closed
        self._is_ready = threading.Event()
        self._begin_lock = threading.Lock()
        self._pull_lock = threading.Lock()
        self._keeper = None
        self._is_on = {}
        self._decide = {}
        if self._made_puller is not None:
            self._made_puller.forked()


_gates: weakref.WeakSet[Gate] = weakref.WeakSet()
_forking: list[Gate] = []


def _before_fork() -> None:
    _forking[:] = list(_gates)
    for gate in _forking:
        gate.store.before_fork()


def _after_fork_in_parent() -> None:
    for gate in reversed(_forking):
        gate.store.after_fork(in_child=False)
    _forking.clear()


def _after_fork_in_child() -> None:
    for gate in reversed(_forking):
        gate.store.after_fork(in_child=True)
        gate._begin_anew()
    _forking.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _is_under_test_runner() -> bool:
    """pytest, `python -m unittest` or `manage.py test`: there a thread would outlive its test's store."""
    return "pytest" in sys.modules or sys.argv[1:2] == ["test"] or sys.argv[0].endswith("unittest")


def _is_on_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # an app that has a loop has imported it
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
