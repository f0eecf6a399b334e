"""Apprise, which does the sending: e-mail, Slack, Teams, PagerDuty, webhooks. The one module that imports it.

Nothing that it says of a URL leaves this module: neither its log, which tells of paths, headers and tokens, nor what it
calls private of a URL, which is the password and little more. A service is called by its scheme and, where that is one,
its host.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import pbkdf2_hmac
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import quote, urlsplit

import apprise

from flaggate.errors import SettingError
from flaggate.runtime.notify import ALLOWED, checked_config
from flaggate.runtime.sender import LIMIT_SECONDS, UNANSWERED

__all__ = ["Loaded", "Service", "Urgency", "load"]

Urgency: TypeAlias = Literal["info", "success", "warning", "failure"]
_FOR_ALL: Final = frozenset({apprise.common.MATCH_ALWAYS_TAG})
_ANYBODY: Final = apprise.common.MATCH_ALL_TAG
_LOGGERS: Final = (
    "apprise",
    "urllib3.connectionpool",
    "urllib3.util.retry",
    "requests_oauthlib.oauth1_auth",
    "requests_oauthlib.oauth2_session",
    "oauthlib.oauth1.rfc5849",
)
_ANSWER_SECONDS: Final = LIMIT_SECONDS - 2
"""How long a service may take for its answer, where its URL does not say. Apprise's own four seconds are too few: whoever
answers later has heard the message, and would hear it again."""
_MAIL: Final = frozenset({"mailto", "mailtos"})
_HOST: Final = re.compile(r"localhost|[a-z0-9_-]+(\.[a-z0-9_-]+)+", re.IGNORECASE)
_ROUNDS: Final = 20_000
_hearing: Final = threading.local()


def _is_others(record: logging.LogRecord) -> bool:
    """Keep what is logged in the midst of our calls; the app may use Apprise itself."""
    heard: list[str] | None = getattr(_hearing, "heard", None)
    if heard is not None and record.levelno >= logging.WARNING and len(heard) < 100:
        heard.append(record.getMessage())
        if (
            type(sys.exc_info()[1]).__name__ == "ReadTimeout"
        ):  # of requests; Apprise's words leave open whether it was sent
            heard.append(UNANSWERED)
    return heard is None


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_is_others)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What Apprise complains of meanwhile, in this thread."""
    _hearing.heard = []
    try:
        yield _hearing.heard
    finally:
        _hearing.heard = None


@dataclass(frozen=True, slots=True)
class Service:
    """One way to reach people."""

    name: str
    """For people only: scheme and host, numbered where there are several."""
    key: str
    """For the store: the same wherever in the file it stands."""
    tags: frozenset[str]
    """In lower case, as Apprise compares them."""
    _sends: Any

    def reaches(self, recipient: str) -> bool:
        """Whether it is tagged with this recipient, or tells everything to whoever is behind it."""
        tag = recipient.lower()
        return tag == _ANYBODY or tag in self.tags or not _FOR_ALL.isdisjoint(self.tags)

    def send(self, title: str, body: str, urgency: Urgency) -> str | None:
        """Returns None if it took the message, else why not."""
        with _heard() as heard:
            try:
                # Through Apprise and not by the service itself: it makes HTML or Markdown of plain text.
                sender = apprise.Apprise(asset=self._sends.asset)
                sender.add(self._sends)
                is_taken = sender.notify(
                    body, title, notify_type=apprise.NotifyType(urgency), body_format=apprise.NotifyFormat.TEXT.value
                )
            except Exception as error:  # of a plugin; its words may quote the URL
                return f"{type(error).__name__} in Apprise"
            return None if is_taken else _why(heard)


def _why(heard: list[str]) -> str:
    """As much of Apprise's words as is no secret."""
    if UNANSWERED in heard:
        return UNANSWERED
    said = " ".join(heard)
    if status := re.search(r"\berror=(\d{3})\b", said):
        return f"it answered {status.group(1)}"
    if "onnection error" in said:
        return "it could not be reached, did not answer in time, or refused to talk"
    return "Apprise could not send it"


