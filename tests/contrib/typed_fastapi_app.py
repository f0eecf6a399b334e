"""A FastAPI app in which mypy sees all that a user decorates: every path operation keeps its type."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, assert_type

from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket  # noqa: TID251  # it is an app of a user

from flaggate import Gate
from flaggate.contrib.fastapi import FlaggateMiddleware, Flags, feature_required, flag_on, flags_from, require_feature
from tests.contrib.typed_starlette_app import who

TheFlags = Annotated[Flags, Depends(flags_from)]
IsNew = Annotated[bool, Depends(flag_on("banner"))]


def old(number: int) -> str:
    return f"old {number}"


@feature_required("banner", otherwise=old)
async def new(number: int) -> str:
    return f"new {number}"


@feature_required("banner", otherwise="/old")
def later(number: int, request: Request) -> str:
    return f"later {number}"


async def both(flags: TheFlags, is_new: IsNew) -> list[bool]:
    return [assert_type(is_new, bool), assert_type(flags["banner"], bool)]


async def greet(websocket: WebSocket, is_new: IsNew) -> None:
    await websocket.close()


if TYPE_CHECKING:
    coming = assert_type(new(7), Coroutine[Any, Any, str])
    coming = new("7")  # type: ignore[arg-type]  # on purpose: mypy tells if this is no error any more
    require_feature(7)  # type: ignore[arg-type]  # on purpose
    flag_on(7)  # type: ignore[arg-type]  # on purpose


def create_app(gate: Gate) -> FastAPI:
    app = FastAPI()
    app.add_middleware(FlaggateMiddleware, gate=gate, context=who)
    router = APIRouter(dependencies=[Depends(require_feature("banner"))])
    router.get("/new/{number}")(new)
    router.get("/later/{number}")(later)
    router.get("/both")(both)
    router.websocket("/greet")(greet)
    app.include_router(router)
    return app
