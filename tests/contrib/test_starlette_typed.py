"""The app that mypy reads runs too."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.contrib.scenes import Switchboard
from tests.contrib.typed_starlette_app import create_another, create_app


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", '{"item":true,"call":true}'),
        ("/new", "new"),
        ("/later", "later"),
        ("/invoices", "invoices"),
        ("/more/new", "new"),
    ],
)
def test_the_typed_app(board: Switchboard, path: str, text: str) -> None:
    assert TestClient(create_app(board.on("banner"))).get(path).text == text


def test_the_other_app(board: Switchboard) -> None:
    assert TestClient(create_another(board.gate)).get("/").text == "old"
