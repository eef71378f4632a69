"""When things happen in a sales team: its sources of leads, and the shape of its days, weeks and years.

Days are proleptic ordinals (`date.toordinal`) of the local calendar, moments are whole milliseconds since 1970 in UTC.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from .chance import Dice, deck

ZONE = ZoneInfo("Europe/Sofia")
"""The team's time zone."""

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

EPOCH_DAY = date(1970, 1, 1).toordinal()

_OFFICE = deck(zip(range(8, 19), (3, 8, 11, 10, 5, 5, 9, 10, 9, 6, 3), strict=True))
_ROUND_THE_CLOCK = deck(
    zip(range(24), (3, 2, 1, 1, 1, 2, 3, 5, 8, 11, 12, 11, 9, 9, 10, 11, 10, 9, 8, 8, 9, 9, 7, 5), strict=True)
)
_STAND = deck(zip(range(10, 18), (4, 7, 8, 5, 6, 9, 8, 4), strict=True))

_WORKING_WEEK = (1.3, 1.45, 1.45, 1.4, 1.2, 0.1, 0.1)
_CALLING_WEEK = (1.2, 1.6, 1.65, 1.6, 0.95, 0.0, 0.0)
_WEB_WEEK = (1.2, 1.25, 1.25, 1.2, 1.05, 0.5, 0.55)


class Source(NamedTuple):
    """A way in which leads come."""

    name: str
    share: float
    """Of all the leads of a year, 0 to 1."""
    week: tuple[float, ...]
    """Monday to Sunday, 1 on average; empty for the fairs, which have dates instead."""
    hours: tuple[int, ...]
    """Local hours, each as often as it is likely."""
    evenness: int
    """The smaller, the more one day differs from the next."""
    by_hand: bool
    """Entered by a salesperson, hence sometimes days later, and not on holidays."""
    quoted: float
    """How many of its leads get a quote, 0 to 1."""
    won: float
    """How many of its decided deals are won, 0 to 1."""
    size: float
    """The size of its deals, 1 on average."""


SOURCES = (
    Source("website", 0.30, _WEB_WEEK, _ROUND_THE_CLOCK, 12, False, 0.125, 0.34, 0.9),
    Source("google ads", 0.21, _WEB_WEEK, _ROUND_THE_CLOCK, 4, False, 0.09, 0.27, 0.75),
    Source("referral", 0.12, _WORKING_WEEK, _OFFICE, 5, True, 0.265, 0.5, 1.35),
    Source("linkedin", 0.13, _WEB_WEEK, _ROUND_THE_CLOCK, 9, False, 0.1, 0.29, 1.0),
    Source("partner", 0.08, _WORKING_WEEK, _OFFICE, 4, True, 0.235, 0.45, 1.5),
    Source("cold call", 0.09, _CALLING_WEEK, _OFFICE, 6, True, 0.075, 0.22, 1.0),
    Source("trade fair", 0.07, (), _STAND, 25, True, 0.16, 0.36, 1.25),
)
"""The sources, the fairs among them; their shares add up to 1."""

_MONTHS = (0.94, 1.03, 1.08, 1.0, 1.03, 0.99, 0.9, 0.7, 1.08, 1.13, 1.1, 0.92)
_HOLIDAYS = frozenset({(1, 1), (1, 2), (3, 3), (5, 1), (5, 6), (5, 24), (9, 6), (9, 22), (12, 24), (12, 25), (12, 26)})
# Tuesday to Friday of the fair, and the Monday after it, when the last visitors call.
_FAIR_DAYS = {1: 0.2, 2: 0.34, 3: 0.3, 4: 0.13, 7: 0.03}
_FAIR_MONTHS = (3, 10)
_SECOND_WEEK = range(8, 15)
_SATURDAY = 5
_GROWTH_A_YEAR = 0.06


@lru_cache(maxsize=4096)
def midnight(day: int) -> int:
    """Return the moment at which the local day begins."""
    # By way of noon, so that a day on which the clocks change has the hours of its afternoon right.
    noon = datetime.combine(date.fromordinal(day), time(12), ZONE)
    return int(noon.timestamp()) * SECOND - 12 * HOUR


def local_day(moment: int) -> int:
    """Return the local day of a moment, in winter time: up to an hour early for the first hour of a summer's day."""
    return (moment + 2 * HOUR) // DAY + EPOCH_DAY


@lru_cache(maxsize=4096)
def next_workday(day: int) -> int:
    """Return the day itself, or the first one after it on which the office is open."""
    while _is_closed(date.fromordinal(day)):
        day += 1
    return day


def office_moment(dice: Dice, day: int) -> int:
    """Draw a moment in the office hours of the day, or of the next workday."""
    return midnight(next_workday(day)) + dice.pick(_OFFICE) * HOUR + dice.below(HOUR)


def daily_mean(source: Source, day: int, origin: int, leads_per_month: int) -> float:
    """Return how many leads the source is expected to bring on the day; growth starts on the day `origin`."""
    on = date.fromordinal(day)
    growth = 1.0 + _GROWTH_A_YEAR * (day - origin) / 365.25
    if not source.week:
        fairs_a_year = len(_FAIR_MONTHS)
        return leads_per_month * 12 / fairs_a_year * source.share * growth * _fair_part(on)
    season = _MONTHS[on.month - 1]
    if (on.month, on.day) >= (12, 22) or (on.month, on.day) <= (1, 4):
        season *= 0.4
    if source.by_hand and _is_closed(on):
        season *= 0.1
    return leads_per_month * 12 / 365.25 * source.share * source.week[on.weekday()] * season * growth


def _fair_part(on: date) -> float:
    """Return the part of a fair's leads that comes on the date; fairs are in the week of the second Monday."""
    for days_since_monday, part in _FAIR_DAYS.items():
        monday = on - timedelta(days=days_since_monday)
        if monday.weekday() == 0 and monday.month in _FAIR_MONTHS and monday.day in _SECOND_WEEK:
            return part
    return 0.0


def _is_closed(on: date) -> bool:
    return on.weekday() >= _SATURDAY or (on.month, on.day) in _HOLIDAYS


def utc_stamp(moment: int) -> str:
    """Write the moment as software does: in UTC, to the millisecond."""
    return datetime.fromtimestamp(moment / SECOND, UTC).isoformat(timespec="milliseconds")[:23] + "Z"


def local_stamp(moment: int) -> str:
    """Write the moment as office programs do: in local time with its offset, to the second."""
    return datetime.fromtimestamp(moment // SECOND, ZONE).isoformat()
