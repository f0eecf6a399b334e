"""The console: whatever is typed, pressed or made up, an answer and no 500; and only who is who they say changes anything."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

from flask import Flask
from flask.testing import FlaskClient
from hypothesis import strategies as st
from starlette.requests import Request

from flaggate import Gate
from flaggate.console import Person, create_console
from flaggate.console.forms import GUARD_FIELDS, STAGE_FIELDS
from flaggate.contrib.flask import init_app
from flaggate.contrib.flask_console import create_blueprint
from flaggate.errors import StoreError
from flaggate.flags.document import parse
from flaggate.rollout.state import Event, Verb
from flaggate.runtime.control import Control
from flaggate.runtime.rights import Right
from flaggate.stores.base import Kind, Row, Write
from flaggate.stores.memory import MemoryStore
from flaggate.stores.record import read_flag
from tests.console.scenes import KEY, PLAN
from tests.fuzz.asked import Asking, Reply, asking
from tests.fuzz.counting import fuzzed
from tests.fuzz.hostile import ANY_TEXT, BYTES, LATIN, Slip, is_the_same, mostly, slipped, slips

OWNER: Final = Person("owner@example.com")
VIEWER: Final = Person("viewer@example.com", frozenset({Right.VIEW}))
TOKEN: Final = "the token of an alert"
_ANSWERS: Final = frozenset({200, 303, 400, 401, 403, 404, 405, 409, 413, 422})
_A_STORE: Final = 100
"""Requests: what they leave behind makes pages longer."""


async def at_once(function: Callable[..., Any], *given: Any) -> Any:
    return function(*given)


class Strict(MemoryStore):
    """As PostgreSQL is: it keeps no NUL and no half of a character, and looks for none."""

    def get(self, kind: Kind, name: str) -> Row | None:
        self._refuse(name)
        return super().get(kind, name)

    def commit(self, writes: Sequence[Write], events: Sequence[Event], *, holder: str | None = None) -> int:
        for event in events:
            self._refuse(event.name, event.actor, event.reason or "")
        for write in writes:
            self._refuse(write.name)
        return super().commit(writes, events, holder=holder)

    def _refuse(self, *texts: str) -> None:
        try:
            is_well = "\0" not in "".join(texts).encode().decode()
        except UnicodeEncodeError:
            is_well = False
        if not is_well:
            raise StoreError(self.url, f"it keeps no {texts}")


class Console:
    """A console on a store in memory, which is another one now and then; who is there is the owner, or came by a link."""

    def __init__(self, asking: Asking, *, by_link: bool) -> None:
        self._asking = asking
        self._by_link = by_link
        self._left = 0

    def begin(self) -> None:
        """Before each input."""
        self._left -= 1
        if self._left > 0:
            return
        self._left = _A_STORE
        self.store = Strict()
        Control(self.store).apply(parse(PLAN), actor=OWNER.name)
        Control(self.store).act(Verb.START, "invoicing", actor=OWNER.name)
        who: Callable[[Request], Person | None] | None = None if self._by_link else lambda _: OWNER
        threads: Callable[..., Awaitable[Any]] = at_once
        self.app = create_console(self.store, secret_key=KEY, who=who, hook_token=TOKEN, in_thread=threads)
        self.sessions = self.app.state.sessions
        self.cookie, self.token = self.signed_in(OWNER)

    def signed_in(self, person: Person) -> tuple[str, str]:
        """The value of their cookie, and their forms' token."""
        link = self.sessions.link(person)
        path = f"/sign-in?token={link}" if self._by_link else "/"
        sent = self.ask("GET", path).header(b"set-cookie") or b""
        value = sent.decode().partition("=")[2].partition(";")[0]
        path = "/" if self._by_link else "/new"
        page = self.ask("GET", path, cookie=f"{self.sessions.cookie}={value}").body.decode()
        found = re.search(r'name="token" value="([^"]+)"', page)
        assert found is not None
        return value, found[1]

    def ask(self, method: str, path: str, *, cookie: str | None = None, body: bytes = b"", **headers: str) -> Reply:
        """One request; `path` as an address bar has it."""
        path, _, query = path.partition("?")
        lines = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        if cookie is not None:
            lines.append((b"cookie", cookie.encode("latin-1", "replace")))
        return self._asking.ask(self.app, method, unquote(path), query=query.encode(), headers=lines, body=body)

    def send(self, path: str, fields: Mapping[str, str], *, cookie: str | None = None) -> Reply:
        """A form; by the owner in their own session, if no other is given."""
        ours = f"{self.sessions.cookie}={self.cookie}"
        body = urlencode(fields, errors="replace").encode()
        return self.ask("POST", path, cookie=ours if cookie is None else cookie, body=body)

    def undo(self) -> None:
        """The kill of the banner."""
        Control(self.store).act(Verb.UNKILL, "banner", actor=OWNER.name, reason="the next input")


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")


