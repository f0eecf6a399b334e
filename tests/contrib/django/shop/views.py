"""What the shop shows: to those who have a flag, and to the others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from io import BytesIO

from django.contrib.auth import login, logout
from django.contrib.auth.models import User
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse

from flaggate.contrib.django import Flags, aflags_from, flags_from
from flaggate.errors import FlaggateError


def ask(request: HttpRequest, name: str) -> HttpResponse:
    """The flag in the path."""
    return HttpResponse(str(flags_from(request)[name]))


async def ask_async(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(str((await aflags_from(request, name))[name]))


async def ask_on_loop(request: HttpRequest, name: str) -> HttpResponse:
    """As somebody writes it who has not read the page."""
    return HttpResponse(str(flags_from(request)[name]))


async def ask_after_auser(request: HttpRequest, name: str) -> HttpResponse:
    """The user is known by then."""
    user = await request.auser()
    return HttpResponse(f"{user.pk} {flags_from(request)[name]}")


def fail(request: HttpRequest, name: str) -> HttpResponse:
    raise LookupError(flags_from(request)[name])


def sign_in(request: HttpRequest, name: str, user: str) -> HttpResponse:
    flags = flags_from(request)
    before = flags[name]
    login(request, User.objects.get(username=user))
    within = flags[name]
    logout(request)
    return HttpResponse(f"{before} {within} {flags[name]}")


def parts(flags: Flags, name: str) -> Iterator[str]:
    for _ in range(2):
        yield f"{flags[name]} "


async def parts_async(flags: Flags, name: str) -> AsyncIterator[str]:
    for _ in range(2):
        await asyncio.sleep(0)
        yield f"{flags[name]} "


def stream(request: HttpRequest, name: str) -> StreamingHttpResponse:
    flags = flags_from(request)
    flags[name]  # before the headers are made
    return StreamingHttpResponse(parts(flags, name))


async def stream_async(request: HttpRequest, name: str) -> StreamingHttpResponse:
    flags = await aflags_from(request, name)
    flags[name]
    return StreamingHttpResponse(parts_async(flags, name))


def file(request: HttpRequest, name: str) -> FileResponse:
    flags_from(request)[name]
    return FileResponse(BytesIO(b"%PDF"), filename="invoice.pdf")


def address(request: HttpRequest) -> JsonResponse:
    """Where the client is, as flaggate sees it, and which process answers."""
    visit = flags_from(request)
    try:
        found = visit.context.ip
    except FlaggateError:  # nobody can tell
        found = None
    return JsonResponse({"address": found, "pid": os.getpid(), "on": visit.is_on("local")})
