"""The only hash of the project: a unit's fixed place among 100 000.

Frozen for ever. MurmurHash3 x86 32-bit (Austin Appleby, public domain), seed 0, over the UTF-8 text
`salt:key`, scaled to 0..99 999 by multiplication. docs/bucket.md publishes fifty vectors.
"""

from __future__ import annotations

from typing import Final

import mmh3

__all__ = ["BUCKETS", "EXPRESSION", "bucket", "fingerprint", "murmur3", "prefix"]

BUCKETS: Final = 100_000

# Of bytes, never of str: mmh3 takes the process down on half a character ("\ud800"), which str.encode refuses.
murmur3 = mmh3.mmh3_32_uintdigest

EXPRESSION: Final = "murmur3((prefix + {key}).encode()) * 100_000 >> 32"
"""`bucket` as source, for the functions that `flaggate.decide.compile` writes: `key` is an expression."""


def prefix(salt: str) -> str:
    """What stands before the key in the hashed text."""
    return f"{salt}:"


def bucket(salt: str, key: str) -> int:
    """The place of a unit, 0..99 999: in if it is below the share in thousandths of a percent.

    Raises:
        UnicodeEncodeError: for text that UTF-8 cannot hold.
    """
    return murmur3((prefix(salt) + key).encode()) * BUCKETS >> 32


def fingerprint(text: str) -> str:
    """128 bits of a text in hex: tells two definitions files apart. Not against forgery."""
    return mmh3.hash_bytes(text.encode()).hex()
