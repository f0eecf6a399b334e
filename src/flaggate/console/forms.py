"""The form in which a flag is made and edited: what `flags.toml` says, field by field.

An audience is written as in the file: `{ city = "Manchester" }`, or a list of such tables.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias

from flaggate.errors import DocumentError, Mistake
from flaggate.flags.canonical import flag_to_json
from flaggate.flags.document import flag_from_json
from flaggate.flags.model import Flag
from flaggate.flags.place import Place

__all__ = ["GUARD_FIELDS", "MOST_ROWS", "STAGE_FIELDS", "Draft", "Field", "document_of", "draft_of", "fields_of"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a stage or a guard."""

    key: str
    label: str
    kind: str = "text"
    """text, number, scalar, check, metric, choice, or toml: a value as the file has it."""
    hint: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    """What the file says, and the same in words; "" = nothing."""


_APPROVAL: Final = (
    ("", "none is needed"),
    ("true", "somebody approves"),
    ("other", "somebody else than who let people in"),
)
_ROLLBACK: Final = "roll back"
_HOLD: Final = "hold: go no further"
_FLAG_FIELDS: Final = (
    Field("deny", "Never", "toml", 'such as { account = ["acme-de"] }'),
    Field("audience", "Audience of a switch", "toml", 'such as { tier = ["pro", "team"] }; none = everyone'),
    Field("notify", "Told besides", "toml", 'such as { owner = "all", oncall = ["rollback", "kill"] }'),
)
"""Those of the flag itself that are tables of the file."""
STAGE_FIELDS: Final = (
    Field("name", "Name"),
    Field("audience", "Audience", "toml", 'such as { city = "Manchester", country = "GB" }; none = everyone'),
    Field("share", "Share, percent", "number", "100 if not said"),
    Field("soak", "Soak", hint="24h"),
    Field("min_sample", "Requests at least", "number"),
    Field("approval", "Approval", "choice", choices=_APPROVAL),
    Field("not_before", "Not before", hint="with its zone: 2026-12-01T09:00:00Z"),
    Field("hours", "Hours", "text", "Mon-Fri 09:00-17:00 Europe/London"),
    Field("prove", "Proven safe first", "check"),
)
GUARD_FIELDS: Final = (
    Field("metric", "Metric", "metric", "errors, slow, or the app's own"),
    Field("limit", "Limit", "scalar", "1%"),
    Field("vs_control", "Times control's", "number", "1.25"),
    Field("at_least", "At least", "scalar", "2%"),
    Field("slower_than", "Slower than", hint="400ms"),
    Field("query", "Query of Prometheus"),
    Field("every", "Asked every", hint="30s"),
    Field("for", "For", hint="2m"),
    Field("on_breach", "On breach", "choice", choices=(("", _ROLLBACK), ("hold", _HOLD), ("warn", "only warn"))),
    Field(
        "on_no_data", "On no data", "choice", choices=(("", _HOLD), ("rollback", _ROLLBACK), ("ignore", "ignore it"))
    ),
    Field("on_shared", "On an outage", "choice", choices=(("", _ROLLBACK), ("hold", _HOLD))),
    Field("observe", "Only observes", "check"),
)
_ROWS: Final = {"stages": ("Stage", STAGE_FIELDS), "guards": ("Guard", GUARD_FIELDS)}
"""What one of them is called, and its fields."""
_Places: TypeAlias = dict[str, tuple[str, Sequence[Field]]]
"""By a path of the file: what stands there is called in the form, and its fields."""
MOST_ROWS: Final = 100
"""Stages, or guards, of a form."""
_MOST_CHARACTERS: Final = 4000
"""Of a field in TOML."""
_MOST_DIGITS: Final = 15
"""Before or behind a number's point: no share and no count needs more, and to work out 1e999999 takes a minute."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody wrote into the form: a flag, or what is wrong with it."""

    flag: Flag | None
    mistakes: Sequence[str]


def draft_of(name: str, fields: Mapping[str, str], base: Flag | None = None) -> Draft:
    """Read the form.

    Args:
        base: The flag that is edited: what the form has no field for stays as it is.
    """
    mistakes: list[str] = []
    known = {} if base is None else flag_to_json(base)
    written: dict[str, Any] = {key: text for key in ("description", "owner") if (text := fields.get(key, "").strip())}
    if fields.get("deputies") == ", ".join(known.get("deputies", ())):  # one of them may have a comma
        written |= {"deputies": known["deputies"]} if "deputies" in known else {}
    elif people := [one.strip() for one in fields.get("deputies", "").split(",") if one.strip()]:
        written["deputies"] = people
    if (unit := fields.get("unit", "")) not in {"", "user"}:
        written["unit"] = unit
    for field in _FLAG_FIELDS:
        _put(written, field, fields.get(field.key, ""), _in_a_sentence(field.label), mistakes)
    numbers: dict[str, Sequence[int]] = {}
    for key in _ROWS:
        if rows := dict(_rows(key, fields, mistakes)):
            written[key], numbers[key] = list(rows.values()), list(rows)
    if "stages" in written and "audience" in written:
        mistakes.append("audience: a flag with stages has none of its own; write it into a stage")
    _carry_over(known, written)
    if mistakes:
        return Draft(None, mistakes)
    try:
        return Draft(flag_from_json(name, written, "form"), ())
    except DocumentError as error:
        places = _places(name, written, numbers)
        return Draft(None, [_mistake_words(mistake, places) for mistake in error.mistakes])


