"""Stages as people write them, and what they and the guards ask of each other.

Each stage is read for itself first; what one says about another is checked once the plan is whole, for a
flag may have taken some of it from a template.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flaggate.flags.audience import Audience
from flaggate.flags.canonical import percent
from flaggate.flags.conditions import AUDIENCE
from flaggate.flags.fields import (
    APPROVAL,
    COUNT,
    HOURS,
    MOMENT,
    NAME,
    ONLY_TRUE,
    SECONDS,
    SHARE,
)
from flaggate.flags.guards import GUARDS
from flaggate.flags.model import FULL_SHARE, Stage
from flaggate.flags.place import Kind, Place, read_table, table_schema

__all__ = ["STAGES", "Draft", "check_end", "check_guards", "whole_plan"]

_CONDITIONS: Final = ("soak", "min_sample", "approval", "not_before", "hours", "prove")


# --- each stage for itself ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Draft:
    """A stage of which each key was read, and nothing compared."""

    place: Place
    written: Mapping[str, Any]
    """Its keys, as written."""
    found: Mapping[str, Any]
    """What they say; one with a mistake is not there."""
    template: str | None = None
    """Where it stands; None = in the flag alone."""
    inherited: frozenset[str] = frozenset()
    """The keys that the flag did not write itself."""

    def origin(self, key: str) -> str:
        """To be added to what is wrong with a key: it may not stand where the flag does."""
        return f" (from template {self.template})" if key in self.inherited else ""


def _read_stages(value: object, place: Place) -> tuple[Draft, ...] | None:
    """Read the list; where a stage has a name, its path is `stages.NAME`."""
    if not isinstance(value, list) or not value:
        place.wrong_value(value, "a list of at least one stage; a switch leaves it out")
        return None
    drafts: list[Draft] = []
    names: set[str] = set()
    for index, item in enumerate(value):
        name = item.get("name") if isinstance(item, dict) else None
        at = place.key(name) if isinstance(name, str) and name else place.item(index)
        found = read_table(item, at, _STAGE, what="stage", required=("name",))
        if "name" in found and name in names:
            place.item(index).key("name").wrong(f'"{name}" is there twice', "give each stage its own name")
        if isinstance(item, dict):
            names.add(found.get("name", ""))
            drafts.append(Draft(at, item, found))
    return tuple(drafts) if len(drafts) == len(value) else None


_STAGE: Final[dict[str, Kind]] = {
    "name": NAME,
    "audience": AUDIENCE,
    "share": SHARE,
    "soak": SECONDS,
    "min_sample": COUNT,
    "approval": APPROVAL,
    "not_before": MOMENT,
    "hours": HOURS,
    "prove": ONLY_TRUE,
    "guards": GUARDS,
}
_STAGE_FIELDS: Final = {"share": "share_thousandths", "soak": "soak_seconds"}
STAGES: Final = Kind(_read_stages, {"type": "array", "minItems": 1, "items": table_schema(_STAGE, ("name",))})


# --- the plan as a whole --------------------------------------------------------------------


def whole_plan(drafts: Sequence[Draft]) -> tuple[Stage, ...]:
    """The stages, with a mistake for each that the others, or the end of the plan, do not allow."""
    stages: dict[str, Stage] = {}
    widest: dict[Audience, Stage] = {}
    for draft in drafts:
        fields = {_STAGE_FIELDS.get(key, key): read for key, read in draft.found.items()}
        stage = Stage(name=fields.pop("name", ""), **fields)
        if draft is drafts[-1]:
            check_end(draft)
        else:
            _check_conditions(draft)
        _check_controls(draft)
        if all(key in draft.found for key in ("audience", "share") if key in draft.written):
            _check_share(stage, widest, draft)
        if stage.name:
            stages.setdefault(stage.name, stage)
    return tuple(stages.values())


def check_end(draft: Draft) -> None:
    """The last stage is never left. What its template says of that is a mistake there, once."""
    for key in _CONDITIONS:
        if key in draft.written and key not in draft.inherited:
            draft.place.key(key).wrong(
                "the last stage is never left", "reaching it starts the 48-hour watch; leave this out"
            )


def _check_conditions(draft: Draft) -> None:
    if not any(key in draft.written for key in _CONDITIONS):
        where = f", here or in template {draft.template}" if draft.template else ""
        draft.place.wrong(
            f"nothing says when this stage may be left{where}",
            f'add one of {", ".join(_CONDITIONS)}; soak = "0s" says "at once" on purpose',
        )


def _check_share(stage: Stage, widest: dict[Audience, Stage], draft: Draft) -> None:
    """Shares of the same audience never fall along the plan (invariant I14)."""
    other = widest.setdefault(stage.audience, stage)
    if other.share_thousandths > stage.share_thousandths:
        draft.place.key("share").wrong(
            f"the share falls from {percent(other.share_thousandths)} % (stage {other.name})"
            f" to {percent(stage.share_thousandths)} %{draft.origin('share')} for the same audience",
            "stages add up, so this one would let in nobody new; give it the same share or a larger one",
        )
    else:
        widest[stage.audience] = stage


def _has_no_control(draft: Draft) -> bool:
    """Whether nobody is left out of a stage. A share with a mistake may have been meant to."""
    return SHARE.read(draft.written.get("share", 100), Place("")) in (0, FULL_SHARE)


def _against_control(written: object, place: Place) -> Iterator[Place]:
    """Where the guards of a list, as written, ask for a control."""
    for index, guard in enumerate(written if isinstance(written, list) else ()):
        if isinstance(guard, dict) and "vs_control" in guard:
            yield place.item(index).key("vs_control")


def _check_controls(draft: Draft) -> None:
    asking = list(_against_control(draft.written.get("guards"), draft.place.key("guards")))
    for at in asking if asking and _has_no_control(draft) else ():
        at.wrong(
            f"this stage has no control to compare with{draft.origin('guards')}",
            "give it a share below 100, or move the guard",
        )


def check_guards(written: object, drafts: Sequence[Draft], place: Place, origin: str = "") -> None:
    """The guards beside the stages, as written, have a stage to be judged in; `origin` as that of a draft."""
    asking = list(_against_control(written, place))
    for at in asking if asking and drafts and all(map(_has_no_control, drafts)) else ():
        at.wrong(f"no stage has a control to compare with{origin}", "give a stage a share below 100, or use limit")
