"""flags.toml and .json -> Flag and Segment: the only place that validates what people write.

What is read here is text; who opens files is `flaggate.runtime.definitions`.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from flaggate.errors import DocumentError, closest
from flaggate.flags.audience import Audience
from flaggate.flags.canonical import percent
from flaggate.flags.conditions import AUDIENCE, SEGMENT_AUDIENCE
from flaggate.flags.fields import (
    APPROVAL,
    COUNT,
    HOURS,
    LIMIT,
    MILLISECONDS,
    MOMENT,
    NAME,
    NAME_PATTERN,
    PROVE,
    SECONDS,
    SHARE,
    TEXT,
    TEXTS,
    TIMES,
    choice,
)
from flaggate.flags.model import FULL_SHARE, Flag, Guard, Segment, Stage
from flaggate.flags.place import Kind, Place, read_list, read_table, show

__all__ = [
    "Definitions",
    "flag_from_json",
    "json_schema",
    "parse",
    "segment_from_json",
]

_CONDITIONS: Final = ("soak", "min_sample", "approval", "not_before", "hours", "prove")


@dataclass(frozen=True, slots=True)
class Definitions:
    """All that one file declares."""

    flags: dict[str, Flag]
    segments: dict[str, Segment]


# --- guards ---------------------------------------------------------------------------------


def _read_guard(value: object, place: Place) -> Guard | None:
    found = read_table(value, place, _GUARD, what="guard", required=("metric",))
    if not isinstance(value, dict):
        return None
    metric, has_limit, has_times = found.get("metric"), "limit" in value, "vs_control" in value
    if has_limit and has_times:
        place.wrong("limit and vs_control are two guards", "write one table for each")
    elif not has_limit and not has_times:
        place.wrong("the guard has no limit", 'add limit = "1%", or vs_control = 1.25')
    if metric == "slow" and has_limit and "slower_than" not in value:
        place.wrong('"slower_than" is missing', 'say from when on a request is slow: slower_than = "400ms"')
    if "slower_than" in value and (metric == "errors" or (has_times and not has_limit)):
        place.key("slower_than").wrong(
            '"slower_than" has no use here', 'it belongs to metric = "slow" with a limit, without vs_control'
        )
    found["slower_than_ms"] = found.pop("slower_than", None)
    return Guard(**found) if metric else None


def _read_guards(value: object, place: Place) -> tuple[Guard, ...]:
    return read_list(value, place, Kind(_read_guard, {}), "guards")


_GUARD: Final[dict[str, Kind]] = {
    "metric": choice(("errors", "slow")),
    "limit": LIMIT,
    "vs_control": TIMES,
    "slower_than": MILLISECONDS,
    "on_breach": choice(("rollback", "hold", "warn")),
    "on_no_data": choice(("hold", "rollback", "ignore")),
}


def _table_schema(kinds: Mapping[str, Kind], required: tuple[str, ...] = ()) -> dict[str, Any]:
    properties = {key: kind.schema for key, kind in kinds.items()}
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | ({"required": list(required)} if required else {})


_GUARD_SCHEMA: Final = _table_schema(_GUARD, ("metric",)) | {
    "oneOf": [{"required": ["limit"]}, {"required": ["vs_control"]}],
    "if": {"properties": {"metric": {"const": "slow"}}, "required": ["limit"]},
    "then": {"required": ["slower_than"]},
    "else": {"properties": {"slower_than": False}},
}
_GUARDS: Final = Kind(_read_guards, {"type": "array", "items": _GUARD_SCHEMA})


# --- stages ---------------------------------------------------------------------------------


def _read_stages(value: object, place: Place) -> tuple[Stage, ...] | None:
    """Read the list; where a stage has a name, its path is `stages.NAME`."""
    if not isinstance(value, list) or not value:
        place.wrong_value(value, "a list of stages; leave it out for a switch")
        return None
    stages: dict[str, Stage] = {}
    widest: dict[Audience, Stage] = {}
    for index, item in enumerate(value):
        name = item.get("name") if isinstance(item, dict) else None
        at = place.key(name) if isinstance(name, str) and name else place.item(index)
        found = read_table(item, at, _STAGE, what="stage", required=("name",))
        if not isinstance(item, dict):
            continue
        fields = {_STAGE_FIELDS.get(key, key): read for key, read in found.items()}
        stage = Stage(name=fields.pop("name", ""), **fields)
        if stage.name in stages:
            place.item(index).key("name").wrong(f'"{stage.name}" is there twice', "give each stage its own name")
        _check_conditions(item, index == len(value) - 1, at)
        _check_controls(item, at)
        if all(key in found for key in ("audience", "share") if key in item):
            _check_share(stage, widest, at)
        if "name" in found:
            stages.setdefault(stage.name, stage)
    return tuple(stages.values())


def _has_no_control(written: object) -> bool:
    """Whether nobody is left out of a stage. A share with a mistake may have been meant to."""
    share = written.get("share", 100) if isinstance(written, dict) else None
    return SHARE.read(share, Place("")) in (0, FULL_SHARE)


def _against_control(written: object, place: Place) -> Iterator[Place]:
    """Where the guards of a list, as written, ask for a control."""
    for index, guard in enumerate(written if isinstance(written, list) else ()):
        if isinstance(guard, dict) and "vs_control" in guard:
            yield place.item(index).key("vs_control")


def _check_controls(written: dict[str, Any], place: Place) -> None:
    if _has_no_control(written):
        for at in _against_control(written.get("guards"), place.key("guards")):
            at.wrong("this stage has no control to compare with", "give it a share below 100, or move the guard")


def _check_conditions(written: dict[str, Any], is_last: bool, place: Place) -> None:
    named = [key for key in _CONDITIONS if key in written]
    if is_last:
        for key in named:
            place.key(key).wrong("the last stage is never left", "reaching it starts the 48-hour watch; leave this out")
    elif not named:
        place.wrong(
            "nothing says when this stage may be left",
            f'add one of {", ".join(_CONDITIONS)}; soak = "0s" says "at once" on purpose',
        )


def _check_share(stage: Stage, widest: dict[Audience, Stage], place: Place) -> None:
    """Shares of the same audience never fall along the plan (invariant I14)."""
    other = widest.setdefault(stage.audience, stage)
    if other.share_thousandths > stage.share_thousandths:
        place.key("share").wrong(
            f"the share falls from {percent(other.share_thousandths)} % (stage {other.name})"
            f" to {percent(stage.share_thousandths)} % for the same audience",
            "stages add up, so this one would let in nobody new; give it the same share or a larger one",
        )
    else:
        widest[stage.audience] = stage


_STAGE: Final[dict[str, Kind]] = {
    "name": NAME,
    "audience": AUDIENCE,
    "share": SHARE,
    "soak": SECONDS,
    "min_sample": COUNT,
    "approval": APPROVAL,
    "not_before": MOMENT,
    "hours": HOURS,
    "prove": PROVE,
    "guards": _GUARDS,
}
_STAGE_FIELDS: Final = {"share": "share_thousandths", "soak": "soak_seconds"}
_STAGES: Final = Kind(_read_stages, {"type": "array", "minItems": 1, "items": _table_schema(_STAGE, ("name",))})


# --- flags and segments ---------------------------------------------------------------------

_FLAG: Final[dict[str, Kind]] = {
    "description": TEXT,
    "owner": TEXT,
    "deputies": TEXTS,
    "unit": choice(("user", "account", "visitor")),
    "cohort": NAME,
    "deny": AUDIENCE,
    "audience": AUDIENCE,
    "stages": _STAGES,
    "guards": _GUARDS,
}
_SWITCH_ONLY: Final = ("audience",)
_ROLLOUT_ONLY: Final = ("unit", "cohort", "guards")


def _read_flag(name: str, value: object, place: Place) -> Flag | None:
    NAME.read(name, place)
    found = read_table(value, place, _FLAG, what="flag", required=("description", "owner"))
    if not isinstance(value, dict):
        return None
    if "stages" in value:
        for key in (key for key in _SWITCH_ONLY if key in value):
            place.key(key).wrong(f'"{key}" belongs to a switch', "this flag has stages: write it inside a stage")
    else:
        for key in (key for key in _ROLLOUT_ONLY if key in value):
            place.key(key).wrong(f'"{key}" has no use in a switch', "add stages, or leave it out")
    stages = value.get("stages")
    if isinstance(stages, list) and all(_has_no_control(stage) for stage in stages):
        for at in _against_control(value.get("guards"), place.key("guards")):
            at.wrong("no stage has a control to compare with", "give a stage a share below 100, or use limit")
    return Flag(name=name, **{"description": "", "owner": ""} | found)


_SEGMENT: Final[dict[str, Kind]] = {
    "audience": SEGMENT_AUDIENCE,
    "unit": choice(("user", "account", "visitor")),
    "members": TEXTS,
    "members_file": TEXT,
}
_MOST_HINTS: Final = 10  # each looks through all segments
_SEGMENT_FORMS: Final = 'audience = {...}, or unit = "user" with members = [...] or members_file = "..."'

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
    tables = read_table(value, place, {"flags": as_is, "segments": as_is})
    at = place.key("segments")
    segments = {n: _read_segment(n, item, at.key(n), read_file) for n, item in tables.get("segments", {}).items()}
    at = place.key("flags")
    flags = {name: _read_flag(name, item, at.key(name)) for name, item in tables.get("flags", {}).items()}
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
    flag = _read_flag(name, _exact(written), place)
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
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, dict) and depth:
        return {key: _exact(item, depth - 1) for key, item in value.items()}
    return [_exact(item, depth - 1) for item in value] if isinstance(value, list) and depth else value


def json_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of a definitions file, for editors.

    Made from the same tables that the reader uses. It knows the shape; what one table says about
    another (shares that fall, segments that are missing) only `parse` knows.
    """
    flag = _table_schema(_FLAG, ("description", "owner")) | {
        "if": {"required": ["stages"]},
        "then": {"properties": dict.fromkeys(_SWITCH_ONLY, False)},
        "else": {"properties": dict.fromkeys(_ROLLOUT_ONLY, False)},
    }
    forms = ({"audience"}, {"unit", "members"}, {"unit", "members_file"})
    segment = _table_schema(_SEGMENT) | {
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
        },
    }
