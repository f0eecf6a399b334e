"""tick: one look at every rollout, for cron."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from flaggate.cli.history import event_to_json
from flaggate.cli.options import as_json, notify_option_of_cron, prometheus_option, store_option
from flaggate.cli.render import line, print_json
from flaggate.errors import StoreError
from flaggate.rollout.holds import holds
from flaggate.rollout.waits import Wait, as_running, wait_to_json, waits_after
from flaggate.rollout.words import standing
from flaggate.runtime.judging import Judging, Samples
from flaggate.runtime.lease_words import lease_to_json, lease_words
from flaggate.runtime.sender import LIMIT_SECONDS
from flaggate.runtime.ticker import Looked, Notices, Ticker
from flaggate.stores.base import Store

__all__ = ["tick"]


@click.command(
    help="Look once at every rollout that is running, paused or watching, and move what may move; for cron. Does "
    "nothing where another process does it already."
)
@notify_option_of_cron
@prometheus_option
@store_option
@as_json
def tick(notify: Path | None, prometheus: str | None, store: Store, is_json: bool) -> None:
    """Look once."""
    ticker = Ticker(store, judge=Judging(store, _samples(prometheus)), notices=_notices(notify))
    try:
        looked = ticker.tick(store.changes().rows)
        lease = store.lease() if looked is None else None
        ticker.tell(LIMIT_SECONDS)
    finally:
        with suppress(StoreError):  # it ends by itself
            ticker.release()
    if is_json:
        found = {one.record.flag.name: _to_json(one) for one in looked or ()}
        print_json({"has_looked": looked is not None, "lease": lease_to_json(lease), "looked": found})
    elif looked is None:
        line("another process has just looked" if lease is None else lease_words(lease))
    elif not looked:
        line("nothing to look at: no rollout is running, paused or watching")
    else:
        for one in looked:
            line(_words(one))


def _notices(config: Path | None) -> Notices | None:
    if config is None:
        return None
    from flaggate.runtime.notices import Notifier  # for those who tell

    return Notifier(config, partial(line, err=True))


def _samples(url: str | None) -> Samples | None:
    """Asked on the spot: nobody looks again."""
    if url is None:
        return None
    from flaggate.runtime.prometheus import Prometheus  # for those who ask one

    server = Prometheus(url)
    return lambda guards, _: {guard.query: server.ask(guard.query) for guard in guards if guard.query is not None}


def _words(one: Looked) -> str:
    """What moved, or what it waits for."""
    flag, rollout = one.record.flag, one.record.rollout
    if one.look.moved is not None:
        rollout, event = one.look.moved
        return f"{flag.name}: {event.verb}: {event.reason}; it is {standing(flag, rollout)}"
    found = ", ".join(wait.why for wait in _waits(one))
    more = [f"waits for {found}"] if found else []
    more += [one.problem] if one.problem else []
    return "; ".join((f"{flag.name}: {standing(flag, rollout)}", *more))


def _waits(one: Looked) -> tuple[Wait, ...]:
    flag, rollout, progress = one.record.flag, one.record.rollout, one.look.progress
    found = holds(flag, as_running(rollout), progress, one.judgement, datetime.now(UTC))
    return waits_after(rollout, progress, found)


def _to_json(one: Looked) -> dict[str, Any]:
    rollout, event = one.look.moved or (one.record.rollout, None)
    return {
        "status": rollout.status,
        "stage": rollout.stage,
        "attempt": rollout.attempt,
        "moved": None if event is None else event_to_json(event),
        "waits": [wait_to_json(wait) for wait in ([] if event else _waits(one))],
        "problem": one.problem,
    }
