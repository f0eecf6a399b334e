"""Who asks: what a Context takes, keeps and refuses."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given

from flaggate import Context, Decision
from flaggate.decide.context import NOBODY
from tests.decide.worlds import contexts

UNITS = ("user", "account", "visitor")


class Safe(str):
    """Text that says "safe" of itself, as template engines make it."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


class Plan(str, Enum):  # noqa: UP042  # what StrEnum was made to replace, and apps still have
    """An enum of texts, whose str() is not its text."""

    PRO = "pro"


class Number(IntEnum):
    """An enum of numbers."""

    SEVEN = 7


class Lazy:
    """Stands for what a function returns when asked, and says that it is of that class: as frameworks' lazies do."""

    def __init__(self, target: Callable[[], Any]) -> None:
        self._target = target

    @property  # type: ignore[misc]  # the very trick of such proxies
    def __class__(self) -> type:
        return type(self._target())

    def __str__(self) -> str:
        return str(self._target())

    def __bool__(self) -> bool:
        return bool(self._target())

    def __eq__(self, other: object) -> bool:
        return bool(self._target() == other)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._target())

    __hash__ = None  # type: ignore[assignment]


class Unread(Mapping[str, Any]):
    """Own attributes that are not to be looked up."""

    def __getitem__(self, name: str) -> Any:
        raise AssertionError(name)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError

    def __len__(self) -> int:
        raise AssertionError


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("u-1", "u-1"),
        (" u ", " u "),
        (0, "0"),
        (42, "42"),
        (-1, "-1"),
        (Number.SEVEN, "7"),
        (UUID("C0FFEE00-1234-4ABC-8DEF-0123456789AB"), "c0ffee00-1234-4abc-8def-0123456789ab"),
        (Safe("u-1"), "u-1"),
        (Plan.PRO, "pro"),
        ("", None),
        (Safe(""), None),
        (None, None),
    ],
)
def test_a_key_is_kept_as_plain_text(unit: str, given: Any, kept: str | None) -> None:
    context = Context(**{unit: given})
    assert getattr(context, unit) == kept
    assert type(getattr(context, unit)) in (str, type(None))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("no_key", [True, False, 1.5, b"u-1", ["u-1"], object()])
def test_what_is_no_key_is_refused(unit: str, no_key: Any) -> None:
    with pytest.raises(TypeError, match="a key is text, a whole number or a UUID, not"):
        Context(**{unit: no_key})


def test_the_user_may_be_given_without_its_name() -> None:
    assert Context("u-1") == Context(user="u-1")


def test_a_lazy_key_is_looked_up_once_and_then_stays() -> None:
    """A proxy of "the current user" stands for somebody else in the next request."""
    current = ["u-1"]
    context = Context(Lazy(lambda: current[0]), account=Lazy(lambda: ""), groups=Lazy(lambda: frozenset(current)))
    current[0] = "u-2"
    assert context == Context("u-1", groups=["u-1"])
    assert (type(context.user), type(context.groups)) == (str, frozenset)


@pytest.mark.parametrize(
    "given", [["b", "a"], ("a", "b"), {"a", "b"}, frozenset("ab"), (one for one in "aab"), {"a": 1, "b": 2}]
)
def test_groups_are_any_iterable_of_names(given: Any) -> None:
    assert Context(groups=given).groups == frozenset({"a", "b"})


def test_no_groups_may_be_said_as_none() -> None:
    assert Context(groups=None) == Context()


@pytest.mark.parametrize("text", ["beta", "", Safe("beta")])
def test_groups_as_one_text_are_refused(text: str) -> None:
    """Otherwise "beta" would be the groups b, e, t and a."""
    with pytest.raises(TypeError, match="groups is a list of names, not one text"):
        Context(groups=text)


@pytest.mark.parametrize("almost", [1, "true", "yes", [1], None])
def test_only_true_is_staff(almost: Any) -> None:
    assert Context(staff=True).staff is True
    assert Context(staff=almost).staff is False


def test_nothing_is_known_of_nobody() -> None:
    assert Context() == NOBODY
    assert not NOBODY.attributes
    for name in set(Context.__slots__) - {"staff", "groups", "attributes"}:
        assert getattr(NOBODY, name) is None


def test_own_attributes_are_not_looked_at_before_a_flag_asks() -> None:
    attributes = Unread()
    assert Context(attributes=attributes).attributes is attributes


@pytest.mark.parametrize("name", [*Context.__slots__, "invented"])
def test_a_context_does_not_change(name: str) -> None:
    context = Context("u-1", tier="pro")
    with pytest.raises(AttributeError, match="replace"):
        setattr(context, name, "other")
    with pytest.raises(AttributeError, match="replace"):
        delattr(context, name)
    assert context == Context("u-1", tier="pro")


def test_replace_makes_another_one() -> None:
    context = Context("u-1", tier="pro", groups=["beta"], attributes={"seats": 3})
    other = context.replace(user=7, tier=None)
    assert other == Context("7", groups=["beta"], attributes={"seats": 3})
    assert context.tier == "pro"
    with pytest.raises(TypeError):
        context.replace(colour="red")


@given(context=contexts)
def test_equal_contexts_are_those_that_know_the_same(context: Context) -> None:
    assert context == context.replace()
    assert context != context.replace(user="another")
    assert context != context.replace(attributes={"another": 1})
    assert context != "context"


def test_a_context_is_no_key_of_a_table() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Context())


@given(context=contexts)
def test_a_context_survives_pickling_and_copying(context: Context) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(context, protocol)) == context
    assert copy.copy(context) == copy.deepcopy(context) == context


def test_read_only_attributes_survive_pickling() -> None:
    context = Context(attributes=MappingProxyType({"seats": 3}))
    assert pickle.loads(pickle.dumps(context)) == context


def test_its_text_shows_what_is_known() -> None:
    assert repr(Context()) == "Context()"
    context = Context("u-1", staff=True, groups=["beta"], city="Leeds", attributes={"seats": 3})
    assert eval(repr(context), {"Context": Context}) == context
    assert "tier" not in repr(context)


def test_a_decision_is_as_true_as_it_is_on() -> None:
    assert Decision("f", True, "on")
    assert not Decision("f", False, "stage", None, "control")
