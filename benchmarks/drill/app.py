"""The app that is served while things break: a WSGI app of a few lines behind flaggate's middleware.

FLAGGATE_STORE names the store, DRILL_DIRECTORY what the machine keeps beside it, DRILL_DEFINITIONS a file to apply,
DRILL_CITIES a City file, DRILL_TICK_SECONDS how often it looks at the rollouts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.drill.plan import LOCAL, ROLLOUT, SWITCH, WHERE
from flaggate import Gate
from flaggate.runtime.duties import TICK_SECONDS
from flaggate.web.wsgi import FlaggateMiddleware

__all__ = ["app"]


gate = Gate.open(
    os.environ["FLAGGATE_STORE"],
    directory=os.environ["DRILL_DIRECTORY"],
    definitions=os.environ.get("DRILL_DEFINITIONS"),
    tick_seconds=float(os.environ.get("DRILL_TICK_SECONDS", TICK_SECONDS)),
)


def _app(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
    visit = gate.current.get()
    assert visit is not None  # the middleware made it
    told: dict[str, Any] = {"pid": os.getpid(), "revision": visit.snapshot.revision}
    if environ["PATH_INFO"] == WHERE:
        told["problem"] = gate.health().problem
    else:
        decision = gate.decide(ROLLOUT)
        told |= {"is_on": decision.is_on, "arm": decision.arm, "switch": gate.is_on(SWITCH), "local": gate.is_on(LOCAL)}
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


app = FlaggateMiddleware(
    _app,
    gate,
    context=lambda environ: {"user": environ.get("HTTP_X_USER")},
    geo=os.environ.get("DRILL_CITIES"),
    trusted_proxies=["127.0.0.1"],
)
