"""Who asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

__all__ = ["NOBODY", "Context", "put"]

_NO_GROUPS: Final[frozenset[str]] = frozenset()
_NO_ATTRIBUTES: Final[Mapping[str, Any]] = MappingProxyType({})


def _key(value: object) -> str | None:
    """A unit's key as text. Empty text is what many apps call nobody."""
    if value is None or value == "":
        return None
    if issubclass(type(value), str):
        return str.__str__(value)  # a "safe" string or an enum's member as the text itself
    if isinstance(value, str):
        return str(value)  # a proxy of text (lazy, or of this request) as what it stands for now
    from uuid import UUID  # only a key that is no text needs it

    if isinstance(value, (int, UUID)) and not isinstance(value, bool):
        return str(value)
    raise TypeError(f"a key is text, a whole number or a UUID, not {value!r}")


def _group_set(groups: Iterable[str] | None) -> frozenset[str]:
    if groups is None:
        return _NO_GROUPS
    if isinstance(groups, str):
        raise TypeError(f'groups is a list of names, not one text: ["{groups}"]')
    return frozenset(groups)


class Context:
    """Who asks. Immutable; a missing value matches nothing.

    Args:
        user, account, visitor: Unit keys: text, a whole number or a UUID, kept as text; empty = missing.
        staff: One of our own.
        groups: Names of groups that the user is in.
        tier: The account's plan.
        city, city_id, region, country: The place: English name, GeoNames id, region, ISO 3166 code.
        ip: The client's address.
        attributes: The app's own: text, numbers, bools, aware datetimes by name.

    Raises:
        TypeError: for a key that is no key, or groups that are one text.
    """

    __slots__ = (
        "account", "attributes", "city", "city_id", "country", "groups", "ip", "region", "staff", "tier", "user",
        "visitor",
    )  # fmt: skip

    user: str | None
    account: str | None
    visitor: str | None
    staff: bool
    groups: frozenset[str]
    tier: str | None
    city: str | None
    city_id: int | None
    region: str | None
    country: str | None
    ip: str | None
    attributes: Mapping[str, Any]

    def __init__(
        self,
        user: object = None,
        *,
        account: object = None,
        visitor: object = None,
        staff: bool = False,
        groups: Iterable[str] | None = _NO_GROUPS,
        tier: str | None = None,
        city: str | None = None,
        city_id: int | None = None,
        region: str | None = None,
        country: str | None = None,
        ip: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        # type(), not __class__: a lazy object gives its target's class there.
        _set_user(self, user if type(user) is str and user else _key(user))
        _set_account(self, account if type(account) is str and account else _key(account))
        _set_visitor(self, visitor if type(visitor) is str and visitor else _key(visitor))
        _set_staff(self, staff is True)
        _set_groups(self, groups if type(groups) is frozenset else _group_set(groups))
        _set_tier(self, tier)
        _set_city(self, city)
        _set_city_id(self, city_id)
        _set_region(self, region)
        _set_country(self, country)
        _set_ip(self, ip)
        _set_attributes(self, attributes if attributes is not None else _NO_ATTRIBUTES)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Context does not change; make another one with replace()")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Context does not change; make another one with replace()")

    def replace(self, **changes: Any) -> Context:
        """A context like this one but for the changes."""
        return Context(**self._values() | changes)

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Context.__slots__}

    def peek(self, name: str) -> Any:
        """An attribute as far as it is known; None for one that would have to be looked up."""
        try:
            return _SLOTS[name](self)
        except AttributeError:
            return None

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Context) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # its attributes need not be hashable

    def __repr__(self) -> str:
        given = {name: value for name, value in self._values().items() if value}
        return f"Context({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self._values() | {"attributes": dict(self.attributes)},)


def _unpickled(values: dict[str, Any]) -> Context:
    return Context(**values)


# The slots' own setters: what object.__setattr__ would call, in half its time.
_set_user = Context.__dict__["user"].__set__
_set_account = Context.__dict__["account"].__set__
_set_visitor = Context.__dict__["visitor"].__set__
_set_staff = Context.__dict__["staff"].__set__
_set_groups = Context.__dict__["groups"].__set__
_set_tier = Context.__dict__["tier"].__set__
_set_city = Context.__dict__["city"].__set__
_set_city_id = Context.__dict__["city_id"].__set__
_set_region = Context.__dict__["region"].__set__
_set_country = Context.__dict__["country"].__set__
_set_ip = Context.__dict__["ip"].__set__
_set_attributes = Context.__dict__["attributes"].__set__

_SLOTS: Final[dict[str, Callable[[Context], Any]]] = {
    name: Context.__dict__[name].__get__ for name in Context.__slots__
}
"""The slots' own getters: past a subclass that looks up what is not there."""

_NORMAL: Final[dict[str, Callable[[Any], Any]]] = {
    "user": _key,
    "account": _key,
    "visitor": _key,
    "staff": lambda value: value is True,
    "groups": _group_set,
    "attributes": lambda value: _NO_ATTRIBUTES if value is None else value,
}


def put(context: Context, name: str, value: Any) -> None:
    """Set an attribute as `Context(name=value)` would: for subclasses that fill theirs when they are read."""
    normal = _NORMAL.get(name)
    Context.__dict__[name].__set__(context, value if normal is None else normal(value))


NOBODY: Final = Context()
"""A context of which nothing is known."""
