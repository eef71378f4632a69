"""Leads by local day and hour, out of the tables; and where in the day of a clock that is changed a moment lies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from operator import add
from typing import NamedTuple
from zoneinfo import ZoneInfo

from salesfx.tables.layout import HOURS

A_DAY = 24
_FIELD = "|leads|source="
_WHEN = len("DDTHH")
_OTHER_HOURS_DAYS = 7
"""Days whose same hour stands for an hour that a day does not have."""

Days = dict[int, list[int]]
"""Counts of each hour, by the ordinal of the day; of days without leads nothing."""


def hour_tables(today: date, days: int) -> list[str]:
    """Name the tables of the hours of today and so many days before."""
    return [HOURS + month for month in sorted({(today - timedelta(ago)).isoformat()[:7] for ago in range(days + 1)})]


def leads_by_hour(
    tables: Mapping[str, Mapping[str, int]], names: Mapping[str, str], other: str, until: tuple[int, int]
) -> tuple[Days, dict[str, Days]]:
    """Read the leads of every local hour, those of all sources together and of each.

    Args:
        tables: Those that `hour_tables` names; further ones are passed over.
        names: What each source is shown as.
        other: What a source is shown as that is not among them.
        until: Ordinal of the day, and the hour, that are the last; leads dated later do not count yet.

    """
    by_source: dict[str, Days] = {}
    for table, cells in tables.items():
        if not table.startswith(HOURS):
            continue
        before = date.fromisoformat(f"{table.removeprefix(HOURS)}-01").toordinal() - 1
        for field, number in cells.items():
            place = _place(field)
            if place is None:
                continue
            of_month, hour, source = place
            day = before + of_month
            if (day, hour) <= until:
                by_source.setdefault(names.get(source, other), {}).setdefault(day, [0] * A_DAY)[hour] += number
    total: Days = {}
    for days in by_source.values():
        for day, counts in days.items():
            total[day] = list(map(add, total[day], counts)) if day in total else counts
    return total, by_source


@lru_cache(maxsize=50_000)
def _place(field: str) -> tuple[int, int, str] | None:
    """Give the day of the month, the hour and the source of a cell of leads; the fields of every month are the same."""
    when, found, source = field.partition(_FIELD)
    return (int(when[:2]), int(when[3:]), source) if found and len(when) == _WHEN else None


class Position(NamedTuple):
    """Where a moment lies in its day, by the cells of the tables."""

    day: int
    """Ordinal of the local date."""
    hour: int
    part: float
    """Share of the hour that is over. The hour that comes twice in autumn is one, of two hours."""


@dataclass(frozen=True)
class Clock:
    """The hours of a time zone, as the tables have them."""

    zone: ZoneInfo

    def position(self, now: datetime) -> Position:
        """Tell where a moment lies."""
        local = now.astimezone(self.zone)
        day = local.toordinal()
        begin, end = self.begin(day, local.hour), self.begin(day, local.hour + 1)
        return Position(day, local.hour, (now - begin) / (end - begin))

    def begin(self, day: int, hour: int) -> datetime:
        """Tell when a local hour begins, for the first time where it comes twice; the hour 24 is the next day's first.

        An hour that is left out in spring begins and ends at the same moment.
        """
        days, hour = divmod(hour, A_DAY)
        return datetime.combine(date.fromordinal(day + days), time(hour), self.zone).astimezone(UTC)

    def missing(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Give the hours, by day, that some days do not have."""
        for day in range(first, last + 1):
            if self.begin(day + 1, 0) - self.begin(day, 0) < timedelta(hours=A_DAY):
                for hour in range(A_DAY):
                    if self.begin(day, hour) == self.begin(day, hour + 1):
                        yield day, hour


def usual_in(days: Mapping[int, Sequence[int]], day: int, hour: int) -> int:
    """Tell what comes in an hour of other days: of each of the days before, on the average."""
    others = (days[day - ago][hour] for ago in range(1, _OTHER_HOURS_DAYS + 1) if day - ago in days)
    return round(sum(others) / _OTHER_HOURS_DAYS)
