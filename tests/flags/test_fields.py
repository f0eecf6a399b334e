"""Single values: how they are read, and how they are written again."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flaggate.flags import fields
from flaggate.flags.model import Hours
from flaggate.flags.place import Kind, Place


def read(kind: Kind, value: object) -> Any:
    """What the kind makes of a value; a mistake fails the test."""
    place = Place("<test>")
    found = kind.read(value, place)
    assert place.mistakes == []
    return found


def is_refused(kind: Kind, value: object) -> bool:
    place = Place("<test>")
    found = kind.read(value, place)
    assert (found is None) == bool(place.mistakes)
    return found is None


# --- durations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("45m", 2700),
        ("24h", 86_400),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("3000ms", 3),
        ("3650d", 315_360_000),
    ],
)
def test_a_duration_in_seconds(text: str, seconds: int) -> None:
    assert read(fields.SECONDS, text) == seconds


@pytest.mark.parametrize(
    "value",
    ["", "1", "h", "1 h", "1.5h", "-1h", "1w", "1H", "400ms", "3650d1s", "٣h", "1h\n", "9" * 30 + "d", "1s" * 50, 60, None, True],
)  # fmt: skip
def test_no_duration_in_seconds(value: object) -> None:
    assert is_refused(fields.SECONDS, value)


def test_a_request_may_be_slow_from_milliseconds_on_but_not_from_zero() -> None:
    assert read(fields.MILLISECONDS, "400ms") == 400
    assert read(fields.MILLISECONDS, "1s500ms") == 1500
    assert is_refused(fields.MILLISECONDS, "0ms")


def test_a_duration_within_bounds_says_them() -> None:
    kind = fields.seconds_between(5, 3600)
    assert (read(kind, "5s"), read(kind, "1h")) == (5, 3600)
    assert all(is_refused(kind, value) for value in ("4s", "3601s", "5500ms", "0s", 30, "often"))
    place = Place("<test>", "every")
    kind.read("4s", place)
    assert place.mistakes[0].allowed.startswith("allowed: a duration in whole seconds, 5s to 1h")


@given(st.integers(0, 315_360_000))
@example(0)
def test_a_duration_reads_back(seconds: int) -> None:
    assert read(fields.SECONDS, fields.duration_text(seconds * 1000)) == seconds


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0s"), (400, "400ms"), (1500, "1500ms"), (90_000, "90s"), (2_700_000, "45m"), (86_400_000, "24h")],
)
def test_a_duration_is_written_in_the_largest_whole_unit(milliseconds: int, text: str) -> None:
    assert fields.duration_text(milliseconds) == text


# --- hours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("Mon-Fri 09:00-16:00 Europe/London", Hours((0, 1, 2, 3, 4), 540, 960, "Europe/London")),
        ("Wed 00:00-24:00 UTC", Hours((2,), 0, 1440, "UTC")),
        ("Sat-Mon 23:58-23:59 Etc/GMT+5", Hours((5, 6, 0), 1438, 1439, "Etc/GMT+5")),
        ("Tue-Mon 08:30-17:45 UTC", Hours((1, 2, 3, 4, 5, 6, 0), 510, 1065, "UTC")),
    ],
)
def test_hours_read_and_are_written_as_they_were(text: str, hours: Hours) -> None:
    assert read(fields.HOURS, text) == hours
    assert fields.hours_text(hours) == text


@pytest.mark.parametrize(
    "value",
    [
        "Mon 09:00-09:00 UTC",
        "Mon 24:00-24:00 UTC",
        "Mon 9:00-16:00 UTC",
        "mon 09:00-16:00 UTC",
        "Mon 09:00-16:00",
        "Mon 09:00-16:00 ../../etc/passwd",
        "Mon 09:00-16:00 /etc/localtime",
        "Mon 09:00-16:00 " + "A" * 5000,
        "Mon,Tue 09:00-16:00 UTC",
        "Mon  09:00-16:00 UTC",
        900,
    ],
)
def test_no_hours(value: object) -> None:
    assert is_refused(fields.HOURS, value)


# --- percents and shares ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fraction", "written"),
    [
        ("1%", "0.01", "1%"),
        ("0.25%", "0.0025", "0.25%"),
        ("50%", "0.5", "50%"),
        ("010.50%", "0.105", "10.5%"),
        ("99.9999999999999999%", "0.999999999999999999", "99.9999999999999999%"),
    ],
)
def test_a_limit_is_a_fraction_and_is_written_in_percent(text: str, fraction: str, written: str) -> None:
    assert read(fields.LIMIT, text) == Decimal(fraction)
    assert fields.percent_text(Decimal(fraction)) == written


@pytest.mark.parametrize(
    "value", ["0%", "100%", "1", "1 %", "-1%", "1e-2%", ".5%", "sNaN%", "NaN%", "0." + "0" * 30 + "1%", 0.01]
)
def test_no_limit(value: object) -> None:
    assert is_refused(fields.LIMIT, value)


def test_numbers_are_exact_whatever_the_decimal_context_of_the_app() -> None:
    with localcontext(Context(prec=3)):
        assert read(fields.SHARE, Decimal("33.333")) == 33_333
        assert read(fields.LIMIT, "12.3456%") == Decimal("0.123456")
        assert read(fields.TIMES, Decimal("12.345")) == Decimal("12.345")
        assert fields.percent_text(Decimal("0.123456")) == "12.3456%"


@pytest.mark.parametrize(
    "value",
    [
        -1,
        101,
        Decimal("0.0001"),
        Decimal("1E-999999"),
        Decimal("1E+999999"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        pytest.param(10**5000, id="huge"),
        False,
        "10",
        None,
        [10],
    ],
)
def test_no_share(value: object) -> None:
    assert is_refused(fields.SHARE, value)


# --- plain numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "number", "written"),
    [
        (100, "100", 100),
        (-3, "-3", -3),
        (0, "0", 0),
        (Decimal("-0.0"), "0", 0),
        (Decimal("0.05"), "0.05", 0.05),
        (Decimal("100.0"), "100", 100),
        (Decimal("0.1000000000000000055511151231257827"), "0.1", 0.1),
        (2**53 + 1, "9007199254740992", 2.0**53),
        (Decimal("1E+300"), "1E+300", 1e300),
        (Decimal("5E-324"), "5E-324", 5e-324),
    ],
)
def test_a_plain_number_is_what_a_float_holds(value: object, number: str, written: float) -> None:
    found = read(fields.NUMBER, value)
    assert found == Decimal(number)
    assert (type(fields.number_to_json(found)), fields.number_to_json(found)) == (type(written), written)


@pytest.mark.parametrize(
    "value",
    [
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("-Infinity"),
        Decimal("1E+309"),
        Decimal("1E-400"),
        pytest.param(10**5000, id="huge"),
        True,
        "5",
        "1%",
        None,
        [1],
    ],
)
def test_no_plain_number(value: object) -> None:
    assert is_refused(fields.NUMBER, value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_plain_number_reads_back(number: float) -> None:
    found = read(fields.NUMBER, Decimal(repr(number)))
    assert float(found) == number
    assert read(fields.NUMBER, Decimal(repr(fields.number_to_json(found)))) == found


# --- the rest -----------------------------------------------------------------------------------------


def test_a_choice_names_the_words_and_the_one_that_was_meant() -> None:
    place = Place("<test>", "unit")
    assert fields.choice(("user", "account")).read("acount", place) is None
    assert place.mistakes[0].allowed == 'allowed: user | account; did you mean "account"?'


def test_names_are_as_long_as_stores_keep() -> None:
    assert read(fields.NAME, "a" * 200) == "a" * 200
    assert is_refused(fields.NAME, "a" * 201)
    assert is_refused(fields.NAME, "new-invoicing\n")


def test_texts_may_be_of_any_script_but_not_blank() -> None:
    assert read(fields.TEXTS, ["naïve", "日本", "🎉", "e\u0301"]) == ("naïve", "日本", "🎉", "e\u0301")
    assert is_refused(fields.TEXT, "\u2003\t")
