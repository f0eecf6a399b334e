"""No input makes flaggate work for longer than its length is worth."""

from __future__ import annotations

from typing import Final

import pytest

from tests.fuzz.growth import LENGTHS, SHAPES, Shape, console_shapes, measured

_MOST_TIMES: Final = 40
"""Of the time for an eighth of the length: 8 is linear, 64 the square."""
_FLOOR_SECONDS: Final = 0.001


def is_no_worse_than_linear(name: str, shape: Shape) -> None:
    found = measured(shape)
    first, last = found.seconds[0], found.seconds[-1]
    assert last <= _MOST_TIMES * max(first, _FLOOR_SECONDS), f"{name}: {found.seconds} for {LENGTHS} times the length"


@pytest.mark.parametrize("name", SHAPES)
def test_of_what_is_read(name: str) -> None:
    is_no_worse_than_linear(name, SHAPES[name])


def test_of_what_the_console_is_sent() -> None:
    with console_shapes() as shapes:
        for name, shape in shapes.items():
            is_no_worse_than_linear(name, shape)
