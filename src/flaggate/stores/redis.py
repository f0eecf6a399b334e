"""A store in Redis or Valkey, for any number of machines: pub/sub shortens the wait for a change.

Whatever is written is one script of `lua/`, which the server runs alone: a commit checks all versions first and then
writes; a report is added once. Every write may be sent again when its answer was lost, and is done once.

Keys stand under one prefix, in braces, so that a cluster keeps them in one slot:
meta (a hash: salt, revision, run, events, pulse, schema), rows and changed (by revision), events (a stream) and of:NAME
(their numbers), counts:FLAG, window:FLAG:BEGAN, sets:FLAG, units:FLAG:SET, lease, progress, presences, done:TOKEN.

Forks: a child lets go of its parent's connections without a word to the server.
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from time import monotonic
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from flaggate.errors import BusyError, ConflictError, LeaseError, NoStoreError, StoreError
from flaggate.rollout.state import Event
from flaggate.stores import redis_contents, redis_counts
from flaggate.stores.base import (
    PRESENCE_SPANS,
    Changes,
    Contents,
    Count,
    Kind,
    Lease,
    Presence,
    Report,
    Row,
    UnitSum,
    Window,
    Write,
    without_password,
)
from flaggate.stores.columns import documents_of, dumps, row_of
from flaggate.stores.ear import Ear
from flaggate.stores.redis_events import event_from, event_text
from flaggate.stores.redis_scripts import Scripts

__all__ = ["RedisStore"]

# A client is Any: redis-py's types are of bytes or text, whatever it was asked for.

_FORM: Final = "say redis://host:6379/0, rediss:// with TLS, or unix:///run/redis.sock; valkey:// is the same"
_SCHEMES: Final = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
_SCHEMA: Final = 1
_SECONDS: Final = 5.0
"""How long a connection or an answer is waited for."""
_OURS: Final = ("prefix", "allow_volatile")
_BUSY: Final = (redis.exceptions.BusyLoadingError, redis.exceptions.TryAgainError)
_SAID: Final = {field.name for field in fields(Presence)} - {"said_at"}
_left_open: list[object] = []
"""What a child has of its parent's connections; their sockets are closed already."""


