"""The visitor's cookie: only what we signed is believed, whatever else a browser sends."""

from __future__ import annotations

import hashlib
import re
from http.cookies import SimpleCookie
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from flaggate.errors import SettingError
from flaggate.web.visitor import COOKIE, Visitors

VISITORS = Visitors(["the key that signs"])


def signed(key: str, visitors: Visitors = VISITORS) -> str:
    """The cookie's value as a browser sends it back."""
    value = SimpleCookie(visitors.cookie(key, is_https=True))[COOKIE].value
    assert isinstance(value, str)
    return value


def known(value: str, visitors: Visitors = VISITORS) -> str | None:
    return visitors.known([f"{COOKIE}={value}"])


# --- what a browser gets --------------------------------------------------------------------------


def test_a_key_cannot_be_guessed() -> None:
    keys = {VISITORS.draw() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", key) for key in keys)  # 128 bits


def test_it_comes_back_as_it_was_sent() -> None:
    key = VISITORS.draw()
    assert known(signed(key)) == key
    assert len(signed(key)) < 100


@pytest.mark.parametrize("is_https", [True, False])
def test_the_cookie_is_sent_to_all_of_the_app_and_read_by_no_script(is_https: bool) -> None:
    parts = VISITORS.cookie("key", is_https=is_https).split("; ")
    assert parts[0].startswith(f"{COOKIE}=key.")
    assert parts[1:] == ["Path=/", "Max-Age=34560000", "HttpOnly", "SameSite=Lax", *["Secure"][: int(is_https)]]


def test_one_key_has_one_cookie() -> None:
    assert signed("key") == signed("key")
    assert signed("key") != signed("yek")


# --- what a browser sends -------------------------------------------------------------------------

_GOOD = signed("somebody")


@pytest.mark.parametrize(
    "headers",
    [
        [f"{COOKIE}={_GOOD}"],
        [f"a=b; {COOKIE}={_GOOD}; c=d"],
        [f"a=b;{COOKIE}={_GOOD}"],
        [f"  {COOKIE}={_GOOD}  ;"],
        ["a=b", f"{COOKIE}={_GOOD}"],  # HTTP/2 may send each in a line of its own
        [f"a=b,{COOKIE}={_GOOD},c=d"],  # as gunicorn joins two lines
        [f"a=b, {COOKIE}={_GOOD}"],  # uWSGI and waitress
        [f"{COOKIE}=forged.x; {COOKIE}={_GOOD}"],  # one that another host of the domain has set
        [f"{COOKIE}={_GOOD}; {COOKIE}=forged.x"],
        [f"{COOKIE}={_GOOD}; {COOKIE}={signed('second')}"],
        [f"{COOKIE}=; {COOKIE}; {COOKIE}={'x' * 10_000}; {COOKIE}={_GOOD}"],
        [f'quoted="a; {COOKIE}={_GOOD}; b"'],  # browsers know no quotes
        ["\xff\xfe=\x00; é", f"{COOKIE}={_GOOD}"],
    ],
)
def test_the_first_that_we_signed_is_believed(headers: list[str]) -> None:
    assert VISITORS.known(headers) == "somebody"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        [";;; ;"],
        [COOKIE],
        [f"{COOKIE}="],
        [f"{COOKIE}=somebody"],
        [f"{COOKIE}=somebody."],
        [f"{COOKIE}=."],
        [f"{COOKIE}=.."],
        [f"{COOKIE}==={_GOOD}"],
        [f"{COOKIE}={_GOOD[:-1]}"],
        [f"{COOKIE}={_GOOD[1:]}"],
        [f"{COOKIE}={_GOOD}.{_GOOD}"],
        [f"{COOKIE}=x{_GOOD}"],
        [f"{COOKIE}={_GOOD.replace('somebody', 'everybody')}"],
        [f"{COOKIE}={_GOOD.swapcase()}"],
        [f'{COOKIE}="{_GOOD}"'],  # we send no quotes, so that none come back
        [f"{COOKIE} ={_GOOD}"],
        [f"{COOKIE.upper()}={_GOOD}"],
        [f"x{COOKIE}={_GOOD}"],
        [f"x={COOKIE}={_GOOD}"],
        [f"{COOKIE}=someb\xf6dy.{_GOOD.rpartition('.')[2]}"],
        [f"{COOKIE}=\udcff.{_GOOD.rpartition('.')[2]}"],
        [f"{COOKIE}=\u20ac.\u20ac"],
        [f"{COOKIE}={_GOOD.rpartition('.')[0]}.\xff"],
        [f"{COOKIE}={'x' * 65_536}.{_GOOD.rpartition('.')[2]}"],
    ],
)
def test_what_we_did_not_sign_is_not_believed(headers: list[str]) -> None:
    assert VISITORS.known(headers) is None


