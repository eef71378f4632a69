"""Days on which nobody works: public holidays, and those of one's own."""

import re
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import date
from functools import cache

_CODE = re.compile(r"([A-Z]{2})(?:-([A-Z0-9]{1,3}))?")
_DAY = re.compile(r"(\d{4}-)?(\d\d-\d\d)", re.ASCII)
_LEAP_YEAR = 2000


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
