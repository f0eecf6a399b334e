"""How a process comes by its snapshot: from the store, else from what it knows, else from its disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from flaggate.errors import FlaggateError, StoreError
from flaggate.runtime.control import Control
from flaggate.runtime.definitions import DefinitionsFile
from flaggate.runtime.disk import DiskCopy
from flaggate.runtime.off_switch import EVERYTHING, OffSwitch
from flaggate.runtime.snapshot import Snapshot
from flaggate.stores.base import Changes, Row, Store

__all__ = ["Puller"]

_HANGING_SECONDS = 1.0  # a store that takes so long to fail is asked nothing more by a process that ends
_ROUNDS_BETWEEN_TRIES = 50  # to write the copy, where the disk does not take it
_ROUNDS_BUSY = 50  # until it is said that another process does not let go of it


class Puller:
    """Pulls snapshots from one store, and applies the definitions file on the way.

    Args:
        store: Where the flags are.
        definitions: A file to apply whenever its content changes; None = none.
        directory: Of the copy on disk and the `off` file; None = neither.
        say: Called with what an operator should read: once when it goes wrong, and again when it does so anew.
    """

    def __init__(
        self,
        store: Store,
        definitions: str | os.PathLike[str] | None,
        directory: str | os.PathLike[str] | None,
        say: Callable[[str], None],
    ) -> None:
        self.snapshot = Snapshot()
        self.problem: str | None = None
        """What the last pull ran into."""
        self.is_cut_off = False
        """Whether that was the store."""
        self.is_hanging = False
        """Whether it kept the last pull waiting for long, too."""
        self._asked_at = monotonic()
        self._store = store
        self._control = Control(store)
        self._definitions = None if definitions is None else DefinitionsFile(definitions)
        self._copy = None if directory is None else DiskCopy(Path(directory))
        self._copy_problem: str | None = None
        self._off = OffSwitch(None if directory is None else Path(directory))
        self._say = say
        self._said: frozenset[str] = frozenset()
        """What was wrong at the last pull: what is wrong still is not said again."""
        self._identity = ""
        """Of the store that the snapshot came from."""
        self._is_fresh = False
        """Whether the snapshot came from the store, in this process."""
        self._kept = "", -1
        """Store and revision of the copy on disk, as far as this process wrote it."""
        self._new: dict[tuple[str, str], Row] | None = None
        """The rows that came since the copy was written; None = all may have."""
        self._is_whole = False
        """Whether the snapshot was just read whole, so that what it says is newer than any copy."""
        self._rounds_to_wait = self._rounds_busy = 0

    @property
    def asked_seconds(self) -> float:
        """How long ago the store confirmed what this process answers from."""
        return monotonic() - self._asked_at

    @property
    def has_answer(self) -> bool:
        """Whether the store has answered this process: an empty one, too, says what is."""
        return self._is_fresh

    def pull(self, *, is_heard: bool = False) -> Snapshot:
        """One round. Raises nothing; what went wrong is in `problem`.

        Args:
            is_heard: The store told that something was written: the revision need not be asked first.
        """
        self.look_off()
        self.problem, self.is_cut_off, self.is_hanging = None, False, False
        begun = monotonic()
        try:
            self._read_store(is_heard=is_heard)
        except Exception as error:  # supervised: whatever it is, the next round comes
            self.problem, self.is_cut_off = _words(error), True
            self.is_hanging = monotonic() - begun >= _HANGING_SECONDS
            self.snapshot = self._known()
        if self.problem is None and self._definitions is not None:
            self.problem = self._apply(self._definitions)
        self.problem = self.problem or self._off.problem
        self._say_what_is_new()
        return self.snapshot

    def without_store(self) -> Snapshot:
        """The snapshot to answer from while the store keeps a pull waiting; that pull goes on in its thread."""
        return self._known().with_off(self._off.names())

    def look_off(self) -> bool:
        """Look at the environment and the `off` file. Returns whether they say something else than before."""
        off = self._off.names()
        if off == self.snapshot.off:
            return False
        self.snapshot = self.snapshot.with_off(off)
        return True

    def keep_copy(self) -> None:
        """Write the copy on disk if the store gave something new; after it serves, so that no kill waits for a disk."""
        what = self._identity, self.snapshot.revision
        if self._copy is None or not self._is_fresh or self._kept == what:
            return
        if self._rounds_to_wait:
            self._rounds_to_wait -= 1
            return
        self._copy_problem = None
        try:
            new = None if self._new is None else self._new.values()
            self._copy.save(self._identity, self.snapshot, is_whole=self._is_whole, new=new)
        except OSError as error:
            if isinstance(error, BlockingIOError) and self._rounds_busy < _ROUNDS_BUSY:
                self._rounds_busy += 1  # another process is at it, and the next round looks again
                return
            self._copy_problem = f"no copy of the flags on this disk: {error}"
            self._rounds_to_wait = _ROUNDS_BETWEEN_TRIES
        else:
            self._kept, self._is_whole, self._rounds_busy, self._new = what, False, 0, {}
        self._say_what_is_new()

    def forked(self) -> None:
        """In a child: what the parent read may be old by now."""
        self._is_fresh = False

    def _apply(self, definitions: DefinitionsFile) -> str | None:
        """Apply the file; what is wrong with it stops nothing else."""
        try:
            if definitions.step(self._control) is not None:
                self._read_store()
        except Exception as error:  # a store that can be read and not written, a stored flag that nobody can read
            return _words(error)
        return definitions.problem

    def _read_store(self, *, is_heard: bool = False) -> None:
        if is_heard and self._is_fresh:
            changes = self._store.changes(since=self.snapshot.revision)
            if self._store.identity == self._identity and changes.revision > self.snapshot.revision:
                self._take(self.snapshot, changes)
                return
        snapshot, revision = self.snapshot, self._store.revision()
        is_same = self._is_fresh and self._store.identity == self._identity
        if is_same and revision == snapshot.revision:
            self._asked_at = monotonic()
            return
        if not revision and (known := self._known().revision):
            # A volume that is not there yet, a file that was lost: not what somebody decided.
            anew = "restart" if self._copy is None else f"remove {self._copy.path} and restart"
            problem = f"it is empty, and was at revision {known}, which goes on serving; to begin anew, {anew}"
            raise StoreError(self._store.url, problem)
        if not is_same or revision < snapshot.revision:
            # Another store stands in its place (restored, made anew), or all we have is a copy of it.
            snapshot = Snapshot(off=snapshot.off)
            self._is_whole = True
        identity, changes = self._store.identity, self._store.changes(since=snapshot.revision)
        if self._store.identity != identity:  # put in its place between the two questions
            changes = self._store.changes()
            snapshot, self._is_whole = Snapshot(off=snapshot.off), True
        self._take(snapshot, changes)

    def _take(self, snapshot: Snapshot, changes: Changes) -> None:
        if snapshot is not self.snapshot:
            self._new = None
        elif self._new is not None:
            self._new |= {(row.kind, row.name): row for row in changes.rows}
        self.snapshot = snapshot.updated(changes)
        self._identity, self._is_fresh, self._asked_at = self._store.identity, True, monotonic()

    def _known(self) -> Snapshot:
        """What was known stays; who knew nothing takes the copy on disk."""
        if self.snapshot.revision or self._copy is None:
            return self.snapshot
        self._copy_problem = None
        try:
            changes = self._copy.load()
            return self.snapshot if changes is None else self.snapshot.updated(changes)
        except Exception as error:  # a copy is no authority: whatever is wrong with it, go on without
            self._copy_problem = _words(error)
            return self.snapshot

    def _say_what_is_new(self) -> None:
        wrong = [f"flag {name!r} is off: {problem}" for name, problem in self.snapshot.problems.items()]
        if self._is_fresh:
            strangers = {name for name in self.snapshot.off if name not in self.snapshot.entries} - {EVERYTHING}
            wrong += [f"{name!r} is to be off here, and there is no flag of that name" for name in sorted(strangers)]
        wrong += filter(None, (self.problem, self._copy_problem, self._off.problem))
        new, self._said = [problem for problem in dict.fromkeys(wrong) if problem not in self._said], frozenset(wrong)
        for problem in new:
            self._say(problem)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, FlaggateError) else repr(error)
