"""flags.toml and .json -> Flag and Segment: the only way in, where what people write is validated.

What is read here is text; who opens files is `flaggate.runtime.definitions`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from flaggate.errors import DocumentError, closest
from flaggate.flags.conditions import AUDIENCE, SEGMENT_AUDIENCE
from flaggate.flags.fields import NAME, NAME_PATTERN, TEXT, TEXTS, choice
from flaggate.flags.guards import GUARDS
from flaggate.flags.model import AUTOMATIC, Flag, Segment
from flaggate.flags.notify import NOTIFY
from flaggate.flags.place import Kind, Place, read_table, show, table_schema
from flaggate.flags.stages import STAGES, check_guards, whole_plan
from flaggate.flags.templates import TEMPLATE_SCHEMA, Template, find_template, read_templates, with_template

__all__ = [
    "Definitions",
    "flag_from_json",
    "json_schema",
    "parse",
    "segment_from_json",
]


@dataclass(frozen=True, slots=True)
class Definitions:
    """All that one file declares."""

    flags: dict[str, Flag]
    segments: dict[str, Segment]


# --- flags and segments ---------------------------------------------------------------------

_FLAG: Final[dict[str, Kind]] = {
    "description": TEXT,
    "owner": TEXT,
    "deputies": TEXTS,
    "unit": choice(("user", "account", "visitor")),
    "cohort": NAME,
    "deny": AUDIENCE,
    "audience": AUDIENCE,
    "template": NAME,
    "stages": STAGES,
    "guards": GUARDS,
    "notify": NOTIFY,
}
_SWITCH_ONLY: Final = ("audience",)
_ROLLOUT_ONLY: Final = ("unit", "cohort", "guards")
_PLANNED_BY: Final = ("stages", "template")
_Templates: TypeAlias = Mapping[str, Template | None]


def _read_flag(name: str, value: object, place: Place, templates: _Templates) -> Flag | None:
    NAME.read(name, place)
    found = read_table(value, place, _FLAG, what="flag", required=("description", "owner"))
    if not isinstance(value, dict):
        return None
    if any(key in value for key in _PLANNED_BY):
        for key in (key for key in _SWITCH_ONLY if key in value):
            place.key(key).wrong(f'"{key}" belongs to a switch', "this flag has stages: write it inside a stage")
    else:
        for key in (key for key in _ROLLOUT_ONLY if key in value):
            place.key(key).wrong(f'"{key}" has no use in a switch', "add stages, or leave it out")
    people = {"owner": [found.get("owner")], "deputies": found.get("deputies") or ()}
    for key in (key for key, names in people.items() if AUTOMATIC in names):
        problem = f'"{AUTOMATIC}" is who acts where the clock or a guard does'
        place.key(key).wrong(problem, "a person, who can answer for it")
    return Flag(name=name, **{"description": "", "owner": ""} | _planned(found, value, place, templates))


def _planned(found: dict[str, Any], value: dict[str, Any], place: Place, templates: _Templates) -> dict[str, Any]:
    """What was read of a flag, with its whole plan: the template's, where it names one."""
    drafts, name = found.pop("stages", ()), found.pop("template", None)
    guards, origin = value.get("guards"), ""
    if "template" in value:
        template = None if name is None else find_template(name, templates, place.key("template"))
        if template is None:  # what the flag's own stages leave out is not known
            return found
        drafts = with_template(template, drafts, place.key("stages"))
        if "guards" not in value:
            guards, origin = template.guards_written, f" (from template {name})"
            found["guards"] = template.guards
    found["stages"] = whole_plan(drafts)
    check_guards(guards, drafts, place.key("guards"), origin)
    return found


_SEGMENT: Final[dict[str, Kind]] = {
    "audience": SEGMENT_AUDIENCE,
    "unit": choice(("user", "account", "visitor")),
    "members": TEXTS,
    "members_file": TEXT,
}
_MOST_HINTS: Final = 10  # each looks through all segments
_SEGMENT_FORMS: Final = 'audience = {...}, or unit = "user" with members = [...] or members_file = "..."'

