"""A process that serves the console of the demo's store, on a free port of loopback; says its link on standard output."""

from __future__ import annotations

import sys

from flaggate.cli.console import console
from flaggate.cli.demo.process import end_with_the_demo
from flaggate.cli.demo.walk import OWNER

__all__: list[str] = []

if __name__ == "__main__":
    end_with_the_demo()
    console.main(["--store", sys.argv[1], "--as", OWNER, "--port", "0"])
