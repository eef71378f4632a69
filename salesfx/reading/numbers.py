"""The cells of a table, taken apart by metric and label.

Values of money are integer hundredths of the reporting currency throughout.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from salesfx.kpi import CATALOGUE

_PERSON = "salesperson="
_Key = TypeVar("_Key")


class Person(NamedTuple):
    """Whose number it is; `category` is empty for metrics that are broken down by source."""

    name: str
    category: str = ""


class Numbers:
    """Numbers by metric; a metric without any has an empty mapping.

    Attributes:
        by_label: Metric -> source or category -> number.
        by_person: Metric -> person -> number.

    """

    def __init__(self) -> None:
        self.by_label: dict[str, dict[str, int]] = {metric.name: {} for metric in CATALOGUE}
        self.by_person: dict[str, dict[Person, int]] = {metric.name: {} for metric in CATALOGUE}

    def add(self, field: str, number: int) -> None:
        """Add a cell.

        Args:
            field: `metric|dimension`; one of a metric that is not in the catalogue is passed over.
            number: What it holds.

        """
        metric, _, dimension = field.partition("|")
        if metric not in self.by_label:
            return
        if dimension.startswith(_PERSON):
            _add(self.by_person[metric], Person(dimension.removeprefix(_PERSON)), number)
            return
        # A category has no comma; a source may have one, and is the whole rest.
        kind, _, label = dimension.partition("=")
        category, comma, person = label.partition("," + _PERSON) if kind == "category" else (label, "", "")
        if comma:
            _add(self.by_person[metric], Person(person, category), number)
        else:
            _add(self.by_label[metric], label, number)

    def total(self, metric: str) -> int:
        """Add up a metric over its sources or categories."""
        return sum(self.by_label[metric].values())


def of_month(table: Mapping[str, int]) -> Numbers:
    """Take a month's table apart, whose fields are `metric|dimension`."""
    return _numbers(table.items())


def to_date(table: Mapping[str, int], last_day: int) -> Numbers:
    """Add up a month's table of days, whose fields are `DD|metric|dimension`, from the first to `last_day`."""
    last = f"{last_day:02d}"
    return _numbers((field[3:], number) for field, number in table.items() if field[:2] <= last)


def by_day(table: Mapping[str, int]) -> dict[int, Numbers]:
    """Take a month's table of days apart, by the day of the month; days without anything are missing."""
    days: dict[int, Numbers] = {}
    for field, number in table.items():
        day = int(field[:2])
        if day not in days:
            days[day] = Numbers()
        days[day].add(field[3:], number)
    return days


def _numbers(cells: Iterable[tuple[str, int]]) -> Numbers:
    numbers = Numbers()
    for field, number in cells:
        numbers.add(field, number)
    return numbers


def _add(table: dict[_Key, int], key: _Key, number: int) -> None:
    table[key] = table.get(key, 0) + number
