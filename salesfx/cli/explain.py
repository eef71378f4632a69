"""`salesfx explain`: what makes up a number."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import click
import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from salesfx.cli.kpi import MonthType
from salesfx.errors import SalesfxError
from salesfx.reading import Month, Reader
from salesfx.reading.explanation import (
    NAMES,
    Advance,
    ConversionExplanation,
    Explanation,
    Question,
    QuestionError,
    Shown,
    explain,
)
from salesfx.reading.report import CATEGORIES
from salesfx.reading.shown import grouped, percent, printable
from salesfx.settings import Settings

_SHOWN = 50


class NumberDiffersError(SalesfxError):
    """The tables show another number than the records add up to."""


@click.command("explain", short_help="Show the leads, quotes and deals that make up a number.")
@click.argument("month", type=MonthType())
@click.argument("metric", type=click.Choice(NAMES), metavar="METRIC")
@click.option("--source", help="Only of this source, as the tables show it.")
@click.option("--salesperson", help="Only of this salesperson.")
@click.option("--category", type=click.Choice(CATEGORIES), help="Only of this category of sales.")
@click.option(
    "--limit",
    type=click.IntRange(0),
    help=f"List so many; by default {_SHOWN}, with --json all. Sum and count are always of all.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines: see docs/explain.md.")
@click.pass_obj
def explain_(
    settings: Settings,
    *,
    month: Month,
    metric: str,
    source: str | None,
    salesperson: str | None,
    category: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show the leads, quotes and deals that make up a number of MONTH, and why each counts there.

    METRIC is leads, qualified_leads, qualified_leads_value, new_customers, cohort_customers, booked_sales,
    booked_sales_value, planned_sales, planned_sales_value, or conversion, which has two parts.

    Exit status: 0 where they add up to what the tables show, 1 where they do not, 2 where there is no such number.
    """
    try:
        question = Question(
            month=month,
            metric=metric,
            source=source,
            salesperson=salesperson,
            category=category,
            limit=_SHOWN if limit is None and not as_json else limit,
        )
    except QuestionError as error:
        raise click.UsageError(str(error)) from None
    with _progress() as advance:
        answer = asyncio.run(_asked(settings, question, advance))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2))
    else:
        _print(answer, Console())
    if not answer.exact:
        raise NumberDiffersError(
            f"the tables show another number for {metric} of {month} than the records add up to. `salesfx audit --month "
            f"{month}` compares every cell, and docs/audit.md says what to do."
        )


async def _asked(settings: Settings, question: Question, advance: Advance) -> Explanation | ConversionExplanation:
    reader = Reader.connected(settings)
    try:
        return await explain(reader, settings, question, advance)
    finally:
        await reader.close()


@contextmanager
def _progress() -> Iterator[Advance]:
    """Show on a terminal how many records have been looked at; elsewhere show nothing."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.completed:,.0f} records looked at"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda count: progress.advance(task, count)


def _print(answer: Explanation | ConversionExplanation, console: Console) -> None:
    if isinstance(answer, ConversionExplanation):
        console.print(
            Text(f"{answer.month}, conversion: {percent(answer.ratio)}, new customers for each qualified lead", "bold")
        )
        for part in (answer.new_customers, answer.qualified_leads):
            console.print()
            _print(part, console)
        return
    number, total = _number(answer.number, answer.currency), _number(answer.sum, answer.currency)
    filters = "".join(f", {name} {printable(value)}" for name, value in answer.filters.items())
    console.print(Text(f"{answer.month}, {answer.metric}{filters}: {number}", "bold"))
    verdict = "as" if answer.exact else "NOT as"
    what = "contribution adds" if answer.count == 1 else "contributions add"
    console.print(Text(f"{answer.count:,} {what} up to {total}, {verdict} the tables show"), soft_wrap=True)
    for shown in answer.contributions:
        print_contribution(shown, console)
    missing = answer.count - len(answer.contributions)
    if missing:
        are = "is" if missing == 1 else "are"
        console.print(Text(f"{missing:,} more {are} not listed; --limit N lists N, --json all", "italic"))


def print_contribution(shown: Shown, console: Console) -> None:
    """Print one contribution: what it is, why it counts, and where its events lie."""
    value = f"  {grouped(shown.number)}" if isinstance(shown.number, str) else ""
    console.print(Text(f"\n{shown.date}  {shown.kind} {shown.id}{value}", "bold"), soft_wrap=True)
    place = [
        f"lead {shown.lead}" if shown.lead is not None else "no lead",
        f"account {shown.account}" if shown.account is not None else "no account",
        *([shown.category.replace("_", " ")] if shown.category is not None else []),
        f"source {shown.source}",
        f"salesperson {shown.salesperson}",
    ]
    lines = [", ".join(place), *(f"- {why.says}" for why in shown.why)]
    lines += [
        f"{event.decides}: {event.kind} {event.id} at {event.topic}[{event.partition}]@{event.offset}"
        for event in shown.events
    ]
    console.print(Padding(Text("\n".join(lines)), (0, 0, 0, 2), expand=False))


def _number(number: int | str, currency: str) -> str:
    return f"{grouped(number)} {currency}" if isinstance(number, str) else f"{number:,}".replace(",", " ")
