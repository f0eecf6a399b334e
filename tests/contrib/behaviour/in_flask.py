"""The site in Flask."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, render_template_string, request

from flaggate import Gate
from flaggate.contrib.flask import feature_required, flags_from, init_app
from tests.contrib.behaviour.asking import ASKS, FOR_ANYONE, PUBLIC, SECRET, USER, ByWsgi, stream, who, word


class InFlask(ByWsgi):
    def site(self, gate: Gate, **settings: Any) -> Any:
        app = Flask("behaviour")
        app.testing = True  # exceptions are the caller's
        init_app(app, gate, context=lambda request: who(request.headers.get(USER)), **settings)

        def old() -> str:
            return "old"

        def new() -> str:
            return "new"

        @app.get("/asks")
        def asks() -> str:
            return word(flags_from(request)["team"])

        @app.get("/gated")
        @feature_required("team")
        def gated() -> str:
            return "new"

        @app.get("/instead")
        @feature_required("team", otherwise=old)
        def instead() -> str:
            return "new"

        @app.get("/moved")
        @feature_required("team", otherwise="/asks")
        def moved() -> str:
            return "new"

        @app.get("/async")
        @feature_required("team")
        async def in_async() -> str:
            return "new"

        @app.get("/stream", defaults={"fails": False})
        @app.get("/stream-fails", defaults={"fails": True})
        def streams(fails: bool) -> Response:
            return Response(stream(flags_from(request)["team"], fails=fails))

        @app.get("/fails")
        def failing() -> str:
            flags_from(request)["team"]
            raise ZeroDivisionError

        @app.get("/signs-in")
        def signs_in() -> str:
            flags = flags_from(request)
            before = flags["team"]
            flags.identify(user="ada", staff=True)
            return f"{word(before)} {word(flags['team'])}"

        @app.get("/template")
        def template() -> str:
            return render_template_string('{% if feature("team") %}yes{% else %}no{% endif %}')

        @app.get("/<any(public, 'public-team', 'public-banner'):name>")
        def public(name: str) -> Response:
            flag = PUBLIC[name]
            return Response("anyone" if flag is None else word(flags_from(request)[flag]), headers=FOR_ANYONE)

        for path, view in (("/tabled", new), ("/swapped", new), ("/old", old), ("/secret", lambda: SECRET)):
            app.add_url_rule(path, path, view)
        for path, name in ASKS.items():
            app.add_url_rule(f"/{path}", path, lambda name=name: word(flags_from(request)[name]))
        return app
