"""What people are told, in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flaggate.flags.document import parse
from flaggate.flags.model import Flag
from flaggate.rollout.holds import Hold, HoldKind
from flaggate.rollout.moves import AUTOMATIC, Act, move
from flaggate.rollout.progress import Progress
from flaggate.rollout.state import Event, Rollout, Status, Verb, rollout_to_json
from flaggate.rollout.tick import Look
from flaggate.rollout.verdict import Answer, Verdict
from flaggate.runtime.notice_words import Message, edits_message, event_message, hold_message
from flaggate.runtime.ticker import Looked
from flaggate.stores.record import Record
from tests.runtime.notice_scenes import DEPUTY, PLAN
from tests.runtime.scenes import NOW, OWNER

FLAG = parse(PLAN).flags["invoicing"]
RUNNING = Rollout(
    "invoicing",
    "invoicing",
    Status.RUNNING,
    NOW,
    OWNER,
    (DEPUTY,),
    accepted_by=OWNER,
    stage=2,
    attempt=1,
    asked_by=OWNER,
)
WATCHING = replace(RUNNING, status=Status.WATCHING, stage=3)
STARTS = {
    Verb.START: Rollout("invoicing", "invoicing", Status.DRAFT, NOW, OWNER),
    Verb.RESUME: replace(RUNNING, status=Status.PAUSED),
    Verb.RESTART: replace(RUNNING, status=Status.ROLLED_BACK),
    Verb.COMPLETE: WATCHING,
    Verb.UNKILL: replace(RUNNING, killed=True),
    Verb.APPROVE: replace(RUNNING, asked_by="ada@example.com"),
}


def said(verb: Verb, rollout: Rollout = RUNNING, flag: Flag | None = FLAG, **more: Any) -> Message:
    """What is said of something that was done, at noon."""
    moved = move(FLAG, rollout, Act(verb, more.pop("actor", OWNER), NOW, **{"reason": "for the test"} | more))
    assert moved is not None
    return event_message(replace(moved[1], id=7), flag, (OWNER,))


def test_who_when_why_and_from_where_to_where() -> None:
    message = said(Verb.ROLLBACK, reason="support says that totals are wrong", actor="ada@example.com")
    assert message == Message(
        "event 7",
        (OWNER,),
        "invoicing: rolled back",
        "By ada@example.com, Mon 02 Mar 2026 12:00 UTC.\n"
        "Why: support says that totals are wrong\n"
        "From: running, stage 2 of 3 (tenth)\n"
        "To: rolled back, stage 2 of 3 (tenth)\n"
        "Off for everyone.",
        "failure",
        NOW,
    )


@pytest.mark.parametrize(
    ("verb", "title", "urgency"),
    [
        (Verb.START, "started", "info"),
        (Verb.STEP_BACK, "stepped back to staff", "warning"),
        (Verb.PAUSE, "paused", "warning"),
        (Verb.RESUME, "resumed", "info"),
        (Verb.RESTART, "restarted", "info"),
        (Verb.COMPLETE, "completed", "success"),
        (Verb.KILL, "killed", "failure"),
        (Verb.UNKILL, "no longer killed", "info"),
        (Verb.APPROVE, "approved", "info"),
        (Verb.OWNER_AWAY, "its owner is away", "warning"),
    ],
)
def test_the_title_says_what_and_the_service_how_bad_it_is(verb: Verb, title: str, urgency: str) -> None:
    start = STARTS.get(verb, RUNNING)
    message = said(verb, start)
    assert (message.title, message.urgency) == (f"invoicing: {title}", urgency)


def test_an_advance_names_the_stage_and_who_has_it_then() -> None:
    held = Hold(HoldKind.SOAK, "soak 3 h of 24 h", "21 h more", NOW)
    message = said(Verb.ADVANCE, replace(RUNNING, stage=1), holds=(held,))
    assert message.title == "invoicing: advanced to tenth"
    assert message.body.splitlines()[2:] == [
        "From: running, stage 1 of 3 (staff)",
        "To: running, stage 2 of 3 (tenth)",
        "On for: staff, 10 % of everyone.",
        "Passed over: soak 3 h of 24 h",
    ]
    assert said(Verb.ADVANCE).body.endswith("On for: everyone.\nThe watch begins: 48 observed hours.")


def test_a_rollback_by_a_guard_shows_its_numbers() -> None:
    numbers = {"requests": 1200, "share": 0.031249, "limit": "1%", "of_control": {"share": 0.001}}
    evidence = {"guards": [{"metric": "errors", "answer": "breach", "numbers": numbers},
                           {"metric": "slow", "answer": "no_data", "numbers": {}}]}  # fmt: skip
    message = said(Verb.ROLLBACK, actor=AUTOMATIC, reason="errors: breach", evidence=evidence)
    assert message.body.splitlines() == [
        "By flaggate itself, Mon 02 Mar 2026 12:00 UTC.",
        "Why: errors: breach",
        "From: running, stage 2 of 3 (tenth)",
        "To: rolled back, stage 2 of 3 (tenth)",
        "Off for everyone.",
        'errors: breach (requests 1200, share 0.03125, limit 1%, of control {"share": 0.001}).',
        "slow: no data.",
        "It stays off until somebody restarts it: flaggate restart invoicing",
    ]


def test_a_break_glass_kill_says_so() -> None:
    message = said(Verb.KILL, WATCHING, actor="support@example.com", reason=None)
    assert message.title == "invoicing: killed (break-glass)"
    assert message.body.splitlines()[1:] == [
        "From: watching, stage 3 of 3 (everyone)",
        "To: watching, stage 3 of 3 (everyone), KILLED",
        "Off for everyone.",
        "Break-glass: support@example.com, who does not answer for it, killed it while it was watched.",
        "Its plan is kept. To take the kill back: flaggate unkill invoicing",
    ]
    assert said(Verb.KILL, WATCHING).title == "invoicing: killed"


def test_about_owners_it_says_who_answers_now() -> None:
    away = said(Verb.OWNER_AWAY).body.splitlines()
    assert away[2:] == [
        "It is running, stage 2 of 3 (tenth).",
        f"Owner: {OWNER}; deputies: {DEPUTY}.",
        "Nobody answers for it now. Who does: flaggate owner accept invoicing",
    ]
    handed = said(Verb.OWNER_SET, owner="new@example.com", deputies=())
    assert handed.title == "invoicing: handed over"
    assert handed.body.splitlines()[3:] == [
        "Owner: new@example.com; deputies: none.",
        f"{OWNER} answers until new@example.com accepts: flaggate owner accept invoicing",
    ]
    accepted = said(Verb.OWNER_ACCEPT, replace(RUNNING, accepted_by=None))
    assert accepted.title == "invoicing: has an owner who accepted"
    assert accepted.body.splitlines()[3:] == [f"Owner: {OWNER}; deputies: {DEPUTY}."]


def test_without_the_plan_it_says_what_it_knows() -> None:
    """The flag is gone, or a newer flaggate wrote it."""
    assert said(Verb.ADVANCE, flag=None).title == "invoicing: advanced"
    message = said(Verb.KILL, flag=None)
    assert "To:" not in message.body
    newer = Event("invoicing", "teleport", OWNER, NOW, None, {"status": "elsewhere"}, {"status": "nowhere"}, id=3)
    message = event_message(newer, FLAG, (OWNER,))
    assert message.title == "invoicing: teleport"
    assert message.body == f"By {OWNER}, Mon 02 Mar 2026 12:00 UTC."
    after = replace(newer, before={"status": "elsewhere"}, after=rollout_to_json(RUNNING))
    assert event_message(after, FLAG, ()).body.splitlines()[1:] == [
        "To: running, stage 2 of 3 (tenth)",
        "On for: staff, 10 % of everyone.",
    ]


def test_what_people_wrote_stays_on_its_line_and_has_an_end() -> None:
    message = said(Verb.PAUSE, reason="one\r\nBcc: all@example.com\x1b[31m\u202e " + "x" * 5000, actor="a\nb")
    assert "\r" not in message.body
    assert "\x1b" not in message.body
    assert message.body.splitlines()[0].startswith("By a b, ")
    assert message.body.splitlines()[1].startswith("Why: one Bcc: all@example.com [31m x")
    assert len(message.body) < 700
    many = {"guards": [{"metric": "m" * 200, "answer": "ok", "numbers": {"n" * 100: "v" * 100}}] * 50}
    assert len(said(Verb.ROLLBACK, actor=AUTOMATIC, evidence=many).body) == 2000


# --- edits ------------------------------------------------------------------------------------


def edit(
    name: str = "invoicing", *, changes: Any = (), verb: str = "apply", is_new: bool = False, **more: Any
) -> Event:
    state: dict[str, Any] = {}
    before, after = None if is_new else state, None if verb == "prune" else state
    evidence = {"difference": [list(change) for change in changes]}
    return Event(name, verb, OWNER, NOW, None, before, after, evidence, **{"id": 4} | more)


def test_an_edit_shows_what_changed() -> None:
    changes = [("stages.tenth.share", 10, 5), ("notify", None, {"owner": "all"}), ("cohort", "autumn", None)]
    message = edits_message([replace(edit(changes=changes), reason="less at first")], {}, (OWNER,))
    assert (message.id, message.title, message.urgency, message.at) == ("event 4", "invoicing: edited", "info", NOW)
    assert message.body.splitlines() == [
        f"By {OWNER}, Mon 02 Mar 2026 12:00 UTC.",
        "Why: less at first",
        "invoicing: stages.tenth.share: 10 -> 5",
        'invoicing: notify: nothing -> {"owner": "all"}',
        "invoicing: cohort: autumn -> nothing",
    ]


def test_many_edits_are_one_message() -> None:
    new = [edit(f"flag-{number}", is_new=True, id=number) for number in range(1, 41)]
    message = edits_message(new, {}, (OWNER,))
    assert (message.id, message.title) == ("event 1", "flag-1 and 39 more: declared")
    assert message.body.splitlines()[1] == "flag-1: declared"
    assert message.body.splitlines()[-1] == "And 28 more; flaggate history shows all."
    mixed = edits_message([new[0], edit(verb="prune")], {"invoicing": FLAG}, ())
    assert mixed.title == "flag-1 and 1 more: edited"
    assert mixed.body.splitlines()[1:] == ["flag-1: declared", "invoicing: removed"]


@pytest.mark.parametrize(("touches", "who"), [(["invoicing", "banner"], "invoicing, banner"), ([], "no flag")])
def test_the_edit_of_a_segment_names_the_flags(touches: list[str], who: str) -> None:
    event = Event("friends", "apply", OWNER, NOW, None, {}, {}, {"touches": touches}, "segment", 9)
    message = edits_message([event], {}, ())
    assert message.title == "friends: edited"
    assert message.body.splitlines()[1:] == [f"segment friends: edited; it is asked by {who}"]


# --- holds ------------------------------------------------------------------------------------


def look(rollout: Rollout = RUNNING, *holds: Hold) -> Looked:
    return Looked(Record(FLAG, rollout, 1), Look(Progress(1, rollout.stage, 0), holds))


def verdict(number: int, answer: Answer) -> Verdict:
    return Verdict(FLAG.guards[number], answer, {"share": 0.08})


def test_an_approval_says_how_to_give_it_and_by_whom() -> None:
    approval = Hold(HoldKind.APPROVAL, "approval by another person", "somebody approves", NOW)
    hours = Hold(HoldKind.HOURS, "hours Mon-Fri 09:00-16:00 UTC", "Mon", NOW)
    message = hold_message("approval", look(RUNNING, hours, approval), [], (DEPUTY,), NOW)
    assert (message.to, message.title, message.urgency) == ((DEPUTY,), "invoicing: waits for approval", "info")
    assert message.body.splitlines() == [
        "It is running, stage 2 of 3 (tenth), Mon 02 Mar 2026 12:00 UTC.",
        "On for: staff, 10 % of everyone.",
        f"Not by {OWNER}, who asked for it.",
        "It waits for this, too: hours Mon-Fri 09:00-16:00 UTC.",
        "To approve: flaggate approve invoicing",
    ]
    nobody = hold_message("approval", look(replace(RUNNING, asked_by=None), approval), [], (), NOW)
    assert nobody.body.splitlines()[2:] == ["To approve: flaggate approve invoicing"]


def test_blind() -> None:
    both = [verdict(0, Answer.NO_DATA), verdict(1, Answer.ERROR)]
    message = hold_message("blind", look(), both, (), NOW)
    assert (message.title, message.urgency) == ("invoicing: nothing is known of errors, slow", "warning")
    assert message.body.splitlines()[2:] == [
        "errors: no data (share 0.08).",
        "slow: error (share 0.08).",
        "It stays where it is.",
        "A breach would not be seen.",
    ]
    assert "Its watch stands still." in hold_message("blind", look(WATCHING), both, (), NOW).body


@pytest.mark.parametrize(
    ("rollout", "number", "follows"),
    [
        (RUNNING, 1, "It stays where it is."),
        (RUNNING, 2, "This guard only warns."),
        (WATCHING, 2, "It is not completed while this lasts."),
    ],
)
def test_a_breach_that_rolls_nothing_back(rollout: Rollout, number: int, follows: str) -> None:
    message = hold_message("breach", look(rollout), [verdict(number, Answer.BREACH)], (), NOW)
    assert (message.title, message.urgency) == ("invoicing: slow worse than allowed", "warning")
    assert message.body.splitlines()[2:] == [
        "slow: breach (share 0.08).",
        follows,
        "To roll it back: flaggate rollback invoicing",
    ]


def test_a_hold_that_comes_again_is_another_message() -> None:
    first = hold_message("blind", look(), [], (), NOW)
    again = hold_message("blind", look(), [], (), NOW + timedelta(hours=1))
    off = hold_message("blind", look(replace(RUNNING, status=Status.PAUSED, stage=0)), [], (), NOW)
    assert len({first.id, again.id, off.id}) == 3
