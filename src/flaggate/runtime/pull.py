"""How a process comes by its snapshot: from the store, else from what it knows, else from its disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from flaggate.errors import FlaggateError, StoreError
from flaggate.runtime.control import Control
from flaggate.runtime.definitions import DefinitionsFile
from flaggate.runtime.disk import DiskCopy, OffSwitch
from flaggate.runtime.snapshot import Snapshot
from flaggate.stores.base import Store

__all__ = ["Puller"]


class Puller:
    """Pulls snapshots from one store, and applies the definitions file on the way.

    Args:
        store: Where the flags are.
        definitions: A file to apply whenever its content changes; None = none.
        directory: Of the copy on disk and the `off` file; None = neither.
        say: Called with what an operator should read; it keeps from saying the same twice.
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
        self._store = store
        self._control = Control(store)
        self._definitions = None if definitions is None else DefinitionsFile(definitions)
        self._definitions_problem: str | None = None
        self._copy = None if directory is None else DiskCopy(Path(directory))
        self._off = OffSwitch(None if directory is None else Path(directory))
        self._say = say
        self._is_fresh = False
        """Whether the snapshot came from the store, in this process."""

    def pull(self) -> Snapshot:
        """One round. Raises nothing; what went wrong is in `problem`."""
        problem = None
        try:
            problem = self._apply_definitions()
            self._read_store()
        except Exception as error:  # supervised: whatever it is, the next round comes
            problem = str(error) if isinstance(error, FlaggateError) else repr(error)
            self._read_copy()
        self._look_off()
        self.problem = problem
        if problem is not None:
            self._say(problem)
        return self.snapshot

    def without_store(self) -> Snapshot:
        """The snapshot to answer from while the store keeps us waiting."""
        self._read_copy()
        self._look_off()
        return self.snapshot

    def forked(self) -> None:
        """In a child: what the parent read may be old by now."""
        self._is_fresh = False

    def _apply_definitions(self) -> str | None:
        """Apply the file; what is wrong with it stops nothing else."""
        if self._definitions is None:
            return None
        try:
            applied = self._definitions.step(self._control)
        except StoreError:
            raise
        except FlaggateError as error:
            self._definitions_problem = str(error)
        else:
            if applied is not None:
                self._definitions_problem = None
        return self._definitions_problem

    def _read_store(self) -> None:
        snapshot, revision = self.snapshot, self._store.revision()
        if revision == snapshot.revision and self._is_fresh:
            return
        if revision < snapshot.revision or not self._is_fresh:
            # Another store may stand in its place (restored, made anew), or all we have is a copy of it.
            snapshot = Snapshot(off=snapshot.off)
        self.snapshot = snapshot.updated(self._store.changes(since=snapshot.revision))
        self._is_fresh = True
        for name, problem in self.snapshot.problems().items():
            self._say(f"flag {name!r} is off: {problem}")
        if self._copy is not None:
            try:
                self._copy.save(self.snapshot.changes())
            except OSError as error:
                self._say(f"no copy of the flags on this disk: {error}")

    def _read_copy(self) -> None:
        """What was known stays; who knew nothing takes the copy on disk."""
        if self.snapshot.revision or self._copy is None:
            return
        try:
            changes = self._copy.load()
        except FlaggateError as error:
            self._say(str(error))
        else:
            self.snapshot = self.snapshot if changes is None else self.snapshot.updated(changes)

    def _look_off(self) -> None:
        off = self._off.names()
        if off != self.snapshot.off:
            self.snapshot = self.snapshot.with_off(off)
