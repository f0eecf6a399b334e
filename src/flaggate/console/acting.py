"""Acts: asked about first, then done; and the hook for alerts, which can only roll back."""

from __future__ import annotations

import hmac
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from flaggate.console.asked import Asked, Site, number_in, without_nul
from flaggate.console.buttons import HARD, WORDS
from flaggate.errors import FlaggateError, StoreError, UnknownFlagError, UnreadableError
from flaggate.rollout.outlook import next_stage
from flaggate.rollout.state import Status, Verb
from flaggate.rollout.words import standing, who_has_it
from flaggate.runtime.overview import Standing
from flaggate.runtime.reach import STOPS, await_reach
from flaggate.runtime.rights import Right, may

__all__ = ["act", "ask", "hook"]

_REACH_SECONDS: Final = 1.0
"""Who pressed the red button waits for no longer; what is late then shows later."""


def ask(asked: Asked) -> Response:
    """Before an act: what it does, why, and whether somebody is sure."""
    return _ask(asked, 200, None)


def _ask(asked: Asked, status: int, problem: str | None) -> Response:
    verb = _verb(asked)
    name = asked.request.path_params["name"]
    if asked.site.is_read_only:
        return asked.problem(403, "This console only shows.")
    if not may(verb, asked.person.rights):
        return asked.problem(403, f"You have no right to {verb}.")
    try:
        _, one = asked.one()
        holds = [str(hold) for hold in asked.site.control.holds(one.flag, one.rollout)] if verb is Verb.ADVANCE else []
    except (UnreadableError, StoreError):
        if verb is not Verb.KILL:  # which needs no plan, and nothing that is not answered
            raise
        return asked.html("act.html", status, **_bare(name, verb, asked, problem))
    stage = next_stage(one.flag, one.rollout)
    given = {
        "passes_over": holds,
        "standing": standing(one.flag, one.rollout),
        "has_it": who_has_it(one.flag, one.rollout) or "nobody",
        "lets_in": _lets_in(verb, one),
        "next": "" if stage is None or verb is not Verb.ADVANCE else stage.name,
        "people": one.rollout,
        "version": one.version,
    }
    return asked.html("act.html", status, **_bare(name, verb, asked, problem) | given)


def act(asked: Asked) -> Response:
    """Do it."""
    verb, name, fields = _verb(asked), without_nul(asked.request.path_params["name"]), asked.fields
    if asked.site.is_read_only:
        return asked.problem(403, "This console only shows: nothing was changed.")
    if not may(verb, asked.person.rights):
        return asked.problem(403, f"You have no right to {verb}: nothing was changed.")
    if verb in HARD and fields.get("name", "").strip() != name:
        return _ask(asked, 422, f"Type the flag's name, {name}, to say that you mean it.")
    version = number_in(fields.get("version", ""))
    if version is None and verb is not Verb.KILL:  # which is for whatever is there
        return _ask(asked, 422, "The form says not which version of the flag you saw. Try again from here.")
    owner = fields.get("owner", "").strip() or None
    if verb is Verb.OWNER_SET and owner is None:
        return _ask(asked, 422, "Say to whom.")
    try:
        outcome = asked.site.control.act(
            verb,
            name,
            actor=asked.person.name,
            reason=fields.get("reason", "").strip() or None,
            owner=owner if verb is Verb.OWNER_SET else None,
            to=fields.get("to") or None if verb is Verb.ADVANCE else None,
            expected_version=version,
            rights=asked.person.rights,
        )
    except UnknownFlagError:
        raise HTTPException(404) from None
    except StoreError as error:
        if verb is not Verb.KILL:
            raise
        words = f"It is not known to be off: {error.problem}. Press again; or turn it off without the store, as the README says."
        return _ask(asked, 503, words)
    except FlaggateError as error:
        return _ask(asked, 409, str(error))
    if verb in STOPS and outcome.revision is not None:  # the page says whom it has reached
        with suppress(StoreError):  # it is done all the same
            await_reach(asked.site.store, outcome.revision, _REACH_SECONDS)
    return asked.to(f"/flags/{quote(name)}", done=verb if outcome.event is not None else "nothing")


def hook(site: Site, request: Request) -> Response:
    """Roll back, in the name of an alert."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    known = site.hook_token
    if not known or not hmac.compare_digest(token.encode("utf-8", "replace"), known.encode()):
        return JSONResponse({"error": "no token of this console"}, 401, {"WWW-Authenticate": "Bearer"})
    name = without_nul(request.path_params["name"])
    reason = without_nul(request.query_params.get("reason", "")).strip()[:500] or "an alert"
    rights = frozenset({Right.ROLL_BACK})
    try:
        outcome = site.control.act(Verb.ROLLBACK, name, actor="alert", reason=reason, rights=rights)
    except UnknownFlagError:
        return JSONResponse({"error": f"no flag {name}"}, 404)
    except StoreError as error:
        return JSONResponse({"error": error.problem}, 503)
    except FlaggateError as error:
        return JSONResponse({"error": str(error)}, 409)
    return JSONResponse({"flag": name, "status": outcome.rollout.status, "changed": outcome.event is not None})


def _lets_in(verb: Verb, one: Standing) -> str:
    """Whom an act that is harder lets in, at once."""
    rollout = one.rollout
    if verb is Verb.UNKILL:
        return who_has_it(one.flag, replace(rollout, killed=False)) or "nobody"
    if verb is Verb.RESTART:
        return who_has_it(one.flag, replace(rollout, status=Status.RUNNING, stage=1, killed=False)) or "nobody"
    return ""


def _verb(asked: Asked) -> Verb:
    try:
        verb = Verb(asked.request.path_params["verb"])
    except ValueError:
        raise HTTPException(404) from None
    if verb not in WORDS:
        raise HTTPException(404)
    return verb


def _bare(name: str, verb: Verb, asked: Asked, problem: str | None) -> dict[str, Any]:
    """What is known of any flag, even of one that cannot be read."""
    return {
        "name": name,
        "verb": verb,
        "label": WORDS[verb],
        "is_hard": verb in HARD,
        "needs_reason": verb in HARD | {Verb.COMPLETE},
        "problem": problem,
        "reason": asked.fields.get("reason", ""),
        "passes_over": [],
        "standing": "",
        "has_it": "",
        "lets_in": "",
        "next": "",
        "people": None,
        "version": "",
    }
