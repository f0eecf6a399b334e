"""Flags as a test wants them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import aclosing
from functools import wraps
from gc import collect
from types import TracebackType
from typing import Any, Final, TypeVar

from flaggate.errors import SettingError, UnknownFlagError
from flaggate.runtime.override import Answer, lay_over, make_all, take_away
from flaggate.runtime.process import watched

__all__ = ["override"]

_Test = TypeVar("_Test")
_ALLOWED: Final = (
    'names with True, False or a plain function of the Context: {"new-invoicing": True}, '
    '{"new-invoicing": lambda context: context.tier == "pro"}'
)


class override:  # noqa: N801  # used like a function
    """Have flags answer as a test wants them, in all gates and threads of this process, for visits that begin from now
    on: `with override({"new-invoicing": True}): ...`, or `@override({...})` on a test or a fixture, sync or async, or on
    a class of tests.

    It needs no store and writes nothing; what it answers has the reason `override` and is not counted. Meanwhile it is an
    error to ask a flag that is not there.

    Args:
        answers: On or off by name; or a function of the context that says it for this one.

    Raises:
        SettingError: for anything else.
        UnknownFlagError: when it begins, for a flag that is in no store and no definitions of this process's gates.
    """

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        if not isinstance(answers, Mapping) or not all(_is_answer(*each) for each in answers.items()):
            raise SettingError("override", answers, _ALLOWED)
        self._answers = dict(answers)
        self._layers: list[Any] = []

    def __enter__(self) -> override:
        _check_known(self._answers)
        self._layers.append(lay_over(self._answers))
        _tell()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        take_away(self._layers.pop())
        _tell()

    def __call__(self, test: _Test) -> _Test:
        made: Any = test
        if isinstance(made, type):
            self._put_around_class(made)
            return test
        if not inspect.isfunction(made):
            raise SettingError(
                "override", test, "a test or fixture function, below @pytest.fixture; or a class of tests"
            )
        return self._around(made)  # type: ignore[no-any-return]  # it is called like the test

    def _put_around_class(self, tests: Any) -> None:
        from unittest import TestCase  # for those who decorate a class

        if issubclass(tests, TestCase):
            set_up = tests.setUp

            @wraps(set_up)
            def within(test: TestCase) -> None:
                test.enterContext(self)
                set_up(test)

            tests.setUp = within
            return
        found = {name: inspect.getattr_static(tests, name) for name in dir(tests) if name.startswith("test")}
        is_empty = True
        for name, test in found.items():
            if inspect.isfunction(test):
                setattr(tests, name, self._around(test))
            elif isinstance(test, (staticmethod, classmethod)):
                setattr(tests, name, type(test)(self._around(test.__func__)))
            else:
                continue
            is_empty = False
        if is_empty:
            raise SettingError(
                "override", tests.__qualname__, "a class with tests: methods whose names begin with test"
            )

    def _around(self, test: Any) -> Any:
        if inspect.iscoroutinefunction(test):

            @wraps(test)
            async def within(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await test(*args, **kwargs)
        elif inspect.isasyncgenfunction(test):

            @wraps(test)
            async def within(*args: Any, **kwargs: Any) -> Any:  # a fixture
                with self:
                    async with aclosing(test(*args, **kwargs)) as values:
                        async for value in values:
                            yield value
        elif inspect.isgeneratorfunction(test):

            @wraps(test)
            def within(*args: Any, **kwargs: Any) -> Any:
                with self:
                    yield from test(*args, **kwargs)
        else:

            @wraps(test)
            def within(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return test(*args, **kwargs)

        return within


def _is_answer(name: object, answer: object) -> bool:
    if not isinstance(name, str):
        return False
    is_async = inspect.iscoroutinefunction(answer) or inspect.iscoroutinefunction(type(answer).__call__)
    return isinstance(answer, bool) or (callable(answer) and not is_async)


def _check_known(answers: Mapping[str, Answer]) -> None:
    make_all()
    if _stranger(answers) is not None:
        collect()  # what is left of earlier tests: their gates knew other flags
    if (found := _stranger(answers)) is not None:
        raise UnknownFlagError(*found)


def _stranger(answers: Mapping[str, Answer]) -> tuple[str, frozenset[str]] | None:
    """A flag that is not there, and those that are."""
    known = [gate.names(answers) for gate in watched()]
    names = frozenset[str]().union(*(each for each in known if each is not None))
    if None in known or not names:
        return None  # a gate cannot tell, or there is none
    return next(((name, names) for name in answers if name not in names), None)


def _tell() -> None:
    for gate in watched():
        gate.republish()
