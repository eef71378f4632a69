"""Months as readers count them: written YYYY-MM, in the business time zone."""

import calendar
import re
from datetime import date, datetime
from typing import NamedTuple, Self
from zoneinfo import ZoneInfo

_MONTH = re.compile(r"(\d{4})-(\d\d)", re.ASCII)


class Month(NamedTuple):
    """One month of the calendar; ordered as months are."""

    year: int
    number: int
    """1 to 12."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a month written YYYY-MM.

        Raises:
            ValueError: It is not one; the message is a sentence that says so.

        """
        match = _MONTH.fullmatch(text)
        if match is None or not 1 <= int(match[2]) <= 12 or int(match[1]) == 0:  # noqa: PLR2004 - December
            shown = text if len(text) <= 20 else text[:20] + "..."  # noqa: PLR2004 - enough to recognise it
            raise ValueError(f"{shown!r} is not a month: write it YYYY-MM, like 2026-11.")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, day: date) -> Self:
        """Give the month of a date."""
        return cls(day.year, day.month)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"

    def back(self, months: int) -> "Month":
        """Give the month so many months earlier, or later where the number is negative."""
        year, index = divmod(self.year * 12 + self.number - 1 - months, 12)
        return Month(year, index + 1)

    @property
    def days(self) -> int:
        """How many days it has."""
        return calendar.monthrange(self.year, self.number)[1]


def local_today(now: datetime, timezone: str) -> date:
    """Tell today's date in the business time zone.

    Args:
        now: An aware datetime.
        timezone: Like Europe/Sofia.

    """
    return now.astimezone(ZoneInfo(timezone)).date()


def current_month(now: datetime, timezone: str) -> Month:
    """Tell the month that it is in the business time zone; see `local_today`."""
    return Month.of(local_today(now, timezone))
