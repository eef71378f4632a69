"""The monthly report: a month that has ended, against its target, the month before, and the same month a year before."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from salesfx.language import Language
from salesfx.money import decimal_string
from salesfx.reading.month import Month
from salesfx.reading.report import CATEGORIES, CountAndValue, MonthReport, month_report
from salesfx.reading.shown import total
from salesfx.tables.layout import MONTH
from salesfx.tables.store import Snapshot
from salesfx.targets.lines import CONVERSION, KPIS, MONEY, Number, Targets

_DASH = "\N{EN DASH}"
_YEAR = 12


class Table(NamedTuple):
    """A table; numbers stand in all columns but the first."""

    heading: str
    columns: list[str]
    rows: list[list[str]]


class Document(NamedTuple):
    """A report before it is written as text, Markdown or HTML; names in it are as events had them."""

    language: str
    title: str
    tables: list[Table]
    sentences: list[str]


class Ended(NamedTuple):
    """A month as it was known when it ended, and what has come since."""

    then: MonthReport
    events: Mapping[str, int]
    """How many events that came since have changed it, by their kind: a word of the languages."""


def report_tables(month: Month) -> list[str]:
    """Name the tables that `document` reads."""
    return [f"{MONTH}{month.back(ago)}" for ago in (0, 1, _YEAR)]


def document(
    snapshot: Snapshot, month: Month, targets: Targets, language: Language, ended: Ended | None = None
) -> Document:
    """Put the report of a month together.

    Args:
        snapshot: With the tables that `report_tables` names.
        month: One that has ended.
        targets: Those of the settings.
        language: What it is written in.
        ended: To tell what was restated since the month ended.

    """
    first = min(snapshot.months, default=str(month))
    # Of months before the first that has a table nothing is known, which is not 0.
    now, *before = (
        month_report(snapshot, month.back(ago)) if ago == 0 or str(month.back(ago)) >= first else None
        for ago in (0, 1, _YEAR)
    )
    if now is None:
        raise AssertionError
    writer = _Writer(now, before, ended, targets, language)
    title = language.word("report").format(month=language.month(month.year, month.number))
    tables = [table for table in writer.tables() if table.rows]
    return Document(language.code, title, tables, list(writer.sentences(has_any=str(month) in snapshot.months)))


class _Writer:
    def __init__(
        self,
        now: MonthReport,
        before: list[MonthReport | None],
        ended: Ended | None,
        targets: Targets,
        language: Language,
    ) -> None:
        self._now, self._before, self._ended, self._targets, self._language = now, before, ended, targets, language
        self._word = language.word

    def tables(self) -> Iterable[Table]:
        word = self._word
        compared = [word(name) for name in ("month", "target", "reached", "last_month", "last_year")]
        yield Table(word("kpis"), ["", *compared], [self._kpi(kpi) for kpi in KPIS])
        yield Table(
            word("categories"),
            [word("category"), word("deals"), word("value"), *compared[1:]],
            [self._category(category) for category in CATEGORIES],
        )
        columns = [word(name) for name in ("lead_count", "qualified", "value", "new_customers")]
        yield Table(word("sources"), [word("source"), *columns], self._leads("by_source"))
        people = [word(name) for name in ("lead_count", "qualified", "new_customers", "booked_sales_value")]
        yield Table(
            word("salespeople"), [word("salesperson"), *people, word("target"), word("reached")], self._people()
        )

        if self._ended is not None:
            columns = [word("when_it_ended"), word("now")]
            yield Table(word("restated"), ["", *columns], list(self._restated(self._ended.then)))

    def sentences(self, *, has_any: bool) -> Iterable[str]:
        if not has_any:
            yield self._word("nothing")
        planned = self._now.sales.planned.values()
        count = sum(sale.count for sale in planned)
        if count:
            yield self._word("overdue").format(count=self._language.count(count), value=self._money(total(planned)))
        if self._ended is not None:
            yield self._events(self._ended.events)
        yield self._word("note")

    def _events(self, events: Mapping[str, int]) -> str:
        kinds = {self._word(kind): self._language.count(number) for kind, number in events.items() if number}
        if not kinds:
            return self._word("not_restated")
        listed = ", ".join(f"{kind} {number}" for kind, number in kinds.items())
        return self._word("restated_by").format(count=self._language.count(sum(events.values())), kinds=listed)

    def _restated(self, then: MonthReport) -> Iterable[list[str]]:
        """Write what is another number now than when the month ended."""
        earlier, now = _numbers(then), _numbers(self._now)
        for kpi in KPIS:
            yield from self._then_and_now(kpi, kpi, earlier[kpi], now[kpi])
        for category in CATEGORIES:
            was, stands = (_hundredths(report.sales.booked[category].value) for report in (then, self._now))
            yield from self._then_and_now(category, "booked_sales_value", was, stands)

    def _then_and_now(self, name: str, kpi: str, was: Number | None, stands: Number | None) -> Iterable[list[str]]:
        if was != stands:
            yield [self._word(name), self._figure(kpi, was), self._figure(kpi, stands) + self._change(kpi, stands, was)]

    def _kpi(self, kpi: str) -> list[str]:
        number = _numbers(self._now)[kpi]
        target = self._targets.target(self._now.month, kpi)
        before = [None if report is None else _numbers(report)[kpi] for report in self._before]
        return [self._word(kpi), *self._against(kpi, number, target, before)]

    def _category(self, category: str) -> list[str]:
        booked = self._now.sales.booked[category]
        target = self._targets.target(self._now.month, "booked_sales_value", category=category)
        before = [
            None if report is None else _hundredths(report.sales.booked[category].value) for report in self._before
        ]
        compared = self._against("booked_sales_value", _hundredths(booked.value), target, before)
        return [self._word(category), self._language.count(booked.count), *compared]

    def _leads(self, breakdown: str) -> list[list[str]]:
        flow: Mapping[str, int] = getattr(self._now.lead_flow, breakdown)
        qualified: Mapping[str, CountAndValue] = getattr(self._now.qualified_leads, breakdown)
        conversion = getattr(self._now.conversion, breakdown)
        rows = []
        for name in dict.fromkeys((*flow, *qualified, *conversion)):
            leads, customers = qualified.get(name, _NONE), conversion[name].new_customers if name in conversion else 0
            counts = (self._language.count(number) for number in (flow.get(name, 0), leads.count))
            rows.append([self._name(name), *counts, self._money(leads.value), self._language.count(customers)])
        return rows

    def _people(self) -> list[list[str]]:
        now, month = self._now, self._now.month
        flow, qualified = now.lead_flow.by_salesperson, now.qualified_leads.by_salesperson
        conversion, sales = now.conversion.by_salesperson, now.sales.by_salesperson
        rows = []
        for name in dict.fromkeys((*sales, *flow, *qualified, *conversion, *self._targets.salespeople(month))):
            booked = total(sales[name].booked.values()) if name in sales else "0.00"
            target = self._targets.target(month, "booked_sales_value", name)
            customers = conversion[name].new_customers if name in conversion else 0
            counts = (flow.get(name, 0), qualified.get(name, _NONE).count, customers)
            rows.append(
                [
                    self._name(name),
                    *(self._language.count(number) for number in counts),
                    *self._against("booked_sales_value", _hundredths(booked), target, []),
                ]
            )
        return rows

    def _against(
        self, kpi: str, number: Number | None, target: Number | None, before: Sequence[Number | None]
    ) -> list[str]:
        """Write a number, its target, what share of it was reached, and earlier numbers with the change since."""
        reached = _DASH if target is None or number is None else self._language.percent(number / target)
        return [
            self._figure(kpi, number),
            self._figure(kpi, target),
            reached,
            *(self._figure(kpi, each) + self._change(kpi, number, each) for each in before),
        ]

    def _change(self, kpi: str, number: Number | None, before: Number | None) -> str:
        if number is None or not before or kpi == CONVERSION:
            return ""
        return f" ({self._language.change(number / before - 1)})"

    def _figure(self, kpi: str, number: Number | None) -> str:
        if number is None:
            return _DASH
        if kpi in MONEY:
            return self._money(decimal_string(int(number)))
        return self._language.percent(number) if kpi == CONVERSION else self._language.count(int(number))

    def _money(self, value: str) -> str:
        return self._language.money(value, self._now.currency)

    def _name(self, name: str) -> str:
        return self._word(name) if name in {"unknown", "unattributed", "unassigned"} else name


_NONE = CountAndValue(0, "0.00")


def _numbers(report: MonthReport) -> dict[str, Number | None]:
    booked = report.sales.booked.values()
    return {
        "leads": report.lead_flow.total,
        "qualified_leads": report.qualified_leads.count,
        "qualified_leads_value": _hundredths(report.qualified_leads.value),
        "new_customers": report.conversion.new_customers,
        "conversion": report.conversion.ratio,
        "booked_sales": sum(sale.count for sale in booked),
        "booked_sales_value": _hundredths(total(booked)),
    }


def _hundredths(value: str) -> int:
    return int(Decimal(value) * 100)
