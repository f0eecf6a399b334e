"""All that a Redis store keeps, read for another store, or taken from one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from flaggate.errors import BusyError, StoreError
from flaggate.stores import redis_counts, sums
from flaggate.stores.base import NOT_EMPTY, Changes, Contents, UnitSet, Window
from flaggate.stores.columns import documents_of, dumps
from flaggate.stores.redis_events import event_text

if TYPE_CHECKING:
    from flaggate.rollout.state import Event

__all__ = ["contents", "fill"]

_TRIES: Final = 20
_HEAD: Final = ["salt", "revision", "pulse", "events"]


def contents(client: Any, prefix: str, changes: Callable[[], Changes], history: Callable[..., list[Event]]) -> Contents:
    """All of it. A script would keep everybody waiting: it is read again where somebody wrote meanwhile."""
    for _ in range(_TRIES):
        head = client.hmget(f"{prefix}:meta", _HEAD)
        found = _contents(client, prefix, head[0] or "", changes(), history(limit=int(head[3] or 0)))
        if client.hmget(f"{prefix}:meta", _HEAD) == head:
            return found
    raise BusyError(prefix, "others write all the time: stop them, and read again")


def _contents(client: Any, prefix: str, salt: str, changes: Changes, events: list[Event]) -> Contents:
    flags = sorted(client.smembers(f"{prefix}:counted"))
    windows = [window for flag in flags for window in redis_counts.windows(client, prefix, flag, float("-inf"))]
    return Contents(
        salt,
        changes.revision,
        tuple(sorted(changes.rows, key=lambda row: (row.kind, row.name))),
        tuple(events),
        tuple(redis_counts.counts(client, prefix, None)),
        tuple(sorted(windows, key=_moment)),
        tuple(sorted(_unit_sets(client, prefix, flags), key=_order)),
        documents_of(client.hgetall(f"{prefix}:progress").items()),
    )


def _moment(window: Window) -> tuple[Any, ...]:
    return window.began, *sums.count_place(window.count)


def _order(units: UnitSet) -> tuple[Any, ...]:
    return *sums.group_of(units), units.arm


def _unit_sets(client: Any, prefix: str, flags: list[str]) -> Iterator[UnitSet]:
    for flag in flags:
        for name in client.hkeys(f"{prefix}:sets:{flag}"):
            arm, group = redis_counts.group_from(flag, name)
            kept = client.hgetall(f"{prefix}:units:{flag}:{name}")
            yield sums.set_of(arm, group, {unit: int(bad) for unit, bad in kept.items()})


def fill(client: Any, prefix: str, given: Contents, url: str) -> None:
    """Take all of it, in one transaction, or nothing."""
    meta = f"{prefix}:meta"
    with client.pipeline(transaction=True) as pipeline:
        pipeline.watch(meta)
        if any(int(number or 0) for number in client.hmget(meta, ["revision", "pulse"])):
            raise StoreError(url, NOT_EMPTY)
        pipeline.multi()
        _fill_rows(pipeline, prefix, given)
        _fill_counts(pipeline, prefix, given)
        for name, document in given.progress.items():
            pipeline.hset(f"{prefix}:progress", name, dumps(document))
        last = given.events[-1].id if given.events else 0
        pipeline.hset(meta, mapping={"salt": given.salt, "revision": given.revision, "events": last})
        pipeline.execute()


def _fill_rows(pipeline: Any, prefix: str, given: Contents) -> None:
    for row in given.rows:
        field = f"{row.kind}:{row.name}"
        pipeline.hset(f"{prefix}:rows", field, f"{row.version}:{given.revision}:{dumps(row.document) or ''}")
        pipeline.zadd(f"{prefix}:changed", {field: given.revision})
    for event in given.events:
        pipeline.xadd(f"{prefix}:events", {"event": event_text(event)}, id=f"{event.id}-0")
        pipeline.zadd(f"{prefix}:of:{event.name}", {str(event.id): event.id})


def _fill_counts(pipeline: Any, prefix: str, given: Contents) -> None:
    for count in given.counts:
        pipeline.sadd(f"{prefix}:counted", count.flag)
        pipeline.hset(f"{prefix}:counts:{count.flag}", mapping=dict(redis_counts.changes_of(count)))
    for window in given.windows:
        flag, began = window.count.flag, window.began
        pipeline.sadd(f"{prefix}:counted", flag)
        pipeline.zadd(f"{prefix}:windows:{flag}", {str(began): began})
        pipeline.zadd(f"{prefix}:windows", {f"{flag}:{began}": began})
        pipeline.hset(f"{prefix}:window:{flag}:{began}", mapping=dict(redis_counts.changes_of(window.count)))
    for units in given.units:
        if units.units:
            name = redis_counts.set_name(sums.group_of(units)) + units.arm
            total = sums.growth({}, {(units.arm, unit): bad for unit, bad in units.units.items()})[units.arm]
            pipeline.sadd(f"{prefix}:counted", units.flag)
            pipeline.hset(f"{prefix}:sets:{units.flag}", name, " ".join(map(str, total)))
            pipeline.hset(f"{prefix}:units:{units.flag}:{name}", mapping=units.units)
