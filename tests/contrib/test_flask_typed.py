"""The app that mypy reads runs too."""

from __future__ import annotations

import pytest

from tests.contrib.scenes import Switchboard
from tests.contrib.typed_flask_app import create_another, create_app


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", '{"call":true,"item":true}\n'),
        ("/7", "invoice 7"),
        ("/later/7", "later 7"),
        ("/more/7", "new 7"),
    ],
)
def test_the_typed_app(board: Switchboard, path: str, text: str) -> None:
    assert create_app(board.on("banner")).test_client().get(path).text == text


def test_the_other_app(board: Switchboard) -> None:
    assert create_another(board.gate).test_client().get("/7").text == "old 7"
