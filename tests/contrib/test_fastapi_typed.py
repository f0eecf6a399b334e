"""The app that mypy reads runs too."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.contrib.scenes import Switchboard
from tests.contrib.typed_fastapi_app import create_app


@pytest.mark.parametrize(("path", "text"), [("/new/7", '"new 7"'), ("/later/7", '"later 7"'), ("/both", "[true,true]")])
def test_the_typed_app(board: Switchboard, path: str, text: str) -> None:
    assert TestClient(create_app(board.on("banner"))).get(path).text == text
