"""A Flask app with Flask-Login and the console, as a server imports it; a page was asked for before the server forks."""

from __future__ import annotations

import os

from flask import Flask, Response, abort, redirect, request
from flask_login import (  # type: ignore[import-untyped]  # it has no types
    LoginManager,
    UserMixin,
    current_user,
    login_user,
)
from werkzeug.wrappers import Response as Answer

from flaggate.console import Person
from flaggate.contrib.flask import init_app
from flaggate.contrib.flask_console import create_blueprint

__all__ = ["app"]


class User(UserMixin):  # type: ignore[misc]  # of a library without types
    def __init__(self, name: str) -> None:
        self.id = name


def who() -> Person:
    """Whom Flask-Login knows; the rest sign in first."""
    if not current_user.is_authenticated:
        abort(redirect(f"/sign-in?next={request.path}"))
    return Person(current_user.get_id())


app = Flask(__name__)
app.config.update(SECRET_KEY="the app's own", FLAGGATE_STORE=os.environ["FLAGGATE_STORE"])
init_app(app)
app.register_blueprint(create_blueprint(who), url_prefix="/ops/flags")
LoginManager(app).user_loader(User)


@app.post("/sign-in")
def sign_in() -> Answer:
    login_user(User(request.form["user"]))
    return redirect("/ops/flags/")


@app.after_request
def say_by_whom(response: Response) -> Response:
    """A page says which worker made it."""
    if response.mimetype == "text/html":
        response.set_data(f"{response.get_data(as_text=True)}<!-- by {os.getpid()} -->")
    return response


app.test_client().get("/ops/flags/static/console.css")
