"""Who asks, of a request: made at once of what is plain, and looked up when a rule reads it of what is not."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from flaggate.decide.context import NOBODY, Context, put
from flaggate.errors import FlaggateError

if TYPE_CHECKING:
    from flaggate.web.request import Request

__all__ = ["Draft", "Given", "RequestContext", "told", "words_of"]

Given: TypeAlias = Context | Mapping[str, Any] | None
"""What an app says of who asks: in the words of Context; None = nobody."""
_PLACE: Final = ("city", "city_id", "region", "country")
_NOWHERE: Final = (None, None, None, None)
_SLOTS: Final = {name: Context.__dict__[name] for name in Context.__slots__}
_OURS: Final = str(Path(__file__).parents[1])
_WAITS: Any = object()
"""In place of what is looked up when a rule reads it."""
_NO_GROUPS: Final[frozenset[str]] = NOBODY.groups
_NO_ATTRIBUTES: Final = NOBODY.attributes


class Draft(Context):
    """Makes a RequestContext, and is one in the end: until then it is written like any object, at a quarter of what its
    slots' setters take.

    Raises:
        TypeError: for words that Context does not know, and for a key that is no key.
    """

    __slots__ = ("_given", "_request")
    __setattr__ = object.__setattr__  # type: ignore[assignment]  # what it is without Context's
    __delattr__ = object.__delattr__

    _given: dict[str, Any]
    """What the app gave, of what else is looked up; and functions."""
    _request: Request

    def __init__(
        self,
        request: Request,
        *,
        user: Any = None,
        account: Any = None,
        staff: Any = False,
        groups: Any = _NO_GROUPS,
        tier: Any = None,
        attributes: Any = _NO_ATTRIBUTES,
        city: Any = _WAITS,
        country: Any = _WAITS,
        **others: Any,
    ) -> None:
        self._request = request
        self._given = others
        if user is None or (type(user) is str and user):
            self.user = user
        else:
            self._take("user", user)
        if account is None or (type(account) is str and account):
            self.account = account
        else:
            self._take("account", account)
        if staff is False or staff is True:
            self.staff = staff
        else:
            self._take("staff", staff)
        if type(groups) is frozenset:
            self.groups = groups
        else:
            self._take("groups", groups)
        if tier is None or type(tier) is str:
            self.tier = tier
        else:
            self._take("tier", tier)
        if attributes is _NO_ATTRIBUTES:
            self.attributes = attributes
        else:
            self._take("attributes", attributes)
        if city is _WAITS and country is _WAITS:
            if request.site.geo is None:
                self.city = self.country = None
        else:
            if type(city) is str:
                self.city = city
            elif city is not _WAITS:
                self._take("city", city)
            if type(country) is str:
                self.country = country
            elif country is not _WAITS:
                self._take("country", country)
        if others:
            for name in others:
                if name not in _SLOTS:
                    raise TypeError(f"{name!r} is no word of Context; allowed: {', '.join(_SLOTS)}")
        self.__class__ = RequestContext  # of the same layout

    def _take(self, name: str, value: Any) -> None:
        """Set a value as it is to be, or keep the function that gives it."""
        if callable(value) and not isinstance(value, str):  # a proxy of text can be called, too
            self._given[name] = value
            return
        self._put(name, value)

    def _put(self, name: str, value: Any) -> None:
        if name == "staff" and value is not None and not isinstance(value, bool):
            self._request.site.gate.trouble.say_once(
                f"staff={value!r} of who asks is not True, and so not staff", "staff"
            )
        try:
            put(self, name, value)
        except TypeError as error:
            raise TypeError(f"{name!r} of who asks: {error}") from None


class RequestContext(Draft):
    """A context whose costly attributes are looked up when a rule reads them: the place, the visitor, the address, and
    what the app gave as a function."""

    __slots__ = ()
    __setattr__ = Context.__setattr__
    __delattr__ = Context.__delattr__

    def __getattr__(self, name: str) -> Any:
        """An attribute that was not needed so far."""
        slot = _SLOTS.get(name)
        if slot is None:
            raise AttributeError(f"a Context has no {name!r}")
        if name in self._given:
            value = self._given[name]
            if callable(value) and not isinstance(value, str):
                try:
                    value = value()
                except Exception as error:
                    raise FlaggateError(f"{name!r} of who asks could not be told: {told(error)}") from error
                if isinstance(value, Coroutine):
                    value.close()
                    raise FlaggateError(f"{name!r} of who asks is a coroutine; await it before, and give what it gave")
            self._put(name, value)
        elif name == "ip":
            put(self, name, self._request.address())
        elif name == "visitor":
            put(self, name, self._request.visitor())
        else:
            self._look_up_place()
        return slot.__get__(self)

    def _look_up_place(self) -> None:
        """All of it at once, but for what the app gave."""
        geo = self._request.site.geo
        place = _NOWHERE if geo is None or self.ip is None else geo.place(self.ip)
        for word, value in zip(_PLACE, place, strict=True):
            if word not in self._given and not self._is_known(word):
                _SLOTS[word].__set__(self, value)

    def replace(self, **changes: Any) -> Context:
        """A context like this one but for the changes; what was not looked up so far still waits."""
        return Draft(self._request, **{**self._given, **self._known(), **changes})

    def _known(self) -> dict[str, Any]:
        return {name: slot.__get__(self) for name, slot in _SLOTS.items() if self._is_known(name)}

    def _is_known(self, name: str) -> bool:
        try:
            _SLOTS[name].__get__(self)
        except AttributeError:
            return False
        return True

    def __repr__(self) -> str:
        return f"RequestContext({', '.join(f'{name}={value!r}' for name, value in self._known().items() if value)})"


def words_of(context: Given) -> Mapping[str, Any]:
    """What the app's function gave, as words. Of a whole Context what is missing is looked up.

    Raises:
        TypeError: for what has no words.
    """
    if isinstance(context, Context):
        return {name: getattr(context, name) for name in _SLOTS if getattr(context, name) != getattr(NOBODY, name)}
    if context is None or isinstance(context, Mapping):
        return context or {}
    if isinstance(context, Coroutine):
        context.close()  # else Python warns later, at a place that says nothing
    allowed = 'a mapping, such as {"user": "u-1", "staff": False}, a Context, or None'
    raise TypeError(f"the app's function gave {context!r}; allowed: {allowed}")


def told(error: Exception) -> str:
    """What went wrong, and where in the app, for a log that says it once."""
    if isinstance(error, FlaggateError):
        return str(error)
    where, at = "", error.__traceback__
    while at is not None:
        file = at.tb_frame.f_code.co_filename
        where = "" if file.startswith(_OURS) else f" ({file}, line {at.tb_lineno})"
        at = at.tb_next
    return f"{error!r}{where}" if where else str(error)
