"""Who is at the page, and that it is they who press its buttons.

A session is a cookie that we signed; it is believed only along with a token in the form, so that no other site can press
a button in somebody's name. Where the host app says who is there, the cookie says only which browser it is.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from threading import Lock
from time import time
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from flaggate.errors import SettingError
from flaggate.rollout.moves import AUTOMATIC
from flaggate.runtime.rights import Right

__all__ = ["EVERYTHING", "Person", "Session", "Sessions", "Who", "by_header", "checked_person", "cookie_path"]

EVERYTHING: Final = frozenset(Right)
_SESSION_SECONDS: Final = 12 * 3600
_LINK_SECONDS: Final = 3600
_LONGEST_COOKIE: Final = 4096
"""As browsers keep."""


class Person(NamedTuple):
    """Somebody who is signed in."""

    name: str
    """As it goes on record: an owner's or a deputy's address, to act as one."""
    rights: frozenset[Right] = EVERYTHING


Who: TypeAlias = Callable[[Request], Person | None]
"""Who made a request; None = nobody is signed in."""


def checked_person(given: Any) -> Person | None:
    """What the host app's function said. Raises SettingError for what is nobody."""
    if given is None:
        return None
    name, rights = given if isinstance(given, tuple) and len(given) == 2 else (given, EVERYTHING)
    if not isinstance(name, str) or not name.strip() or name.strip() == AUTOMATIC:
        raise SettingError("who", given, f"a Person with a name other than {AUTOMATIC}, or None")
    try:
        return Person(name.strip(), frozenset(map(Right, rights)))
    except (TypeError, ValueError):
        raise SettingError("who", given, f"a Person with rights of {', '.join(Right)}") from None


def by_header(name: str, proxies: Collection[str], rights: Collection[Right] = EVERYTHING) -> Who:
    """Whom a reverse proxy names in a header: believed only if the request comes from one of these addresses.

    Raises:
        SettingError: for what is no address and no network.
    """
    try:
        networks = [ip_network(proxy) for proxy in proxies]
    except ValueError as error:
        raise SettingError("proxies", list(proxies), f"addresses or networks, such as 10.0.0.0/8 ({error})") from None
    if not networks:
        raise SettingError("proxies", [], "the addresses of the proxies whose header is believed")

    def who(request: Request) -> Person | None:
        values = request.headers.getlist(name)
        if len(values) != 1 or not values[0].strip() or values[0].strip() == AUTOMATIC or request.client is None:
            return None
        try:
            peer = ip_address(request.client.host)
            said = values[0].encode("latin-1").decode("utf-8").strip()  # proxies send names as they are
        except ValueError:
            return None
        return Person(said, frozenset(rights)) if any(peer in one for one in networks) else None

    return who


def cookie_path(request: Request) -> str:
    """Where the session's cookie belongs: below the console alone, as browsers write a path."""
    return quote(request.scope.get("root_path") or "/", safe="/!$&'()*+,=:@")


@dataclass(frozen=True, slots=True)
class Session:
    """A browser, and who is at it."""

    id: str
    person: Person | None
    is_new: bool = False
    refused: str | None = None
    """Why whoever it is may not look; None = that is not known."""


