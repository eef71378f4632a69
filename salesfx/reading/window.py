"""The months that the exporter shows, with a bounded set of labels."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date

from salesfx.kpi import CATALOGUE, Breakdown, Metric
from salesfx.reading.month import Month
from salesfx.reading.numbers import Numbers, Person, of_month, to_date
from salesfx.reading.report import CATEGORIES
from salesfx.tables.layout import DAYS, MONTH
from salesfx.tables.store import Snapshot

MONTHS_BACK = 12
MONTHS_AHEAD = max(metric.months_ahead for metric in CATALOGUE)
MAX_SOURCES, MAX_SALESPEOPLE = 20, 50
OTHER = "other"
"""Holds what is beyond the bounds; what really has this name counts in it too."""
_TO_DATE_MONTHS = (0, 1)
_LEADS_OF = "leads|source="


class Window:
    """What a scrape shows, seen from one day.

    Months are named by how many months ago they are: 0 is the current one, -1 the next.

    Attributes:
        months: The month of each `months_ago`.
        sources: Every source that is shown, with OTHER where there are too many.
        salespeople: The same for salespeople.

    """

    def __init__(self, snapshot: Snapshot, today: date) -> None:
        """Read the tables.

        Args:
            snapshot: Must hold the tables that `shown_tables` names for the same day.
            today: Local date in the business time zone.

        """
        self.months = shown_months(today)
        tables = snapshot.tables
        whole = {ago: of_month(tables[f"{MONTH}{month}"]) for ago, month in self.months.items()}
        same_days = {ago: to_date(tables[f"{DAYS}{self.months[ago]}"], today.day) for ago in _TO_DATE_MONTHS}
        self._sources = _bounded(_sources_by_leads(whole), MAX_SOURCES)
        self._salespeople = _bounded(_salespeople_by_entries(whole), MAX_SALESPEOPLE)
        self.sources = sorted(set(self._sources.values()))
        self.salespeople = sorted(set(self._salespeople.values()))
        self._whole = {ago: self._renamed(numbers) for ago, numbers in whole.items()}
        self._to_date = {ago: self._renamed(numbers) for ago, numbers in same_days.items()}

    def labels(self, breakdown: Breakdown) -> Iterable[str]:
        """Give every value that the label of a breakdown has in this window."""
        return self.sources if breakdown is Breakdown.SOURCE else CATEGORIES

    def whole_months(self, months_ahead: int) -> Iterator[tuple[int, Numbers]]:
        """Give (months ago, numbers) of the months gone by, the current one, and so many ahead."""
        return ((ago, numbers) for ago, numbers in self._whole.items() if ago >= -months_ahead)

    def months_to_date(self) -> Iterator[tuple[int, Numbers]]:
        """Give (months ago, numbers) of the current month up to today, and the last one up to the same day.

        The last month is whole where it is shorter.
        """
        return iter(self._to_date.items())

    def _renamed(self, numbers: Numbers) -> Numbers:
        """Sum up what is beyond the bounds, under OTHER."""
        renamed = Numbers()
        for metric in CATALOGUE:
            labels, people = renamed.by_label[metric.name], renamed.by_person[metric.name]
            for label, number in numbers.by_label[metric.name].items():
                shown = self._sources.get(label, OTHER) if metric.breakdown is Breakdown.SOURCE else label
                labels[shown] = labels.get(shown, 0) + number
            for (name, category), number in numbers.by_person[metric.name].items():
                person = Person(self._salespeople.get(name, OTHER), category)
                people[person] = people.get(person, 0) + number
        return renamed


def shown_months(today: date) -> dict[int, Month]:
    """Give the shown months by how many months ago they are, the furthest ahead first."""
    current = Month.of(today)
    return {ago: current.back(ago) for ago in range(-MONTHS_AHEAD, MONTHS_BACK + 1)}


def shown_tables(today: date) -> list[str]:
    """Name the tables that a window needs."""
    months = shown_months(today)
    return [f"{MONTH}{month}" for month in months.values()] + [f"{DAYS}{months[ago]}" for ago in _TO_DATE_MONTHS]


def lead_sources(tables: Mapping[str, Mapping[str, int]], today: date) -> dict[str, str]:
    """Give what each source that has leads in the shown months is shown as: itself, or OTHER.

    Those are the names that a `Window` of the same tables gives them.
    """
    ranked: dict[str, int] = {}
    for ago, month in shown_months(today).items():
        for field, number in tables[f"{MONTH}{month}"].items() if ago >= 0 else ():
            if field.startswith(_LEADS_OF):
                source = field.removeprefix(_LEADS_OF)
                ranked[source] = ranked.get(source, 0) + number
    return _bounded(ranked, MAX_SOURCES)


def _sources_by_leads(months: Mapping[int, Numbers]) -> dict[str, int]:
    """Rank sources by their leads in the shown months; those of other numbers only have none."""
    ranked: dict[str, int] = {}
    for metric in CATALOGUE:
        if metric.breakdown is Breakdown.SOURCE:
            for numbers in _shown(months, metric):
                for source, number in numbers.by_label[metric.name].items():
                    ranked[source] = ranked.get(source, 0) + (number if metric.name == "leads" else 0)
    return ranked


def _salespeople_by_entries(months: Mapping[int, Numbers]) -> dict[str, int]:
    """Rank salespeople by how often they are counted at all: one who only closes deals has no lead of their own."""
    ranked: dict[str, int] = {}
    for metric in CATALOGUE:
        if not metric.is_value:
            for numbers in _shown(months, metric):
                for person, number in numbers.by_person[metric.name].items():
                    ranked[person.name] = ranked.get(person.name, 0) + number
    return ranked


def _shown(months: Mapping[int, Numbers], metric: Metric) -> Iterator[Numbers]:
    """Give the months in which a metric is shown."""
    return (numbers for ago, numbers in months.items() if ago >= -metric.months_ahead)


def _bounded(ranked: Mapping[str, int], limit: int) -> dict[str, str]:
    """Name each as itself, or as OTHER where it is beyond the first `limit` by rank, then by name."""
    order = sorted(ranked, key=lambda name: (-ranked[name], name))
    return {name: name if place < limit else OTHER for place, name in enumerate(order)}