@contextmanager
def console(*, by_link: bool = False) -> Iterator[Console]:
    with asking() as one:
        yield Console(one, by_link=by_link)


@contextmanager
def console_by_link() -> Iterator[Console]:
    with console(by_link=True) as made:
        yield made


# --- addresses --------------------------------------------------------------------------------

_VERBS = st.sampled_from([*map(str, Verb)])
_FLAGS = st.sampled_from(["invoicing", "banner"])
_PARTS = st.sampled_from(
    ["flags", "invoicing", "banner", "do", "kill", "who", "toml", "edit", "new", "static", "console.css", "sign-in", "hooks",
     "rollback", "sign-out", "..", "."]
) | _VERBS | ANY_TEXT  # fmt: skip
_WORDS = st.sampled_from(
    ["q", "owner", "done", "token", "flag", "user", "account", "tier", "groups", "city", "country", "region", "visitor", "ip",
     "staff", "reason"]
) | ANY_TEXT  # fmt: skip
_QUERIES = st.dictionaries(_WORDS, ANY_TEXT, max_size=4).map(lambda query: urlencode(query, errors="replace"))
_ADDRESSES = (
    st.lists(_PARTS, max_size=5).map(
        lambda parts: "/" + "/".join(quote(part, safe="", errors="replace") for part in parts)
    )
    | st.tuples(_FLAGS, st.sampled_from(["who", "toml", "edit"])).map(lambda parts: f"/flags/{'/'.join(parts)}")
    | st.tuples(_FLAGS, _VERBS).map(lambda parts: f"/flags/{parts[0]}/do/{quote(parts[1])}")
)
_METHODS = st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "DELETE", "BREW"])


@fuzzed(60, console, method=_METHODS, path=_ADDRESSES, query=_QUERIES | LATIN.map(lambda text: quote(text, safe="&=")))
def test_any_address_is_answered(where: Console, method: str, path: str, query: str) -> None:
    where.begin()
    answer = where.ask(method, f"{path}?{query}")
    assert answer.status in _ANSWERS, answer
    location = answer.header(b"location")
    assert location is None or re.match(rb"/(?!/)", location), "it stays here"


@contextmanager
def flask_console() -> Iterator[FlaskClient]:
    """Among a Flask app's pages, on a store in memory."""
    store = MemoryStore()
    Control(store).apply(parse(PLAN), actor=OWNER.name)
    gate = Gate.open(store, background=False)
    app = Flask("invoicing")
    app.config.update(TESTING=True, SECRET_KEY=KEY)
    init_app(app, gate)
    app.register_blueprint(create_blueprint(lambda: VIEWER, hook_token=TOKEN), url_prefix="/ops/<team>")
    try:
        yield app.test_client()
    finally:
        gate.close()


@fuzzed(
    40, flask_console, method=st.sampled_from(["GET", "GET", "POST", "HEAD", "OPTIONS"]), team=ANY_TEXT, path=_ADDRESSES,
    query=_QUERIES, cookie=LATIN.filter(str.isprintable), body=BYTES
)  # fmt: skip
def test_any_address_below_a_flask_app_is_answered(
    where: FlaskClient, method: str, team: str, path: str, query: str, cookie: str, body: bytes
) -> None:
    headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    answer = where.open(f"/ops/{_quoted(team)}{path}?{query}", method=method, headers=headers, data=body)
    assert answer.status_code in _ANSWERS | {308}, answer


# --- forms ------------------------------------------------------------------------------------

