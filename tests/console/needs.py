"""A store with a flag of each need, as it looks after hours of traffic: what the pages have to show."""

from __future__ import annotations

from typing import Final

from flaggate import Context, Gate
from flaggate.flags.document import parse
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.runtime.judging import Judging
from flaggate.runtime.ticker import Ticker
from flaggate.stores.base import Presence, Write
from flaggate.stores.memory import MemoryStore
from tests.runtime.guarded import Clock
from tests.runtime.scenes import OWNER

__all__ = ["FLAGS", "every_need"]

_STAGES: Final = """
stages = [
    { name = "internal", audience = { staff = true }, soak = "24h" },
    { name = "tenth", share = 10, soak = "24h", min_sample = 50000 },
    { name = "everyone" },
]
guards = [
    { metric = "errors", limit = "1%" },
    { metric = "errors", vs_control = 1.25 },
    { metric = "slow", slower_than = "400ms", limit = "5%", on_breach = "hold" },
]
"""
_HOLD: Final = ', on_breach = "hold"'
_OWN: Final = {
    "breaching": _STAGES.replace(_HOLD, "").replace('"1%"', f'"1%"{_HOLD}').replace("1.25", f"1.25{_HOLD}"),
    "blind": _STAGES.replace("guards = [", 'guards = [\n    { metric = "queue", query = "up", limit = 3 },'),
    "approval": _STAGES.replace('"24h", min_sample = 50000', '"0s", approval = true'),
}
_ROLLOUTS: Final = (
    "breaching", "blind", "killed", "rolled-back", "approval", "watching", "running", "paused", "draft", "done"
)  # fmt: skip
FLAGS: Final = (*_ROLLOUTS, "banner", "made", "stale", "unreadable")
"""All of them, most named after what they need: banner is a switch, made is the console's own."""


def every_need(clock: Clock) -> MemoryStore:
    """The store, as of the clock's moment; its owner is `OWNER`."""
    store = MemoryStore(clock=clock.unix)
    control = Control(store, now=clock)
    switches = "".join(_declared(name) for name in ("banner", "stale", "unreadable"))
    control.apply(
        parse(switches + "".join(_declared(name) + _OWN.get(name, _STAGES) for name in _ROLLOUTS)), actor=OWNER
    )
    control.apply(parse(_declared("made")), actor=OWNER, source="console")
    control.act(Verb.ON, "stale", actor=OWNER)
    clock.passes(31 * 86_400)
    control.act(Verb.ON, "banner", actor=OWNER, reason="it is <b>time</b>")
    for name in _ROLLOUTS:
        if name != "draft":
            for verb in (Verb.START, Verb.ADVANCE):
                control.act(verb, name, actor=OWNER, reason="staff had it for a week" if verb is Verb.ADVANCE else None)
    for name in ("watching", "done"):
        control.act(Verb.ADVANCE, name, actor=OWNER, reason="all is well")
    _hours_pass(store, clock)
    control.act(Verb.COMPLETE, "done", actor=OWNER, reason="nobody complains")
    control.act(Verb.PAUSE, "paused", actor=OWNER, reason="over the weekend")
    control.act(Verb.KILL, "killed", actor="deputy@example.com", reason="invoices without VAT")
    row = store.get("flag", "unreadable")
    assert row is not None
    store.commit([Write("flag", "unreadable", row.version, {**(row.document or {}), "flag": {"description": 3}})], [])
    for number in (1, 2):
        store.say(Presence(f"{number:032}", f"web-{number}:4711", store.revision(), 0.1, 60.0))
    return store


def _declared(name: str) -> str:
    return f'\n[flags.{name}]\ndescription = "The overhauled pages of {name}"\nowner = "{OWNER}"\ndeputies = ["deputy@example.com"]\n'


def _hours_pass(store: MemoryStore, clock: Clock) -> None:
    """People come by every ten minutes; two flags fail more and more often."""
    gate = Gate.open(store, background=False)
    ticker = Ticker(store, judge=Judging(store), now=clock)
    for part in range(8):
        gate.refresh()
        for name in _ROLLOUTS:
            is_broken = part > 4 and name in {"breaching", "rolled-back"}
            for number in range(150):
                with gate.visit(Context(f"u{number}", staff=number < 5)) as visit:
                    if visit.is_on(name) and (is_broken or number == part):
                        visit.fail()
        gate.flush()
        clock.passes(5)
        ticker.tick(store.changes().rows)
        if part < 7:
            clock.passes(595)
    gate.close()
