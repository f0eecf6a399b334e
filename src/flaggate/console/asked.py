"""One request to the console, and what it is answered from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from flaggate.console.buttons import WORDS
from flaggate.console.forms import GUARD_FIELDS, MOST_ROWS, STAGE_FIELDS
from flaggate.console.guard_charts import moment_words
from flaggate.console.people import Person, Session, Sessions
from flaggate.console.sparks import Sparks
from flaggate.errors import UnreadableError
from flaggate.rollout.event_words import change_words
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.runtime.overview import Overview, Overviews, Standing
from flaggate.runtime.rights import Right, may
from flaggate.stores.base import Store
from flaggate.stores.record import rollout_of

__all__ = ["SAID", "Asked", "Site", "fields_in", "number_in", "without_nul"]

_MOST_BYTES: Final = 200_000
"""Of a form."""
_MOST_FIELDS: Final = 50 + MOST_ROWS * (len(STAGE_FIELDS) + len(GUARD_FIELDS))
_BUSY_TRIES: Final = 2
"""With SQLite ten seconds: who pressed the red button hears that it is not done, and presses again."""
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TEMPLATES: Final = Environment(
    loader=PackageLoader("flaggate.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"moment": moment_words, "change": change_words, "quoted": lambda text: quote(str(text), safe="")}
_DONE: Final = frozenset({*map(str, WORDS), "saved", "nothing"})
SAID: Final = {
    404: "There is no such page, or no such flag.",
    405: "That is not what this page is for.",
    413: "That is too much.",
}


class Site:
    """What one console knows."""

    hook_token: str | None = None
    is_read_only = False

    def __init__(self, store: Store, sessions: Sessions, now: Callable[[], datetime]) -> None:
        self.store = store
        self.sessions = sessions
        self.control = Control(store, now=now, busy_tries=_BUSY_TRIES)
        self.sparks = Sparks(store)
        self._now = now
        self._overviews = Overviews(store)

    def seen(self) -> Overview:
        """All flags now. Raises StoreError."""
        return self._overviews.look(self._now())

    def is_killed(self, name: str) -> bool:
        """Whether a flag that cannot be read was killed. Raises StoreError."""
        row = self.store.get("flag", name)
        try:
            return row is not None and rollout_of(row).killed
        except UnreadableError:
            return False


class Asked:
    """One request to the console."""

    def __init__(self, site: Site, request: Request, session: Session, fields: Mapping[str, str] | None = None) -> None:
        self.site = site
        self.request = request
        self.session = session
        self.fields = fields or {}
        self.root: str = request.scope.get("root_path", "").rstrip("/")

    def one(self) -> tuple[Overview, Standing]:
        """The flag that is asked for. Raises HTTPException, StoreError, UnreadableError."""
        seen, name = self.site.seen(), self.request.path_params["name"]
        if name not in seen.rows:
            raise HTTPException(404)
        return seen, seen.standing(name)

    @property
    def person(self) -> Person:
        """Who is there."""
        assert self.session.person is not None  # looked at before
        return self.session.person

    @property
    def may_edit(self) -> bool:
        """Whether they may make and edit flags here."""
        person = self.session.person
        return person is not None and not self.site.is_read_only and Right.EDIT in person.rights

    def html(self, template: str, status: int = 200, **given: Any) -> Response:
        """A page."""
        person = self.session.person
        words = {
            "root": self.root,
            "person": person,
            "token": "" if person is None else self.site.sessions.token(self.session),
            "is_read_only": self.site.is_read_only,
            "may_edit": self.may_edit,
            "may_kill": person is not None and not self.site.is_read_only and may(Verb.KILL, person.rights),
            "can_sign_out": self.site.sessions.who is None and person is not None,
            "done": done if (done := self.request.query_params.get("done", "")) in _DONE else "",
        }
        return HTMLResponse(_TEMPLATES.get_template(template).render(words | given), status, _HEADERS)

    def problem(self, status: int, words: str) -> Response:
        """A page that says what went wrong."""
        return self.html("problem.html", status, words=words)

    def to(self, path: str, **query: str) -> Response:
        """Go on elsewhere: a form that was sent is not sent again by going back."""
        return RedirectResponse(f"{self.root}{path}" + (f"?{urlencode(query)}" if query else ""), 303, _HEADERS)

    def sent(self, response: Response) -> Response:
        """Have the browser keep a session that is new."""
        if self.session.is_new and self.session.id:
            self.site.sessions.send(response, self.request, self.session)
        return response


async def fields_in(request: Request) -> Mapping[str, str]:
    """A form's; the last of those with one name. Raises HTTPException for one that is too long."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > _MOST_BYTES:
                raise HTTPException(413)
    except ClientDisconnect:
        raise HTTPException(400) from None  # nobody hears it
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise HTTPException(413) from None
    return {name: without_nul(value) for name, value in pairs}


def without_nul(text: str) -> str:
    """What somebody typed, as all stores take it: PostgreSQL keeps no NUL, and looks for none."""
    return text.replace("\0", "\ufffd")


def number_in(text: str) -> int | None:
    """A number that somebody typed; None if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
