"""Whatever the document: mistakes or definitions, never another exception, and in time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaggate.errors import DocumentError, Mistake
from flaggate.flags.document import Definitions, flag_from_json, parse, segment_from_json
from flaggate.flags.place import show
from tests.flags import strategies
from tests.flags.toml_text import toml_text


def mistakes_in(text: str, syntax: Any = "json") -> tuple[Mistake, ...]:
    """The mistakes of a text that has some."""
    with pytest.raises(DocumentError) as caught:
        parse(text, syntax=syntax)
    assert caught.value.mistakes
    return caught.value.mistakes


def is_read(text: str, syntax: Any) -> bool:
    try:
        assert isinstance(parse(text, syntax=syntax), Definitions)
    except DocumentError as error:
        str(error).encode()  # it can be printed
        return False
    return True


# --- any value anywhere ---------------------------------------------------------------------------

_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=15,
)
_WORDS = st.sampled_from(
    [
        "flags",
        "segments",
        "templates",
        "template",
        "a",
        "description",
        "owner",
        "stages",
        "name",
        "share",
        "audience",
        "guards",
        "metric",
        "limit",
        "vs_control",
        "slower_than",
        "query",
        "every",
        "for",
        "on_breach",
        "on_shared",
        "observe",
        "soak",
        "hours",
        "unit",
        "members",
        "segment",
        "not",
        "at_least",
        "in_network",
        "city",
    ]
)
_NEARLY = st.recursive(
    _ANYTHING | st.sampled_from(["errors", "slow", "1h", "1%", "GB", "user", 10, True]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(_WORDS, inside, max_size=5),
    max_leaves=25,
)


@given(_ANYTHING | _NEARLY)
def test_any_json_value_is_read_or_refused(value: Any) -> None:
    is_read(json.dumps(value), "json")


@given(_NEARLY)
def test_any_json_value_kept_in_a_store_is_read_or_refused(value: Any) -> None:
    for read in (flag_from_json, segment_from_json):
        try:
            read("a", value)
        except DocumentError as error:
            str(error).encode()


@given(strategies.definitions().filter(bool), st.data())
def test_any_value_in_any_place_is_read_or_refused(document: dict[str, Any], data: st.DataObject) -> None:
    table: Any = document
    while True:
        keys = list(table) if isinstance(table, dict) else range(len(table))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if not isinstance(table[key], (dict, list)) or data.draw(st.booleans()):
            break
        table = table[key]
    table[key] = data.draw(_ANYTHING)
    is_read(json.dumps(document), "json")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for syntax in ("toml", "json"):
        is_read(text, syntax)


@given(strategies.definitions(), st.data())
def test_a_file_that_breaks_off_is_read_or_refused(document: dict[str, Any], data: st.DataObject) -> None:
    for syntax, text in (("json", json.dumps(document)), ("toml", toml_text(document))):
        is_read(text[: data.draw(st.integers(0, len(text)))], syntax)


# --- too deep ---------------------------------------------------------------------------------------

DEPTHS = [100, 400, 900, *range(930, 1000, 3), 2_000, 100_000]
"""Around the interpreter's recursion limit, where reading still goes well and showing may not."""


