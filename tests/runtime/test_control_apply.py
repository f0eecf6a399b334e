"""Control: what a definitions file comes to in the store."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from flaggate.errors import DocumentError, FlaggateError, OvertakenError, RevisionError
from flaggate.flags.document import Definitions, parse
from flaggate.flags.model import Segment
from flaggate.rollout.state import Event, Status, Verb
from flaggate.runtime.control import Applied
from flaggate.runtime.definitions import load
from flaggate.stores.base import Store, Write
from flaggate.stores.memory import MemoryStore
from flaggate.stores.record import read_flag, segment_of
from flaggate.stores.sql import SqlStore
from tests.runtime.control_plans import (
    BANNER,
    CHECKOUT,
    DEPUTY,
    NOW,
    OWNER,
    TO_THE_WATCH,
    VIP,
    act,
    apply,
    control_of,
    everything,
    stored,
    with_id,
)
from tests.runtime.scenes import UnreliableStore
from tests.seed import SEED

WRONG = sorted(path for path in (Path(__file__).parents[1] / "flags/wrong").iterdir() if path.suffix != ".txt")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store: Store = MemoryStore() if request.param == "memory" else SqlStore(f"sqlite:///{tmp_path}/flags.db")
    yield store
    store.close()


# --- apply: flags -------------------------------------------------------------------------------


def test_a_new_flag_is_a_draft_and_one_event(store: Store) -> None:
    definitions = load(SEED).definitions
    applied = control_of(store).apply(definitions, actor="file seed.toml", reason="first release")
    record = read_flag(store, "new-invoicing")
    assert record.flag == definitions.flags["new-invoicing"]
    assert (record.rollout.status, record.rollout.salt, record.version) == (Status.DRAFT, "new-invoicing", 1)
    (event,) = store.history()
    assert (event.name, event.verb, event.actor, event.at) == ("new-invoicing", "apply", "file seed.toml", NOW)
    assert (event.reason, event.before, event.after) == ("first release", None, stored(store, "new-invoicing"))
    ((path, before, after),) = event.evidence["difference"]
    assert (path, before, after["owner"]) == ("", None, "release-owner@example.com")
    assert (applied.kept, applied.revision) == ((), store.revision())


def test_a_flag_without_stages_is_off(store: Store) -> None:
    apply(store, BANNER)
    assert read_flag(store, "banner").rollout.status is Status.OFF


@pytest.mark.parametrize("text", [SEED.read_text(), CHECKOUT + BANNER, CHECKOUT.replace("share = 50", "share = 0.125")])
def test_definitions_that_are_stored_already_write_nothing(store: Store, text: str) -> None:
    """Read back from the store, a flag equals the one in the file: shares and limits too."""
    apply(store, text)
    before = everything(store)
    assert apply(store, text) == Applied((), ())
    assert everything(store) == before


def test_only_the_flag_that_changed_is_written(store: Store) -> None:
    """With the place, the old value and the new one."""
    apply(store, CHECKOUT + BANNER)
    first = store.revision()
    applied = apply(store, CHECKOUT.replace("500", "800") + BANNER, actor=DEPUTY)
    (event,) = applied.events
    assert store.history(after=2) == [with_id(event, 3)]
    assert (event.name, event.verb, event.actor) == ("checkout", "apply", DEPUTY)
    assert event.evidence == {"difference": [["stages.half.min_sample", 500, 800]]}
    assert (event.before, event.after) == (stored(store), stored(store))
    assert [row.name for row in store.changes(since=first).rows if row.kind == "flag"] == ["checkout"]
    assert read_flag(store, "checkout").flag.stages[1].min_sample == 800


def test_an_edit_of_a_running_rollout_says_where_it_stands_then(store: Store) -> None:
    """A change of the current stage's guards restarts its evidence: state and event agree on that."""
    apply(store, CHECKOUT)
    act(store, Verb.START)
    before = stored(store)
    (event,) = apply(store, CHECKOUT.replace('limit = "1%"', 'limit = "2%"')).events
    assert (event.before, event.after) == (before, stored(store))
    assert stored(store)["revision"] == before["revision"] + 1


