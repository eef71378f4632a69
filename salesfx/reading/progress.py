"""How a month goes: against its target, the same days of the month before, and where it will end.

The types are the JSON of `/api/months/YYYY-MM/progress`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from salesfx.lead_flow.closed_days import is_working
from salesfx.money import decimal_string
from salesfx.reading.month import Month
from salesfx.reading.numbers import Numbers, Person, by_day, of_month, to_date
from salesfx.reading.report import CATEGORIES
from salesfx.settings import Settings
from salesfx.tables.layout import DAYS, MONTH
from salesfx.tables.store import Snapshot
from salesfx.targets.forecast import (
    Coming,
    Past,
    Sizes,
    coming,
    count_at_end,
    ratio_at_end,
    value_at_end,
)
from salesfx.targets.lines import CONVERSION, KPIS, MONEY, Number, Targets
from salesfx.targets.rhythm import rhythm_of
from salesfx.targets.working_time import OfficeHours, WorkingTime, days_of

__all__ = ["KPIS", "Forecast", "MonthProgress", "Progress", "ProgressOf", "Verdict", "progress_tables"]

Figure = int | float | str
"""A count is an int, money a decimal string of the reporting currency, a ratio (conversion) a float."""


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
    """By name, all of `salesfx.targets.lines.KPIS`."""
    booked_sales_value_by_category: dict[str, Progress]
    """All three."""
    by_salesperson: dict[str, dict[str, Progress]]
    """Of those who have targets, by name, the KPIs that they have targets for."""


MONTHS_OF_LEVEL, MONTHS_OF_RHYTHM = 12, 6
"""How far back a forecast looks for how much comes in a month, and on which days."""
JUDGED_FROM = 0.2
"""Share of the working time before which nothing is judged."""


def progress_tables(month: Month) -> list[str]:
    """Name the tables that `ProgressOf.month` reads."""
    months = [f"{MONTH}{month.back(ago)}" for ago in range(MONTHS_OF_LEVEL + 1)]
    return months + [f"{DAYS}{month.back(ago)}" for ago in range(MONTHS_OF_RHYTHM + 1)]


class ProgressOf:
    """Tells how months go under the targets and the calendar of some settings; keep it, for it knows the holidays."""

    def __init__(self, settings: Settings) -> None:
        """Make it."""
        self._zone = ZoneInfo(settings.timezone)
        self.targets = Targets(settings.targets)
        works = is_working(settings.holidays_country, settings.closed_days)
        self._working_time = WorkingTime(works, OfficeHours.parse(settings.office_hours))
        self._days_read: dict[str, tuple[Mapping[str, int], dict[int, Numbers]]] = {}

    def working_time_gone(self, month: Month, now: datetime) -> float:
        """Tell the share of a month's working time that is gone, from 0 to 1."""
        return self._working_time.gone(month.year, month.number, now.astimezone(self._zone))

    def month(self, snapshot: Snapshot, month: Month, now: datetime) -> MonthProgress:
        """Tell how a month goes; what is said depends on the arguments and the settings only.

        Args:
            snapshot: With the tables that `progress_tables` names.
            month: Which: the current one, one that has ended, or one to come.
            now: The moment; aware.

        """
        local = now.astimezone(self._zone)
        seen = self._seen(snapshot, month, local)
        return MonthProgress(
            month=str(month),
            currency=msgspec.json.decode(snapshot.definitions)["currency"],
            at=local,
            working_days=self._working_time.days(month.year, month.number),
            working_time_gone=seen.gone,
            kpis={kpi: self._progress(seen, kpi, _Whose()) for kpi in KPIS},
            booked_sales_value_by_category={
                category: self._progress(seen, "booked_sales_value", _Whose(category=category))
                for category in CATEGORIES
            },
            by_salesperson={
                name: {
                    kpi: self._progress(seen, kpi, _Whose(name))
                    for kpi in KPIS
                    if self.targets.target(str(month), kpi, name) is not None
                }
                for name in self.targets.salespeople(str(month))
            },
        )

    def _seen(self, snapshot: Snapshot, month: Month, local: datetime) -> "_Seen":
        tables = snapshot.tables
        current = Month.of(local.date())
        ended, here = month < current, month == current
        last = tables[f"{DAYS}{month.back(1)}"]
        # A log that begins within a month knows a part of that month only.
        known = [
            month.back(ago)
            for ago in range(MONTHS_OF_LEVEL, 0, -1)
            if str(month.back(ago)) > min(snapshot.months, default="")
        ]
        return _Seen(
            month=month,
            local=local,
            gone=self._working_time.gone(month.year, month.number, local),
            ended=ended,
            current=here,
            so_far=of_month(tables[f"{MONTH}{month}"])
            if ended
            else to_date(tables[f"{DAYS}{month}"], local.day if here else 0),
            same_days=of_month(tables[f"{MONTH}{month.back(1)}"]) if ended else to_date(last, local.day if here else 0),
            past=[(each, of_month(tables[f"{MONTH}{each}"])) for each in known] if here else [],
            days=[(each, self._by_day(f"{DAYS}{each}", tables)) for each in known[-MONTHS_OF_RHYTHM:]] if here else [],
            foreseen={},
        )

    def _by_day(self, name: str, tables: Mapping[str, Mapping[str, int]]) -> dict[int, Numbers]:
        """Take a table of days apart, once as long as it stays what it was."""
        known = self._days_read.get(name)
        if known is None or known[0] != tables[name]:
            if len(self._days_read) > 2 * MONTHS_OF_RHYTHM:
                self._days_read.clear()
            known = self._days_read[name] = (tables[name], by_day(tables[name]))
        return known[1]

    def _progress(self, seen: "_Seen", kpi: str, whose: "_Whose") -> Progress:
        target = self.targets.target(str(seen.month), kpi, whose.salesperson, whose.category)
        so_far = _number(seen.so_far, kpi, whose)
        forecast = self._forecast(seen, kpi, whose) if seen.current else None
        expected = target if target is None or kpi == CONVERSION else target * seen.gone
        return Progress(
            so_far=_figure(kpi, so_far),
            same_days_last_month=_figure(kpi, _number(seen.same_days, kpi, whose)),
            target=_figure(kpi, target),
            expected_by_now=_figure(kpi, expected),
            forecast=None if forecast is None else Forecast(*(_shown(kpi, number) for number in forecast)),
            verdict=_verdict(seen, target, so_far, forecast),
        )

    def _forecast(self, seen: "_Seen", kpi: str, whose: "_Whose") -> tuple[Number, Number, Number] | None:
        if kpi == CONVERSION:
            customers, qualified = (self._coming(seen, part, whose) for part in ("new_customers", "qualified_leads"))
            if customers is None or qualified is None:
                return None
            part, whole = (whose.total(seen.so_far, each) for each in ("new_customers", "qualified_leads"))
            return ratio_at_end(part, whole, customers, qualified)
        count = kpi.removesuffix("_value")
        to_come = self._coming(seen, count, whose)
        if to_come is None:
            return None
        if kpi not in MONEY:
            return count_at_end(whose.total(seen.so_far, kpi), to_come)
        sizes = _sizes(seen, kpi, count, whose)
        return None if sizes is None else value_at_end(whose.total(seen.so_far, kpi), to_come, sizes)

    def _coming(self, seen: "_Seen", count: str, whose: "_Whose") -> Coming | None:
        if (count, whose) not in seen.foreseen:
            seen.foreseen[count, whose] = self._worked_out(seen, count, whose)
        return seen.foreseen[count, whose]

    def _worked_out(self, seen: "_Seen", count: str, whose: "_Whose") -> Coming | None:
        works = self._working_time.works
        months = [(days_of(*each), whose.daily(numbers, count, each)) for each, numbers in seen.days]
        rhythm = rhythm_of(months, works)
        totals = [(each, whose.total(numbers, count)) for each, numbers in seen.past]
        # The first month with any may have begun before, or with, whoever it is about; it is a part of one.
        begun = next((place for place, (_, number) in enumerate(totals) if number), len(totals))
        past = [Past(number, sum(rhythm.weights(days_of(*each), works))) for each, number in totals[begun + 1 :]]
        days = days_of(*seen.month)
        weights = rhythm.weights(days, works)
        parts = [self._working_time.gone_of_day(day, seen.local) for day in days]
        gone = sum(weight * part for weight, part in zip(weights, parts, strict=True))
        return coming(whose.total(seen.so_far, count), gone, sum(weights) - gone, past, rhythm)


