"""The board: all flags, those that need somebody first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Final

from flaggate.errors import UnreadableError
from flaggate.rollout.holds import HoldKind
from flaggate.rollout.progress import LEASE_SECONDS
from flaggate.rollout.state import Status
from flaggate.rollout.tick import is_looked_at
from flaggate.rollout.verdict import Answer
from flaggate.rollout.words import answers, standing
from flaggate.runtime.overview import Overview, Standing

__all__ = ["Need", "Tile", "board", "health", "need", "pill"]

_STALE: Final = timedelta(days=30)
"""A flag that everyone has had for so long could be taken out of the code."""


class Need(IntEnum):
    """How much a flag needs somebody, most first; its words are what the board says."""

    BREACHING = 0
    UNREADABLE = 1
    BLIND = 2
    KILLED = 3
    ROLLED_BACK = 4
    APPROVAL = 5
    WATCHING = 6
    RUNNING = 7
    STALE = 8
    DRAFT = 9
    DONE = 10

    @property
    def words(self) -> str:
        """For people."""
        return _WORDS[self]


_WORDS: Final = {
    Need.BREACHING: "breaching",
    Need.UNREADABLE: "cannot be read",
    Need.BLIND: "blind",
    Need.KILLED: "killed",
    Need.ROLLED_BACK: "rolled back",
    Need.APPROVAL: "waits for approval",
    Need.WATCHING: "in watch",
    Need.RUNNING: "running",
    Need.STALE: "stale at everyone",
    Need.DRAFT: "draft",
    Need.DONE: "done",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One flag on the board."""

    name: str
    need: Need
    pill: str
    """Its need in a word or two."""
    standing: str
    owner: str
    description: str
    waits: str
    is_killed: bool = False


def board(seen: Overview, *, words: str = "", owner: str = "") -> list[Tile]:
    """All flags that match, sorted by need.

    Args:
        words: Each of them is in the name or the description.
        owner: Is in who owns it, deputises or answers.
    """
    wanted = words.lower().split()
    found = (tile for tile in _tiles(seen, owner.strip().lower()) if _matches(tile, wanted))
    return sorted(found, key=lambda tile: (tile.need, tile.name))


def _matches(tile: Tile, words: list[str]) -> bool:
    text = f"{tile.name} {tile.description}".lower()
    return all(word in text for word in words)


def _tiles(seen: Overview, owner: str) -> Iterator[Tile]:
    for name in seen.rows:
        try:
            one = seen.standing(name)
        except UnreadableError as error:
            if not owner:
                yield Tile(name, Need.UNREADABLE, Need.UNREADABLE.words, f"cannot be read: {error.problem}", "", "", "")
            continue
        people = (one.rollout.owner, *one.rollout.deputies, one.rollout.accepted_by or "")
        if any(owner in each.lower() for each in people):
            yield Tile(
                name,
                found := need(one),
                pill(one, found),
                standing(one.flag, one.rollout),
                answers(one.rollout),
                one.flag.description,
                ", ".join(wait.why for wait in one.waits),
                one.rollout.killed,
            )


def need(one: Standing) -> Need:
    """How much it needs somebody."""
    rollout = one.rollout
    if rollout.killed:
        return Need.KILLED
    if rollout.status is Status.ROLLED_BACK:
        return Need.ROLLED_BACK
    if (found := _guards_say(one)) is not None:
        return found
    kinds = {wait.kind for wait in one.waits}
    if HoldKind.APPROVAL in kinds:
        return Need.APPROVAL
    if rollout.status is Status.WATCHING:
        return Need.WATCHING
    if rollout.status in {Status.RUNNING, Status.PAUSED}:
        return Need.RUNNING
    if _is_stale(one):
        return Need.STALE
    return Need.DRAFT if rollout.status in {Status.DRAFT, Status.OFF} else Need.DONE


def _guards_say(one: Standing) -> Need | None:
    """By what they said last, and whether that is long ago: whatever the rollout waits for."""
    if not is_looked_at(one.rollout):
        return None
    if _is_unseen(one):
        return Need.BLIND
    answers_found = _answers(one)
    if answers_found & _OVER:
        return Need.BREACHING
    return Need.BLIND if answers_found & _BLIND else None


def _is_unseen(one: Standing) -> bool:
    """Nobody looks at it, though it is to be looked at."""
    since = one.progress.looked_at or one.rollout.since
    return (one.now - since).total_seconds() > 2 * LEASE_SECONDS


def _answers(one: Standing) -> frozenset[str]:
    """Of guards that act: what is not there counts only where the plan cares."""
    verdicts = () if one.judgement is None else one.judgement.verdicts
    return frozenset(
        verdict.answer
        for verdict in verdicts
        if not verdict.guard.observe and not (verdict.answer in _BLIND and verdict.guard.on_no_data == "ignore")
    )


_OVER: Final = frozenset({Answer.BREACH, Answer.SHARED})
_BLIND: Final = frozenset({Answer.NO_DATA, Answer.ERROR})


def pill(one: Standing, found: Need) -> str:
    """The need in words; where that is nothing in particular, how it is set."""
    if found is Need.BLIND and _is_unseen(one):
        return "nobody looks"
    if found in {Need.RUNNING, Need.DRAFT, Need.DONE} and one.rollout.status in _PLAIN:
        return one.rollout.status
    return found.words


_PLAIN: Final = frozenset({Status.PAUSED, Status.ON, Status.OFF})


def _is_stale(one: Standing) -> bool:
    if one.now - one.rollout.since < _STALE:
        return False
    return one.rollout.status is Status.COMPLETED or (one.rollout.status is Status.ON and not one.flag.audience)


def health(one: Standing) -> str | None:
    """healthy; not enough traffic to tell; nobody looks; breaching; None where nothing is judged."""
    if not is_looked_at(one.rollout):
        return None
    if (found := _guards_say(one)) is not None:
        is_only_a_warning = found is Need.BREACHING and not any(
            verdict.answer in _OVER and verdict.guard.on_breach != "warn"
            for verdict in (() if one.judgement is None else one.judgement.verdicts)
        )
        return "over a limit that only warns" if is_only_a_warning else pill(one, found)
    if one.judgement is None:
        return "not judged yet"
    return "not enough traffic to tell" if Answer.TOO_FEW in _answers(one) else "healthy"
