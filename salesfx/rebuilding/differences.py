"""What differs between two generations, by month and metric, and which definition did it. Pure.

The types are JSON of `salesfx rebuild --json`; docs/rebuild.md tells of it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from salesfx.kpi import CATALOGUE, Metric
from salesfx.money import decimal_string
from salesfx.reading.numbers import Numbers, of_month
from salesfx.rebuilding.steps import REST, Monthly

Number = int | str
"""A count, or money as a decimal string."""


class Parts(msgspec.Struct, frozen=True):
    """One number in both generations."""

    live: Number
    new: Number
    difference: Number
    by: dict[str, Number]
    """What each changed definition, applied after those before it, adds; together the difference. Without zeros."""

    @property
    def differs(self) -> bool:
        """Whether anything did anything, also where two things make up for each other."""
        return self.live != self.new or bool(self.by)


class Difference(msgspec.Struct, frozen=True):
    """One metric of one month."""

    month: str
    metric: str
    total: Parts
    by_label: dict[str, Parts]
    """By source or category, those that differ."""
    cells: int
    """How many cells differ, those of salespeople among them."""


def differences(
    live: Monthly, steps: Sequence[tuple[str, Monthly]], new: Monthly, rest: str = REST
) -> list[Difference]:
    """Compare two generations.

    Args:
        live: Totals of the one that is shown.
        steps: Totals computed from records: first under the definitions of `live`, with any name, then each change's.
        new: Totals of the new one.
        rest: Name of what the steps do not explain.

    Returns:
        Every month and metric of which a cell differs, in the order of time and of the catalogue.

    """
    tables = [live, *(totals for _, totals in steps), new]
    names = [name for name, _ in steps[1:]]
    found = []
    for month, of_this_month in sorted(_by_month(tables).items()):
        numbers = [of_month(table) for table in of_this_month]
        cells = _differing(of_this_month[0], of_this_month[-1])
        found += [_difference(month, metric, cells[metric.name], numbers, names, rest) for metric in CATALOGUE]
    return [each for each in found if each.cells or each.by_label]


def _differing(live: Mapping[str, int], new: Mapping[str, int]) -> Counter[str]:
    """Count the cells that differ, by metric."""
    fields = live.keys() | new.keys()
    return Counter(field.partition("|")[0] for field in fields if live.get(field, 0) != new.get(field, 0))


def _difference(
    month: str, metric: Metric, cells: int, numbers: Sequence[Numbers], names: Sequence[str], rest: str
) -> Difference:
    labels = sorted({label for each in numbers for label in each.by_label[metric.name]})
    total = _parts(metric, [each.total(metric.name) for each in numbers], names, rest)
    by_label = {label: _parts(metric, _of_label(numbers, metric, label), names, rest) for label in labels}
    by_label = {label: parts for label, parts in by_label.items() if parts.differs}
    return Difference(month, metric.name, total, by_label, cells)


def _of_label(numbers: Iterable[Numbers], metric: Metric, label: str) -> list[int]:
    return [each.by_label[metric.name].get(label, 0) for each in numbers]


def _parts(metric: Metric, values: Sequence[int], names: Sequence[str], rest: str) -> Parts:
    live, *computed, new = values
    by = {name: after - before for name, (before, after) in zip(names, pairwise(computed), strict=True)}
    by[rest] = (new - live) - sum(by.values())

    def shown(number: int) -> Number:
        return decimal_string(number) if metric.is_value else number

    kept = {name: shown(number) for name, number in by.items() if number}
    return Parts(shown(live), shown(new), shown(new - live), kept)


def _by_month(tables: Sequence[Monthly]) -> dict[str, list[dict[str, int]]]:
    found: dict[str, list[dict[str, int]]] = {}
    for place, table in enumerate(tables):
        for (month, field), number in table.items():
            if month not in found:
                found[month] = [{} for _ in tables]
            found[month][place][field] = number
    return found
