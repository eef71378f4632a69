"""How a month goes: against its target, the same days of the month before, and where it will end.

The types are the JSON of `/api/months/YYYY-MM/progress`.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from salesfx.reading.month import Month
from salesfx.settings import Settings
from salesfx.tables.store import Snapshot

Figure = int | float | str
"""A count is an int, money a decimal string of the reporting currency, a ratio (conversion) a float."""

KPIS = (
    "leads",
    "qualified_leads",
    "qualified_leads_value",
    "new_customers",
    "conversion",
    "booked_sales",
    "booked_sales_value",
)
"""What has a target, a pace and a forecast; all but conversion are metrics of the catalogue."""


class Verdict(StrEnum):
    """Whether the target will be reached."""

    NONE = "none"
    """There is no target, or too little of the month's working time is gone."""
    AHEAD = "ahead"
    """Even the low end of the forecast reaches it; of a month that has ended: it was reached."""
    ON_TRACK = "on_track"
    """It lies within the forecast."""
    BEHIND = "behind"
    """Even the high end of the forecast does not reach it; of a month that has ended: it was missed."""


class Forecast(msgspec.Struct, frozen=True):
    """Where a number will stand at the month's end."""

    low: Figure
    """With a probability of one tenth it will be less."""
    middle: Figure
    """It is as likely to be less as to be more."""
    high: Figure
    """With a probability of one tenth it will be more."""


class Progress(msgspec.Struct, frozen=True):
    """How one number goes."""

    so_far: Figure | None
    """Of the month up to now, all of it where it has ended; None for a ratio without a denominator."""
    same_days_last_month: Figure | None
    """Of the month before up to the same day (that day whole), all of it where the month has ended."""
    target: Figure | None
    """For the whole month; None where none is set."""
    expected_by_now: Figure | None
    """The share of the target that goes with the working time gone; of a ratio the target itself."""
    forecast: Forecast | None
    """None where too little is known, and for a month that has ended or not begun."""
    verdict: Verdict


class MonthProgress(msgspec.Struct, frozen=True):
    """How a month goes."""

    month: str
    currency: str
    at: datetime
    """The moment that it is seen from, in the business time zone."""
    working_days: int
    working_time_gone: float
    """Share of the month's working time, from 0 to 1."""
    kpis: dict[str, Progress]
    """By name, all of `KPIS`."""
    booked_sales_value_by_category: dict[str, Progress]
    """All three."""
    by_salesperson: dict[str, dict[str, Progress]]
    """Of those who have targets, by name, the KPIs that they have targets for."""


def progress_tables(month: Month) -> list[str]:
    """Name the tables that `ProgressOf.month` reads."""
    raise NotImplementedError


class ProgressOf:
    """Tells how months go under the targets and the calendar of some settings; keep it, for it knows the holidays."""

    def __init__(self, settings: Settings) -> None:
        """Make it."""

    def month(self, snapshot: Snapshot, month: Month, now: datetime) -> MonthProgress:
        """Tell how a month goes; pure.

        Args:
            snapshot: With the tables that `progress_tables` names.
            month: Which: the current one, or one that has ended.
            now: The moment; aware.

        """
        raise NotImplementedError