class Loaded(NamedTuple):
    """What a configuration says."""

    services: tuple[Service, ...]
    refused: str | None
    """What Apprise does not take in it; None = nothing."""


def load(path: Path, salt: str = "") -> Loaded:
    """Read a configuration. Takes about a second the first time.

    Args:
        salt: Of the keys: other ones in each store.

    Raises:
        SettingError: it cannot be read, or Apprise finds no service in it.
    """
    checked_config(path)  # of a file that it cannot read Apprise says no more than that there is no service
    # A service's own limits end a try; in a pool of Apprise's it would keep the process from ending.
    asset = apprise.AppriseAsset(app_id="flaggate", app_desc="flaggate", async_mode=False, service_timeout=0)
    with _heard() as heard:
        config = apprise.AppriseConfig(asset=asset)
        config.add(f"file://{quote(str(path))}")
        whole = apprise.Apprise(asset=asset)
        whole.add(config)
        found = [*whole.find(_ANYBODY)]
    where = _where(heard)
    if not found:
        why = "no service is in it" + (f"; Apprise refuses {where}" if where else "")
        raise SettingError("notify", str(path), f"{ALLOWED} ({why})")
    return Loaded(_named(found, salt), f"Apprise refuses {where or 'some of it'}" if heard else None)


def _where(heard: list[str]) -> str:
    """The places of what Apprise refuses. Its own words quote what it does not understand, passwords and all."""
    said = " ".join(heard)
    found = (
        (what, sorted(map(int, set(re.findall(pattern, said)))))
        for what, pattern in (("line", r"on line (\d{1,6})"), ("entry", r"entry #(\d{1,6})"))
    )
    return " and ".join(f"{what} {', '.join(map(str, numbers[:10]))}" for what, numbers in found if numbers)


def _named(found: list[Any], salt: str) -> tuple[Service, ...]:
    """Each once, whatever number of tags it stands behind."""
    tags: dict[str, set[str]] = {}
    services: dict[str, Any] = {}
    for service in found:
        url = service.url()
        services.setdefault(url, service)
        tags.setdefault(url, set()).update(str(tag).lower() for tag in service.tags)
    count: dict[str, int] = {}
    named = []
    for url, service in services.items():
        name = _place(service)
        count[name] = count.get(name, 0) + 1
        numbered = name if count[name] == 1 else f"{name} ({count[name]})"
        _set_limits(service)
        named.append(Service(numbered, _key(url, salt), frozenset(tags[url]), service))
    return tuple(named)


def _key(url: str, salt: str) -> str:
    """Slow and salted: whoever reads the store is not to find a password by trying. Without the tags, so that one that
    is given another tag is not told again."""
    return pbkdf2_hmac("sha256", url.encode(), salt.encode(), _ROUNDS, 12).hex()


def _set_limits(service: Any) -> None:
    """Where the URL does not say `rto` or `cto`. To connect stays quick, for nothing was said by then; but mail has no
    other limit than that for all it does."""
    own = vars(service)
    if "socket_read_timeout" not in own:
        service.socket_read_timeout = _ANSWER_SECONDS
    if "socket_connect_timeout" not in own and _scheme(service) in _MAIL:
        service.socket_connect_timeout = _ANSWER_SECONDS


def _scheme(service: Any) -> str:
    return str(urlsplit(service.url(privacy=True)).scheme)


def _place(service: Any) -> str:
    parts = urlsplit(service.url(privacy=True))
    place = parts.netloc.rpartition("@")[2]
    host, port = re.fullmatch(r"(.*?)(:\d+)?", place, re.DOTALL).groups("")  # type: ignore[union-attr]  # it matches all
    return f"{parts.scheme}://{host if _is_host(host) else '****'}{port}"


def _is_host(name: str) -> bool:
    """Many services have a token or a topic there, which Apprise does not always call private."""
    try:
        return _HOST.fullmatch(name) is not None or bool(ip_address(name.strip("[]")))
    except ValueError:
        return False
