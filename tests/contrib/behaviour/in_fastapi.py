"""The site in FastAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.requests import Request

from flaggate import Gate
from flaggate.contrib.fastapi import feature_required, flag_on, flags_from, require_feature
from tests.contrib.behaviour.asking import ASKS, PUBLIC, SECRET, ByAsgi, stream, word
from tests.contrib.behaviour.in_starlette import in_middleware, public, template


class InFastAPI(ByAsgi):
    def site(self, gate: Gate, **settings: Any) -> Any:
        app = FastAPI(default_response_class=PlainTextResponse)
        in_middleware(app, gate, **settings)
        flags = Depends(flags_from)

        async def new() -> str:
            return "new"

        def instead() -> str:
            return "new"

        def old() -> str:
            return "old"

        async def asks(is_on: bool = Depends(flag_on("team"))) -> str:
            return word(is_on)

        async def parts(is_on: bool, *, fails: bool) -> AsyncIterator[bytes]:
            for part in stream(is_on, fails=fails):
                yield part

        async def streams(request: Request) -> StreamingResponse:
            is_on = flags_from(request)["team"]
            return StreamingResponse(parts(is_on, fails=request.url.path == "/stream-fails"))

        async def fails(_: bool = Depends(flag_on("team"))) -> str:
            raise ZeroDivisionError

        async def signs_in(flags: Any = flags) -> str:
            before = flags["team"]
            flags.identify(user="ada", staff=True)
            return f"{word(before)} {word(flags['team'])}"

        app.get("/asks")(asks)
        app.get("/gated", dependencies=[Depends(require_feature("team"))])(new)
        app.get("/instead")(feature_required("team", otherwise=old)(instead))
        app.get("/moved")(feature_required("team", otherwise="/asks")(instead))
        app.get("/async")(feature_required("team")(new))
        app.get("/stream")(streams)
        app.get("/stream-fails")(streams)
        app.get("/fails")(fails)
        app.get("/signs-in")(signs_in)
        app.get("/tabled")(new)
        app.get("/swapped")(new)
        app.get("/old")(old)
        app.get("/secret")(lambda: SECRET)
        app.add_route("/template", template)
        for path, name in PUBLIC.items():
            app.add_route(f"/{path}", public(name))
        for path, name in ASKS.items():

            async def asking(flags: Any = flags, name: str = name) -> str:
                return word(flags[name])

            app.get(f"/{path}")(asking)
        return app
