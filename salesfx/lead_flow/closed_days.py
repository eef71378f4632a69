"""Days on which nobody works: public holidays, those of one's own, and a country's weekends."""

import re
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import date
from functools import cache

_CODE = re.compile(r"([A-Z]{2})(?:-([A-Z0-9]{1,3}))?")
_DAY = re.compile(r"(\d{4}-)?(\d\d-\d\d)", re.ASCII)
_LEAP_YEAR = 2000
_SATURDAY = 5


def is_closed(country: str, own_days: Collection[str] = ()) -> Callable[[date], bool]:
    """Make the question whether a day is a public holiday or one of one's own.

    A holiday that falls on a Sunday, and the working day that makes up for it by the country's law, are both closed. The
    public holidays are those that the package `holidays` knows.

    Args:
        country: ISO 3166-1 code like BG, or ISO 3166-2 code of a part with holidays of its own, like DE-BY; "" for none.
        own_days: Dates like 2026-12-31, or 12-31 for every year.

    Raises:
        ValueError: There is no such country, part or date; the message names the setting.

    """
    public = _public_holidays(country)
    own = list(own_days)
    for day in own:
        if _in_year(day, _LEAP_YEAR) is None:
            raise ValueError(
                f"closed_days: {day[:20]!r} is no date; write 2026-12-31, or 12-31 for that day of every year"
            )

    @cache
    def closed_in(year: int) -> frozenset[date | None]:
        return public(year).union(_in_year(day, year) for day in own)

    return lambda day: day in closed_in(day.year)


def is_working(country: str, own_days: Collection[str] = ()) -> Callable[[date], bool]:
    """Make the question whether a day is a working day: not closed, and no day of the country's weekend.

    A day of the weekend that the country's law makes a working day is one. Without a country the weekend is Saturday and
    Sunday.

    Args:
        country: As for `is_closed`.
        own_days: As for `is_closed`.

    Raises:
        ValueError: As for `is_closed`.

    """
    closed = is_closed(country, own_days)
    if not country:
        return lambda day: day.weekday() < _SATURDAY and not closed(day)
    from holidays import country_holidays  # noqa: PLC0415

    code, _, part = country.partition("-")

    @cache
    def working_in(year: int) -> frozenset[date]:
        calendar = country_holidays(code, subdiv=part or None, years=year, expand=False)
        first = date(year, 1, 1).toordinal()
        days = (date.fromordinal(first + number) for number in range(366))
        return frozenset(day for day in days if day.year == year and calendar.is_working_day(day))

    return lambda day: day in working_in(day.year) and not closed(day)


def _public_holidays(country: str) -> Callable[[int], frozenset[date | None]]:
    """Give a country's holidays by year."""
    if not country:
        return lambda _: frozenset()
    from holidays import country_holidays  # noqa: PLC0415  (slow to import, and few commands ask)

    code = _CODE.fullmatch(country)
    with suppress(NotImplementedError):
        if code:
            country_holidays(code[1], subdiv=code[2])
            return lambda year: frozenset(country_holidays(code[1], subdiv=code[2], years=year, expand=False))
    raise ValueError(
        f"holidays_country: no public holidays are known of {country[:20]!r}; write a code of ISO 3166 like BG, of a part of "
        'a country like DE-BY, or "" for none (and closed_days for days of your own)'
    )


def _in_year(day: str, year: int) -> date | None:
    """Read a day as a date, in this year where it is one of every year; None where there is none."""
    match = _DAY.fullmatch(day)
    if match is None:
        return None
    try:
        return date.fromisoformat((match[1] or f"{year:04d}-") + match[2])
    except ValueError:
        return None
