"""One month's four KPIs, as `salesfx kpi --json` and `/api/months/YYYY-MM` give them.

The types are the JSON: fields in its order, money as decimal strings of the reporting currency.
"""

from collections.abc import Collection, Mapping
from typing import TypeVar

import msgspec

from salesfx.money import decimal_string
from salesfx.reading.month import Month
from salesfx.reading.numbers import Numbers, Person, of_month
from salesfx.tables.layout import MONTH
from salesfx.tables.store import Snapshot

CATEGORIES = ("new_account", "expansion", "returning")


class CountAndValue(msgspec.Struct, frozen=True):
    """How many, and what they are worth together."""

    count: int
    value: str


class LeadFlow(msgspec.Struct, frozen=True):
    """New leads that entered sales."""

    total: int
    by_source: dict[str, int]
    by_salesperson: dict[str, int]


class QualifiedLeads(msgspec.Struct, frozen=True):
    """Leads that were sent a quote which answers a need."""

    count: int
    value: str
    by_source: dict[str, CountAndValue]
    by_salesperson: dict[str, CountAndValue]


class Cohort(msgspec.Struct, frozen=True):
    """What became of the month's qualified leads by now."""

    qualified_leads: int
    customers: int
    ratio: float | None


class ConversionParts(msgspec.Struct, frozen=True):
    """What the two conversions are made of, for one source or salesperson."""

    new_customers: int
    qualified_leads: int
    cohort_customers: int


class Conversion(msgspec.Struct, frozen=True):
    """New customers for each qualified lead; no ratio where there is no qualified lead. It can exceed 1."""

    new_customers: int
    qualified_leads: int
    ratio: float | None
    cohort: Cohort
    by_source: dict[str, ConversionParts]
    by_salesperson: dict[str, ConversionParts]


class SalesOfPerson(msgspec.Struct, frozen=True):
    """A salesperson's sales by category; only the categories that have any."""

    planned: dict[str, CountAndValue]
    booked: dict[str, CountAndValue]


class Sales(msgspec.Struct, frozen=True):
    """Planned and booked sales by category; always all three categories."""

    planned: dict[str, CountAndValue]
    booked: dict[str, CountAndValue]
    by_salesperson: dict[str, SalesOfPerson]


class MonthReport(msgspec.Struct, frozen=True):
    """The four KPIs of one month. Breakdowns list what is not 0, the greatest first."""

    month: str
    currency: str
    lead_flow: LeadFlow
    qualified_leads: QualifiedLeads
    conversion: Conversion
    sales: Sales


def month_report(snapshot: Snapshot, month: Month) -> MonthReport:
    """Report a month; one without anything is a report of zeros.

    Args:
        snapshot: Must hold the month's table.
        month: Which.

    """
    currency = msgspec.json.decode(snapshot.definitions)["currency"]
    return report_of(of_month(snapshot.tables[f"{MONTH}{month}"]), month, currency)


def report_of(numbers: Numbers, month: Month, currency: str) -> MonthReport:
    """Report a month by its numbers."""
    return MonthReport(
        month=str(month),
        currency=currency,
        lead_flow=_lead_flow(numbers),
        qualified_leads=_qualified_leads(numbers),
        conversion=_conversion(numbers),
        sales=_sales(numbers),
    )


def _lead_flow(numbers: Numbers) -> LeadFlow:
    by_source, by_person = _rows(numbers, ("leads",))
    return LeadFlow(
        numbers.total("leads"),
        {name: count for name, (count,) in by_source.items()},
        {name: count for name, (count,) in by_person.items()},
    )


def _qualified_leads(numbers: Numbers) -> QualifiedLeads:
    by_source, by_person = _rows(numbers, ("qualified_leads", "qualified_leads_value"))
    return QualifiedLeads(
        numbers.total("qualified_leads"),
        decimal_string(numbers.total("qualified_leads_value")),
        {name: CountAndValue(count, decimal_string(value)) for name, (count, value) in by_source.items()},
        {name: CountAndValue(count, decimal_string(value)) for name, (count, value) in by_person.items()},
    )


def _conversion(numbers: Numbers) -> Conversion:
    parts = ("new_customers", "qualified_leads", "cohort_customers")
    customers, qualified, cohort = (numbers.total(metric) for metric in parts)
    by_source, by_person = _rows(numbers, parts)
    return Conversion(
        customers,
        qualified,
        _ratio(customers, qualified),
        Cohort(qualified, cohort, _ratio(cohort, qualified)),
        {name: ConversionParts(*row) for name, row in by_source.items()},
        {name: ConversionParts(*row) for name, row in by_person.items()},
    )


def _sales(numbers: Numbers) -> Sales:
    planned, booked = (_by_category(numbers, metric) for metric in ("planned_sales", "booked_sales"))
    people = {
        person.name for metric in ("planned_sales", "booked_sales") for person in _not_zero(numbers.by_person[metric])
    }

    def rank(name: str) -> tuple[int, int, str]:
        booked_value, planned_value = (
            sum(numbers.by_person[metric].get(Person(name, category), 0) for category in CATEGORIES)
            for metric in ("booked_sales_value", "planned_sales_value")
        )
        return -booked_value, -planned_value, name

    return Sales(
        planned,
        booked,
        {
            name: SalesOfPerson(_of_person(numbers, "planned_sales", name), _of_person(numbers, "booked_sales", name))
            for name in sorted(people, key=rank)
        },
    )


def _by_category(numbers: Numbers, metric: str) -> dict[str, CountAndValue]:
    counts, values = numbers.by_label[metric], numbers.by_label[metric + "_value"]
    return {
        category: CountAndValue(counts.get(category, 0), decimal_string(values.get(category, 0)))
        for category in CATEGORIES
    }


def _of_person(numbers: Numbers, metric: str, name: str) -> dict[str, CountAndValue]:
    counts, values = numbers.by_person[metric], numbers.by_person[metric + "_value"]
    return {
        category: CountAndValue(counts[person], decimal_string(values.get(person, 0)))
        for category in CATEGORIES
        if counts.get(person := Person(name, category), 0)
    }


_Name = TypeVar("_Name")
_Rows = dict[str, tuple[int, ...]]


def _rows(numbers: Numbers, metrics: Collection[str]) -> tuple[_Rows, _Rows]:
    """Put metrics that are broken down by source side by side: by source, and by salesperson."""
    people = [{person.name: number for person, number in numbers.by_person[metric].items()} for metric in metrics]
    return _side_by_side([numbers.by_label[metric] for metric in metrics]), _side_by_side(people)


def _side_by_side(columns: list[dict[str, int]]) -> _Rows:
    names = {name for column in columns for name in _not_zero(column)}
    rows = {name: tuple(column.get(name, 0) for column in columns) for name in names}
    return dict(sorted(rows.items(), key=lambda row: (tuple(-number for number in row[1]), row[0])))


def _not_zero(column: Mapping[_Name, int]) -> list[_Name]:
    return [name for name, number in column.items() if number]


def _ratio(part: int, whole: int) -> float | None:
    """Divide counts; money never comes here."""
    return part / whole if whole else None
