"""Child processes that the tests fork: warm, so that one costs milliseconds."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["CHILD_SECONDS", "Pipe", "fork", "forked", "wait"]

CHILD_SECONDS = 60
"""A child that hangs is ended by its alarm, and fails its test."""


class Pipe:
    """One process waits here for another."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def send(self, text: str = ".") -> None:
        os.write(self._write, text.encode())

    def receive(self, size: int = 4096) -> str:
        """Wait for what is sent, and take so many characters of it at most."""
        return os.read(self._read, size).decode()

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


def fork(work: Callable[[], object], *, is_measured: bool = True) -> int:
    """Do the work in a child. Returns its pid, for `wait`.

    Args:
        is_measured: Whether coverage goes on there: it doubles what long work costs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of the threads of pytest-xdist
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(CHILD_SECONDS)
            if not is_measured:
                sys.settrace(None)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)  # not through the test runner's own ending
    return pid


def wait(pid: int) -> int:
    """The exit code of the child, once it ends; negative = the signal that ended it."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


@contextmanager
def forked(work: Callable[[], object]) -> Iterator[int]:
    """A child that is ended, whatever happens here."""
    pid = fork(work)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        wait(pid)
