"""What these tests share: more flags, the hand on their switches, and a browser on an event loop."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import AsyncClient, Client

from flaggate.contrib.django import gate
from flaggate.rollout.state import Verb
from tests.contrib.scenes import FLAGS, Switchboard
from tests.runtime.scenes import bring, turn

MEMBER = "5f3c1f9e-3c0b-4a61-9d0a-0d6d5a1c7e11"
MORE_FLAGS = f"""
[flags.beta]
description = "Reads the groups"
owner = "owner@example.com"
audience = {{ group = "beta" }}

[flags.personal]
description = "Reads the user's key"
owner = "owner@example.com"
audience = {{ user = ["7", "{MEMBER}"] }}

[flags.spacious]
description = "Reads what is the shop's own"
owner = "owner@example.com"
audience = {{ seats = {{ at_least = 10 }} }}
"""


class ShopBoard(Switchboard):
    """The project's own gate, with all flags there, and off."""

    def __init__(self) -> None:
        self.gate = gate()
        self.store = self.gate.store
        bring(self.store, FLAGS + MORE_FLAGS)
        self.gate.refresh()


def kill(name: str) -> None:
    """As it arrives while a request is served."""
    turn(gate().store, Verb.KILL, name)
    gate().refresh()


def client_of(user: User | None = None) -> Client:
    """A browser in which this one is signed in; exceptions are answered, as by a server."""
    client = Client(raise_request_exception=False)
    if user is not None:
        client.force_login(user)
    return client


def get_async(path: str, user: User | None = None, **options: Any) -> Any:
    """The same on an event loop."""
    client = AsyncClient(raise_request_exception=False)
    if user is not None:
        client.force_login(user)
    return async_to_sync(client.get)(path, **options)


def got(response: Any) -> tuple[int, str]:
    """Status and text."""
    return response.status_code, response.content.decode()