def test_one_refused_flag_refuses_all(store: Store) -> None:
    """Every refusal is told; the new flag, the good edit, the segment and the fingerprint wait too."""
    second = CHECKOUT.replace("checkout", "search")
    apply(store, CHECKOUT + second + BANNER)
    act(store, Verb.START, "checkout")
    act(store, Verb.START, "search")
    before = everything(store)
    edited = (CHECKOUT + second).replace("staff = true", "staff = false") + BANNER.replace("spring", "summer")
    added = BANNER.replace("banner", "ribbon") + "[segments.vip]\naudience = { tier = 'vip' }\n"
    with pytest.raises(RevisionError) as caught:
        control_of(store).apply(parse(edited + added), actor=OWNER, fingerprint="new")
    refused = [refusal.partition(" ")[0] for refusal in caught.value.refusals]
    assert refused == ["checkout", "search"]
    assert everything(store) == before


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.name)
def test_a_file_with_mistakes_changes_nothing(path: Path) -> None:
    store = MemoryStore()
    apply(store, SEED.read_text())
    before = everything(store)
    with pytest.raises(DocumentError):
        control_of(store).apply(load(path).definitions, actor=OWNER)
    assert everything(store) == before


def test_a_dry_run_shows_the_same_and_writes_nothing(store: Store) -> None:
    apply(store, CHECKOUT + BANNER)
    before = everything(store)
    edited = CHECKOUT.replace("500", "800")
    shown = control_of(store).apply(parse(edited), actor=OWNER, prune=True, fingerprint="new", dry_run=True)
    assert everything(store) == before
    done = control_of(store).apply(parse(edited), actor=OWNER, prune=True, fingerprint="new")
    assert (shown.events, shown.kept, shown.revision) == (done.events, done.kept, None)
    assert [event.verb for event in done.events] == ["apply", "prune"]


def test_a_dry_run_refuses_what_would_be_refused(store: Store) -> None:
    apply(store, CHECKOUT)
    act(store, Verb.START)
    with pytest.raises(RevisionError, match="audience cannot change"):
        apply(store, CHECKOUT.replace("staff = true", "staff = false"), dry_run=True)


def test_a_fingerprint_is_kept_with_what_it_stands_for(store: Store) -> None:
    """A file with a new comment changes no flag; its fingerprint is stored and no event made of it."""
    control = control_of(store)
    assert control.applied_fingerprint() is None
    control.apply(parse(CHECKOUT), actor=OWNER, fingerprint="one")
    assert control.applied_fingerprint() == "one"
    again = control.apply(parse(CHECKOUT), actor=OWNER, fingerprint="one")
    assert again.revision is None
    applied = control.apply(parse(CHECKOUT), actor=OWNER, fingerprint="two")
    assert (applied.events, applied.revision) == ((), store.revision())
    assert control.applied_fingerprint() == "two"
    apply(store, CHECKOUT)  # by hand, not from a file
    assert control.applied_fingerprint() == "two"
    assert len(store.history()) == 1


# --- apply: prune -------------------------------------------------------------------------------


def test_a_flag_that_left_the_file_stays(store: Store) -> None:
    apply(store, CHECKOUT + BANNER)
    before = everything(store)
    assert apply(store, BANNER) == Applied((), ("checkout",))
    assert everything(store) == before


@pytest.mark.parametrize(
    ("text", "name", "verbs"),
    [
        (CHECKOUT, "checkout", ()),
        (CHECKOUT, "checkout", (Verb.START, Verb.ROLLBACK)),
        (CHECKOUT, "checkout", (*TO_THE_WATCH, Verb.COMPLETE)),
        (BANNER, "banner", ()),
        (BANNER, "banner", (Verb.ON, Verb.OFF)),
    ],
    ids=["draft", "rolled back", "completed", "off", "off again"],
)
def test_prune_takes_what_nobody_waits_for(store: Store, text: str, name: str, verbs: Sequence[Verb]) -> None:
    apply(store, text)
    for verb in verbs:
        act(store, verb, name)
    before = stored(store, name)
    (event,) = apply(store, "", prune=True, actor=DEPUTY).events
    assert (event.name, event.verb, event.actor, event.before, event.after) == (name, "prune", DEPUTY, before, None)
    assert event.evidence["difference"][0][2] is None
    assert store.get("flag", name) is None
    assert store.history()[-1] == with_id(event, len(verbs) + 2)


