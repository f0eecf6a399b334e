"""The product manager's pages: a Starlette app, alone (`flaggate console`) or inside of the host app.

It reads the store and writes through `flaggate.runtime.control`, so it may run in any process.
"""

from __future__ import annotations

from flaggate.console.app import create_console
from flaggate.console.people import Person

__all__ = ["Person", "create_console"]
