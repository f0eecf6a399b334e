"""The demo's processes: each ends with the demo, even if nobody is left to end it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from threading import Thread

from flaggate.errors import FlaggateError

__all__ = ["Process", "end_with_the_demo"]


class Process:
    """A module of ours in a process of its own. `begin` waits until it serves.

    Args:
        words: The module and what it takes.
        settings: Its environment beside the demo's own, of which it inherits nothing that is FLASK_ or FLAGGATE_.
    """

    def __init__(self, *words: str, settings: Mapping[str, str] | None = None) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "FLAGGATE_"))}
        self._process = subprocess.Popen(  # noqa: S603  # by this very Python
            [sys.executable, "-m", *words],
            env=ours | dict(settings or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # out of reach of the terminal's Ctrl-C, from the first moment on: the demo ends it
        )
        self.said = ""
        """Where it serves."""

    def begin(self) -> None:
        """Wait until it takes requests, and says so."""
        assert self._process.stdout is not None
        self.said = self._process.stdout.readline().strip()
        if not self.said:
            raise FlaggateError(f"a process of the demo ended with exit code {self._process.wait()}")

    def is_running(self) -> bool:
        """Whether it is there still."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def end_with_the_demo() -> None:
    """In such a process: end when the demo has, and with it standard input."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(0)

    Thread(target=wait, daemon=True).start()
