"""The JSON Schema for editors never refuses what `parse` takes."""

from __future__ import annotations

import copy
import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flaggate.errors import DocumentError
from flaggate.flags.document import json_schema, parse
from tests.flags import strategies
from tests.seed import SEED

WRONG = Path(__file__).parent / "wrong"
VALIDATOR = Draft202012Validator(json_schema())

ONLY_PARSE_KNOWS = {
    "duplicate-stages.toml",
    "falling-share.toml",
    "last-stage-with-conditions.toml",
    "members-file-empty.toml",
    "members-file-missing.toml",
    "members-file-not-utf8.toml",
    "naive-moment.toml",
    "no-control-in-plan.toml",
    "stage-without-condition.toml",
    "template-plan.toml",
    "unknown-segment.toml",
}
"""What one table says about another, what a text means, and what other files hold."""

NO_DOCUMENT = {
    "beyond-numbers.toml",
    "half-a-character.json",
    "latin-1.toml",
    "syntax.json",
    "syntax.toml",
    "twice.json",
    "twice.toml",
}
"""These never become a document that a schema could see."""


def document_in(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    return json.loads(json.dumps(tomllib.loads(text), default=date.isoformat))


def with_guard(guard: Any) -> Any:
    """A flag with that guard, in a stage with a control."""
    stages = [{"name": "tenth", "share": 10, "soak": "24h"}, {"name": "everyone"}]
    flag = {"description": "A", "owner": "owner@example.com", "stages": stages, "guards": [guard]}
    return {"flags": {"a": flag}}


def is_parsed(document: Any) -> bool:
    try:
        parse(json.dumps(document), syntax="json")
    except DocumentError:
        return False
    return True


def test_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert json.loads(json.dumps(json_schema())) == json_schema()


def test_takes_the_seed_plan() -> None:
    VALIDATOR.validate(document_in(SEED))


@given(strategies.definitions())
def test_takes_every_document_without_a_mistake(document: dict[str, Any]) -> None:
    VALIDATOR.validate(document)


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted(WRONG.glob("*.*"))
        if path.name not in NO_DOCUMENT | {"expected.toml"} and path.suffix != ".txt"
    ],
    ids=lambda path: path.name,
)
def test_refuses_the_wrong_files_but_for_what_only_parse_knows(path: Path) -> None:
    assert VALIDATOR.is_valid(document_in(path)) == (path.name in ONLY_PARSE_KNOWS)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "metric": st.sampled_from(["errors", "slow", "checkout_failed", "requests"]),
            "limit": st.sampled_from(["1%", 1]),
            "at_least": st.sampled_from(["5%", 0.5]),
            "vs_control": st.just(1.25),
            "slower_than": st.just("400ms"),
            "query": st.sampled_from(["up", ""]),
            "every": st.just("30s"),
            "for": st.just("5m"),
            "on_breach": st.sampled_from(["rollback", "hold", "warn"]),
            "on_no_data": st.just("hold"),
            "on_shared": st.just("hold"),
            "observe": st.booleans(),
        },
    )
    | strategies.guards(with_control=True)
)
def test_refuses_of_guards_what_parse_refuses(guard: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid(with_guard(guard)) == is_parsed(with_guard(guard))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all keys and items."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in pairs for found in [(*path, key), *places(item, (*path, key))]]


_JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, 1, -1, 2.5, 1e3, "", " ", "x", "UK", "1%", "1h", "24:00", [], {}, [[]], [{}], {"not": 1}]
)
_KEYS = st.sampled_from(
    [
        "Name",
        "share",
        "soak",
        "segment",
        "groups",
        "audience",
        "limit",
        "slower_than",
        "at_least",
        "vs_control",
        "query",
        "for",
        "on_shared",
        "observe",
        "x y",
        "unit",
        "template",
        "not_before",
    ]
)


@given(strategies.definitions().filter(bool), st.data())
def test_refuses_nothing_that_parse_takes(document: dict[str, Any], data: st.DataObject) -> None:
    mutated = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 2))):
        *outer, key = data.draw(st.sampled_from(places(mutated) or [("flags",)]))
        table = mutated
        for step in outer:
            table = table[step]
        match data.draw(st.sampled_from(["drop", "rename", "replace"])):
            case "rename" if isinstance(table, dict) and key in table:
                table[data.draw(_KEYS)] = table.pop(key)
            case "drop" if not isinstance(table, dict) or key in table:
                del table[key]
            case _:
                table[key] = copy.deepcopy(data.draw(_JUNK))  # the next round may write into it
    if is_parsed(mutated):
        VALIDATOR.validate(mutated)
