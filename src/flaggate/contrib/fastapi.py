"""flaggate in a FastAPI app: Starlette's adapter, and its questions as dependencies.

app.add_middleware(FlaggateMiddleware, gate=gate, context=who)

@app.get("/v2/invoices", dependencies=[Depends(require_feature("new-invoicing"))])
@app.get("/invoices")
async def invoices(is_new: Annotated[bool, Depends(flag_on("new-invoicing"))]): ...
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import cache, wraps
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

from fastapi import params
from starlette.applications import Starlette
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Router

from flaggate.contrib import starlette
from flaggate.contrib.starlette import FlaggateMiddleware, Flags, Otherwise, feature_processor, flags_from
from flaggate.errors import SettingError
from flaggate.web.gates import check_otherwise, remember
from flaggate.web.routes import FLAG_NAME, is_flag_name

__all__ = [
    "FlaggateMiddleware",
    "Flags",
    "feature_processor",
    "feature_required",
    "flag_on",
    "flags_from",
    "require_feature",
]

_Gated = TypeVar("_Gated", bound=Callable[..., Any])
_CONNECTION: Final = "flaggate_connection"
_WHOLE: Final = 'a path operation; of all in a router or app say APIRouter(dependencies=[Depends(require_feature("new-invoicing"))])'
_PUT_IN: Final = (params.Param, params.Body, params.Depends)
"""Defaults that FastAPI reads: what it puts in there it knows of the path operation only, and not of its `otherwise`."""


# --- dependencies -------------------------------------------------------------------------------


class _AsItStands:
    """Marks the argument of what makes a dependency and is none: FastAPI would ask the client for it, and let all in."""

    def __init__(self, maker: str) -> None:
        self._maker = maker

    def __get_pydantic_core_schema__(self, *_: object) -> Any:
        """Called when FastAPI is given the function itself."""
        allowed = f'what it returns for the name of a flag: Depends({self._maker}("new-invoicing"))'
        raise SettingError("Depends", self._maker, allowed)


def flag_on(name: Annotated[str, _AsItStands("flag_on")], /) -> Callable[[HTTPConnection], Awaitable[bool]]:
    """A dependency: whether the flag is on for who asks. The same one each time, as `dependency_overrides` needs it."""
    _check(name, "flag_on")
    return _flag_on(name)


def require_feature(
    name: Annotated[str, _AsItStands("require_feature")], /
) -> Callable[[HTTPConnection], Awaitable[None]]:
    """A dependency of a path operation, a router or an app: 404 where the flag is off, as if nothing were there; a
    WebSocket is closed before it was accepted."""
    _check(name, "require_feature")
    return _require_feature(name)


def _check(name: str, setting: str) -> None:
    if not is_flag_name(name):
        raise SettingError(setting, name, f'the name of a flag: {setting}("new-invoicing"); {FLAG_NAME}')


@cache
def _flag_on(name: str) -> Callable[[HTTPConnection], Awaitable[bool]]:
    async def flag(connection: HTTPConnection) -> bool:
        return flags_from(connection).is_on(name)

    return flag


@cache
def _require_feature(name: str) -> Callable[[HTTPConnection], Awaitable[None]]:
    async def required(connection: HTTPConnection) -> None:
        if flags_from(connection).is_on(name):
            return
        # Starlette's, as its router says it of a path that is not there: FastAPI's own have handlers of their own.
        if connection.scope["type"] == "websocket":
            raise WebSocketException(code=1000)
        raise HTTPException(status_code=404)

    return required


# --- path operations ----------------------------------------------------------------------------


def feature_required(name: str, otherwise: Otherwise = None) -> Callable[[_Gated], _Gated]:
    """As Starlette's, below `@app.get`; the path operation need not take the request. `otherwise` takes what it takes."""
    decorate = starlette.feature_required(name, otherwise)

    def decorate_function(gated: _Gated) -> _Gated:
        if isinstance(gated, (Router, Starlette)):
            raise SettingError("feature_required", type(gated), _WHOLE)
        if isinstance(gated, (BaseRoute, type)) or not callable(gated):
            return decorate(gated)
        _check_kind(gated, otherwise)
        check_otherwise(gated, otherwise, is_all_given=True, read=_filled_in)
        signature = _resolved(gated)
        instead = _without_connection(otherwise) if callable(otherwise) else otherwise

        def connection_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> HTTPConnection:
            return kwargs.get(_CONNECTION) or starlette.connection_among(gated, args, kwargs)

        function: Any = starlette.gated_function(_without_connection(gated), name, instead, connection_of)
        is_given = any(_is_connection(each.annotation) for each in signature.parameters.values())
        function.__signature__ = signature if is_given else _with_connection(signature)
        function.__name__ = getattr(gated, "__name__", type(gated).__name__)
        remember(gated, function)
        return function  # type: ignore[no-any-return]  # it is called like the function, by FastAPI

    return decorate_function


def _check_kind(gated: Callable[..., Any], otherwise: Otherwise) -> None:
    """FastAPI sends what a function yields, and takes what it returns for that."""
    if otherwise is None:
        return
    for is_kind in (inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        if is_kind(inspect.unwrap(gated)) and not is_kind(otherwise):
            raise SettingError("otherwise", otherwise, "None, or a function that yields as the path operation does")


def _filled_in(function: Callable[..., Any]) -> inspect.Signature:
    """What it is given by name: also what FastAPI puts in where it stands as a default, but for what is ours."""
    parameters = []
    for each in inspect.signature(function).parameters.values():
        if each.name == _CONNECTION or each.kind is each.VAR_POSITIONAL:
            continue
        kind = each.kind if each.kind is each.VAR_KEYWORD else each.KEYWORD_ONLY
        default = each.empty if isinstance(each.default, _PUT_IN) else each.default
        parameters.append(each.replace(kind=kind, default=default))
    return inspect.Signature(parameters)


def _resolved(function: Callable[..., Any]) -> inspect.Signature:
    """Its signature, with annotations as they are read where it stands: FastAPI may read them where the gate stands."""
    try:
        return inspect.signature(function, eval_str=True)
    except Exception:  # a local name, or whatever else an annotation does: FastAPI says what it thinks of it
        return inspect.signature(function)


def _is_connection(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return isinstance(annotation, type) and issubclass(annotation, HTTPConnection)


def _with_connection(signature: inspect.Signature) -> inspect.Signature:
    """With one more argument, which FastAPI fills in and no schema shows."""
    taken = [*signature.parameters.values()]
    ours = inspect.Parameter(_CONNECTION, inspect.Parameter.KEYWORD_ONLY, annotation=HTTPConnection)
    at = next((n for n, each in enumerate(taken) if each.kind is inspect.Parameter.VAR_KEYWORD), len(taken))
    return signature.replace(parameters=[*taken[:at], ours, *taken[at:]])


def _without_connection(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function without that argument, unless it is gated itself and takes it."""
    if _CONNECTION in inspect.signature(function).parameters:
        return function
    if starlette.is_async(function) or starlette.is_async(inspect.unwrap(function)):  # FastAPI awaits it for either

        @wraps(function)
        async def called(*args: Any, **kwargs: Any) -> Any:
            kwargs.pop(_CONNECTION, None)
            return await function(*args, **kwargs)
    else:

        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            kwargs.pop(_CONNECTION, None)
            return function(*args, **kwargs)

    return called