_NUMBERS = st.sampled_from(
    ["10", "1e999999", "1e-999999", "1e15", "nan", "sNaN", "inf", "-1", "0.0001", "1_0", "\u0661\u0660", "\uff11", "9" * 16, "9" * 5000,
     "0x10", "½", "+5", " 7 ", "1,5", ".", "-"]
)  # fmt: skip
_TOML = st.sampled_from(
    ["{ staff = true }", '{ city = "Leeds" }', "[" * 900, "{" + "a." * 900 + "b = 1}", "{ seats = { at_least = 1e999 } }",
     "{ x = 9" + "9" * 3000 + " }", '{ app = { version = ">=2" } }', "{ a = nan }", "{ a = 0x" + "f" * 900 + " }", "1\nb = 2",
     '{ segment = "none" }', '{ owner = "all" }', "{ a = 1979-05-27 }", "{ a = [] }", "{ '' = {} }"]
)  # fmt: skip
_PLAIN = st.sampled_from(["everyone", "half", "24h", "1%", "errors", "slow", "400ms", "on", "true", "other", "hold", "warn", "user",
                          "Mon-Fri 09:00-17:00 Europe/London", "2026-12-01T09:00:00Z", "up", "ada@example.com"])  # fmt: skip
_TYPED = _PLAIN | _NUMBERS | _TOML | ANY_TEXT
_ROW_NUMBERS = st.sampled_from(["1", "2", "3", "100", "101", "0", "-1", "٣", "²", "9" * 400])
_ROW_FIELDS = st.sampled_from(
    [("stages", field.key) for field in STAGE_FIELDS] + [("guards", field.key) for field in GUARD_FIELDS]
)
_FIELDS = (
    st.tuples(_ROW_FIELDS, _ROW_NUMBERS).map(lambda both: f"{both[0][0]}-{both[1]}-{both[0][1]}")
    | st.sampled_from(
        ["description", "owner", "deputies", "unit", "deny", "audience", "notify", "name", "version", "reason"]
    )
    | ANY_TEXT
)
_GOOD = st.sampled_from(
    [
        {"stages-1-name": "half", "stages-1-share": "50", "stages-1-soak": "24h", "stages-2-name": "everyone",
         "guards-1-metric": "errors", "guards-1-limit": "1%"},
        {"audience": '{ tier = "pro" }'},
        {},
    ]
)  # fmt: skip


@fuzzed(
    60, console, path=st.sampled_from(["/new", "/flags/banner/edit", "/flags/invoicing/edit"]), good=_GOOD,
    typed=st.dictionaries(_FIELDS, _TYPED, max_size=3), name=mostly(st.from_regex("[a-z]{3,5}", fullmatch=True), _TYPED)
)  # fmt: skip
def test_any_form_is_answered_and_what_it_saves_can_be_shown(
    where: Console, path: str, good: dict[str, str], typed: dict[str, str], name: str
) -> None:
    where.begin()
    flag = "banner" if "banner" in path else "invoicing"
    version = "" if path == "/new" else str(read_flag(where.store, flag).version)
    base = {"token": where.token, "version": version, "name": name, "description": "A", "owner": OWNER.name}
    checked = where.send(path, base | good | typed | {"what": "check"})
    assert checked.status in _ANSWERS, checked
    found = re.search(rb'name="checked" value="([0-9a-f]+)"', checked.body)
    if found is None:
        return
    saved = where.send(path, base | good | typed | {"what": "save", "checked": found[1].decode()})
    assert saved.status in (303, 409), saved
    location = (saved.header(b"location") or b"").decode().partition("?")[0]
    for page in ("/", location, f"{location}/toml", f"{location}/who?user=1") if location else ():
        assert where.ask("GET", page).status == 200, page


