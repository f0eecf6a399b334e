"""What is said at start of a gate that would be wrong later on: one that nobody passes, and one whose other way is closed.

A gate above the decorator that makes the route is one that nobody passes: `@feature_required(...)` above `@app.get(...)`
has the app serve the function as it is, to everybody.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from flaggate.errors import SettingError

__all__ = ["check_otherwise", "check_served", "remember"]

_GATES: Final = "_flaggate_gates"
_ANY: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_ALLOWED: Final = (
    "below what makes the route, as in @app.get(...) and under it @feature_required(...): above it the function is "
    "served as it is, to everybody"
)


def remember(function: object, gate: Callable[..., Any]) -> None:
    """That this is the function's gate; of methods and callable objects nothing is known."""
    if inspect.isfunction(function):
        # On the function, so that both go at once. What wraps it takes its attributes over: hence whose they are.
        owner, gates = vars(function).get(_GATES, (None, ()))
        vars(function)[_GATES] = function, (*(gates if owner is function else ()), gate)


def check_served(endpoints: Iterable[object]) -> None:
    """Look at all that an app serves.

    Raises:
        SettingError: for a function whose gate has taken its place, but not in the app.
    """
    served = list(endpoints)
    passed = {id(each) for endpoint in served for each in _layers(endpoint)}
    for function in served:
        owner, gates = getattr(function, "__dict__", {}).get(_GATES, (None, ()))
        if owner is function and not any(id(gate) in passed for gate in gates) and _is_replaced(function, gates):
            where = f"{function.__module__}.{function.__qualname__}"
            raise SettingError("feature_required", where, _ALLOWED)


def check_otherwise(
    view: Any,
    otherwise: Any,
    *,
    leading: int = 0,
    is_all_given: bool = False,
    read: Callable[[Any], inspect.Signature] = inspect.signature,
) -> None:
    """Whether what is called instead of a view can be: it would fail only once the flag is off.

    Args:
        leading: How many arguments come first, whatever they are called; the others by their names, or all by place.
        is_all_given: Also those that have defaults.
        read: What either is given.

    Raises:
        SettingError: it takes others.
    """
    try:
        signature, takes = read(view), read(otherwise)
    except (TypeError, ValueError):  # a path; or a callable that does not tell
        return
    parameters = list(signature.parameters.values())
    if any(each.kind in _ANY for each in parameters):  # what the route has
        return
    given = [each.name for each in parameters[leading:] if is_all_given or each.default is each.empty]
    known = {each.name for each in parameters[leading:] if each.name in takes.parameters}
    by_name, by_place = dict.fromkeys([*given, *known]), [None] * (leading + len(given))
    if not (_takes(takes, [None] * leading, by_name) or (leading and _takes(takes, by_place, {}))):
        allowed = f"what takes the arguments of {_called(view)}: {', '.join(signature.parameters) or 'none'}"
        raise SettingError("otherwise", f"{_called(otherwise)}({', '.join(takes.parameters)})", allowed)


def _takes(signature: inspect.Signature, by_place: list[None], by_name: dict[str, None]) -> bool:
    try:
        signature.bind(*by_place, **by_name)
    except TypeError:
        return False
    return True


def _called(function: Any) -> str:
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def _is_replaced(function: Any, gates: Iterable[object]) -> bool:
    """Whether the gate has the function's name, as a decorator's has; of a local one nobody can tell by now.

    Else somebody serves it in two ways on purpose, by apps of which each is told of the own one only.
    """
    if "<locals>" in function.__qualname__:
        return True
    now = getattr(sys.modules.get(function.__module__), function.__qualname__, None)
    return any(layer is gate for layer in _layers(now) for gate in gates)


def _layers(function: Any) -> Iterator[Any]:
    """It, and what it is wrapped around."""
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)
