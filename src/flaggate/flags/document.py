"""flags.toml and .json -> Flag and Segment: the only place that validates what people write.

What is read here is text; who opens files is `flaggate.runtime.definitions`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from flaggate.errors import DocumentError, closest
from flaggate.flags.audience import segments_of
from flaggate.flags.canonical import percent
from flaggate.flags.conditions import AUDIENCE, SEGMENT_AUDIENCE
from flaggate.flags.fields import (
    APPROVAL,
    COUNT,
    HOURS,
    LIMIT,
    MILLISECONDS,
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
from flaggate.flags.model import Flag, Guard, Segment, Stage
from flaggate.flags.place import Kind, Place, read_list, read_table

__all__ = [
    "Definitions",
    "flag_from_json",
    "json_schema",
    "parse",
    "segment_from_json",
]

_CONDITIONS: Final = ("soak", "min_sample", "approval", "hours", "prove")


@dataclass(frozen=True, slots=True)
class Definitions:
    """All that one file declares."""

    flags: dict[str, Flag]
    segments: dict[str, Segment]


# --- guards ---------------------------------------------------------------------------------


def _read_guard(value: object, place: Place) -> Guard | None:
    found = read_table(value, place, _GUARD, required=("metric",))
    metric, limit, times = found.get("metric"), found.get("limit"), found.get("vs_control")
    if metric is None:
        return None
    if "limit" not in value and "vs_control" not in value:  # type: ignore[operator]  # a table: it has a metric
        place.wrong("the guard has no limit", 'add limit = "1%", or vs_control = 1.25')
    if metric == "slow" and limit is not None and "slower_than" not in value:  # type: ignore[operator]  # as above
        place.wrong('"slower_than" is missing', 'say from when on a request is slow: slower_than = "400ms"')
    if "slower_than" in found and (metric != "slow" or times is not None):
        place.key("slower_than").wrong(
            '"slower_than" has no use here', 'it belongs to metric = "slow" with a limit, without vs_control'
        )
    if limit is not None and times is not None:
        place.wrong("limit and vs_control are two guards", "write one table for each")
    found["slower_than_ms"] = found.pop("slower_than", None)
    return Guard(**found)


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


def _read_stage(value: object, place: Place) -> Stage | None:
    found = read_table(value, place, _STAGE, required=("name",))
    if "name" not in found:
        return None
    renamed = {"share": "share_thousandths", "soak": "soak_seconds"}
    stage = Stage(**{renamed.get(key, key): item for key, item in found.items()})
    if not stage.has_control:
        for index, guard in enumerate(stage.guards):
            if guard.vs_control is not None:
                place.key("guards").item(index).key("vs_control").wrong(
                    "this stage has no control to compare with", "give it a share below 100, or move the guard"
                )
    return stage


def _read_stages(value: object, place: Place) -> tuple[Stage, ...] | None:
    """Read the list; where a stage has a name, its path is `stages.NAME`."""
    if not isinstance(value, list) or not value:
        place.wrong_value(value, "a list of stages; leave it out for a switch")
        return None
    stages: list[Stage] = []
    for index, item in enumerate(value):
        name = item.get("name") if isinstance(item, dict) else None
        at = place.key(name) if isinstance(name, str) and name else place.item(index)
        stage = _read_stage(item, at)
        if stage is None:
            continue
        if any(stage.name == other.name for other in stages):
            place.item(index).key("name").wrong(f'"{stage.name}" is there twice', "give each stage its own name")
        _check_conditions(item, index == len(value) - 1, at)
        _check_share(stage, stages, at)
        stages.append(stage)
    return tuple(stages)


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


def _check_share(stage: Stage, earlier: list[Stage], place: Place) -> None:
    """Shares of the same audience never fall along the plan (invariant I14)."""
    for other in earlier:
        if other.audience == stage.audience and other.share_thousandths > stage.share_thousandths:
            place.key("share").wrong(
                f"the share falls from {percent(other.share_thousandths)} % (stage {other.name})"
                f" to {percent(stage.share_thousandths)} % for the same audience",
                "stages add up, so this one would let in nobody new; give it the same share or a larger one",
            )


_STAGE: Final[dict[str, Kind]] = {
    "name": NAME,
    "audience": AUDIENCE,
    "share": SHARE,
    "soak": SECONDS,
    "min_sample": COUNT,
    "approval": APPROVAL,
    "hours": HOURS,
    "prove": PROVE,
    "guards": _GUARDS,
}
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
    found = read_table(value, place, _FLAG, required=("description", "owner"))
    if not isinstance(value, dict):
        return None
    if "stages" in value:
        for key in (key for key in _SWITCH_ONLY if key in value):
            place.key(key).wrong(f'"{key}" belongs to a switch', "this flag has stages: write it inside a stage")
    else:
        for key in (key for key in _ROLLOUT_ONLY if key in value):
            place.key(key).wrong(f'"{key}" has no use in a switch', "add stages, or leave it out")
    flag = Flag(name=name, **{"description": "", "owner": ""} | found)
    if flag.stages and not any(stage.has_control for stage in flag.stages):
        for index, guard in enumerate(flag.guards):
            if guard.vs_control is not None:
                place.key("guards").item(index).key("vs_control").wrong(
                    "no stage has a control to compare with", "give a stage a share below 100, or use limit"
                )
    return flag


_SEGMENT: Final[dict[str, Kind]] = {
    "audience": SEGMENT_AUDIENCE,
    "unit": choice(("user", "account", "visitor")),
    "members": TEXTS,
    "members_file": TEXT,
}
_SEGMENT_FORMS: Final = 'audience = {...}, or unit = "user" with members = [...] or members_file = "..."'

ReadMembers = Callable[[str], str]


def _read_members(name: str, place: Place, read_file: ReadMembers | None) -> frozenset[str]:
    if read_file is None:
        place.wrong("there is no file to read from here", "write members = [...]")
        return frozenset()
    try:
        text = read_file(name)
    except (OSError, ValueError) as error:
        place.wrong(f'"{name}" cannot be read ({error})', "allowed: a UTF-8 text file, one member a line")
        return frozenset()
    return frozenset(line.strip() for line in text.splitlines() if line.strip())


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


def _check_segments(flags: Mapping[str, Flag], segments: Mapping[str, Any], place: Place) -> None:
    for flag in flags.values():
        at = place.key("flags").key(flag.name)
        places = [(flag.deny, at.key("deny")), (flag.audience, at.key("audience"))]
        places += [(stage.audience, at.key("stages").key(stage.name).key("audience")) for stage in flag.stages]
        for audience, where in places:
            for name in sorted(segments_of(audience) - set(segments)):
                meant = closest(name, segments)
                hint = f'did you mean "{meant}"? ' if meant else ""
                where.key("segment").wrong(f'there is no segment "{name}"', f"{hint}declare it as [segments.{name}]")


def _read_definitions(value: object, place: Place, read_file: ReadMembers | None) -> Definitions:
    as_is = Kind(lambda value, place: value if isinstance(value, dict) else place.wrong_value(value, "a table"), {})
    tables = read_table(value, place, {"flags": as_is, "segments": as_is})
    at = place.key("segments")
    segments = {n: _read_segment(n, item, at.key(n), read_file) for n, item in tables.get("segments", {}).items()}
    at = place.key("flags")
    flags = {name: _read_flag(name, item, at.key(name)) for name, item in tables.get("flags", {}).items()}
    read = {name: flag for name, flag in flags.items() if flag is not None}
    _check_segments(read, segments, place)
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
    except (ValueError, RecursionError) as error:
        place.wrong(f"this is not {syntax.upper()} ({error})", "mend the syntax there first")
        raise DocumentError(place.mistakes) from error
    definitions = _read_definitions(value, place, read_file)
    if place.mistakes:
        raise DocumentError(place.mistakes)
    return definitions


def _loads(text: str, syntax: str) -> Any:
    if syntax == "json":
        return json.loads(text, parse_float=Decimal, object_pairs_hook=_unique)
    return tomllib.loads(text, parse_float=Decimal)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a key stand twice and drops the first: here that is a mistake, as it is in TOML."""
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f'the key "{next(k for k in keys if keys.count(k) > 1)}" stands twice in one table')
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
    segment = _read_segment(name, written, place, None)
    if segment is None or place.mistakes:
        raise DocumentError(place.mistakes)
    return segment


def _exact(value: Any) -> Any:
    """JSON's floats as decimals: what json.loads(parse_float=Decimal) would have given."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    return [_exact(item) for item in value] if isinstance(value, list) else value


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
