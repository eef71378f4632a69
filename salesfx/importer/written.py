"""How a file writes dates, times and amounts, and how they are read."""

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Literal

Dates = Literal["iso", "day-first", "month-first"]

_YEAR_FIRST = r"(?P<y1>\d{4})(?P<s1>[-./])(?P<m1>\d{1,2})(?P=s1)(?P<d1>\d{1,2})"
# Bulgarian Windows writes the year's letter (U+0433) behind a date.
_YEAR_LAST = r"(?P<a>\d{1,2})(?P<s2>[-./])(?P<b>\d{1,2})(?P=s2)(?P<y2>\d{4})(?:\s?\u0433\.?)?"
_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
_OFFSET = r"(?P<offset>Z|[+-]\d\d:?\d\d)"
_MOMENT = re.compile(
    rf"(?:{_YEAR_FIRST}|{_YEAR_LAST})(?:(?:T|,?\s+){_TIME}(?:\s?(?P<half>[AP]M))?(?:\s?{_OFFSET})?)?",
    re.ASCII | re.IGNORECASE,
)
_NOON = time(12)


def parse_moment(text: str, dates: Dates, zone: tzinfo) -> datetime:
    """Read a date, or a date and a time, as an aware datetime.

    Args:
        text: As the file writes it. A date that begins with its year is read in every format: it cannot be mistaken.
        dates: How other dates are written.
        zone: Time zone of what has no offset of its own. A date alone is taken at noon, which every day has everywhere.

    Raises:
        ValueError: It is not a moment; the message says why, to be put behind the text.

    """
    match = _match(text, dates)
    day = _day(match, dates)
    if match["hour"] is None:
        return datetime.combine(day, _NOON, zone)
    return datetime.combine(day, _time(match), _offset(match["offset"]) or zone)


def parse_date(text: str, dates: Dates) -> date:
    """Read a date as it is written; a time behind it is not read.

    Raises:
        ValueError: It is not a date; the message says why, to be put behind the text.

    """
    return _day(_match(text, dates), dates)


class Amounts:
    """Reads amounts that are written in one way.

    Args:
        decimal: Decimal separator.
        thousands: Separator of groups of three digits; empty where there is none. A space stands for no-break spaces too.

    """

    def __init__(self, decimal: str, thousands: str) -> None:
        group = r"[ \u00a0\u202f]" if thousands == " " else re.escape(thousands)
        grouped = rf"\d{{1,3}}(?:{group}\d{{3}})+|" if thousands else ""
        self._pattern = re.compile(rf"({grouped}\d+)(?:{re.escape(decimal)}(\d*))?", re.ASCII)
        self._example = f"1{thousands}234{decimal}50"

    def parse(self, text: str) -> str:
        """Give an amount as a decimal string: digits, and a point where there is a fraction.

        Raises:
            ValueError: It is not an amount; the message says why, to be put behind the text.

        """
        match = self._pattern.fullmatch(text)
        if match is None:
            raise ValueError(f"is not an amount like {self._example}")
        whole = re.sub(r"\D", "", match[1])
        return f"{whole}.{match[2]}" if match[2] else whole


def parse_integer(text: str) -> int:
    """Read a whole number.

    Raises:
        ValueError: It is not one; the message says so, to be put behind the text.

    """
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise ValueError("is not a whole number")
    return int(text)


def _match(text: str, dates: Dates) -> re.Match[str]:
    match = _MOMENT.fullmatch(text)
    if match is None or (match["y1"] is None and dates == "iso"):
        like = {"iso": "2017-03-31", "day-first": "31-03-2017", "month-first": "03/31/2017"}[dates]
        raise ValueError(f"is not {'an ISO' if dates == 'iso' else f'a {dates}'} date like {like}")
    return match


def _day(match: re.Match[str], dates: Dates) -> date:
    if match["y1"] is not None:
        year, month, day = match["y1"], match["m1"], match["d1"]
    else:
        year = match["y2"]
        day, month = (match["a"], match["b"]) if dates == "day-first" else (match["b"], match["a"])
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        raise ValueError(f"is no day of the calendar, read as {'ISO' if match['y1'] else dates}") from None


def _time(match: re.Match[str]) -> time:
    hour = int(match["hour"])
    if match["half"] is not None:
        if not 1 <= hour <= 12:  # noqa: PLR2004 - hours of a half day
            raise ValueError("has no time of the day")
        hour = hour % 12 + (12 if match["half"].upper() == "PM" else 0)
    microsecond = int((match["fraction"] or "").ljust(6, "0")[:6])
    try:
        return time(hour, int(match["minute"]), int(match["second"] or 0), microsecond)
    except ValueError:
        raise ValueError("has no time of the day") from None


def _offset(text: str | None) -> tzinfo | None:
    if text is None:
        return None
    if text.upper() == "Z":
        return UTC
    digits = text[1:].replace(":", "")
    size = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    try:
        return timezone(-size if text[0] == "-" else size)
    except ValueError:
        raise ValueError("has an offset that no place has") from None
