"""The process around the gates: what forks it, what ends it, and who runs it."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Collection
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import TYPE_CHECKING, Final, Protocol

from flaggate.errors import StoreError

if TYPE_CHECKING:
    from flaggate.runtime.meter import Meter
    from flaggate.stores.base import Store

__all__ = [
    "flush_with_multiprocessing",
    "importing",
    "is_before_workers",
    "is_on_event_loop",
    "is_under_test_runner",
    "watch",
    "watched",
]


class Watched(Protocol):
    """Who is told: a gate."""

    meter: Meter
    store: Store

    def before_fork(self) -> None:
        """In the parent, just before a fork."""

    def after_fork(self, *, in_child: bool) -> None:
        """Just after it, on both sides."""

    def flush(self, *, is_last: bool) -> None:
        """The process ends. Raises nothing."""

    def names(self, sought: Collection[str]) -> frozenset[str] | None:
        """The flags that there are; None = nobody can tell."""

    def republish(self) -> None:
        """A test has changed the answers."""


_watched: weakref.WeakSet[Watched] = weakref.WeakSet()
_fork_lock = threading.Lock()
"""One fork at a time, or two threads would mix up what each has to let go of."""
_IMPORT_SECONDS: Final = 10.0
"""How long a fork waits for an import: it ends by itself, and a child that gets half of one hangs for ever."""
_import_lock = threading.RLock()  # a signal handler may ask a flag, too
_is_import_held_early = False
_holds = threading.local()
"""How often a thread that forks has taken it."""
_forking: list[Watched] = []
_left: list[tuple[Meter, Store]] = []
"""Of gates that have gone with counts still to be written: a script's, made in a function that has returned."""


def watch(gate: Watched) -> None:
    """Tell the gate of each fork, and of the end, as long as it is there."""
    _watched.add(gate)
    weakref.finalize(gate, _leave, gate.meter, gate.store).atexit = False


def watched() -> list[Watched]:
    """The gates of this process."""
    return list(_watched)


def importing() -> AbstractContextManager[object]:
    """Held while a module is imported that not every process needs: no fork falls into the midst of it.

    Python's own lock of a module that another thread was importing stays held in the child, whose first question would
    wait for it for ever. Nothing else is waited for inside.
    """
    if not _is_import_held_early:
        _hold_imports_early()
    return _import_lock


def _hold_imports_early() -> None:
    """A fork takes logging's lock, and what is imported may need that. Hooks that are registered later run earlier: so
    logging comes first, and then a hook that takes ours before."""
    global _is_import_held_early
    with _import_lock:
        import logging  # noqa: F401  # it registers its own

        if hasattr(os, "register_at_fork") and not _is_import_held_early:
            os.register_at_fork(before=_hold_imports)
        _is_import_held_early = True


def _hold_imports() -> None:
    _holds.times = getattr(_holds, "times", 0) + _import_lock.acquire(timeout=_IMPORT_SECONDS)


def _let_go_of_imports(*, in_child: bool) -> None:
    global _import_lock
    for _ in range(_holds.__dict__.pop("times", 0)):
        _import_lock.release()
    if in_child:
        _import_lock = threading.RLock()


def _leave(meter: Meter, store: Store) -> None:
    # No store is asked here: this runs in the midst of whatever lets the last reference go.
    if meter.has_counts() and not is_under_test_runner():
        _left.append((meter, store))


def _before_fork() -> None:
    _fork_lock.acquire()
    try:
        for gate in list(_watched):
            _forking.append(gate)
            gate.before_fork()
    finally:  # last: who pulls may have to import first
        _hold_imports()


def _after_fork(*, in_child: bool) -> None:
    _let_go_of_imports(in_child=in_child)
    if in_child:
        _left.clear()  # the parent's to write
    with ExitStack() as each:  # in reverse, and all of them, whatever one raises
        each.callback(_fork_lock.release)
        for gate in _forking:
            each.callback(gate.after_fork, in_child=in_child)
        _forking.clear()


def _at_exit() -> None:
    if is_under_test_runner():
        return  # a test's store has gone with the test
    for gate in list(_watched):
        gate.flush(is_last=True)
    for meter, store in _left:
        with suppress(StoreError):  # there is nobody left to tell
            meter.flush(store, wait_seconds=1.0)


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows does not fork, and has no such function
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(in_child=False),
        after_in_child=lambda: _after_fork(in_child=True),
    )
atexit.register(_at_exit)


def flush_with_multiprocessing() -> None:
    """Said at a process's first question: a child of multiprocessing ends without atexit, and forgets what a fork had."""
    parent_process = getattr(sys.modules.get("multiprocessing.process"), "parent_process", None)
    if parent_process is not None and parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _at_exit, exitpriority=0)


def is_under_test_runner() -> bool:
    """pytest, `python -m unittest` or `manage.py test`: there a thread would outlive its test's store."""
    if "pytest" in sys.modules or "".join(sys.argv[:1]).endswith("unittest"):
        return True
    return "django" in sys.modules and sys.argv[1:2] == ["test"]


def is_before_workers() -> bool:
    """Whether this is uWSGI, and its workers are still to be forked. It does that without Python's hooks: a thread would be
    gone in them, and may hold their interpreter's lock for ever."""
    uwsgi = sys.modules.get("uwsgi")  # there is no other way to import it
    return uwsgi is not None and uwsgi.worker_id() == 0


def is_on_event_loop() -> bool:
    """Whether this thread runs an asyncio event loop just now."""
    # Who runs a loop has imported asyncio, to the end: another thread may be in the middle of it.
    get_running_loop = getattr(sys.modules.get("asyncio"), "get_running_loop", None)
    if get_running_loop is None:
        return False
    try:
        get_running_loop()
    except RuntimeError:
        return False
    return True