@pytest.mark.parametrize(
    ("verbs", "says"),
    [
        ((Verb.START,), "checkout is running and cannot be pruned; roll it back or complete it"),
        ((Verb.START, Verb.PAUSE), "checkout is paused and cannot be pruned; roll it back or complete it"),
        (TO_THE_WATCH, "checkout is watching and cannot be pruned; roll it back or complete it"),
        ((Verb.START, Verb.KILL), "checkout is running and cannot be pruned; roll it back or complete it"),
    ],
    ids=["running", "paused", "watching", "killed"],
)
def test_prune_refuses_a_rollout_in_progress(store: Store, verbs: Sequence[Verb], says: str) -> None:
    """And then prunes nothing else."""
    apply(store, CHECKOUT + BANNER)
    for verb in verbs:
        act(store, verb)
    before = everything(store)
    with pytest.raises(RevisionError) as caught:
        apply(store, "", prune=True)
    assert caught.value.refusals == (says,)
    assert everything(store) == before


def test_prune_does_not_forget_a_kill(store: Store) -> None:
    """Declared again, the flag could be started without unkill."""
    apply(store, CHECKOUT)
    act(store, Verb.KILL)
    with pytest.raises(RevisionError, match="checkout is killed and cannot be pruned; unkill it first"):
        apply(store, "", prune=True)
    assert read_flag(store, "checkout").rollout.killed


def test_a_killed_flag_that_is_completed_may_go(store: Store) -> None:
    """To unkill it first would let everybody in."""
    apply(store, CHECKOUT)
    for verb in (*TO_THE_WATCH, Verb.COMPLETE, Verb.KILL):
        act(store, verb)
    apply(store, "", prune=True)
    assert store.get("flag", "checkout") is None


def test_prune_and_an_apply_that_asks_the_same_segment_do_not_both_win(store: Store) -> None:
    """Neither writes a row of the other's, and together they would leave a flag without its segment."""
    segment = '[segments.vip]\nunit = "user"\nmembers = ["u-1"]\n'
    asks = '[flags.lounge]\ndescription = "x"\nowner = "owner@example.com"\naudience = { segment = "vip" }\n'
    apply(store, segment)
    overtaken = UnreliableStore(store)
    overtaken.before_commit = lambda: apply(store, segment + asks)
    with pytest.raises(OvertakenError, match=r"what is declared was changed meanwhile .*apply"):
        apply(overtaken, "", prune=True)
    assert store.get("segment", "vip") is not None


def test_a_flag_that_nobody_can_read_stays_and_stops_no_other(store: Store) -> None:
    """A newer flaggate wrote it, or somebody broke it."""
    store.commit([Write("flag", "odd", 0, {"flag": {"novelty": 1}, "rollout": {}})], [])
    apply(store, BANNER)
    with pytest.raises(RevisionError, match=r"stored flag odd cannot be read.*; nothing was put in its place"):
        apply(store, BANNER.replace("banner", "odd"))
    with pytest.raises(RevisionError, match="stored flag odd cannot be read"):
        apply(store, "", prune=True)
    assert store.get("flag", "banner") is not None


def test_a_segment_that_nobody_can_read_stays_and_stops_no_other(store: Store) -> None:
    apply(store, BANNER)
    store.commit([Write("segment", "odd", 0, {"novelty": 1})], [])
    apply(store, BANNER + VIP)
    with pytest.raises(RevisionError, match=r"stored segment odd cannot be read.*; nothing was put in its place"):
        apply(store, BANNER + VIP.replace("vip", "odd"))
    apply(store, "", prune=True)
    assert (store.get("flag", "banner"), store.get("segment", "vip")) == (None, None)
    assert store.get("segment", "odd") is not None


def test_an_apply_by_nobody_is_refused(store: Store) -> None:
    with pytest.raises(FlaggateError, match="the actor has no name"):
        apply(store, BANNER, actor=" ")
    assert store.history() == []


def test_prune_refuses_a_switch_that_is_on(store: Store) -> None:
    apply(store, BANNER)
    act(store, Verb.ON, "banner")
    with pytest.raises(RevisionError) as caught:
        apply(store, "", prune=True)
    assert caught.value.refusals == ("banner is on and cannot be pruned; turn it off first",)


def test_a_pruned_flag_that_comes_back_is_a_new_one(store: Store) -> None:
    """A draft, with nothing of its former life but the versions, which go on."""
    apply(store, CHECKOUT)
    act(store, Verb.START)
    act(store, Verb.ROLLBACK)
    apply(store, "", prune=True)
    (event,) = apply(store, CHECKOUT).events
    record = read_flag(store, "checkout")
    assert (record.rollout.status, record.rollout.attempt, record.version) == (Status.DRAFT, 0, 5)
    assert event.before is None


# --- apply: segments ----------------------------------------------------------------------------

ASKS_VIP = CHECKOUT.replace("staff = true", 'segment = "vip"')