class _Whose(NamedTuple):
    """What part of a number is looked at; a salesperson's is not looked at by category."""

    salesperson: str | None = None
    category: str | None = None

    def total(self, numbers: Numbers, metric: str) -> int:
        if self.salesperson is not None:
            people = numbers.by_person[metric]
            return sum(people.get(Person(self.salesperson, category), 0) for category in ("", *CATEGORIES))
        return numbers.total(metric) if self.category is None else numbers.by_label[metric].get(self.category, 0)

    def daily(self, days: Mapping[int, Numbers], metric: str, month: Month) -> list[int]:
        return [self.total(days[day], metric) if day in days else 0 for day in range(1, month.days + 1)]


class _Seen(NamedTuple):
    """What a month's progress is made of."""

    month: Month
    local: datetime
    gone: float
    ended: bool
    current: bool
    so_far: Numbers
    same_days: Numbers
    past: Sequence[tuple[Month, Numbers]]
    """The months before that are known as a whole, the last one at the end."""
    days: Sequence[tuple[Month, Mapping[int, Numbers]]]
    """The latest of them, by day."""
    foreseen: dict[tuple[str, "_Whose"], Coming | None]
    """What has been worked out of it already: counts serve their values and the conversion too."""


def _number(numbers: Numbers, kpi: str, whose: _Whose) -> Number | None:
    if kpi != CONVERSION:
        return whose.total(numbers, kpi)
    qualified = whose.total(numbers, "qualified_leads")
    return whose.total(numbers, "new_customers") / qualified if qualified else None


