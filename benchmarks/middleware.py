"""What the middleware adds to a request: an app called in process, with and without. Takes about a minute.

    python benchmarks/middleware.py

Each figure is the median of 20 runs on the thread's CPU clock, each taken in turn with the bare app's; `added` is the
median of the pairs' differences. The app, the server's side and the context function are the cheapest there are. Each
row has a process of its own, as in a server, which speaks one protocol.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import maxminddb

from flaggate import Gate
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores.base import Store
from flaggate.stores.memory import MemoryStore
from flaggate.web import asgi, wsgi
from flaggate.web.geo import Geo

RUNS = 20
CALLS = 10_000
PLAN = (Path(__file__).parents[1] / "src" / "flaggate" / "cli" / "demo" / "plan.toml").read_text()
SWITCH = '\n[flags.banner]\ndescription = "x"\nowner = "x"\n'

NAMES: list[str] = []
"""The flags that the apps ask."""

# --- the apps ---------------------------------------------------------------------------------

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-length", b"2"), (b"content-type", b"a/b")],
}
BODY = {"type": "http.response.body", "body": b"ok"}
SCOPE = {
    "type": "http", "method": "GET", "path": "/invoices/7", "raw_path": b"/invoices/7", "query_string": b"",
    "scheme": "http", "root_path": "", "client": ("203.0.113.9", 40000), "server": ("127.0.0.1", 80),
    "headers": [(b"host", b"example.com"), (b"accept", b"*/*"), (b"user-agent", b"x"), (b"cookie", b"session=1")],
}  # fmt: skip
ENVIRON = {
    "REQUEST_METHOD": "GET", "PATH_INFO": "/invoices/7", "SCRIPT_NAME": "", "QUERY_STRING": "",
    "REMOTE_ADDR": "203.0.113.9", "wsgi.url_scheme": "http", "HTTP_HOST": "example.com", "HTTP_COOKIE": "session=1",
}  # fmt: skip
HEADERS = [("Content-Length", "2"), ("Content-Type", "a/b")]


def asgi_app(gate: Gate) -> Any:
    async def app(_scope: Any, _receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        for name in NAMES:
            gate.is_on(name)
        await send(START)
        await send(BODY)

    return app


def wsgi_app(gate: Gate) -> Any:
    def app(_environ: Any, start_response: Any) -> Iterable[bytes]:
        for name in NAMES:
            gate.is_on(name)
        start_response("200 OK", HEADERS)
        return [b"ok"]

    return app


async def _receive() -> Any:
    return {"type": "http.request", "body": b""}


async def _send(_message: Any) -> None:
    pass


def call_asgi(app: Any) -> None:
    call = app(SCOPE.copy(), _receive, _send)
    try:
        call.send(None)
    except StopIteration:
        return
    raise AssertionError("the app waits for something")


def _start_response(*_: Any) -> None:
    pass


def call_wsgi(app: Any) -> None:
    body = app(ENVIRON.copy(), _start_response)
    for _ in body:
        pass
    if not isinstance(body, list):
        body.close()


# --- measuring --------------------------------------------------------------------------------


def added(call: Callable[[Any], None], app: Any, bare: Any, *, with_names: list[str]) -> tuple[float, float]:
    """Microseconds that a request takes, and how many more than the bare app takes."""
    ours, theirs = (
        timeit.Timer("call(app)", timer=time.thread_time, globals={"call": call, "app": one}) for one in (app, bare)
    )
    pairs = []
    for _ in range(RUNS):
        NAMES[:] = with_names
        our_time = ours.timeit(CALLS)
        NAMES[:] = []
        pairs.append((our_time / CALLS * 1e6, theirs.timeit(CALLS) / CALLS * 1e6))
    return statistics.median(a for a, _ in pairs), statistics.median(a - b for a, b in pairs)


def run_plan(store: Store) -> None:
    """The seed plan, at 10 % of everyone."""
    control = Control(store)
    control.apply(parse(PLAN + SWITCH), actor="bench")
    verbs = [Verb.START, Verb.ADVANCE, Verb.ADVANCE, Verb.ADVANCE]
    for verb in verbs:
        control.act(verb, "new-invoicing", actor="release-owner@example.com", reason="bench")
    control.act(Verb.ON, "banner", actor="bench")


def running_gate() -> Gate:
    store = MemoryStore()
    run_plan(store)
    gate = Gate.open(store, background=False)
    gate.refresh()
    return gate


PERSON = {"user": "u-1", "account": "acme", "tier": "team", "groups": frozenset({"alpha"})}


PERSON_IN_LEEDS = PERSON | {"city": "Leeds", "country": "GB"}


def with_city(_request: Any) -> Mapping[str, Any]:
    return PERSON_IN_LEEDS


def without_city(_request: Any) -> Mapping[str, Any]:
    return PERSON


CASES: list[tuple[str, list[str], dict[str, Any]]] = [
    ("a visit, no flag asked", [], {}),
    ("a switch, on for everyone", ["banner"], {}),
    ("new-invoicing, the place given by the app", ["new-invoicing"], {"context": with_city}),
    ("new-invoicing, place looked up (no City file)", ["new-invoicing"], {"context": without_city}),
    ("new-invoicing asked three times", ["new-invoicing"] * 3, {"context": with_city}),
    ("new-invoicing and a switch", ["new-invoicing", "banner"], {"context": with_city}),
    ("a route table of three, none matches", [], {"routes": {f"/v{n}/*": "banner" for n in range(3)}}),
]
PROTOCOLS: dict[str, tuple[Any, Any, Any]] = {
    "ASGI": (asgi_app, call_asgi, asgi.FlaggateMiddleware),
    "WSGI": (wsgi_app, call_wsgi, wsgi.FlaggateMiddleware),
}


def row(protocol: str, number: int) -> None:
    """Measure and print one."""
    gate = running_gate()
    make, call, middleware = PROTOCOLS[protocol]
    words, names, settings = CASES[number]
    whole, more = added(call, middleware(make(gate), gate, **settings), make(gate), with_names=names)
    print(f"| {words:<46} | {whole:>6.2f} us | {more:>5.2f} us |")


def main() -> None:
    for protocol in PROTOCOLS:
        print(f"\n| {protocol:<46} | a request | added |\n|---|---|---|", flush=True)
        for number in range(len(CASES)):
            subprocess.run([sys.executable, __file__, protocol, str(number)], check=True)


def parts() -> None:
    """What one decision with its count is made of, on ASGI; the rest is Python's calls in between."""
    gate = running_gate()
    site = asgi.FlaggateMiddleware(asgi_app(gate), gate, context=with_city).site
    scope = {**SCOPE, asgi.SITE: site}
    visit = asgi.AsgiVisit(site, scope, _receive, _send)
    decide, context = gate.begun().decide["new-invoicing"], visit.context
    visit.is_on("new-invoicing")

    numbers = {"requests": 0}

    def increment() -> None:
        numbers["requests"] += 1

    def count(is_error: bool) -> Callable[[], None]:
        def counted() -> None:
            visit.is_counted = False
            gate.meter.count(visit, is_error, 1.3)

        return counted

    def make_context() -> None:
        visit._context = visit._request = None
        visit.context  # noqa: B018

    def send(message: Any) -> Callable[[], None]:
        def sent() -> None:
            try:
                visit.send(message).__await__().send(None)
            except StopIteration:
                return

        return sent

    print("\n| a part (ASGI) | |\n|---|---|")
    for words, call in (
        ("the visit itself", lambda: asgi.AsgiVisit(site, scope, _receive, _send)),
        ("the visit of this task: set and reset", lambda: gate.current.reset(gate.current.set(visit))),
        ("who asks: the app's function and the Context", make_context),
        ("deciding", lambda: decide(context)),
        ("sending the start, with Cache-Control and Vary", send(START)),
        ("sending the body", send(BODY)),
        ("counting one that went well", count(False)),
        ("counting one that failed", count(True)),
        ("beside: one more in a dict", increment),
    ):
        timer = timeit.Timer(call, timer=time.thread_time)
        median = statistics.median(timer.timeit(CALLS) / CALLS * 1e6 for _ in range(RUNS))
        print(f"| {words:<46} | {median:>6.2f} us |")