def _carry_over(known: Mapping[str, Any], written: dict[str, Any]) -> None:
    """What the form has no field for; of a stage by its name."""
    written |= {key: value for key, value in known.items() if key not in _ALL_FIELDS}
    stages = {stage["name"]: stage for stage in known.get("stages", ())}
    in_form = {field.key for field in STAGE_FIELDS}
    for stage in written.get("stages", ()):
        stage |= {key: value for key, value in stages.get(stage.get("name"), {}).items() if key not in in_form}


_ALL_FIELDS: Final = frozenset(
    {"description", "owner", "deputies", "unit", "deny", "audience", "notify", "stages", "guards"}
)


def _rows(key: str, fields: Mapping[str, str], mistakes: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Those that are filled in, by their numbers in the form."""
    one, each = _ROWS[key]
    for number in range(1, MOST_ROWS + 1):
        row: dict[str, Any] = {}
        for field in each:
            where = f"{one} {number}: {_in_a_sentence(field.label)}"
            _put(row, field, fields.get(f"{key}-{number}-{field.key}", ""), where, mistakes)
        if row:
            yield number, row


# --- mistakes ---------------------------------------------------------------------------------


def _mistake_words(mistake: Mistake, places: _Places) -> str:
    """Where in the form, and what: "Guard 1: limit: ..."."""
    path = max((path for path in places if f"{mistake.path}.".startswith((f"{path}.", f"{path}["))), key=len)
    called, fields = places[path]
    rest = mistake.path[len(path) :].lstrip(".")
    key = re.split(r"[.\[]", rest)[0]
    label = next((_in_a_sentence(field.label) for field in fields if field.key == key), key)
    deeper = re.sub(r"\[(\d+)\]", lambda found: f" {int(found[1]) + 1}", rest[len(key) :])
    parts = (called, label + deeper, f"{mistake.problem}; {mistake.allowed}")
    return ": ".join(part for part in parts if part)


def _places(name: str, written: Mapping[str, Any], numbers: Mapping[str, Sequence[int]]) -> _Places:
    """The flag and its rows, by the paths that mistakes have."""
    flag = Place("form", f"flags.{name}")
    found: _Places = {flag.path: ("", _FLAG_FIELDS)}
    for key, (one, fields) in _ROWS.items():
        rows = flag.key(key)
        for index, (number, row) in enumerate(zip(numbers.get(key, ()), written.get(key, ()), strict=True)):
            called = (f"{one} {number}", fields)
            found.setdefault(rows.key(row.get("name", "")).path, called)
            found[rows.item(index).path] = called
    return found


def _in_a_sentence(label: str) -> str:
    return label[:1].lower() + label[1:]


# --- values -----------------------------------------------------------------------------------


def _put(into: dict[str, Any], field: Field, text: str, where: str, mistakes: list[str]) -> None:
    text = text.strip()
    if not text:
        return
    try:
        into[field.key] = _value(field, text)
    except (ValueError, ArithmeticError, RecursionError):
        mistakes.append(
            f"{where}: {text!r} cannot be read; write it as in flags.toml"
            + (f", such as {field.hint}" if field.hint else "")
        )


def _value(field: Field, text: str) -> Any:
    if field.kind == "check":
        return True
    if field.kind == "number":
        number = _number(text)
        return int(number) if number == int(number) else number
    if field.kind == "scalar":
        try:
            Decimal(text)
        except InvalidOperation:
            return text
        return _number(text)
    if field.kind == "choice":
        return True if text == "true" else text
    if field.kind != "toml":
        return text
    if "\n" in text or "\r" in text or len(text) > _MOST_CHARACTERS:
        raise ValueError("one line, and no longer than that")
    return tomllib.loads(f"value = {text}", parse_float=_number)["value"]


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if (
        not text.isascii()
        or not number.is_finite()
        or abs(number.adjusted()) > _MOST_DIGITS
        or len(number.as_tuple().digits) > _MOST_DIGITS
    ):
        raise ValueError("not a number that can be meant")
    return number


def fields_of(flag: Flag) -> dict[str, str]:
    """The form of a flag, filled in."""
    written = flag_to_json(flag)
    fields: dict[str, str] = {key: str(written[key]) for key in ("description", "owner", "unit") if key in written}
    fields["deputies"] = ", ".join(written.get("deputies", ()))
    fields |= {field.key: toml_of(written[field.key]) for field in _FLAG_FIELDS if field.key in written}
    for key, (_, each) in _ROWS.items():
        for number, row in enumerate(written.get(key, ()), 1):
            for field in each:
                if field.key in row:
                    value = row[field.key]
                    fields[f"{key}-{number}-{field.key}"] = _text(value, field.kind)
    return fields


def _text(value: Any, kind: str) -> str:
    if kind == "toml" or (kind == "choice" and value is True):
        return toml_of(value)
    return "1" if value is True else str(value)


def toml_of(value: Any) -> str:
    """A value of JSON's types on one line of TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {toml_of(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_of, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float | Decimal) else _quoted(str(value))


def _key(key: str) -> str:
    return key if key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key) else _quoted(key)


def _quoted(text: str) -> str:
    escaped = "".join({"\\": "\\\\", '"': '\\"'}.get(c, c if c.isprintable() else f"\\U{ord(c):08x}") for c in text)
    return f'"{escaped}"'


def document_of(flag: Flag) -> str:
    """The flag as a part of flags.toml."""
    written = flag_to_json(flag)
    tables = {key: written.pop(key) for key in ("stages", "guards") if key in written}
    lines = [f"[flags.{flag.name}]", *(f"{_key(key)} = {toml_of(value)}" for key, value in written.items())]
    for key, rows in tables.items():
        for row in rows:
            lines += [
                "",
                f"[[flags.{flag.name}.{key}]]",
                *(f"{_key(name)} = {toml_of(value)}" for name, value in row.items()),
            ]
    return "\n".join(lines) + "\n"
