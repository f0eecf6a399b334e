"""The single values that people write: names, text, shares, durations, percents, hours, choices."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Context, Decimal
from math import isfinite
from typing import Any, Final
from zoneinfo import ZoneInfo

from flaggate.errors import closest
from flaggate.flags.model import FULL_SHARE, Hours
from flaggate.flags.place import Kind, Place, read_list, show

__all__ = [
    "APPROVAL",
    "COUNT",
    "HOURS",
    "LIMIT",
    "MILLISECONDS",
    "MOMENT",
    "NAME",
    "NAME_PATTERN",
    "NUMBER",
    "ONLY_TRUE",
    "SECONDS",
    "SHARE",
    "TEXT",
    "TEXTS",
    "TIMES",
    "choice",
    "duration_text",
    "hours_text",
    "number_to_json",
    "percent_text",
    "seconds_between",
]

NAME_PATTERN: Final = "^[a-z][a-z0-9-]{0,199}$"  # 200 is what stores keep
_DURATION_PATTERN: Final = "^([0-9]+(ms|s|m|h|d))+$"
_PERCENT_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?%$"
_HOURS_PATTERN: Final = (
    r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)(-(Mon|Tue|Wed|Thu|Fri|Sat|Sun))?"
    r" ([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00) [A-Za-z0-9_+/-]+$"
)
_MILLISECONDS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_DURATION: Final = 3_650 * _MILLISECONDS["d"]
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MOST_REQUESTS: Final = 10**9
_WHOLE_FLOATS: Final = 2**53
_EXACT: Final = Context(prec=40)
"""Wide enough for every number below; the app's own decimal context may round."""


def _read_name(value: object, place: Place) -> str | None:
    if isinstance(value, str) and re.fullmatch(NAME_PATTERN, value):
        return value
    place.wrong_value(value, "lower-case letters, digits and hyphens, a letter first: new-invoicing")
    return None


def _read_text(value: object, place: Place) -> str | None:
    if isinstance(value, str) and value.strip():
        return value
    place.wrong_value(value, "text that is not empty, in quotes")
    return None


def _read_texts(value: object, place: Place) -> tuple[str, ...]:
    texts = read_list(value, place, TEXT, "texts")
    for text, count in Counter(texts).items():
        if count > 1:
            place.wrong(f"{show(text)} stands here {'twice' if count == 2 else f'{count} times'}", "name each once")
    return texts


def _thousandths(value: object, lowest: int, highest: int) -> int | None:
    """A number within these bounds with at most three decimals; None for anything else."""
    if not isinstance(value, (int, Decimal)) or isinstance(value, bool):
        return None
    if (isinstance(value, Decimal) and not value.is_finite()) or not lowest <= value <= highest:
        return None
    rounded = Decimal(value).quantize(Decimal("0.001"), context=_EXACT)
    return int(rounded.scaleb(3, context=_EXACT)) if rounded == value else None


def _read_share(value: object, place: Place) -> int | None:
    found = _thousandths(value, 0, 100)
    if found is None:
        place.wrong_value(value, "a number from 0 to 100 with at most three decimals, in percent")
    return found


def _milliseconds(value: object) -> int | None:
    if isinstance(value, str) and len(value) <= 40 and re.fullmatch(_DURATION_PATTERN, value):
        parts = re.findall(r"([0-9]+)(ms|s|m|h|d)", value)
        found = sum(int(number) * _MILLISECONDS[unit] for number, unit in parts)
        return found if found <= _LONGEST_DURATION else None
    return None


def _read_seconds(value: object, place: Place) -> int | None:
    found = _milliseconds(value)
    if found is not None and found % 1000 == 0:
        return found // 1000
    place.wrong_value(value, 'a duration in whole seconds: "0s", "45m", "24h", "1h30m", "2d"; at most 3650d')
    return None


def seconds_between(lowest: int, highest: int) -> Kind:
    """A duration in whole seconds within these bounds, which are seconds too."""

    def read(value: object, place: Place) -> int | None:
        found = _milliseconds(value)
        if found is not None and found % 1000 == 0 and lowest <= found // 1000 <= highest:
            return found // 1000
        bounds = " to ".join(duration_text(bound * 1000) for bound in (lowest, highest))
        place.wrong_value(value, f'a duration in whole seconds, {bounds}: "30s", "5m"')
        return None

    return Kind(read, SECONDS.schema)


def _read_milliseconds(value: object, place: Place) -> int | None:
    found = _milliseconds(value)
    if found:
        return found
    place.wrong_value(value, 'a duration above zero: "400ms", "2s"; at most 3650d')
    return None


def _read_count(value: object, place: Place) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_REQUESTS:
        return value
    place.wrong_value(value, f"a whole number of requests, 1 to {_MOST_REQUESTS}")
    return None


def _read_limit(value: object, place: Place) -> Decimal | None:
    if isinstance(value, str) and len(value) <= 20 and re.fullmatch(_PERCENT_PATTERN, value):
        limit = Decimal(value[:-1]).scaleb(-2, context=_EXACT)
        if 0 < limit < 1:
            return limit
    place.wrong_value(value, 'a percentage above 0 and below 100, in quotes: "1%", "0.25%"')
    return None


def _read_number(value: object, place: Place) -> Decimal | None:
    """Exact as far as the 64-bit floats go, in which Prometheus counts."""
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):  # a signalling NaN, a whole number of a thousand digits
            number = float(value)
            if isfinite(number) and bool(number) == bool(value):
                return Decimal(repr(number + 0.0))  # -0.0 is 0
    place.wrong_value(value, "a plain number, as the query answers it (a 64-bit float at most): 100, 0.05")
    return None


