"""The seed plan as the package reads it, where it stands after each act, and its people as contexts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from flaggate import Context, Flag
from flaggate.decide.compile import CompiledFlag, compile_flag
from flaggate.flags.document import parse
from flaggate.rollout.moves import Act, move
from flaggate.rollout.state import Rollout, Verb, born
from tests.oracle import Person
from tests.seed import SEED

FLAG: Final[Flag] = parse(SEED.read_text(encoding="utf-8")).flags["new-invoicing"]
NOW: Final = datetime(2026, 3, 2, 10, tzinfo=UTC)


def moved(rollout: Rollout, *verbs: Verb) -> Rollout:
    """The rollout after its owner did these."""
    for verb in verbs:
        done = move(FLAG, rollout, Act(verb, FLAG.owner, NOW, reason="a test"))
        assert done is not None, verb
        rollout = done[0]
    return rollout


def at_stage(stage: int) -> Rollout:
    """Started and advanced up to a stage; 0 = draft."""
    draft = born(FLAG, NOW)
    return moved(draft, Verb.START, *[Verb.ADVANCE] * (stage - 1)) if stage else draft


def compiled_at(rollout: Rollout) -> CompiledFlag:
    """The seed plan's flag, compiled where it stands."""
    return compile_flag(FLAG, rollout, {})


def context_of(person: Person) -> Context:
    """A person as the app would describe them."""
    return Context(
        person.user,
        account=person.account,
        staff=person.staff,
        groups=person.groups,
        tier=person.tier,
        city=person.city,
        country=person.country,
    )