@pytest.mark.parametrize("depth", DEPTHS)
def test_nested_lists(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    mistakes_in(f'{{"flags": {nested}}}')
    mistakes_in(f"flags = {nested}", "toml")


@pytest.mark.parametrize("depth", DEPTHS)
def test_nested_tables(depth: int) -> None:
    mistakes_in('{"flags": {"a": {"owner":' + '{"a":' * depth + "1.5" + "}" * depth + "}}}")


@pytest.mark.parametrize("depth", [100, 1_000, 3_000])
def test_dotted_keys_nest_without_recursion(depth: int) -> None:
    mistakes_in("flags.a.owner." + "b." * depth + "c = 1.5", "toml")


@pytest.mark.parametrize("key", ["b.", '"b" . ', "'b'.", '"\\"" .'])
@pytest.mark.parametrize(
    "place", ["{0}c = 1", "[{0}c]", "[[ {0}c ]]", "a = {{ x = 1, {0}c = 1 }}", "a = 1\n\t{0}c = 1"]
)
def test_a_key_of_many_parts_is_refused_before_it_takes_long(place: str, key: str) -> None:
    """tomllib takes the square of their number."""
    for parts in (100, 50_000):
        (mistake,) = mistakes_in(place.format(key * parts), "toml")
        assert "a key has more than 100 parts" in mistake.problem
    assert all("parts" not in mistake.problem for mistake in mistakes_in(place.format(key * 99), "toml"))


def test_a_text_of_many_parts_is_no_key() -> None:
    text = "a." * 500
    words = f'description = "{text}"\nowner = """{text} {text}"""  # {text}'
    assert parse(f"[flags.a]\n{words}").flags["a"].description == text


def test_nested_values_from_a_store() -> None:
    nested: Any = 1.5
    for _ in range(100_000):
        nested = {"a": [nested]}
    for read in (flag_from_json, segment_from_json):
        with pytest.raises(DocumentError):
            read("a", {"owner": nested})


# --- too large --------------------------------------------------------------------------------------

NUMBERS = [
    "1e999999",
    "1e-999999",
    "-1e999999",
    "1" + "0" * 4000,
    "1" + "0" * 5000,
    "0." + "1" * 100_000,
    "1e9999999999999999999",
]
PLACES = [
    '{{"flags": {0}}}',
    '{{"flags": {{"a": {{"owner": {0}}}}}}}',
    '{{"flags": {{"a": {{"description": "A", "owner": "o", "audience": {{"seats": [{0}, "x", null]}}}}}}}}',
    '{{"flags": {{"a": {{"description": "A", "owner": "o", "audience": {{"city_id": [{0}, "x"]}}}}}}}}',
    '{{"flags": {{"a": {{"description": "A", "owner": "o", "audience": {{"seats": {{"below": {0}, "prefix": 1}}}}}}}}}}',
    '{{"flags": {{"a": {{"stages": [{{"share": {0}, "min_sample": {0}, "guards": [{{"vs_control": {0}}}]}}]}}}}}}',
    '{{"flags": {{"a": {{"guards": [{{"metric": "queue", "query": "up", "limit": {0}, "every": {0}, "for": {0}}}]}}}}}}',
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:9])
def test_numbers_beyond_reason(number: str, place: str) -> None:
    mistakes_in(place.format(number))


@pytest.mark.parametrize("digits", [15, 16, 17, 300, 100_000])
def test_hexadecimal_numbers_of_any_length(digits: int) -> None:
    """int() takes those of any length, str() does not."""
    number = "0x" + "f" * digits
    flag = '[flags.a]\ndescription = "A"\nowner = "owner@example.com"\naudience = {{ seats = {} }}'
    assert is_read(flag.format(number), "toml") == (digits == 15)
    assert is_read(flag.format(f"{{ at_least = {number} }}"), "toml") == (digits == 15)
    mistakes_in(f"[[flags.a.stages]]\nshare = {number}\nmin_sample = {number}", "toml")


LONG = "9" * 100_000


@pytest.mark.parametrize(
    "flag",
    [
        {"stages": [{"name": "a" * 100_000, "soak": LONG + "d"}, {"name": "b", "soak": "9" * 39 + "d"}]},
        {"stages": [{"name": "a", "hours": "Mon 09:00-16:00 " + LONG}, {"name": "b"}]},
        {"guards": [{"metric": LONG, "limit": LONG + "%", "slower_than": LONG + "ms", LONG: LONG}]},
        {"guards": [{"metric": "a" * 65, "query": LONG, "at_least": LONG, "every": LONG + "s", "for": "9" * 39 + "s"}]},
        {"audience": {"app": {"version": ">=" + LONG, "in_network": LONG, "before": LONG, LONG: LONG}}},
        {"audience": {"app": {"version": ">=" + "9" * 4500}}},
        {"audience": {LONG: {str(number): number for number in range(1000)}}},
        {"deputies": [LONG, LONG], LONG: 1},
        {LONG: {LONG: {LONG: LONG}}},
    ],
    ids=lambda flag: next(iter(flag))[:10],
)
def test_long_texts_are_refused_and_shown_short(flag: dict[str, Any]) -> None:
    document = {"flags": {"a": {"description": "A", "owner": "o"} | flag}}
    for mistake in mistakes_in(json.dumps(document)):
        assert len(str(mistake)) < 1000


def test_a_long_name_with_many_mistakes_is_not_repeated_in_full() -> None:
    long, many = "x" * 1_000_000, {f"key{number}": number for number in range(2_000)}
    mistakes = mistakes_in(json.dumps({"flags": {long: many, "a": {"audience": {long: many}}}}))
    assert len(mistakes) > 4_000
    assert max(len(str(mistake)) for mistake in mistakes) < 1000


# --- many: what would take hours if it took the square of the length --------------------------------