def city_lookups() -> None:
    """A lookup, beside the reader that it stands on, in a small City file made for this."""
    from mmdb_writer import MMDBWriter
    from netaddr import IPSet

    record = {
        "city": {"geoname_id": 2643123, "names": {"en": "Manchester", "de": "Manchester"}},
        "country": {"iso_code": "GB", "names": {"en": "United Kingdom"}},
        "subdivisions": [{"iso_code": "ENG", "names": {"en": "England"}}],
    }
    writer = MMDBWriter(4, "GeoLite2-City", languages=["en"])
    for network in range(1, 65):
        writer.insert_network(IPSet([f"{network}.0.0.0/8"]), record)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/city.mmdb"
        writer.to_db_file(file)
        geo = Geo(file, folder, print)
        reader = maxminddb.open_database(file)
        fresh = (f"{1 + i % 64}.{i >> 6 & 255}.{i >> 14}.1" for i in itertools.count())
        print("\n| a place by its address | |\n|---|---|")
        for words, call in (
            ("maxminddb.get", lambda: reader.get(next(fresh))),
            ("Geo.place, an address that is new", lambda: geo.place(next(fresh))),
            ("Geo.place, an address that was asked before", lambda: geo.place("1.2.3.4")),
        ):
            timer = timeit.Timer(call, timer=time.thread_time)
            print(
                f"| {words:<46} | {statistics.median(timer.timeit(2000) / 2000 * 1e6 for _ in range(RUNS)):>6.2f} us |"
            )


if __name__ == "__main__":
    if sys.argv[1:]:
        row(sys.argv[1], int(sys.argv[2]))
    else:
        main()
        parts()
        city_lookups()