_MOST_PARTS: Final = 100
_PART: Final = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+"""
_DEEP_KEY: Final = re.compile(rf"""(?:^|[\[{{,])[ \t]*+(?:{_PART}\.[ \t]*+){{{_MOST_PARTS}}}""", re.MULTILINE)
"""Where a key may stand: what `tomllib` takes for one grows with the square of its parts. No key of ours has more than six."""

ReadMembers = Callable[[str], str]


def _read_members(name: str, place: Place, read_file: ReadMembers | None) -> frozenset[str]:
    if read_file is None:
        place.wrong("there is no file to read from here", "write members = [...]")
        return frozenset()
    try:
        text = read_file(name)
    except (OSError, ValueError) as error:
        place.wrong(f"{show(name)} cannot be read ({error})", "allowed: a UTF-8 text file, one member a line")
        return frozenset()
    members = frozenset(line.strip() for line in text.split("\n") if line.strip())
    if not members:  # whoever means it writes members = []
        place.wrong(f"{show(name)} holds nobody", "a file that was cut off? allowed: one member a line")
    return members


def _read_segment(name: str, value: object, place: Place, read_file: ReadMembers | None) -> Segment | None:
    NAME.read(name, place)
    found = read_table(value, place, _SEGMENT)
    if not isinstance(value, dict):
        return None
    if "members_file" in found and "members" not in value:
        found["members"] = _read_members(found["members_file"], place.key("members_file"), read_file)
    keys = set(value)
    if keys not in ({"audience"}, {"unit", "members"}, {"unit", "members_file"}) and keys <= set(_SEGMENT):
        place.wrong("a segment has one of two forms", f"allowed: {_SEGMENT_FORMS}")
    found.pop("members_file", None)
    return Segment(name, **found | {"members": frozenset(found.get("members", ()))})


def _check_segments(segments: Mapping[str, Any], place: Place) -> None:
    """Every segment that an audience names is declared."""
    missing = [(name, at) for name, at in place.asked if name not in segments]
    for index, (name, at) in enumerate(missing):
        meant = closest(name, segments) if index < _MOST_HINTS else None
        hint = f'did you mean "{meant}"? ' if meant else ""
        at.wrong(f'there is no segment "{name}"', f"{hint}declare it as [segments.{name}]")


def _read_definitions(value: object, place: Place, read_file: ReadMembers | None) -> Definitions:
    as_is = Kind(lambda value, place: value if isinstance(value, dict) else place.wrong_value(value, "a table"), {})
    tables = read_table(value, place, dict.fromkeys(("flags", "segments", "templates"), as_is))
    at = place.key("segments")
    segments = {n: _read_segment(n, item, at.key(n), read_file) for n, item in tables.get("segments", {}).items()}
    templates = read_templates(tables.get("templates", {}), place.key("templates"))
    at = place.key("flags")
    flags = {name: _read_flag(name, item, at.key(name), templates) for name, item in tables.get("flags", {}).items()}
    read = {name: flag for name, flag in flags.items() if flag is not None}
    _check_segments(segments, place)
    return Definitions(read, {name: segment for name, segment in segments.items() if segment is not None})


def parse(
    text: str,
    *,
    source: str = "<text>",
    syntax: Literal["toml", "json"] = "toml",
    read_file: ReadMembers | None = None,
) -> Definitions:
    """Read a definitions file.

    `read_file` opens a `members_file` by the name written there.

    Raises:
        DocumentError: with every mistake of the text.
    """
    place = Place(source)
    try:
        value = _loads(text, syntax)
    except (ValueError, RecursionError) as error:  # RecursionError: tables nested a thousand deep
        place.wrong(f"this is not {syntax.upper()} ({error})", "mend the syntax there first")
        raise DocumentError(place.mistakes) from error
    definitions = _read_definitions(value, place, read_file)
    if place.mistakes:
        raise DocumentError(place.mistakes)
    return definitions


def _loads(text: str, syntax: str) -> Any:
    if syntax == "toml":
        if _DEEP_KEY.search(text):
            raise ValueError(f"a key has more than {_MOST_PARTS} parts")
        return tomllib.loads(text, parse_float=_decimal)
    value = json.loads(text, parse_float=_decimal, object_pairs_hook=_unique)
    json.dumps(value, ensure_ascii=False, default=str).encode()  # refuses "\ud800": half a character
    return value


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"{show(text)} is beyond all numbers") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a key stand twice and drops the first: here that is a mistake, as it is in TOML."""
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = ", ".join(show(key) for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"in one table these keys stand twice: {twice}")
    return table


# --- what stores kept ------------------------------------------------------------------------


def flag_from_json(name: str, written: dict[str, Any], source: str = "<store>") -> Flag:
    """The opposite of `canonical.flag_to_json`. Raises DocumentError."""
    place = Place(source, f"flags.{name}")
    flag = _read_flag(name, _exact(written), place, {})
    if flag is None or place.mistakes:
        raise DocumentError(place.mistakes)
    return flag


def segment_from_json(name: str, written: dict[str, Any], source: str = "<store>") -> Segment:
    """The opposite of `canonical.segment_to_json`. Raises DocumentError."""
    place = Place(source, f"segments.{name}")
    segment = _read_segment(name, _exact(written), place, None)
    if segment is None or place.mistakes:
        raise DocumentError(place.mistakes)
    return segment


def _exact(value: Any, depth: int = 12) -> Any:
    """JSON's floats as decimals: what json.loads(parse_float=Decimal) would have given.

    Nothing that is right lies deeper.
    """
    kind = type(value)
    if kind is dict and depth:
        return {
            key: item if type(item) is str else _exact(item, depth - 1)  # most are text: without a call
            for key, item in value.items()
        }
    if kind is float:
        return Decimal(repr(value))
    return [_exact(item, depth - 1) for item in value] if kind is list and depth else value


def json_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of a definitions file, for editors.

    Made from the same tables that the reader uses. It knows the shape; what one table says about
    another (shares that fall, segments that are missing) only `parse` knows.
    """
    flag = table_schema(_FLAG, ("description", "owner")) | {
        "if": {"anyOf": [{"required": [key]} for key in _PLANNED_BY]},
        "then": {"properties": dict.fromkeys(_SWITCH_ONLY, False)},
        "else": {"properties": dict.fromkeys(_ROLLOUT_ONLY, False)},
    }
    forms = ({"audience"}, {"unit", "members"}, {"unit", "members_file"})
    segment = table_schema(_SEGMENT) | {
        "oneOf": [{"required": sorted(form), "maxProperties": len(form)} for form in forms]
    }
    names = {"type": "object", "propertyNames": {"pattern": NAME_PATTERN}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "flaggate definitions",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "flags": names | {"additionalProperties": flag},
            "segments": names | {"additionalProperties": segment},
            "templates": names | {"additionalProperties": TEMPLATE_SCHEMA},
        },
    }
