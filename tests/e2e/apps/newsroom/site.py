"""The app, but for the middleware around it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from ariadne import QueryType, SubscriptionType, make_executable_schema
from ariadne.asgi import GraphQL
from ariadne.asgi.handlers import GraphQLTransportWSHandler
from sqlalchemy import JSON, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette_admin.auth import AdminUser, AuthProvider
from starlette_admin.contrib.sqla import Admin, ModelView
from starlette_admin.exceptions import LoginFailed
from starlette_admin.fields import FileField, IntegerField, StringField, TextAreaField
from starlette_admin.storage import LocalStorage


class Base(DeclarativeBase):
    pass


class Article(Base):
    __tablename__ = "article"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    text: Mapped[str]
    picture: Mapped[Any] = mapped_column(JSON, nullable=True)


class Articles(ModelView):
    fields = [  # noqa: RUF012  # as starlette-admin has it
        IntegerField("id", exclude_from_create=True, exclude_from_edit=True),
        StringField("title", required=True),
        TextAreaField("text"),
        FileField("picture", storage=LocalStorage("pictures")),
    ]


class Writers(AuthProvider):
    async def login(self, username: str, password: str, remember_me: bool, request: Request) -> None:
        if password != f"of {username}":
            raise LoginFailed("not the password")
        request.session["user"] = username

    async def logout(self, request: Request) -> None:
        request.session.clear()

    async def authenticate(self, request: Request) -> AdminUser | None:
        user = request.session.get("user")
        return None if user is None else AdminUser(username=user)


query, subscription = QueryType(), SubscriptionType()


@query.field("greeting")
def greet(_: Any, __: Any, name: str) -> str:
    return f"hello {name}"


@subscription.source("counting")
async def count(_: Any, __: Any, to: int) -> AsyncGenerator[int, None]:
    for number in range(to):
        yield number


@subscription.field("counting")
def say(number: int, _: Any, **__: Any) -> int:
    return number


SCHEMA = """
type Query { greeting(name: String!): String! }
type Subscription { counting(to: Int!): Int! }
"""


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.url_for('admin:index')}, {request.session.get('user')}")


def make_app() -> Starlette:
    """Both apps mounted."""
    engine = create_engine("sqlite:///articles.db")
    Base.metadata.create_all(engine)
    app = Starlette(routes=[Route("/", home)])
    admin = Admin(engine, auth_provider=Writers(), secret_key="of the admin")
    admin.add_view(Articles(Article))
    admin.mount_to(app)
    schema = make_executable_schema(SCHEMA, query, subscription)
    app.mount("/graphql", GraphQL(schema, websocket_handler=GraphQLTransportWSHandler()))
    return app