@dataclass
class Sessions:
    """Signs people in, and their forms.

    Args:
        secret_key: Signs; the same in each process that serves the console.
        who: Says who is there; None = whoever came by a link of `link`, with the rights given there.
    """

    secret_key: str
    who: Who | None = None
    is_https: bool = False
    """Whether browsers come by TLS, though this server may not see it."""
    on_used: Callable[[Person], None] = lambda _: None
    """Told whose link was used."""
    _ended: dict[str, float] = field(default_factory=dict)
    """Sessions that were signed out of, by their id: when their cookies end."""
    _links: dict[str, Person] = field(default_factory=dict)
    """Not used so far, by their token."""
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        if not isinstance(self.secret_key, str) or len(self.secret_key) < 16:
            raise SettingError(
                "secret_key", "(not shown)", "a text of at least 16 characters, the same in each process"
            )
        self._signer = URLSafeTimedSerializer(self.secret_key, salt="flaggate.console")
        # Of two consoles on one host neither takes the other's for its own.
        mark = hmac.digest(self.secret_key.encode(), b"flaggate.console.cookie", "sha256").hex()[:8]
        self.cookie = f"flaggate_console_{mark}"

    def of(self, request: Request) -> Session:
        """Whose request it is."""
        known = next(filter(None, map(self._known, self._cookies(request))), None)
        refused: str | None = None
        person: Person | None
        if self.who is not None:
            said = self.who(request)
            if isinstance(said, Person) and isinstance(said.name, str) and said.name.strip() in {"", AUTOMATIC}:
                person, refused = (
                    None,
                    f"Nobody can act as {said.name!r}.",
                )  # a user's own choice, not the app's mistake
            else:
                person = checked_person(said)
        else:
            person = (
                None if known is None or "n" not in known else Person(known["n"], frozenset(map(Right, known["r"])))
            )
        if person is not None and not person.rights:
            refused = f"{person.name} has no right to look at flags."
            person = None
        if known is None:
            return Session(secrets.token_urlsafe(16), person, is_new=True, refused=refused)
        return Session(known["i"], person, refused=refused)

    def _cookies(self, request: Request) -> Iterator[str]:
        """Those with our name, as they are: ours are never quoted, and to unquote others' takes the square of their
        length (CVE-2024-7592, in `http.cookies`, which `request.cookies` goes through)."""
        for header in request.headers.getlist("cookie"):
            for pair in header.split(";"):
                name, _, value = pair.strip().partition("=")
                if name == self.cookie and len(value) <= _LONGEST_COOKIE:
                    yield value

    def _known(self, cookie: str) -> dict[str, Any] | None:
        try:
            known = self._signer.loads(cookie, max_age=_SESSION_SECONDS)
        except BadSignature:
            return None
        is_ours = isinstance(known, dict) and isinstance(known.get("i"), str) and known["i"] not in self._ended
        return known if is_ours else None

    def end(self, session: Session) -> None:
        """Its cookie is good for nothing any more, wherever it was copied to."""
        now = time()
        with self._lock:
            ended = {name: until for name, until in self._ended.items() if until > now}
            self._ended = ended | {session.id: now + _SESSION_SECONDS}

    def send(self, response: Response, request: Request, session: Session) -> None:
        """Have the browser keep it."""
        known: dict[str, Any] = {"i": session.id}
        if self.who is None and session.person is not None:
            known |= {"n": session.person.name, "r": sorted(session.person.rights)}
        response.set_cookie(
            self.cookie,
            self._signer.dumps(known),
            path=cookie_path(request),
            secure=self.is_https or request.url.scheme == "https",
            httponly=True,
            samesite="lax",  # who follows a link from a pager is signed in; forms bring a token
        )

    # --- links ------------------------------------------------------------------------------

    def link(self, person: Person) -> str:
        """A token that signs somebody in, once, within an hour."""
        token = self._signer.dumps(secrets.token_urlsafe(16), salt="flaggate.console.link")
        with self._lock:
            self._links[token] = person
        return token if isinstance(token, str) else token.decode()

    def redeem(self, token: str) -> Session | None:
        """Sign in; None for one that was used, is too old or is not ours."""
        try:
            self._signer.loads(token, max_age=_LINK_SECONDS, salt="flaggate.console.link")
        except BadSignature:
            return None
        with self._lock:
            person = self._links.pop(token, None)
        if person is None:
            return None
        self.on_used(person)
        return Session(secrets.token_urlsafe(16), person, is_new=True)

    # --- forms ------------------------------------------------------------------------------

    def token(self, session: Session) -> str:
        """What a form of this page has to bring along."""
        name = "" if session.person is None else session.person.name
        key = hmac.digest(self.secret_key.encode(), b"flaggate.console.form", "sha256")
        return hmac.new(key, f"{session.id}\0{name}".encode("utf-8", "surrogatepass"), "sha256").hexdigest()

    def is_ours(self, session: Session, token: str) -> bool:
        """Whether a form was made for this browser and this person."""
        return not session.is_new and hmac.compare_digest(
            self.token(session).encode(), token.encode("utf-8", "replace")
        )
