"""The demo's console."""

from __future__ import annotations

import os
import sys
import webbrowser

from flaggate.cli.demo.process import Process
from flaggate.cli.demo.walk import FLAG

__all__ = ["ConsoleServer", "show"]


class ConsoleServer(Process):
    """Serves the pages of a store.

    Args:
        store_url: The demo's.
    """

    def __init__(self, store_url: str) -> None:
        super().__init__("flaggate.cli.demo.console_process", store_url)

    @property
    def url(self) -> str:
        """A link that signs the owner in, once, and goes on to the demo's flag."""
        return f"{self.said}&flag={FLAG}"


def show(url: str) -> bool:
    """Open it in a browser with a screen, if somebody sits at a terminal with one. Returns whether it was."""
    has_screen = sys.platform in ("darwin", "win32") or bool(os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"})
    return has_screen and sys.stdout.isatty() and webbrowser.open(url)
