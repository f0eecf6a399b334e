"""Whom an event or a hold concerns."""

from __future__ import annotations

from typing import Any

import pytest

from flaggate.flags.document import parse
from flaggate.flags.model import Flag
from flaggate.rollout.state import Event, Rollout, Status, Verb, rollout_to_json
from flaggate.runtime.told import kinds_of, told_of_event, told_of_hold
from tests.runtime.scenes import NOW, OWNER

DEPUTY, BELL = "deputy@example.com", "bell"


def rollout(status: Status = Status.RUNNING, **more: Any) -> Rollout:
    return Rollout(
        "banner", "banner", status, NOW, **{"owner": OWNER, "deputies": (DEPUTY,), "accepted_by": OWNER} | more
    )


def event(verb: str, before: Rollout | None, after: Rollout | None, **more: Any) -> Event:
    was, now = (None if state is None else rollout_to_json(state) for state in (before, after))
    return Event("banner", verb, OWNER, NOW, None, was, now, **more)


def plan(table: str) -> Flag:
    return parse(f'[flags.banner]\ndescription = "A switch"\nowner = "{OWNER}"\nnotify = {table}').flags["banner"]


@pytest.mark.parametrize("verb", [verb for verb in Verb if not verb.startswith("owner")])
def test_a_verb_is_its_own_kind(verb: Verb) -> None:
    assert kinds_of(event(verb, rollout(), rollout())) == {verb}
    assert told_of_event(event(verb, rollout(), rollout()), plan(f'{{ bell = ["{verb}"] }}')) == (BELL,)


@pytest.mark.parametrize("verb", [Verb.OWNER_ACCEPT, Verb.OWNER_SET, Verb.OWNER_AWAY])
def test_all_about_owners_is_one_kind(verb: Verb) -> None:
    assert told_of_event(event(verb, rollout(), rollout()), plan('{ bell = ["owner"] }')) == (BELL,)


def test_an_edit_is_about_owners_where_it_names_another() -> None:
    handed = event("apply", rollout(), rollout(owner="new@example.com"))
    assert kinds_of(handed) == {"edit", "owner"}
    assert kinds_of(event("apply", rollout(), rollout(status=Status.PAUSED))) == {"edit"}
    assert kinds_of(event("apply", None, rollout(Status.DRAFT))) == {"edit", "owner"}
    assert kinds_of(event("prune", rollout(Status.DRAFT), None)) == {"edit"}


def test_without_a_plan_owner_and_deputies_are_told() -> None:
    for flag in (None, parse(f'[flags.banner]\ndescription = "A"\nowner = "{OWNER}"').flags["banner"]):
        assert told_of_event(event("pause", rollout(), rollout()), flag) == (OWNER, DEPUTY)


def test_owner_and_deputies_are_those_of_that_moment() -> None:
    """Not those of the file; after a hand-over the old and the new, and whoever answers until it is accepted."""
    table = plan('{ owner = "all", deputies = ["kill"] }')
    assert told_of_event(event("pause", rollout(), rollout(owner="other@example.com")), table) == (
        "other@example.com",
        OWNER,
    )
    waiting = rollout(owner="new@example.com", deputies=("one@example.com", "two@example.com"))
    killed = told_of_event(event("kill", waiting, waiting), table)
    assert killed == ("one@example.com", "two@example.com", "new@example.com", OWNER)


def test_nobody_is_named_twice() -> None:
    table = plan(f'{{ owner = "all", "Owner@Example.com" = "all", "{DEPUTY}" = "all", deputies = "all" }}')
    assert told_of_event(event("pause", rollout(), rollout()), table) == ("Owner@Example.com", DEPUTY)


@pytest.mark.parametrize("verb", [Verb.ROLLBACK, Verb.KILL, Verb.UNKILL])
def test_during_the_watch_owner_and_deputies_are_told_whatever_the_plan_says(verb: Verb) -> None:
    watching = rollout(Status.WATCHING)
    for table, told in (("{}", (OWNER, DEPUTY)), (f'{{ bell = ["{verb}"] }}', (BELL, OWNER, DEPUTY))):
        assert told_of_event(event(verb, watching, watching), plan(table)) == told
        assert DEPUTY not in told_of_event(event(verb, rollout(), rollout()), plan(table))
    assert told_of_event(event("complete", watching, watching), plan("{}")) == ()


def test_a_verb_of_a_newer_flaggate_is_for_those_who_are_told_everything() -> None:
    found = event("teleport", rollout(), rollout())
    assert told_of_event(found, plan('{ bell = "all", oncall = ["kill"] }')) == (BELL,)


@pytest.mark.parametrize("state", [None, {}, {"owner": 3, "deputies": 4}, {"owner": None, "deputies": None}])
def test_a_state_without_people_tells_nobody(state: dict[str, Any] | None) -> None:
    assert told_of_event(Event("banner", "kill", OWNER, NOW, None, state, state), None) == ()


def test_a_hold() -> None:
    table = plan('{ owner = ["approval"], bell = ["blind", "breach"] }')
    assert told_of_hold("approval", table, rollout()) == (OWNER,)
    assert told_of_hold("blind", table, rollout()) == (BELL,)
    waiting = rollout(owner="new@example.com")
    assert told_of_hold("approval", table, waiting) == ("new@example.com", OWNER)


def test_the_list_is_bounded() -> None:
    many = rollout(deputies=tuple(f"{number}@example.com" for number in range(500)))
    assert len(told_of_event(event("kill", many, many), None)) == 100
    assert [len(who) for who in told_of_event(event("kill", None, rollout(owner="o" * 10_000)), None)] == [300, 17, 18]