def _read_times(value: object, place: Place) -> Decimal | None:
    found = _thousandths(value, 1, 100)
    if found is not None:
        return Decimal(found).scaleb(-3, context=_EXACT)
    place.wrong_value(
        value, "a number from 1 to 100 with at most three decimals: 1.25 = at most 1.25 times the control's"
    )
    return None


def _read_approval(value: object, place: Place) -> str | None:
    if value is True:
        return "any"
    if value == "other":
        return "other"
    place.wrong_value(value, 'true, or "other" = not by the person who asked')
    return None


def _read_true(value: object, place: Place) -> bool | None:
    if value is True:
        return True
    place.wrong_value(value, "true; leave it out otherwise")
    return None


def _read_moment(value: object, place: Place) -> datetime | None:
    """In UTC, so that one moment has one form, whatever the zone that it was written in."""
    with suppress(ValueError, OverflowError):  # answered below, with everything else that is no moment
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(moment, datetime) and moment.tzinfo is not None:
            return moment.astimezone(UTC)  # overflows in the first and the last hours of all years
    place.wrong_value(value, "a date and time with its zone: 2026-01-01T00:00:00Z")
    return None


def _read_hours(value: object, place: Place) -> Hours | None:
    allowed = 'days, from-to, time zone: "Mon-Fri 09:00-16:00 Europe/London"'
    if not isinstance(value, str) or not re.fullmatch(_HOURS_PATTERN, value):
        place.wrong_value(value, allowed)
        return None
    days, times, zone = value.split(" ")
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        place.wrong(f"{show(zone)} is not a time zone known here", f"allowed: an IANA name; {allowed}")
        return None
    first, _, last = days.partition("-")
    start, end = (int(text[:2]) * 60 + int(text[3:]) for text in times.split("-"))
    if end <= start:
        place.wrong(f"{times} ends before it starts", f"allowed: {allowed}")
        return None
    index, stop = _DAYS.index(first), _DAYS.index(last or first)
    span = tuple((index + step) % 7 for step in range((stop - index) % 7 + 1))
    return Hours(span, start, end, zone)


def choice(words: Sequence[str]) -> Kind:
    """One of a closed set of words."""

    def read(value: object, place: Place) -> str | None:
        if isinstance(value, str) and value in words:
            return value
        meant = closest(value, words) if isinstance(value, str) else None
        hint = f'; did you mean "{meant}"?' if meant else ""
        place.wrong_value(value, " | ".join(words) + hint)
        return None

    return Kind(read, {"enum": list(words)})


def duration_text(milliseconds: int) -> str:
    """A duration as people write it: 24h, 45m, 400ms, 0s."""
    if milliseconds == 0:
        return "0s"
    for unit in ("h", "m", "s"):
        if milliseconds % _MILLISECONDS[unit] == 0:
            return f"{milliseconds // _MILLISECONDS[unit]}{unit}"
    return f"{milliseconds}ms"


def percent_text(fraction: Decimal) -> str:
    """A fraction as people write a limit: 0.0025 is 0.25%."""
    return f"{fraction.scaleb(2, context=_EXACT).normalize(context=_EXACT):f}%"


def number_to_json(value: Decimal) -> int | float:
    """A number as JSON writes it: 100, 0.05."""
    return int(value) if -_WHOLE_FLOATS < value < _WHOLE_FLOATS and value == int(value) else float(value)


def hours_text(hours: Hours) -> str:
    """Hours as people write them."""
    days = _DAYS[hours.days[0]] + (f"-{_DAYS[hours.days[-1]]}" if len(hours.days) > 1 else "")
    start, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in (hours.start_minute, hours.end_minute))
    return f"{days} {start}-{end} {hours.zone}"


def _schema(**words: Any) -> dict[str, Any]:
    return words


NAME: Final = Kind(_read_name, _schema(type="string", pattern=NAME_PATTERN))
TEXT: Final = Kind(_read_text, _schema(type="string", pattern=r"\S"))
TEXTS: Final = Kind(_read_texts, _schema(type="array", items=TEXT.schema, uniqueItems=True))
SHARE: Final = Kind(_read_share, _schema(type="number", minimum=0, maximum=FULL_SHARE // 1000))
SECONDS: Final = Kind(_read_seconds, _schema(type="string", pattern=_DURATION_PATTERN, maxLength=40))
MILLISECONDS: Final = Kind(_read_milliseconds, _schema(type="string", pattern=_DURATION_PATTERN, maxLength=40))
COUNT: Final = Kind(_read_count, _schema(type="integer", minimum=1, maximum=_MOST_REQUESTS))
LIMIT: Final = Kind(_read_limit, _schema(type="string", pattern=_PERCENT_PATTERN, maxLength=20))
NUMBER: Final = Kind(_read_number, _schema(type="number"))
TIMES: Final = Kind(_read_times, _schema(type="number", minimum=1, maximum=100))
APPROVAL: Final = Kind(_read_approval, _schema(enum=[True, "other"]))
ONLY_TRUE: Final = Kind(_read_true, _schema(const=True))
MOMENT: Final = Kind(_read_moment, _schema(type="string", format="date-time"))
HOURS: Final = Kind(_read_hours, _schema(type="string", pattern=_HOURS_PATTERN))