def test_what_we_would_not_send_is_not_believed() -> None:
    """Signed with our key and for this, and still no key of a visitor."""
    signer = Visitors(["the key that signs"])._signer
    assert known(signer.sign("é").decode("utf-8")) is None
    assert known(signer.sign("x" * 200).decode("ascii")) is None


@pytest.mark.parametrize("salt", ["itsdangerous.Signer", "cookie-session", "flaggate", ""])
def test_what_the_app_signed_for_something_else_is_not_believed(salt: str) -> None:
    """A session's cookie, say, that has the same key."""
    for derivation in ("hmac", "django-concat", "concat", "none"):
        for digest in (hashlib.sha1, hashlib.sha256):
            other = Signer("the key that signs", salt=salt, key_derivation=derivation, digest_method=digest)
            assert known(other.sign("somebody").decode("ascii")) is None


@given(st.text(st.characters(max_codepoint=0xFF)) | st.text(), st.integers(0, len(_GOOD)), st.integers(0, 3))
def test_nobody_changes_a_key(junk: str, at: int, cut: int) -> None:
    changed = _GOOD[:at] + junk + _GOOD[at + cut :]
    assert known(changed) in (None, "somebody")
    assert VISITORS.known([junk, f"{COOKIE}={junk}"]) is None


# --- keys -----------------------------------------------------------------------------------------


def test_another_key_signs_for_somebody_else() -> None:
    assert known(_GOOD, Visitors(["another key"])) is None
    assert known(_GOOD, Visitors(["the key that signs "])) is None


def test_the_first_key_signs_and_the_others_are_believed() -> None:
    old, new = Visitors(["old"]), Visitors(["new"])
    rotated = Visitors(["new", "old", "older"])
    assert signed("x", rotated) == signed("x", new)
    assert known(signed("x", old), rotated) == "x"
    assert known(signed("x", Visitors(["older"])), rotated) == "x"
    assert known(signed("x", rotated), old) is None
    assert known(signed("x", old), Visitors(["new", "older"])) is None  # gone


def test_a_key_may_be_text_or_bytes() -> None:
    assert known(signed("x", Visitors(["schlüssel"])), Visitors(["schlüssel".encode()])) == "x"
    assert known(signed("x", Visitors(("new", b"old"))), Visitors(iter([b"new"]))) == "x"
    from_environ = Visitors(["\udcff\udcfe"])  # bytes that are no UTF-8, as os.environ gives them
    assert known(signed("x", from_environ), from_environ) == "x"


@pytest.mark.parametrize(
    "wrong", ["one-secret", b"one-secret", "", [], (), [""], [b""], ["secret", ""], [None], ["secret", 5], None, 5]
)
def test_wrong_keys_are_told_and_not_shown(wrong: Any) -> None:
    with pytest.raises(SettingError) as caught:
        Visitors(wrong)
    assert caught.value.setting == "secret_keys"
    assert re.match(r"secret_keys: \(not shown\); allowed: .*keys", str(caught.value))
    assert "secret'" not in repr(caught.value)
    assert "one-secret" not in repr(caught.value)
