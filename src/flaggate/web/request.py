"""What the middleware of both protocols shares: what the app said, a request as flaggate reads it, and its visit."""

from __future__ import annotations

import inspect
import os
import sys
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from flaggate.decide.context import NOBODY, Context
from flaggate.decide.decision import Decision
from flaggate.errors import FlaggateError, SettingError
from flaggate.runtime.gate import Gate
from flaggate.runtime.process import is_on_event_loop
from flaggate.runtime.visit import Visit
from flaggate.web.caching import DEPENDS_ON, Depends
from flaggate.web.client_ip import X_FORWARDED_FOR, ClientAddresses
from flaggate.web.context import Draft, Given, told, words_of
from flaggate.web.health import checked_path
from flaggate.web.routes import Routes, Table, uncounted_paths

if TYPE_CHECKING:
    from flaggate.runtime.snapshot import Snapshot
    from flaggate.web.geo import Geo
    from flaggate.web.visitor import Visitors

__all__ = ["ContextMaker", "Request", "RequestVisit", "Site"]

_Asker = TypeVar("_Asker", contravariant=True)


class ContextMaker(Protocol[_Asker]):
    """What the app gives: who asks, in the words of Context. A value that is a function is called when a rule reads it."""

    def __call__(self, request: _Asker, /) -> Given:
        """Called once in a visit, when the first flag is asked that reads anything; None = nobody."""


class Site:
    """What an app said to its middleware, ready for its requests.

    Args:
        gate: What is asked.
        context: Who asks; given the ASGI scope, the WSGI environ or the framework's request.
        geo: A City file in MaxMind's format; None = no request has a place.
        routes: Paths that are there only for those who have a flag.
        trusted_proxies, proxy_header: As `ClientAddresses` takes them.
        secret_keys: For the visitor's cookie; without one no request has a visitor.
        uncounted: Paths whose requests are not counted, beside those of health checks.
        health: The path at which the middleware itself says how this process is doing; None = nowhere.

    Raises:
        SettingError: for what cannot be used.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        context: ContextMaker[Any] | None = None,
        geo: str | os.PathLike[str] | None = None,
        routes: Table | None = None,
        trusted_proxies: Iterable[str] = (),
        proxy_header: str = X_FORWARDED_FOR,
        secret_keys: Iterable[str | bytes] | None = None,
        uncounted: Iterable[str] = (),
        health: str | None = None,
    ) -> None:
        if not isinstance(gate, Gate):  # not shown as it is: a URL may have a password
            raise SettingError("gate", type(gate), 'what Gate.open("sqlite:///flags.db") returns')
        if context is not None and (not callable(context) or _is_async(context)):
            allowed = "a plain function of the request; what has to be awaited, await before and read it from there"
            raise SettingError("context", repr(context), allowed)
        self.gate = gate
        self.context = context
        self.addresses = ClientAddresses(trusted_proxies, proxy_header)
        self.routes = Routes({} if routes is None else routes)
        self.uncounted = uncounted_paths(uncounted)
        self.health = checked_path(health)
        self.visitors: Visitors | None = None
        if secret_keys is not None:
            try:
                from flaggate.web.visitor import Visitors  # itsdangerous: for those who have a key
            except ImportError as error:
                allowed = f"keys, after pip install 'flaggate[visitor]' ({error})"
                raise SettingError("secret_keys", "(not shown)", allowed) from error
            self.visitors = Visitors(secret_keys)
        self.geo: Geo | None = None
        if geo is not None:
            try:
                from flaggate.web.geo import Geo  # geoip2: for those who have a file
            except ImportError as error:
                raise SettingError("geo", geo, f"a City file, after pip install 'flaggate[geoip]' ({error})") from error
            self.geo = Geo(geo, gate.directory, gate.trouble.say_once)
            gate.upkeep(self.geo.look)  # last: the gate keeps nothing of a site that was refused


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


class Request:
    """What flaggate reads of a request; each thing once, when it is needed. The protocols fill in how."""

    asker: Any
    """What the app's own function is given."""
    new_visitor: str | None = None
    """A key that was drawn for this request, because no cookie of ours came with it."""

    def __init__(self, site: Site, asker: Any) -> None:
        self.site = site
        self.asker = asker

    @abstractmethod
    def peer(self) -> str | None:
        """The address at the other end of the connection; None on a Unix socket."""

    @abstractmethod
    def header(self, name: str) -> Sequence[str]:
        """The values of a header, by its name in lower case, in their order."""

    @abstractmethod
    def is_https(self) -> bool:
        """Whether the client's cookies may be bound to TLS."""

    def address(self) -> str | None:
        """The client's address."""
        addresses = self.site.addresses
        return addresses.client(self.peer(), self.header(addresses.header))

    def untouched(self, peer: str | None) -> str | None:
        """The peer. Raises FlaggateError if the server may have put what a header says in its place."""
        if not self.site.addresses.may_be_rewritten(peer, self.header(X_FORWARDED_FOR)):
            return peer
        self.site.gate.trouble.say_once(_REWRITTEN)
        raise FlaggateError("who is at the other end cannot be told")  # off when in doubt: a deny may name the address

    def visitor(self) -> str | None:
        """The visitor's key; a new one, to be sent back with the response, if none came."""
        visitors = self.site.visitors
        if visitors is None:
            return None
        known = visitors.known(self.header("cookie"))
        if known is None:
            # Of several threads of a visit the first one draws; a lock could be held by another thread at a fork.
            known = self.new_visitor = self.__dict__.setdefault("_drawn", visitors.draw())
        return known


