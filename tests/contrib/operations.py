"""Path operations of every kind, as FastAPI's documentation writes them: its annotations are no text here. The tests read
this file a second time as if it began with `from __future__ import annotations`."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, Final, NamedTuple

from fastapi import BackgroundTasks, Depends, Response, UploadFile  # noqa: TID251  # as in an app of a user
from fastapi.param_functions import Body, Form, Header, Query  # noqa: TID251
from pydantic import BaseModel
from starlette.requests import HTTPConnection, Request  # noqa: TID251


class Invoice(BaseModel):
    """An invoice."""

    number: int
    total: float = 0.0
    note: str | None = None


class Brief(BaseModel):
    """What is told of one."""

    number: int


done: Final[list[str]] = []


def connection() -> Iterator[str]:
    done.append("open")
    try:
        yield "database"
    finally:
        done.append("closed")


async def customer(x_customer: Annotated[str, Header()] = "nobody") -> str:
    return x_customer


Customer = Annotated[str, Depends(customer)]


async def read(number: int, q: Annotated[str | None, Query(max_length=5)] = None) -> Invoice:
    """One invoice.

    With all that it has.
    """
    return Invoice(number=number, note=q)


def read_sync(number: int, q: str = "none") -> dict[str, Any]:
    return {"number": number, "q": q}


async def make(invoice: Invoice, tasks: BackgroundTasks, response: Response) -> Invoice:
    response.headers["Location"] = f"/read/{invoice.number}"
    tasks.add_task(done.append, "made")
    return invoice


def embedded(number: Annotated[int, Body(embed=True)]) -> Brief:
    return Brief(number=number)


async def with_request(number: int, request: Request) -> dict[str, Any]:
    return {"path": request.url.path, "number": number}


def with_annotated_request(request: Annotated[Request, "whose"]) -> str:
    return request.url.path


async def with_connection(connection: HTTPConnection) -> str:
    return connection.url.path


async def with_dependencies(who: Customer, database: Annotated[str, Depends(connection)]) -> dict[str, str]:
    return {"who": who, "database": database}


def with_form(name: Annotated[str, Form()], file: UploadFile) -> str:
    return f"{name} {file.filename}"


async def with_anything(number: int, **more: Any) -> dict[str, Any]:
    return {"number": number, **more}


async def empty() -> None:
    """Nothing."""


class Pages:
    def __init__(self, word: str) -> None:
        self.word = word

    def __call__(self, number: int) -> str:
        return f"{self.word} {number}"

    def method(self, number: int) -> str:
        return f"{self.word} {number}"


async def of(kind: str, number: int) -> str:
    return f"{kind} {number}"


class Operation(NamedTuple):
    """A path operation, and a request that it answers."""

    function: Any
    method: str = "GET"
    path: str = ""
    options: dict[str, Any] = {}  # noqa: RUF012  # nobody writes to it
    request: dict[str, Any] = {}  # noqa: RUF012


OPERATIONS: Final = {
    "read": Operation(read, path="/7", request={"params": {"q": "abc"}}),
    "read_sync": Operation(read_sync, path="/7", options={"tags": ["invoices"], "deprecated": True}),
    "make": Operation(make, "POST", options={"status_code": 201}, request={"json": {"number": 7}}),
    "model": Operation(make, "PUT", options={"response_model": Brief}, request={"json": {"number": 7}}),
    "embedded": Operation(embedded, "POST", request={"json": {"number": 7}}),
    "with_request": Operation(with_request, path="/7"),
    "with_annotated_request": Operation(with_annotated_request),
    "with_connection": Operation(with_connection),
    "with_dependencies": Operation(with_dependencies, request={"headers": {"X-Customer": "ada"}}),
    "with_form": Operation(with_form, "POST", request={"data": {"name": "ada"}, "files": {"file": ("a.txt", b"a")}}),
    "with_anything": Operation(with_anything, path="/7", request={"params": {"more": "x"}}),
    "empty": Operation(empty, "DELETE", options={"status_code": 204, "response_model": None}),
    "instance": Operation(Pages("page"), path="/7"),
    "method": Operation(Pages("page").method, path="/7"),
    "partial": Operation(partial(of, "page"), path="/7", request={"params": {"kind": "page"}}),
}
"""By the first part of their path."""
