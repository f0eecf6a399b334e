"""Errors carry what they are about."""

from __future__ import annotations

import pytest

from flaggate import errors
from flaggate.errors import (
    ConflictError,
    DocumentError,
    FlaggateError,
    Mistake,
    MoveError,
    OvertakenError,
    RevisionError,
    SettingError,
    StoreError,
    UnknownFlagError,
    closest,
)


def test_every_error_is_a_flaggate_error() -> None:
    raised = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert raised
    assert all(issubclass(error, FlaggateError) for error in raised)


def test_a_document_error_lists_its_mistakes_line_by_line() -> None:
    first = Mistake("flags.toml", "flags.a.owner", "3 is not allowed", "allowed: text")
    second = Mistake("flags.toml", "", "it cannot be read", "allowed: a UTF-8 file")
    error = DocumentError([first, second])
    assert error.mistakes == (first, second)
    assert str(error).splitlines() == [
        "flags.toml: flags.a.owner: 3 is not allowed; allowed: text",
        "flags.toml: it cannot be read; allowed: a UTF-8 file",
    ]


def test_an_unknown_flag_suggests_the_closest() -> None:
    error = UnknownFlagError("new-invocing", ["banner", "new-invoicing"])
    assert (error.name, error.suggestion) == ("new-invocing", "new-invoicing")
    assert str(error) == 'there is no flag "new-invocing"; did you mean "new-invoicing"?'
    assert UnknownFlagError("x", []).suggestion is None
    assert str(UnknownFlagError("x", ["banner"])) == 'there is no flag "x"'


def test_a_move_error_says_why_and_what_is_legal() -> None:
    error = MoveError("banner", "advance", "it is a switch", ["on", "kill"])
    assert (error.flag, error.verb, error.why, error.legal) == ("banner", "advance", "it is a switch", ("on", "kill"))
    assert str(error) == "banner: advance refused: it is a switch. Legal now: on, kill."


@pytest.mark.parametrize(
    ("value", "shown"),
    [("10.0.0.1/8", "10.0.0.1/8"), ("", "''"), (None, "None"), (["a"], "['a']"), ("a\n", r"'a\n'"), ("\udcff", r"'\udcff'")],
)  # fmt: skip
def test_a_setting_error_shows_the_value_and_what_is_allowed(value: object, shown: str) -> None:
    error = SettingError("trusted_proxies", value, "a network")
    assert (error.setting, error.value, error.allowed) == ("trusted_proxies", value, "a network")
    assert str(error) == f"trusted_proxies: {shown}; allowed: a network"
    str(error).encode()  # it can be printed


def test_a_revision_error_lists_its_refusals() -> None:
    error = RevisionError(["one", "two"])
    assert error.refusals == ("one", "two")
    assert str(error) == "one\ntwo"


def test_a_conflict_is_a_store_error_with_both_versions() -> None:
    error = ConflictError("sqlite:///flags.db", "flag", "banner", expected=3, found=4)
    assert isinstance(error, StoreError)
    assert (error.url, error.kind, error.name, error.expected, error.found) == (
        "sqlite:///flags.db",
        "flag",
        "banner",
        3,
        4,
    )
    assert str(error) == "sqlite:///flags.db: flag banner is at version 4, not 3"


def test_who_was_overtaken_is_told_by_what() -> None:
    error = OvertakenError("banner", ["kill by ops"])
    assert (error.name, error.meanwhile) == ("banner", ("kill by ops",))
    assert "banner was changed meanwhile (kill by ops)" in str(error)
    assert "no event of it is kept" in str(OvertakenError("banner", []))


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("onwer", ["owner", "unit"], "owner"),
        ("owner", ["owner"], "owner"),
        ("colour", ["unit", "deny"], None),
        ("x", [], None),
        ("", ["a"], None),
        ("owner" * 100, ["owner" * 100], None),  # too long to be a slip, and to search for
    ],
)
def test_the_closest_word(word: str, known: list[str], expected: str | None) -> None:
    assert closest(word, known) == expected