_REWRITTEN: Final = (
    "the server seems to take the client's address from X-Forwarded-For (uvicorn does, for peers on loopback): "
    "flags that read the address or the place are off for requests whose header names the peer itself; name the proxies "
    "in trusted_proxies"
)


class RequestVisit(Visit):
    """The visit of a request: its context is made when a flag first needs one."""

    site: Site
    asker: Any
    """What the app's own function is given."""
    _request: Request | None = None
    _failure: str | None = None
    """What the app's own function raised: it is not called again."""
    depends = Depends.NOTHING
    """On what of the request the response depends, by the flags that went into it so far."""
    has_sent_headers = False
    is_started = False
    """Whether the response was begun."""
    is_sending = False
    """Whether its first part is on its way, at the pace of a client that may be slow."""
    ended: float | None = None
    """When the response's body was complete, by perf_counter()."""
    is_stream = False
    """Whether it was sent piece by piece for as long as the app had some: how long that took says nothing."""
    is_gone = False
    """Whether the client left before the end."""
    status = 0

    @property
    def context(self) -> Context:
        """Who asks. Raises FlaggateError where the app's own function did not say."""
        return self._context or self._made_context()

    def _made_context(self) -> Context:
        if self._failure is not None:
            raise FlaggateError(self._failure)
        site = self.site
        make = site.context
        request = self._request
        if request is None:
            request = self._request = self._read()
        try:
            given = None if make is None else make(self.asker)
            self._context = context = Draft(request, **(given if type(given) is dict else words_of(given)))
        except Exception as error:
            self._failure = f"who asks could not be told: {told(error)}"
            raise FlaggateError(self._failure) from error
        return context

    @abstractmethod
    def _read(self) -> Request:
        """The request, as flaggate reads it."""

    @abstractmethod
    def path(self) -> str:
        """Of the request, below the app's root."""

    def identify(self, **changes: Any) -> None:
        """As `Visit.identify`; without changes the app's function is asked again who it is."""
        if not changes:
            self._context = self._failure = None
        else:
            try:
                context = self.context
            except FlaggateError:  # the flags that need it are off, and say why
                return
            self._context = context.replace(**changes)
        self._earlier = self._earlier or {}
        # Not only those that read what differs: to tell, what waits would have to be looked up.
        entries = self.snapshot.entries
        self._forget({word for name in self._answers if name in entries for word in entries[name].compiled.reads})

    is_asked = False
    """Whether any flag was asked or listed."""

    def hand_over(self, site: Site) -> None:
        """To an inner middleware of the same gate, which knows more of who asks, unless a flag needed that already."""
        if self._context is None:
            self.site, self._request = site, None

    def waits(self) -> bool:
        """Whether a client waits for the response to start."""
        return not (self.is_started or self.is_sending or self.is_gone)

    def _ask(self, name: str) -> Decision:
        answers = self._answers
        if not answers and not self.is_counted:
            if self.path() in self.site.uncounted:
                self.is_counted = True
            elif not (self.is_started or self.is_ended):
                self._gate.meter.waiting[self] = self  # from here on it is known if it hangs
            elif not self.is_ended:
                self.is_stream = True  # the answer is on its way: how long that took says nothing
        if self._earlier is not None or self._seen is not None or self.is_ended:
            return super()._ask(name)
        decision = answers[name] = self._decided(name, self.snapshot)  # most of them; as Visit does
        if self._gate.on_asked is not None:
            self._gate.told(decision)
        return decision

    def _decided(self, name: str, snapshot: Snapshot) -> Decision:
        self.is_asked = True
        entry = snapshot.entries.get(name)
        if entry is None or not (reads := entry.compiled.reads):
            return self._gate.decided(snapshot, name, NOBODY)  # whoever asks
        if (depends := DEPENDS_ON[reads]) > self.depends:
            self.depends = depends
            if self.has_sent_headers and not self.is_ended:
                self._gate.trouble.say_once(
                    f"flag {name!r} is asked after the headers were sent: caches are told nothing of it"
                )
        try:
            context = self._context or self._made_context()
        except FlaggateError as error:  # off when in doubt, and the request goes on
            return self._gate.trouble.fault(name, str(error), error)
        try:
            decision = snapshot.decide[name](context)
        except Exception as error:  # a rule that failed
            return self._gate.trouble.fault(name, told(error), error)
        return decision if entry.unit != "visitor" else self._decided_for_visitor(decision)

    def _decided_for_visitor(self, decision: Decision) -> Decision:
        if decision.reason == "no_unit" and self.site.visitors is None:
            self._gate.trouble.say_once(
                f"flag {decision.flag!r} has the unit visitor, and the site has no secret_keys: no visitor"
            )
        if self._request is None or self._request.new_visitor is None:
            return decision
        if self.has_sent_headers and not self.is_ended:
            self._gate.trouble.say_once(
                f"flag {decision.flag!r} is asked after the headers were sent: its visitor has no cookie"
            )
        return _without_arm(decision)

    # --- the response -----------------------------------------------------------------------

    def new_cookie(self) -> str | None:
        """The Set-Cookie for a visitor that was drawn for this request."""
        request, visitors = self._request, self.site.visitors
        if visitors is None or request is None or request.new_visitor is None:
            return None
        return visitors.cookie(request.new_visitor, is_https=self.is_https(request))

    def is_https(self, request: Request) -> bool:
        """Whether the client's cookies may be bound to TLS."""
        return request.is_https()

    def leave(self) -> None:
        """The client has left before the end. The app may go on, and even answer."""
        self.is_gone = True
        if self.is_asked and not self.is_started:
            self._gate.meter.count_gone(self, (perf_counter() - self.begun) * 1000)

    def find_out_whose(self, milliseconds: float, *, is_failed: bool) -> None:
        """A guard counts whom it hit. Where no rule had to know who asks, the app is asked while it still knows."""
        if self._context is not None or self._failure is not None:
            return
        for decision in self._answers.values():
            entry = self.snapshot.entries.get(decision.flag)
            judged = None if entry is None or not decision.is_on else entry.judged
            if judged is not None and (is_failed or self.measured or judged.is_bad(milliseconds)):
                with suppress(FlaggateError):  # then it is a unit of its own
                    self._made_context()
                return

    def end(self, error: BaseException | None) -> None:
        """The request has ended: count it, the first time."""
        self.is_ended = True
        if not self.is_asked or self.is_counted:
            return
        meter = self._gate.meter
        if self.is_gone or (error is not None and self.ended is None and self.is_nobodys_failure(error)):
            if self.is_started:
                meter.leave(self)
            else:
                meter.count_gone(self, (perf_counter() - self.begun) * 1000)
            return
        milliseconds = None if self.is_stream else ((self.ended or perf_counter()) - self.begun) * 1000
        is_failed = self.status >= 500 or not self.is_started or self.is_failed
        if error is not None and not is_failed:
            is_failed = not self.is_nobodys_failure(error)
        if self._context is None:
            self.find_out_whose(milliseconds or 0.0, is_failed=is_failed)
        meter.count(self, is_failed, milliseconds)

    def is_nobodys_failure(self, error: BaseException) -> bool:
        """Whether this ends a request from outside: nobody waits for it any more."""
        if isinstance(error, SystemExit):
            return not error.code  # a worker that is to end; one whose time is up ends with another code
        asyncio = sys.modules.get("asyncio")
        if asyncio is not None and isinstance(error, asyncio.CancelledError) and is_on_event_loop():
            task = asyncio.current_task()
            return task is None or task.cancelling() > 0  # else something that it waited for was cancelled
        # Of libraries that need not be there: trio and greenlet.
        return isinstance(error, (GeneratorExit, KeyboardInterrupt)) or type(error).__name__ in _ENDED_FROM_OUTSIDE


_ENDED_FROM_OUTSIDE: Final = frozenset({"Cancelled", "GreenletExit"})


@lru_cache(1024)
def _without_arm(decision: Decision) -> Decision:
    """As long as the cookie has not come back nobody knows whether it will: such a visitor is in no arm."""
    return decision._replace(arm=None)