def _segment(store: Store, name: str) -> Segment:
    row = store.get("segment", name)
    assert row is not None
    return segment_of(row)


def _segment_event(applied: Applied, name: str) -> Event:
    (event,) = (event for event in applied.events if (event.kind, event.name) == ("segment", name))
    return event


def test_a_segment_is_stored_as_it_was_declared(store: Store) -> None:
    event = _segment_event(apply(store, VIP), "vip")
    assert (event.verb, event.before, event.after) == ("apply", None, {"audience": {"tier": "vip"}})
    assert _segment(store, "vip") == parse(VIP).segments["vip"]
    assert apply(store, VIP) == Applied((), ())


def test_an_edit_of_a_segment_names_the_rollouts_it_touches(store: Store) -> None:
    """Those whose stage, deny or switch audience asks for it, and no others; the flags are not written."""
    deny = CHECKOUT.replace("checkout", "search").replace("stages =", 'deny = { segment = "vip" }\nstages =')
    switch = BANNER + 'audience = { segment = "vip" }\n'
    text = ASKS_VIP + deny + switch + CHECKOUT.replace("checkout", "other")
    apply(store, text + VIP)
    (event,) = apply(store, text + VIP.replace('"vip"', '"gold"')).events
    assert (event.kind, event.name, event.verb) == ("segment", "vip", "apply")
    assert (event.before, event.after) == ({"audience": {"tier": "vip"}}, {"audience": {"tier": "gold"}})
    assert event.evidence == {"touches": ["banner", "checkout", "search"]}
    assert read_flag(store, "checkout").version == 1


def test_an_event_does_not_repeat_a_hundred_thousand_members(store: Store) -> None:
    """It counts them, also where as many came as went."""
    members = frozenset(f"user-{number}" for number in range(100_000))
    changed = members - {f"user-{number}" for number in range(10)} | {f"new-{number}" for number in range(10)}
    control_of(store).apply(_testers(members), actor=OWNER)
    event = _segment_event(control_of(store).apply(_testers(changed), actor=OWNER), "testers")
    assert (event.before, event.after) == ({"unit": "user", "members": 100_000},) * 2
    assert event.evidence == {"touches": [], "added": 10, "gone": 10}
    assert len(json.dumps([event.before, event.after, event.evidence])) < 500
    assert _segment(store, "testers").members == changed


def _testers(members: frozenset[str]) -> Definitions:
    """What a file would declare; a hundred thousand lines of it take their time to read."""
    return Definitions({}, {"testers": Segment("testers", unit="user", members=members)})


def test_a_segment_can_change_its_form(store: Store) -> None:
    apply(store, VIP)
    event = _segment_event(apply(store, '[segments.vip]\nunit = "user"\nmembers = ["ann", "bob"]'), "vip")
    assert (event.before, event.after) == ({"audience": {"tier": "vip"}}, {"unit": "user", "members": 2})
    assert event.evidence == {"touches": []}


def test_a_segment_that_left_the_file_stays_until_prune(store: Store) -> None:
    gold = VIP.replace("vip", "gold")
    apply(store, CHECKOUT + VIP + gold)
    assert apply(store, CHECKOUT + gold) == Applied((), ())
    (event,) = apply(store, CHECKOUT + gold, prune=True).events
    assert (event.kind, event.name, event.verb, event.after) == ("segment", "vip", "prune", None)
    assert store.get("segment", "vip") is None
    assert _segment(store, "gold") == parse(gold).segments["gold"]


def test_prune_takes_a_segment_together_with_the_last_that_asks_for_it(store: Store) -> None:
    """Whether that flag is pruned, or asks for it no longer."""
    other = ASKS_VIP.replace("checkout", "other").replace("vip", "gold")
    apply(store, ASKS_VIP + VIP + other + VIP.replace("vip", "gold"))
    applied = apply(store, CHECKOUT, prune=True)
    assert [(event.name, event.verb) for event in applied.events] == [
        ("checkout", "apply"),
        ("other", "prune"),
        ("gold", "prune"),
        ("vip", "prune"),
    ]


def test_a_segment_in_use_is_not_pruned(store: Store) -> None:
    """The rollout that asks for it is refused, and with it everything."""
    apply(store, ASKS_VIP + VIP)
    act(store, Verb.START)
    before = everything(store)
    with pytest.raises(RevisionError, match="checkout is running"):
        apply(store, BANNER, prune=True)
    assert everything(store) == before
