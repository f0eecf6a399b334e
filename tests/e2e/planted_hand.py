"""What people and the clock do to a rollout that other processes serve: orders on stdin, answers on stdout, a line each.

One process for all of them: to start one for each command would take longer than what is tested. The store is that of
FLAGGATE_STORE; without it that of the Django project in this folder.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from typing import Any

from flaggate.cli.main import run
from flaggate.runtime.judging import Judging
from flaggate.runtime.ticker import Ticker
from flaggate.stores import open_store
from flaggate.stores.base import Store
from flaggate.stores.record import read_flag
from tests.e2e.planted_site import FLAG

_HOUR = 3600.0


class Hand:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.ahead = timedelta()
        """Of the clock on the wall."""
        # Once it has the lease it keeps it: no worker is to look in between, by another clock.
        self.ticker = Ticker(
            store, judge=Judging(store), every_seconds=_HOUR, now=lambda: datetime.now(UTC) + self.ahead
        )

    def run(self, *words: str) -> dict[str, Any]:
        """What a person types."""
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            code = run(words, store=self.store)
        return {"code": code, "said": said.getvalue()}

    def is_there(self) -> bool:
        """From now on."""
        return True

    def revision(self) -> int:
        return self.store.revision()

    def stands(self) -> str:
        """The rollout's status."""
        return read_flag(self.store, FLAG).rollout.status

    def take(self) -> bool:
        """From now on it is the test that looks."""
        self.ahead = timedelta()
        return self.store.take_lease(self.ticker.holder, "the test", _HOUR)

    def look(self, seconds: float) -> dict[str, Any]:
        """So many seconds after the last look."""
        self.ahead += timedelta(seconds=seconds)
        looks = self.ticker.tick(self.store.changes().rows)
        assert looks, "it has no lease, or nothing to look at"
        (looked,) = looks
        assert looked.judgement is not None
        return {
            "answers": [verdict.answer for verdict in looked.judgement.verdicts],
            "holds": [hold.kind for hold in looked.look.holds],
            "has_moved": looked.look.moved is not None,
        }

    def let_go(self) -> bool:
        """The workers may look again."""
        self.ticker.has_lease = True
        self.ticker.release()
        return True

    def counts(self) -> dict[str, list[int]]:
        """Requests and errors of this attempt, by arm."""
        rollout = read_flag(self.store, FLAG).rollout
        counts = [count for count in self.store.counts(FLAG) if count.attempt == rollout.attempt]
        return {count.arm: [count.requests, count.errors] for count in counts}


def _django_store() -> Store:
    sys.path.insert(0, os.getcwd())
    import django  # noqa: TID251  # the store is in a project's database
    from django.core.management import call_command  # noqa: TID251

    django.setup()
    from flaggate.contrib.django.store import DjangoStore

    call_command("migrate", verbosity=0)
    from invoicing.management.commands.demo import load

    load()
    return DjangoStore()


def main() -> None:
    url = os.environ.get("FLAGGATE_STORE")
    hand = Hand(_django_store() if url is None else open_store(url, create=True))
    for line in sys.stdin:
        order: Mapping[str, Any] = json.loads(line)
        print(json.dumps(getattr(hand, order["do"])(*order["with"])), flush=True)


if __name__ == "__main__":
    main()
