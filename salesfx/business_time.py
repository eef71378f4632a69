"""Instants, and the local dates that decide where they count.

An instant is an int: microseconds since 1970-01-01T00:00:00Z. A day is an int: the proleptic ordinal of a local date.
"""

import re
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the offset is taken off by hand
_MICROSECOND = timedelta(microseconds=1)
# Hours and minutes are bounded here: some versions of Python read 24:00 and an offset of +01:99.
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt](?:[01]\d|2[0-3]):[0-5]\d:\d\d(?:\.\d+)?)([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_DATE = re.compile(r"(\d{4})-\d\d-\d\d", re.ASCII)
_QUARTER_HOUR = 900_000_000
"""Offsets of time zones since 1972 are multiples of a quarter of an hour, so within one the local hour is one."""
_REMEMBERED = 200_000


def parse_instant(text: str, first_year: int, last_year: int) -> int:
    """Read an RFC 3339 instant with an offset; digits beyond the microsecond drop.

    Of the hours, and of what follows the second, events have few different ones.

    Args:
        text: Like 2026-10-05T09:30:00.5+03:00.
        first_year: Least year, as written.
        last_year: Greatest year, as written.

    Raises:
        ValueError: It is not one, or out of these years; the message says which.

    """
    if len(text) > _LONGEST_REMEMBERED:
        return _instant(text, first_year, last_year)
    try:
        return _hour(text[:13], first_year, last_year) + _IN_HOUR[text[13:19]] + _fraction_and_offset(text[19:])
    except (ValueError, KeyError):
        return _instant(text, first_year, last_year)


def _instant(text: str, first_year: int, last_year: int) -> int:
    """Read an instant as a whole, or say what is wrong with it."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("is not an RFC 3339 instant with an offset, like 2026-10-05T09:30:00+03:00")
    written, offset = match.groups()
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        _check_year(text[:4], first_year, last_year)
        raise ValueError("is not a moment of the calendar") from None
    if not first_year <= moment.year <= last_year:
        _check_year(text[:4], first_year, last_year)
    # Without a time zone the difference is taken at a quarter of the price.
    return (moment - _NAIVE_EPOCH) // _MICROSECOND - _offset(offset)


_LONGEST_REMEMBERED = 32
"""Characters of an instant to the microsecond, with an offset: what is remembered has a bound."""
_IN_HOUR = {f":{second // 60:02d}:{second % 60:02d}": second * 1_000_000 for second in range(3600)}


@lru_cache(maxsize=20_000)
def _hour(written: str, first_year: int, last_year: int) -> int:
    """Read the first part, like 2026-10-05T09."""
    return _instant(written + ":00:00Z", first_year, last_year)


@lru_cache(maxsize=20_000)
def _fraction_and_offset(written: str) -> int:
    """Read the last part, like .886Z or +03:00."""
    return _instant(_ANY_SECOND + written, 1, 9999) - _instant(_ANY_SECOND + "Z", 1, 9999)


_ANY_SECOND = "2000-01-01T00:00:00"


@cache
def _offset(written: str) -> int:
    """Read Z or an offset like +03:00, of which there are a few thousand, in microseconds."""
    if written in {"Z", "z"}:
        return 0
    minutes = int(written[1:3]) * 60 + int(written[4:6])
    return (-minutes if written[0] == "-" else minutes) * 60_000_000


def parse_day(text: str, first_year: int, last_year: int) -> int:
    """Read a date like 2026-10-05 as a day.

    Raises:
        ValueError: It is not one, or out of these years; the message says which.

    """
    return (_day if len(text) <= _LONGEST_REMEMBERED else _day.__wrapped__)(text, first_year, last_year)


@lru_cache(maxsize=20_000)
def _day(text: str, first_year: int, last_year: int) -> int:
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError("is not a date like 2026-10-05")
    _check_year(match[1], first_year, last_year)
    try:
        return date.fromisoformat(text).toordinal()
    except ValueError:
        raise ValueError("is not a day of the calendar") from None


@lru_cache(maxsize=20_000)
def iso_day(day: int) -> str:
    """Write a day as YYYY-MM-DD."""
    return date.fromordinal(day).isoformat()


def to_instant(moment: datetime) -> int:
    """Give the instant of an aware datetime."""
    return (moment - _EPOCH) // _MICROSECOND


def from_instant(instant: int) -> datetime:
    """Give an instant as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=instant)


def iso_instant(instant: int) -> str:
    """Write an instant in UTC with microseconds, like 2026-10-05T06:30:00.500000Z."""
    return from_instant(instant).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class LocalTime(NamedTuple):
    """Where an instant lies in the business time zone."""

    day: int
    date: str
    """YYYY-MM-DD."""
    hour: str
    """YYYY-MM-DDTHH; the hour that comes twice in autumn is one."""


class BusinessTime:
    """Local dates of one time zone."""

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self._known: dict[int, LocalTime] = {}

    def local(self, instant: int) -> LocalTime:
        """Tell the local date and hour of an instant."""
        quarter = instant // _QUARTER_HOUR
        known = self._known.get(quarter)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            moment = from_instant(quarter * _QUARTER_HOUR).astimezone(self._zone)
            written = moment.isoformat()
            known = LocalTime(moment.toordinal(), written[:10], written[:13])
            self._known[quarter] = known
        return known


def _check_year(written: str, first_year: int, last_year: int) -> None:
    if not first_year <= int(written) <= last_year:
        raise ValueError(f"is out of the years {first_year} to {last_year}")
