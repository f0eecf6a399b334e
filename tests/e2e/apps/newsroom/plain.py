"""The app before flaggate."""

from __future__ import annotations

from starlette.middleware.sessions import SessionMiddleware

from .site import make_app

app = make_app()
app.add_middleware(SessionMiddleware, secret_key="of the newsroom")