def _figure(kpi: str, number: Number | None) -> Figure | None:
    return None if number is None else _shown(kpi, number)


def _shown(kpi: str, number: Number) -> Figure:
    """Write a number as the JSON has it."""
    return decimal_string(round(number)) if kpi in MONEY else number


def _sizes(seen: _Seen, kpi: str, count: str, whose: _Whose) -> Sizes | None:
    """Tell what items are worth by the days' sums: those of the past months, and this month's together."""
    days = [(whose.total(each, count), whose.total(each, kpi)) for _, month in seen.days for each in month.values()]
    days.append((whose.total(seen.so_far, count), whose.total(seen.so_far, kpi)))
    items, value = sum(number for number, _ in days), sum(worth for _, worth in days)
    if items <= 0:
        return None
    mean = value / items
    # The sum of n items is n means, give or take the root of n deviations.
    variance = sum((worth - number * mean) ** 2 for number, worth in days) / items
    return Sizes(mean, variance, items)


def _verdict(
    seen: _Seen, target: Number | None, so_far: Number | None, forecast: tuple[Number, Number, Number] | None
) -> Verdict:
    if target is None:
        return Verdict.NONE
    if seen.ended:
        return Verdict.AHEAD if so_far is not None and so_far >= target else Verdict.BEHIND
    if forecast is None or seen.gone < JUDGED_FROM:
        return Verdict.NONE
    low, _, high = forecast
    if low >= target:
        return Verdict.AHEAD
    return Verdict.BEHIND if high < target else Verdict.ON_TRACK
