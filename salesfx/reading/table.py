"""One month's four KPIs as a table for the terminal, in at most 80 columns."""

from collections.abc import Iterable

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from salesfx.reading.month import Month
from salesfx.reading.report import CATEGORIES, CountAndValue, MonthReport
from salesfx.reading.shown import grouped, percent, total

WIDTH = 80
_NAME_WIDTH = 30


def print_report(report: MonthReport, current: Month, console: Console) -> None:
    """Print a report.

    Args:
        report: Of any month.
        current: The month that it is now: what is planned in an earlier one is overdue.
        console: Where to print; what is wider than `WIDTH` columns is not used.

    """
    console.print(Group(*_tables(report, overdue=Month.parse(report.month) < current)), width=min(console.width, WIDTH))


def _tables(report: MonthReport, *, overdue: bool) -> Iterable[RenderableType]:
    currency = report.currency
    yield Text(f"{report.month}, values in {currency}", style="bold")
    yield _overview(report, overdue=overdue)
    yield _sales(report)
    if report.lead_flow.by_source or report.qualified_leads.by_source or report.conversion.by_source:
        yield _leads("Source", report, "by_source")
    if report.lead_flow.by_salesperson or report.qualified_leads.by_salesperson or report.conversion.by_salesperson:
        yield _leads("Salesperson", report, "by_salesperson")
    if report.sales.by_salesperson:
        yield _sales_by_salesperson(report)
    if overdue and _count(report.sales.planned.values()):
        yield Text("overdue: expected to close in this month, which has passed, and still open", style="italic")


def _overview(report: MonthReport, *, overdue: bool) -> Table:
    qualified, conversion, cohort = report.qualified_leads, report.conversion, report.conversion.cohort
    planned, booked = report.sales.planned.values(), report.sales.booked.values()
    note = ", overdue" if overdue and _count(planned) else ""
    table = _table("Four KPIs", "", "")
    table.columns[2].justify = "left"
    for name, number, detail in (
        ("Lead flow", str(report.lead_flow.total), "new leads"),
        ("Qualified leads", str(qualified.count), f"worth {grouped(qualified.value)}"),
        (
            "Conversion",
            percent(conversion.ratio),
            f"new customers {conversion.new_customers}, qualified leads {conversion.qualified_leads}",
        ),
        (
            "  of this month's leads",
            percent(cohort.ratio),
            f"won by now {cohort.customers} of {cohort.qualified_leads}",
        ),
        ("Planned sales", grouped(total(planned)), f"open quotes {_count(planned)}{note}"),
        ("Booked sales", grouped(total(booked)), f"won deals {_count(booked)}"),
    ):
        table.add_row(name, number, detail)
    return table


def _sales(report: MonthReport) -> Table:
    table = _table("Sales", "Planned", "Value", "Booked", "Value")
    for category in CATEGORIES:
        _add_sales(table, category.replace("_", " "), report.sales.planned[category], report.sales.booked[category])
    return table


def _leads(heading: str, report: MonthReport, breakdown: str) -> Table:
    flow: dict[str, int] = getattr(report.lead_flow, breakdown)
    qualified: dict[str, CountAndValue] = getattr(report.qualified_leads, breakdown)
    conversion = getattr(report.conversion, breakdown)
    table = _table(heading, "Leads", "Qualified", "Value", "New cust.", "Won by now")
    for name in dict.fromkeys((*flow, *qualified, *conversion)):
        leads = qualified.get(name, CountAndValue(0, "0.00"))
        parts = conversion.get(name)
        table.add_row(
            Text(name),
            str(flow.get(name, 0)),
            str(leads.count),
            grouped(leads.value),
            str(parts.new_customers if parts else 0),
            str(parts.cohort_customers if parts else 0),
        )
    return table


def _sales_by_salesperson(report: MonthReport) -> Table:
    table = _table("Salesperson", "Planned", "Value", "Booked", "Value")
    for name, sales in report.sales.by_salesperson.items():
        planned, booked = (
            CountAndValue(_count(part.values()), total(part.values())) for part in (sales.planned, sales.booked)
        )
        _add_sales(table, name, planned, booked)
    return table


def _add_sales(table: Table, name: str, planned: CountAndValue, booked: CountAndValue) -> None:
    table.add_row(Text(name), str(planned.count), grouped(planned.value), str(booked.count), grouped(booked.value))


def _count(sales: Iterable[CountAndValue]) -> int:
    return sum(sale.count for sale in sales)


def _table(first: str, *others: str) -> Table:
    """Make a table whose first column is folded where names are long, so that no number is cut."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column(first, overflow="fold", max_width=_NAME_WIDTH)
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
