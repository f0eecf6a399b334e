"""Plans that are written once, and taken by every flag that says `template = "NAME"`.

A template has no life of its own: what is kept, compared and revised is the flag with its whole plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flaggate.errors import closest
from flaggate.flags.fields import NAME
from flaggate.flags.guards import GUARDS
from flaggate.flags.model import Guard
from flaggate.flags.place import Kind, Place, read_table, table_schema, unknown_word
from flaggate.flags.stages import STAGES, Draft, check_end

__all__ = ["TEMPLATE_SCHEMA", "Template", "find_template", "read_templates", "with_template"]

_TEMPLATE: Final[dict[str, Kind]] = {"stages": STAGES, "guards": GUARDS}
TEMPLATE_SCHEMA: Final = table_schema(_TEMPLATE, ("stages",))
_MOST_NAMES: Final = 50  # among which the one that was meant is looked for, each time


@dataclass(frozen=True, slots=True)
class Template:
    """Stages and guards that flags refer to."""

    name: str
    stages: Mapping[str, Draft]
    guards: tuple[Guard, ...]
    guards_written: object


def read_templates(tables: Mapping[str, Any], place: Place) -> dict[str, Template | None]:
    """Read them all, used or not; None for one whose stages cannot be told apart."""
    return {name: _read_template(name, value, place.key(name)) for name, value in tables.items()}


def _read_template(name: str, value: object, place: Place) -> Template | None:
    NAME.read(name, place)
    found = read_table(value, place, _TEMPLATE, what="template", required=("stages",))
    drafts: Sequence[Draft] = found.get("stages", ())
    if not drafts or not isinstance(value, dict):
        return None
    check_end(drafts[-1])
    stages = {draft.found["name"]: draft for draft in drafts if "name" in draft.found}
    if len(stages) < len(drafts):
        return None
    return Template(name, stages, found.get("guards", ()), value.get("guards"))


def find_template(name: str, templates: Mapping[str, Template | None], place: Place) -> Template | None:
    """The template of that name; None, with a mistake noted here or in the template, if there is none to take."""
    if name not in templates:
        meant = closest(name, templates) if len(templates) <= _MOST_NAMES else None
        hint = f'did you mean "{meant}"? ' if meant else ""
        place.wrong(f'there is no template "{name}"', f"{hint}declare it as [templates.{name}]")
    return templates.get(name)


def with_template(template: Template, own: Sequence[Draft], place: Place) -> tuple[Draft, ...]:
    """The template's stages, in its order, each with the keys that the flag's own entry of that name gives."""
    entries: dict[str, Draft] = {}
    for draft in own:
        name = draft.found.get("name", "")
        if name in template.stages:
            entries.setdefault(name, draft)
        elif name:
            known = tuple(template.stages)
            is_short = len(known) <= _MOST_NAMES
            allowed = unknown_word(name, known) if is_short else f"allowed: the names of its {len(known)} stages"
            draft.place.key("name").wrong(f'template {template.name} has no stage "{name}"', allowed)
    return tuple(
        _merged(draft, entries.get(name), place.key(name), template.name) for name, draft in template.stages.items()
    )


def _merged(theirs: Draft, own: Draft | None, place: Place, template: str) -> Draft:
    written, found = ({}, {}) if own is None else (own.written, own.found)
    inherited = theirs.written.keys() - written.keys()
    kept = {key: read for key, read in theirs.found.items() if key in inherited}
    return Draft(place, {**theirs.written, **written}, {**kept, **found}, template, frozenset(inherited))
