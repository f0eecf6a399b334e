"""Making and editing flags: the form, what it would change, and saving just that."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import Response

from flaggate.console.asked import Asked, number_in
from flaggate.console.forms import GUARD_FIELDS, MOST_ROWS, STAGE_FIELDS, document_of, draft_of, fields_of
from flaggate.errors import FlaggateError, OvertakenError, RevisionError, StoreError
from flaggate.flags.advice import advice
from flaggate.flags.canonical import flag_to_json
from flaggate.flags.document import Definitions
from flaggate.flags.model import Flag
from flaggate.flags.words import audience_words, condition_words, guard_words, stage_words
from flaggate.rollout.event_words import change_words

__all__ = ["edit", "new", "save", "toml"]

_NO_EDIT: Final = "You have no right to edit: nothing was changed."


def toml(asked: Asked) -> Response:
    """The flag as the file has it, to be copied."""
    _, one = asked.one()
    return asked.html("toml.html", name=one.flag.name, text=document_of(one.flag))


def new(asked: Asked) -> Response:
    """An empty form."""
    if not asked.may_edit:
        return asked.problem(403, _NO_EDIT)
    return _edit(asked, None, {"owner": asked.person.name})


def edit(asked: Asked) -> Response:
    """The form of a flag that the console keeps."""
    if not asked.may_edit:
        return asked.problem(403, _NO_EDIT)
    _, one = asked.one()
    if one.source == "file":
        words = f"{one.flag.name} is declared in a file: change it there. Its page can be copied as TOML."
        return asked.problem(409, words)
    return _edit(asked, one.flag.name, fields_of(one.flag) | {"version": str(one.version)})


def _edit(asked: Asked, name: str | None, fields: Mapping[str, str], status: int = 200, **more: Any) -> Response:
    given: dict[str, Any] = {
        "mistakes": (),
        "changes": None,
        "advice": (),
        "stage_fields": STAGE_FIELDS,
        "guard_fields": GUARD_FIELDS,
    }
    rows = {key: _rows(key, fields) for key in ("stages", "guards")}
    return asked.html("edit.html", status, name=name, fields=fields, row_counts=rows, **given | more)


def save(asked: Asked) -> Response:
    """Look at the form; show what would change; save it, if just that was shown before."""
    fields = asked.fields
    known = asked.request.path_params.get("name")
    name = known or fields.get("name", "").strip()
    if not asked.may_edit:
        return asked.problem(403, _NO_EDIT)
    if known is None and name in asked.site.seen().rows:
        return _edit(asked, None, fields, 422, mistakes=(f"there is a flag {name} already",))
    base = None if known is None else asked.one()[1]
    draft = draft_of(name, fields, None if base is None else base.flag)
    if draft.flag is None:
        return _edit(asked, known, fields, 422, mistakes=draft.mistakes)
    digest = _digest(draft.flag, fields.get("version", ""))
    is_saved = fields.get("what") == "save" and hmac.compare_digest(fields.get("checked", "").encode(), digest.encode())
    try:
        applied = asked.site.control.apply(
            Definitions({name: draft.flag}, {}),
            actor=asked.person.name,
            reason=fields.get("reason", "").strip() or None,
            dry_run=not is_saved,
            rights=asked.person.rights,
            source="console",
            expected={name: (number_in(fields.get("version", "")) or 0) if base is not None else 0},
        )
    except RevisionError as error:
        return _edit(asked, known, fields, 409, mistakes=error.refusals)
    except OvertakenError as error:
        now = {"version": "" if base is None else str(base.version)}
        mistakes = (str(error), "Check it again: what would change is shown against what is there now.")
        return _edit(asked, known, dict(fields) | now, 409, mistakes=mistakes)
    except StoreError:
        raise
    except FlaggateError as error:
        return _edit(asked, known, fields, 409, mistakes=(str(error),))
    if is_saved:
        return asked.to(f"/flags/{quote(name)}", done="saved" if applied.events else "nothing")
    changes = [change_words(event) for event in applied.events]
    if base is None:
        changes = ["a new flag, which nobody has until it is started or turned on", *_plan_words(draft.flag)]
    more = {"checked": digest} if applied.events else {}
    return _edit(
        asked,
        known,
        dict(fields) | more,
        changes=changes,
        advice=[f"{path}: {words}" for path, words in advice({name: draft.flag})],
    )


def _rows(key: str, fields: Mapping[str, str]) -> int:
    """How many rows of a form to show: those that are filled in, and one more."""
    numbers = [
        int(parts[1])
        for name in fields
        if (parts := name.split("-", 2))[0] == key and parts[1:] and number_in(parts[1])
    ]
    return min(max(numbers, default=0) + 1, MOST_ROWS)


def _digest(flag: Flag, version: str) -> str:
    """Of what was checked: what is saved is what was shown."""
    written = json.dumps(flag_to_json(flag), sort_keys=True, default=str)
    return sha256(f"{flag.name}\0{version}\0{written}".encode("utf-8", "surrogatepass")).hexdigest()


def _plan_words(flag: Flag) -> Iterator[str]:
    """Stage by stage, and the guards."""
    for number, (stage, conditions) in enumerate(zip(flag.stages, condition_words(flag), strict=True), 1):
        more = "; ".join([conditions, *map(guard_words, stage.guards)]).strip("; ")
        yield f"stage {number}, {stage.name}: {stage_words(stage)}" + (f"; {more}" if more else "")
    if flag.is_switch:
        yield f"on for {audience_words(flag.audience)}, once it is turned on"
    if flag.deny:
        yield f"never for {audience_words(flag.deny)}"
    yield from (f"guard: {guard_words(guard)}" for guard in flag.guards)
