"""How much of a month's working time is gone.

The time is that of the office hours of working days. Where a month has no working day, it is the month's whole days.
"""

import calendar
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import NamedTuple

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)", re.ASCII)
_DAY = 24 * 60


class OfficeHours(NamedTuple):
    """When people work on a working day, in minutes since midnight."""

    begin: int
    end: int

    @classmethod
    def parse(cls, text: str) -> "OfficeHours":
        """Read hours written 09:00-18:00.

        Raises:
            ValueError: They are not; the message names the setting.

        """
        match = _HOURS.fullmatch(text)
        if match is not None:
            begin, end = (int(match[n]) * 60 + int(match[n + 1]) for n in (1, 3))
            if begin < end <= _DAY:
                return cls(begin, end)
        raise ValueError(f"office_hours: {text[:20]!r} are no hours of a day; write them like 09:00-18:00")

    def gone(self, moment: datetime) -> float:
        """Give the share that is gone of the hours of a moment's own day, from 0 to 1."""
        minutes = moment.hour * 60 + moment.minute + moment.second / 60
        return min(1.0, max(0.0, (minutes - self.begin) / (self.end - self.begin)))


ALL_DAY = OfficeHours(0, _DAY)


class WorkingTime:
    """The working time of months."""

    def __init__(self, works: Callable[[date], bool], hours: OfficeHours) -> None:
        """Make it.

        Args:
            works: Tells whether a day is a working day.
            hours: Of these days.

        """
        self.works = works
        self._hours = hours

    def days(self, year: int, month: int) -> int:
        """Count the working days of a month."""
        return sum(self.works(day) for day in days_of(year, month))

    def gone_of_day(self, day: date, now: datetime) -> float:
        """Give the share of a day that is gone: of its office hours where it is a working day, else of all of it.

        Args:
            day: Local date.
            now: Local time.

        """
        if day != now.date():
            return float(day < now.date())
        return (self._hours if self.works(day) else ALL_DAY).gone(now)

    def gone(self, year: int, month: int, now: datetime) -> float:
        """Give the share of a month's working time that is gone, from 0 to 1.

        Args:
            year: Of the month.
            month: 1 to 12.
            now: Local time.

        """
        days = days_of(year, month)
        counted = [day for day in days if self.works(day)] or days
        return sum(self.gone_of_day(day, now) for day in counted) / len(counted)


def days_of(year: int, month: int) -> list[date]:
    """List the days of a month."""
    return [date(year, month, day) for day in range(1, calendar.monthrange(year, month)[1] + 1)]
