"""Texts and values as an attacker, a broken tool or a tired person writes them."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from hypothesis import strategies as st
from itsdangerous import BadData
from itsdangerous.encoding import base64_decode

__all__ = [
    "ANY_TEXT",
    "BYTES",
    "LATIN",
    "ODD_TEXT",
    "VALUES",
    "Slip",
    "is_the_same",
    "mostly",
    "mutated",
    "slipped",
    "slips",
]

ODD_TEXT: Final = st.sampled_from(
    [
        "", " ", "\0", "a\0b", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\ud800", "a\udfffb",
        "\u202e", "e\u0301", "Ⅷ", "١٢٣", "\uff11", "²", "½", "ß", "İ", "1e999999", "1e-999999", "-0", "nan", "inf",
        "-Infinity", "sNaN", "1_000", "0x" + "f" * 40, "9" * 400, "9" * 5000, "1" * 20 + "." + "1" * 20, "__proto__",
        "constructor", "%00", "%ff", "%", "..", "../..", "//", "\\", '"', "'", '"""', "'''", "{{7*7}}", "{%", "${x}", "{0}",
        "<script>", "&amp;", "--", ";", ",", "=", "a=b", "\r\nSet-Cookie: a=b", "\n", "\t", "(" * 60, "[" * 60, "a" * 3000,
        "a." * 150, "-" * 300, ":" * 60, "1.2.3.4", "::1", "::ffff:1.2.3.4", "fe80::1%eth0", "2026-02-30T25:61:61Z",
        "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "24h", "1%", "100.0%", ">=1", "auto", "true",
    ]
)  # fmt: skip
ANY_TEXT: Final = st.text(st.characters(), max_size=30) | ODD_TEXT  # st.characters() has halves of characters too
LATIN: Final = st.text(st.characters(max_codepoint=0xFF), max_size=40)
"""As servers decode headers."""
BYTES: Final = st.binary(max_size=60)


class _Hard:
    """It raises whatever it is asked."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("no")

    __hash__ = None  # type: ignore[assignment]  # as it is

    def __bool__(self) -> bool:
        raise ValueError("no")


_LEAVES: Final = (
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.decimals(allow_nan=True) | st.binary(max_size=9)
    | st.datetimes() | st.dates() | st.timedeltas() | st.complex_numbers() | st.uuids() | st.fractions()
    | st.builds(_Hard) | st.sampled_from([400, 5000]).map(lambda digits: 10**digits)
)  # fmt: skip
VALUES: Final[st.SearchStrategy[Any]] = st.recursive(
    _LEAVES,
    lambda inside: (
        st.lists(inside, max_size=3) | st.tuples(inside) | st.dictionaries(st.text(max_size=5), inside, max_size=3)
    ),
    max_leaves=5,
)
"""What an app may give as a value, by mistake."""


def mostly(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The other now and then."""
    return st.integers(0, 6).flatmap(lambda number: usual if number else other)


def mutated(text: str, pieces: st.SearchStrategy[str] = ANY_TEXT) -> st.SearchStrategy[str]:
    """The text after a few slips."""
    return slips(pieces).map(lambda made: slipped(text, made))


Slip: TypeAlias = tuple[int, int, str, int, str]
"""Where, in 10 000ths; how many characters; what becomes of them, how often, and what comes instead."""


def slips(pieces: st.SearchStrategy[str] = ANY_TEXT) -> st.SearchStrategy[list[Slip]]:
    """Of whatever text: one that differs from run to run, as signed ones do, must not change what is drawn."""
    kinds = st.sampled_from(["gone", "again", "case", "more", "other", "backwards"])
    one = st.tuples(st.integers(0, 9_999), st.integers(0, 12), kinds, st.integers(2, 40), pieces)
    return st.lists(one, min_size=1, max_size=4)


def slipped(text: str, made: list[Slip]) -> str:
    """The text after these."""
    for where, length, kind, times, piece in made:
        begin = where * (len(text) + 1) // 10_000
        part = text[begin : begin + length]
        becomes = {
            "gone": "",
            "again": part * times,
            "case": part.swapcase(),
            "more": part + piece,
            "other": piece,
            "backwards": part[::-1],
        }
        text = text[:begin] + becomes[kind] + text[begin + length :]
    return text


def is_the_same(value: str, signed: str) -> bool:
    """Whether this is what was signed: base64 passes over other characters, and leaves the last bits of a signature open."""
    (said, _, signature), (wanted, _, ours) = value.rpartition("."), signed.rpartition(".")
    try:
        return said == wanted and base64_decode(signature.encode()) == base64_decode(ours.encode())
    except BadData:
        return False
