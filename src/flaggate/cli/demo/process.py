"""A process of the demo that serves nobody but answers for everybody: one JSON line in, one out.

It stands for a worker of an app: it opens a gate on the same file and asks it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from flaggate.decide.context import Context
from flaggate.errors import FlaggateError
from flaggate.runtime.gate import Gate

__all__ = ["AppProcess"]


class AppProcess:
    """The demo's end of such a process. The first line that it is told is the list of people."""

    def __init__(self, store_url: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # this very module, by this very Python
            [sys.executable, "-m", __name__, store_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # out of reach of the terminal's Ctrl-C, from the first moment on: the demo ends it
        )

    def tell(self, line: Any) -> None:
        """Send one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Wait for one line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise FlaggateError(f"a process of the demo ended with exit code {self._process.wait()}")
        return json.loads(line)

    def who_has_it(self, revision: int) -> list[bool]:
        """The answers for all people, once the process serves that revision of the store."""
        self.tell({"revision": revision})
        found: list[bool] = self.answer()
        return found

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def _serve(store_url: str) -> None:
    people = sys.stdin.readline()
    if not people.endswith("\n"):
        return  # the demo ended before it had said who they are
    contexts = [Context(**words) for words in json.loads(people)]
    gate = Gate.open(store_url)
    gate.is_on("new-invoicing", contexts[0])  # the first question starts the keeper
    for line in sys.stdin:
        wanted = json.loads(line)
        if "revision" in wanted:
            while gate.health().revision < wanted["revision"]:
                time.sleep(0.001)
            _say([gate.is_on("new-invoicing", context) for context in contexts])
        else:
            context = contexts[wanted["watch"]]
            _say(gate.is_on("new-invoicing", context))
            while gate.is_on("new-invoicing", context):
                time.sleep(0.0002)
            _say(time.time())


def _say(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