@fuzzed(
    60, console, flag=mostly(_FLAGS, ANY_TEXT), verb=mostly(_VERBS, ANY_TEXT), is_current=st.booleans(),
    typed=st.dictionaries(st.sampled_from(["reason", "owner", "to", "reason", "version", "name"]) | ANY_TEXT, _TYPED, max_size=4)
)  # fmt: skip
def test_any_act_is_answered(where: Console, flag: str, verb: str, is_current: bool, typed: dict[str, str]) -> None:
    where.begin()
    path = f"/flags/{_quoted(flag)}/do/{_quoted(verb)}"
    row = where.store.get("flag", flag) if flag in ("invoicing", "banner") else None
    ours = {"version": str(row.version), "name": flag} if row is not None and is_current else {}
    assert where.send(path, ours | typed | {"token": where.token}).status in _ANSWERS


@fuzzed(60, console, path=_ADDRESSES, body=BYTES | LATIN.map(lambda text: text.encode("latin-1")), kind=LATIN)
def test_any_body_is_answered_and_changes_nothing(where: Console, path: str, body: bytes, kind: str) -> None:
    where.begin()
    before = where.store.revision()
    ours = f"{where.sessions.cookie}={where.cookie}"
    assert where.ask("POST", path, cookie=ours, body=body, **{"content-type": kind}).status in _ANSWERS
    assert where.store.revision() == before


# --- who is who -------------------------------------------------------------------------------


def taken_or_slipped(texts: Sequence[str], which: int, made: list[Slip]) -> str:
    """One of them, as it is or after slips."""
    text = texts[which % len(texts)]
    return text if which < len(texts) else slipped(text, made)


_WHICH = st.integers(0, 11)


@fuzzed(
    60, console_by_link, cookie=_WHICH, cookie_slips=slips(LATIN), form=_WHICH, form_slips=slips(), made_up=LATIN,
    beside=st.sampled_from(["{}", "a=b; {}", "{};", "{0}; {0}"])
)  # fmt: skip
def test_no_forged_session_or_form_is_believed(
    where: Console, cookie: int, cookie_slips: list[Slip], form: int, form_slips: list[Slip], made_up: str, beside: str
) -> None:
    where.begin()
    theirs, their_token = where.signed_in(VIEWER)
    elsewhere = create_console(where.store, secret_key="another key, of another console")
    foreign = elsewhere.state.sessions._signer.dumps({"i": "x", "n": OWNER.name, "r": sorted(Right)})
    value = taken_or_slipped([where.cookie, theirs, foreign, f'"{where.cookie}"', made_up], cookie, cookie_slips)
    token = taken_or_slipped([where.token, their_token, made_up], form, form_slips)
    line = beside.format(f"{where.sessions.cookie}={value}")
    before = where.store.revision()
    page = where.ask("GET", "/flags/banner", cookie=line)
    posted = where.send("/flags/banner/do/kill", {"token": token}, cookie=line)
    values = [pair.strip().partition("=")[2] for pair in line.split(";")]
    if page.status == 200:
        assert any(is_the_same(value, one) for value in values for one in (where.cookie, theirs))
    else:
        assert page.status == 401
    if where.store.revision() != before:
        assert token == where.token
        assert any(is_the_same(value, where.cookie) for value in values)
        where.undo()
    assert posted.status in {303, 401, 403}


@fuzzed(
    60, console_by_link, link=_WHICH, link_slips=slips(), bearer=_WHICH, bearer_slips=slips(LATIN), made_up=LATIN,
    flag=mostly(_FLAGS, ANY_TEXT), reason=ANY_TEXT
)  # fmt: skip
def test_no_forged_link_or_alert_is_believed(
    where: Console, link: int, link_slips: list[Slip], bearer: int, bearer_slips: list[Slip], made_up: str, flag: str, reason: str
) -> None:  # fmt: skip
    where.begin()
    good = where.sessions.link(OWNER)
    typed = taken_or_slipped([good, where.cookie, made_up], link, link_slips)
    answer = where.ask("GET", f"/sign-in?token={_quoted(typed)}")
    assert answer.status == (303 if typed == good else 401)
    said = taken_or_slipped([f"Bearer {TOKEN}", f"Bearer {good}", made_up], bearer, bearer_slips)
    before = where.store.revision()
    answer = where.ask("POST", f"/hooks/rollback/{_quoted(flag)}?reason={_quoted(reason)}", authorization=said)
    assert answer.status in _ANSWERS
    if said.removeprefix("Bearer ") != TOKEN:
        assert answer.status in (401, 404)
        assert where.store.revision() == before