def test_twenty_thousand_falling_shares() -> None:
    stages = [{"name": f"s{n}", "share": (20_000 - n) / 1000, "soak": "0s"} for n in range(20_000)] + [{"name": "all"}]
    document = {"flags": {"a": {"description": "A", "owner": "o", "stages": stages}}}
    assert len(mistakes_in(json.dumps(document))) == 19_999


def test_twenty_thousand_stages_of_one_name() -> None:
    stages = [{"name": "same", "soak": "0s"}] * 20_000 + [{"name": "all"}]
    document = {"flags": {"a": {"description": "A", "owner": "o", "stages": stages}}}
    assert len(mistakes_in(json.dumps(document))) == 19_999


def test_a_key_twice_among_a_hundred_thousand() -> None:
    pairs = ", ".join(f'"k{number}": 1' for number in range(100_000))
    (mistake,) = mistakes_in(f'{{{pairs}, "k99999": 2}}')
    assert '"k99999"' in mistake.problem


def test_thousands_of_flags_of_one_template() -> None:
    template = {"stages": [{"name": "tenth", "share": 10, "soak": "24h"}, {"name": "everyone"}]}
    flag = {"description": "A", "owner": "o", "template": "a"}
    document = {"templates": {"a": template}, "flags": {f"flag-{number}": flag for number in range(3_000)}}
    assert len(parse(json.dumps(document), syntax="json").flags) == 3_000


def test_thousands_of_unknown_among_thousands_of_templates_and_of_stages() -> None:
    stages = [{"name": f"stage-{number}", "soak": "0s"} for number in range(3_000)] + [{"name": "everyone"}]
    known = {f"template-{number}": {"stages": [{"name": "everyone"}]} for number in range(3_000)}
    plain = {"description": "A", "owner": "o"}
    lost = {f"lost-{number}": plain | {"template": f"tepmlate-{number}"} for number in range(3_000)}
    wrong = plain | {"template": "long", "stages": [{"name": f"satge-{number}"} for number in range(3_000)]}
    document = {"templates": known | {"long": {"stages": stages}}, "flags": lost | {"wrong": wrong}}
    mistakes = mistakes_in(json.dumps(document))
    assert len(mistakes) == 6_000
    assert max(len(str(mistake)) for mistake in mistakes) < 1_000


def test_thousands_of_unknown_among_thousands_of_segments() -> None:
    known = {f"segment-{number}": {"unit": "user", "members": []} for number in range(3_000)}
    asked = {"segment": [f"sgement-{number}" for number in range(3_000)]}
    flag = {"description": "A", "owner": "o", "audience": asked}
    mistakes = mistakes_in(json.dumps({"flags": {"a": flag}, "segments": known}))
    assert len(mistakes) == 3_000
    assert "did you mean" in mistakes[0].allowed


# --- odd characters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a.b", 'flags."a.b"'),
        ("a\nflags.toml: flags.b: fine", 'flags."a\\nflags.toml: flags.b: fine"'),
        ("", 'flags.""'),
        ('"', 'flags."\\""'),
        ("ä", 'flags."ä"'),
        ("\x00", 'flags."\\u0000"'),
    ],
)
def test_a_path_quotes_what_is_no_bare_key(key: str, path: str) -> None:
    assert {mistake.path for mistake in mistakes_in(json.dumps({"flags": {key: {}}}))} == {path}


@pytest.mark.parametrize(
    "text", ['"\\ud800"', '{"\\udfff": 1}', '{"segments": {"a": {"unit": "user", "members": ["\\ud83d"]}}}']
)
def test_half_a_character_is_refused(text: str) -> None:
    """No store, hash or terminal takes it."""
    (mistake,) = mistakes_in(text)
    str(mistake).encode()


def test_whole_characters_of_any_plane_are_taken() -> None:
    text = '{"segments": {"a": {"unit": "user", "members": ["\\ud83c\\udf89", "\\u0000", "\\u202e", "e\\u0301"]}}}'
    assert parse(text, syntax="json").segments["a"].members == {"🎉", "\0", "\u202e", "e\u0301"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a" * 100, '"' + "a" * 56 + "..."),
        ({"a": [1, None, True, 1.5]}, '{"a": [1, null, true, 1.5]}'),
        ([[[[[1]]]]], "[[[[...]]]]"),
        (2**2000, "a number of 2001 bits"),
    ],
)
def test_a_value_is_shown_as_written_and_cut(value: object, shown: str) -> None:
    assert show(value) == shown