class RedisStore:
    """A store at `redis://host:6379/0`, `rediss://`, `valkey://` or `unix:///path`.

    Args:
        url: What redis-py takes; with `?prefix=NAME` for another one than `flaggate`, and `?allow_volatile=yes` for a server
            that may forget: without it, one that evicts or does not persist is refused.
        create: Whether to make the store when it is not there.
        clock: Unix time, for the lease and the windows; None = the server's, which is one for all machines.
    """

    poll_seconds = 2.0
    directory: str | None = None

    def __init__(self, url: str, *, create: bool = True, clock: Callable[[], float] | None = None) -> None:
        self.url = without_password(url)
        try:
            parts = urlsplit(url)
            scheme, _ = _SCHEMES[parts.scheme], parts.port
        except (KeyError, ValueError) as error:  # ValueError: a port that is no number
            raise StoreError(self.url, f"this is no URL of a store; {_FORM}") from error
        words = dict(parse_qsl(parts.query))
        allowed = words.pop("allow_volatile", "no")
        if allowed not in ("yes", "no"):
            raise StoreError(self.url, f"allow_volatile={allowed} is not allowed; allowed: yes, no")
        self._may_forget = allowed == "yes"
        self._prefix = f"{{{words.pop('prefix', 'flaggate')}}}"
        if scheme != "unix":
            words.setdefault("socket_keepalive", "yes")
        self._url = f"{scheme}://{parts.netloc}{parts.path}?{urlencode(words)}"
        self.create = create
        self._clock = clock
        self.identity = self.salt = ""
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._client: Any = None
        self._scripts = Scripts()
        self._ear = Ear(self._subscribed)
        self._sockets: weakref.WeakSet[Any] = weakref.WeakSet()

    # --- rows -------------------------------------------------------------------------------

    def revision(self) -> int:
        with self._errors():
            return self._call(self._open().hmget(self._key("meta"), ["salt", "revision", "run"]))

    def _call(self, head: Sequence[str | None]) -> int:
        """Set what the store is called. Returns its revision."""
        salt, revision, run = head
        if salt is None:  # somebody emptied the server
            self._let_go()
            raise StoreError(self.url, "what was there has gone; the next question makes it anew, if this process may")
        self.salt, self.identity = salt, f"{salt}/{run or ''}"
        return int(revision or 0)

    def wait(self, seconds: float, is_over: threading.Event) -> bool:
        return self._ear.wait(seconds, is_over)

    def changes(self, since: int = 0) -> Changes:
        with self._errors():
            *head, rows = self._run("changes", since)
            revision = self._call(head)
            pairs = zip(rows[::2], rows[1::2], strict=True)
            return Changes(revision, tuple(_row(field, kept) for field, kept in pairs))

    def get(self, kind: Kind, name: str) -> Row | None:
        with self._errors():
            kept = self._open().hget(self._key("rows"), f"{kind}:{name}")
            row = None if kept is None else _row(f"{kind}:{name}", kept)
            return None if row is None or row.document is None else row

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        token = uuid4().hex
        given = {
            "token": token,
            "now": self._given_now(),
            "holder": holder or "",
            "writes": [_written(write) for write in writes],
            "events": [{"name": event.name, "text": event_text(event)} for event in events],
        }
        with self._errors():
            try:
                answer = self._run("commit", json.dumps(given))
            except (redis.ConnectionError, redis.TimeoutError) as error:
                answer = ["done", self._done_or_void(token, error)]
        match answer:
            case ["conflict", number, found]:
                write = writes[int(number) - 1]
                raise ConflictError(self.url, write.kind, write.name, expected=write.expected, found=int(found))
            case ["lease"]:
                raise LeaseError(self.url)
            case ["void"]:
                raise StoreError(self.url, "it was given up before it arrived")
        return int(answer[1])

    def _done_or_void(self, token: str, error: Exception) -> int:
        """The answer was lost: find out whether it was done; if not, it never will be."""
        revision = int(self._run("void", token))
        if revision < 0:
            raise error
        return revision

    def history(self, name: str | None = None, *, limit: int = 100, after: int = 0) -> list[Event]:
        with self._errors():
            client, events = self._open(), self._key("events")
            if limit <= 0:
                return []
            if name is None:
                found = client.xrevrange(events, "+", f"({after}-0" if after else "-", count=limit)
                return [event_from(number, fields["event"]) for number, fields in reversed(found)]
            numbers = client.zrevrangebyscore(self._key(f"of:{name}"), "+inf", f"({after}", start=0, num=limit)
            with client.pipeline(transaction=False) as pipeline:
                for number in reversed(numbers):
                    pipeline.xrange(events, f"{number}-0", f"{number}-0")
                return [event_from(number, fields["event"]) for ((number, fields),) in pipeline.execute()]

    # --- counts -----------------------------------------------------------------------------

    def add_counts(self, report: Report) -> None:
        with self._errors():
            self._run("counts", redis_counts.report_text(report, self._now()))

    def counts(self, flag: str | None = None) -> list[Count]:
        with self._errors():
            return redis_counts.counts(self._open(), self._prefix, flag)

    def windows(self, flag: str, since: float) -> list[Window]:
        with self._errors():
            return redis_counts.windows(self._open(), self._prefix, flag, since)

    def units(self, flag: str, attempt: int, stage: int) -> list[UnitSum]:
        with self._errors():
            return redis_counts.units(self._open(), self._prefix, flag, attempt, stage)

    def pulse(self) -> int:
        with self._errors():
            return int(self._open().hget(self._key("meta"), "pulse") or 0)

    # --- the lease and what its holder keeps ------------------------------------------------

    def take_lease(self, holder: str, who: str, seconds: float) -> bool:
        with self._errors():
            return bool(self._lease("take", holder, who, repr(seconds))[0])

    def lease(self) -> Lease | None:
        with self._errors():
            is_held, *lease = self._lease("look")
        return Lease(lease[0], lease[1], float(lease[2]), float(lease[3])) if is_held else None

    def release_lease(self, holder: str) -> None:
        with self._errors():
            self._lease("release", holder)

    def _lease(self, act: str, holder: str = "", who: str = "", seconds: str = "", kept: str = "{}") -> list[Any]:
        found: list[Any] = self._run("lease", act, self._given_now(), holder, who, seconds, kept)
        return found

    def progress(self) -> dict[str, Mapping[str, Any]]:
        with self._errors():
            return documents_of(self._open().hgetall(self._key("progress")).items())

    def save_progress(self, documents: Mapping[str, Mapping[str, Any] | None], *, holder: str) -> None:
        kept = {name: dumps(document) or "" for name, document in documents.items()}
        with self._errors():
            is_done = self._lease("keep", holder, kept=json.dumps(kept))[0]
        if not is_done:
            raise LeaseError(self.url)

    # --- processes --------------------------------------------------------------------------

    def say(self, presence: Presence) -> None:
        said = asdict(presence)
        del said["said_at"]
        counts_for = PRESENCE_SPANS * presence.every_seconds
        with self._errors():
            self._run("presences", "say", self._given_now(), presence.process, json.dumps(said), repr(counts_for))

    def presences(self) -> list[Presence]:
        with self._errors():
            now, *lines = self._run("presences", "look", self._given_now())
        found = []
        for line in lines:
            _, said_at, text = line.split(" ", 2)
            said = {name: value for name, value in json.loads(text).items() if name in _SAID}  # a newer one says more
            found.append(Presence(**said, said_at=float(said_at)))
        there = [presence for presence in found if presence.is_there(float(now))]
        return sorted(there, key=lambda presence: (presence.who, presence.process))

    def unsay(self, process: str) -> None:
        with self._errors():
            self._open().hdel(self._key("presences"), process)

    # --- all of it --------------------------------------------------------------------------

    def contents(self) -> Contents:
        with self._errors():
            return redis_contents.contents(self._open(), self._prefix, self.changes, self.history)

    def fill(self, contents: Contents) -> None:
        with self._errors():
            redis_contents.fill(self._open(), self._prefix, contents, self.url)
            self.revision()  # it is called otherwise now

    # --- connections ------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    def _run(self, script: str, *arguments: object) -> Any:
        return self._scripts.run(self._open(), script, self._prefix, arguments)

    def _given_now(self) -> str:
        """For a script: empty = it takes the server's."""
        return "" if self._clock is None else repr(self._clock())

    def _now(self) -> float:
        if self._clock is not None:
            return self._clock()
        seconds, microseconds = self._open().time()
        return float(seconds) + float(microseconds) / 1e6

    def _open(self) -> Any:
        client = self._client
        if client is not None:
            return client
        with self._lock:
            if self._client is None:
                client = self._connected(socket_timeout=_SECONDS)
                try:
                    self._check(client)
                except BaseException:
                    client.close()
                    raise
                self._client = client
            return self._client

    def _connected(self, **words: Any) -> Any:
        try:
            client: Any = redis.Redis.from_url(
                self._url, decode_responses=True, socket_connect_timeout=_SECONDS,
                health_check_interval=15, client_name="flaggate", **words,
                # Once more on a new connection: whatever is sent may be sent twice.
                retry=Retry(ExponentialBackoff(cap=0.05, base=0.01), 1),
            )  # fmt: skip
        except (ValueError, TypeError) as error:
            raise StoreError(self.url, f"this is no URL of a store ({error}); {_FORM}") from error
        make = client.connection_pool.make_connection

        def made() -> Any:
            connection = make()
            self._sockets.add(connection)
            return connection

        client.connection_pool.make_connection = made  # a child has to find them all
        return client

    def _check(self, client: Any) -> None:
        """See that the store is there, of this schema, on a server that keeps it; make it if it may be made."""
        meta = self._key("meta")
        salt, schema = client.hmget(meta, ["salt", "schema"])
        if salt is None and not self.create:
            raise NoStoreError(self.url, "there is no flaggate store here; flaggate apply makes it")
        if schema is not None and int(schema) != _SCHEMA:
            raise StoreError(
                self.url, f"its schema is version {schema}, this flaggate knows {_SCHEMA}; use the newer flaggate"
            )
        if not self._may_forget:
            self._refuse_who_forgets(client)
        if salt is None:
            client.hsetnx(meta, "salt", uuid4().hex)
            client.hsetnx(meta, "schema", str(_SCHEMA))
        self._call(client.hmget(meta, ["salt", "revision", "run"]))

    def _refuse_who_forgets(self, client: Any) -> None:
        allow = "; to use it all the same, add ?allow_volatile=yes to the URL"
        try:
            memory, kept = client.info("memory"), client.info("persistence")
            is_saved = bool(kept.get("aof_enabled")) or bool(client.config_get("save").get("save"))
        except redis.ResponseError as error:
            words = f"nobody can tell whether this server persists, or evicts ({error})"
            raise StoreError(self.url, f"{words}: let this user INFO and CONFIG GET{allow}") from error
        policy = memory.get("maxmemory_policy", "noeviction")
        if int(memory.get("maxmemory", 0)) and policy != "noeviction":
            raise StoreError(
                self.url,
                f"this server throws keys away when its memory is full (maxmemory-policy {policy}): a kill could be "
                f"among them; set noeviction{allow}",
            )
        if not is_saved:
            raise StoreError(
                self.url,
                "this server keeps nothing over a restart (no appendonly, no save): every flag would be gone; "
                f"set appendonly yes{allow}",
            )

    def _subscribed(self) -> _Subscription:
        """A connection that hears of commits. Raises StoreError."""
        with self._errors():
            self._open()
            client = self._connected(socket_timeout=_SECONDS)
            heard = client.pubsub(ignore_subscribe_messages=False)
            heard.subscribe(self._key("revision"))
            heard.get_message(timeout=_SECONDS)  # that it is
            return _Subscription(client, heard)

    def before_fork(self) -> None:
        """Nothing is to be closed: a child leaves its parent's connections alone."""

    def after_fork(self, *, in_child: bool) -> None:
        if not in_child:
            return
        connections = list(self._sockets)
        _left_open.append((self._client, self._ear, connections))
        for connection in connections:
            with suppress(OSError, AttributeError):  # never open
                os.close(connection._sock.detach())  # the socket alone: the server hears nothing of it
        self._begin()

    def _let_go(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def close(self) -> None:
        with self._lock:
            self._let_go()
        self._ear.close()

    def __del__(self) -> None:
        with suppress(Exception):  # half made, or at the interpreter's end
            self.close()  # of a test's app that nobody closed

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError, ValueError, KeyError, TypeError) as error:  # the last: what is stored is odd
            words = " ".join(str(error).split())
            is_busy = isinstance(error, _BUSY) or words.startswith("BUSY")
            hint = "; it takes no writes: is this a replica?" if isinstance(error, redis.ReadOnlyError) else ""
            kind = BusyError if is_busy else StoreError
            raise kind(self.url, f"the server did not do it: {words or repr(error)}{hint}") from error


class _Subscription:
    """redis-py's, as an Ear listens to it."""

    def __init__(self, client: Any, heard: Any) -> None:
        self._client = client
        self._heard = heard

    def notifies(self, *, timeout: float | None = None, stop_after: int | None = None) -> Iterator[str]:  # noqa: ARG002
        until = monotonic() + (timeout or 0.0)
        while (left := until - monotonic()) > 0:
            message = self._heard.get_message(timeout=left)
            if message is not None and message["type"] == "message":
                yield message["data"]
                return

    def close(self) -> None:
        with suppress(redis.RedisError, OSError):
            self._heard.close()
            self._client.close()


def _row(field: str, kept: str) -> Row:
    kind, _, name = field.partition(":")
    version, _, document = kept.split(":", 2)
    return row_of(kind, name, int(version), document or None)  # type: ignore[arg-type]  # a Kind, as it was written


def _written(write: Write) -> dict[str, Any]:
    is_anew = write.kind == "flag" and (write.document is None or not write.expected)
    return {
        "field": f"{write.kind}:{write.name}",
        "expected": write.expected,
        "document": dumps(write.document) or "",
        "anew": write.name if is_anew else "",
    }
