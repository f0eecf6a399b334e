"""Every file in wrong/ is told each of its mistakes, and no other."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from flaggate.errors import DocumentError
from flaggate.runtime.definitions import load

WRONG = Path(__file__).parent / "wrong"
EXPECTED: dict[str, list[list[str]]] = tomllib.loads((WRONG / "expected.toml").read_text(encoding="utf-8"))


def test_every_wrong_file_has_an_expectation() -> None:
    files = {path.name for path in WRONG.iterdir() if path.suffix in {".toml", ".json"}}
    assert files - {"expected.toml"} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_names_exactly_the_mistakes(name: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load(WRONG / name)
    mistakes = caught.value.mistakes
    assert [mistake.path for mistake in mistakes] == [path for path, _, _ in EXPECTED[name]]
    for mistake, (path, problem, allowed) in zip(mistakes, EXPECTED[name], strict=True):
        assert mistake.source == str(WRONG / name)
        assert problem in mistake.problem
        assert allowed in mistake.allowed
        line = str(mistake)
        assert line.startswith(f"{WRONG / name}: {path}")
        assert "\n" not in line
        assert line in str(caught.value)
