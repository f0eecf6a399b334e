"""Definitions: whatever the text, mistakes that can be printed, or flags that can be written down and read again."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from flaggate.console.forms import document_of
from flaggate.errors import DocumentError
from flaggate.flags.canonical import flag_to_json, segment_to_json
from flaggate.flags.document import Definitions, flag_from_json, parse, segment_from_json
from flaggate.flags.words import audience_words, condition_words, guard_words, stage_words
from tests.flags import strategies
from tests.flags.toml_text import toml_text
from tests.fuzz.counting import fuzzed
from tests.fuzz.hostile import ANY_TEXT, mutated
from tests.seed import SEED

_TOML = st.sampled_from(
    ["\n", "[", "[[", "]", "]]", "{", "}", "=", ".", ",", "#", '"', "'", '"""', "\\", "\\u0000", "\\ud800", "0x", "1e", "inf",
     "nan", "true", "1979-05-27T07:32:00Z", "07:32:00", "a.b.c=1", "[flags.a]\n", "[[flags.a.stages]]\n", "\r", "\0"]
) | ANY_TEXT  # fmt: skip
_JSON = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"', "\\u0000", "\\ud800", "NaN", "Infinity", "1e999", "null", "{}", '"flags":', "\0"]
) | ANY_TEXT  # fmt: skip


def read(text: str, syntax: Any) -> Definitions | None:
    try:
        return parse(text, syntax=syntax)
    except DocumentError as error:
        str(error).encode("utf-8", "surrogateescape" if syntax == "toml" else "strict")
        return None


def look(found: Definitions | None) -> None:
    """What was read can be shown, kept, and read again as what it was."""
    if found is None:
        return
    for name, flag in found.flags.items():
        written = flag_to_json(flag)
        assert flag_from_json(name, json.loads(json.dumps(written))) == flag
        for stage in flag.stages:
            stage_words(stage)
        [*condition_words(flag), *map(guard_words, flag.guards), audience_words(flag.deny)]
    for name, segment in found.segments.items():
        assert segment_from_json(name, json.loads(json.dumps(segment_to_json(segment)))) == segment


@fuzzed(60, text=st.just(SEED.read_text()).flatmap(lambda text: mutated(text, _TOML)))
def test_a_plan_with_slips(text: str) -> None:
    look(read(text, "toml"))


@fuzzed(40, document=strategies.definitions(), data=st.data())
def test_definitions_with_slips(document: dict[str, Any], data: st.DataObject) -> None:
    syntax, text, pieces = data.draw(
        st.sampled_from([("json", json.dumps(document), _JSON), ("toml", toml_text(document), _TOML)])
    )
    look(read(data.draw(mutated(text, pieces)), syntax))


@fuzzed(80, text=st.lists(_TOML | _JSON, max_size=12).map("".join), syntax=st.sampled_from(["toml", "json"]))
def test_any_pieces(text: str, syntax: str) -> None:
    look(read(text, syntax))


_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(ANY_TEXT, inside, max_size=3),
    max_leaves=6,
)


@fuzzed(40, document=strategies.definitions().filter(bool), data=st.data())
def test_any_value_in_any_place(document: dict[str, Any], data: st.DataObject) -> None:
    """In a file, and in what a store kept."""
    table: Any = document
    while True:
        keys = list(table) if isinstance(table, dict) else list(range(len(table)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if not isinstance(table[key], (dict, list)) or data.draw(st.booleans()):
            break
        table = table[key]
    table[key] = data.draw(_JSON_VALUES)
    look(read(json.dumps(document), "json"))
    for kind, one in (("flags", flag_from_json), ("segments", segment_from_json)):
        kept = document.get(kind)
        for name, written in kept.items() if isinstance(kept, dict) else ():
            try:
                one(name, written)
            except DocumentError as error:
                str(error)


@fuzzed(30, document=strategies.definitions())
def test_a_flag_copied_as_toml_is_the_flag(document: dict[str, Any]) -> None:
    found = parse(json.dumps(document), syntax="json")
    for name, flag in found.flags.items():
        text = document_of(flag) + "".join(
            f'\n[segments.{segment}]\nunit = "user"\nmembers = []\n' for segment in found.segments
        )
        assert parse(text).flags[name] == flag
