"""The bucket is frozen: the code, the published vectors, the page about them and the oracle agree."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaggate import Context
from flaggate.decide.bucket import bucket, fingerprint
from tests import oracle
from tests.decide.seed_plan import at_stage, compiled_at

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "bucket.md").read_text(encoding="utf-8")
VECTORS: list[tuple[str, str, int]] = [
    (salt, key, place) for salt, key, place in json.loads((DOCS / "bucket-vectors.json").read_text(encoding="utf-8"))
]


def _code_of_the_page() -> Callable[[str, str], int]:
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 1
    exec(blocks[0], names)
    code: Callable[[str, str], int] = names["bucket"]
    return code


@pytest.mark.parametrize("compute", [bucket, oracle.bucket, _code_of_the_page()], ids=["flaggate", "oracle", "page"])
def test_everyone_computes_the_published_vectors(compute: Callable[[str, str], int]) -> None:
    assert [(salt, key, compute(salt, key)) for salt, key, _ in VECTORS] == VECTORS


def test_there_are_fifty_vectors_that_reach_every_corner() -> None:
    assert len({(salt, key) for salt, key, _ in VECTORS}) == 50
    keys = [key for _, key, _ in VECTORS]
    assert {len(key.encode()) for salt, key, _ in VECTORS if not salt} == set(range(9))
    assert {0, 9_999, 10_000, 49_999, 50_000, 99_999} <= {place for _, _, place in VECTORS}
    assert any(len(key) > 250 for key in keys)
    assert any(ord(letter) > 0xFFFF for key in keys for letter in key)
    assert any("\u0301" in key for key in keys)


def test_the_table_of_the_page_is_made_of_vectors() -> None:
    rows = re.findall(r"^\| (\(empty\)|`[^`]+`) \| (\(empty\)|`[^`]+`) \| (\d+) \|", PAGE, re.MULTILINE)
    shown = [tuple("" if text == "(empty)" else text.strip("`") for text in (salt, key)) for salt, key, _ in rows]
    assert len(shown) == 11
    assert {(salt, key, int(row[2])) for (salt, key), row in zip(shown, rows, strict=True)} <= set(VECTORS)


@given(salt=st.text(), key=st.text())
def test_the_oracle_agrees_about_any_text(salt: str, key: str) -> None:
    place = bucket(salt, key)
    assert place == oracle.bucket(salt, key)
    assert 0 <= place < 100_000


@pytest.mark.parametrize("text", ["\ud800", "u-\udfff", "\udc80" * 40])
def test_half_a_character_is_an_error_that_can_be_caught(text: str) -> None:
    """UTF-8 has no bytes for it. As a key it makes the decision a fault, and nothing worse."""
    for salt, key in ((text, "u-1"), ("new-invoicing", text)):
        with pytest.raises(UnicodeEncodeError):
            bucket(salt, key)
    with pytest.raises(UnicodeEncodeError):
        compiled_at(at_stage(4)).decide(Context(text))


def test_known_values_of_murmur3_hold_the_oracle_itself() -> None:
    """Test values that circulate with Appleby's code, so that the two sides here are not wrong together."""
    assert oracle.murmur3(b"") == 0
    assert oracle.murmur3(b"test") == 0xBA6BD213
    assert oracle.murmur3(b"Hello, world!") == 0xC0363E43
    assert oracle.murmur3(b"The quick brown fox jumps over the lazy dog") == 0x2E4FF723


def test_buckets_are_spread_evenly() -> None:
    """Chi-square over 100 equal bins of 50 000 keys: 99 degrees of freedom, mean 99, deviation 14.1; bound 6 of them."""
    counts = [0] * 100
    for number in range(50_000):
        counts[bucket("new-invoicing", str(number)) // 1000] += 1
    assert sum((count - 500) ** 2 / 500 for count in counts) < 99 + 6 * 14.1


def test_two_salts_are_independent() -> None:
    """Of 20 000 keys in the first half by one salt, half are so by the other: +- 6 deviations of the binomial."""
    both = sum(bucket("a", str(n)) < 50_000 and bucket("b", str(n)) < 50_000 for n in range(20_000))
    assert abs(both - 5_000) < 6 * (20_000 * 0.25 * 0.75) ** 0.5


def test_a_fingerprint_tells_texts_apart_and_stays() -> None:
    texts = ["", "a", "a ", "b", "ä", "a\n"]
    prints = {fingerprint(text) for text in texts}
    assert len(prints) == len(texts)
    assert {len(one) for one in prints} == {32}
    assert fingerprint("flaggate") == fingerprint("flag" + "gate")
