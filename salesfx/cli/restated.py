"""`salesfx restated`: how a month has changed since it ended, and because of which events."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

import click
import msgspec
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from salesfx.cli.kpi import MonthType
from salesfx.cli.log_reading import log_progress, refuse_difference, tables_and_log
from salesfx.cli.moment import MomentType, refuse_future
from salesfx.looking_back import Restated, Restating, restated
from salesfx.looking_back.arrivals import Advance
from salesfx.looking_back.restated import TOTAL, Change, Kind, Number, end_of
from salesfx.reading import Month, current_month
from salesfx.reading.shown import grouped, printable
from salesfx.settings import Settings
from salesfx.tables.layout import MONTH

_SHOWN_EVENTS, _SHOWN_CHANGES, _SHOWN_OTHERS = 20, 40, 5
_WORDS = {
    Kind.LATE: "late",
    Kind.CORRECTION: "correction",
    Kind.RETRACTION: "withdrawal",
    Kind.NEW: "later business",
}


@click.command("restated", short_help="Show how a month has changed since it ended, and which events did it.")
@click.argument("month", type=MonthType())
@click.option(
    "--since",
    type=MomentType(end=True),
    help="Since then: an instant, or a date, which is the end of that day in the business time zone; by default since the "
    "month ended there.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines, with every event: see docs/looking-back.md.")
@click.pass_obj
def restated_(settings: Settings, *, month: Month, since: datetime | None, as_json: bool) -> None:
    """Show how MONTH has changed since it ended, and because of which events that came after.

    From Kafka's log, by the time at which Kafka got each event. Exit status: 0 where what is listed adds up to what the
    tables show, 1 where it does not.
    """
    now = datetime.now(UTC)
    if since is None and month >= current_month(now, settings.timezone):
        raise click.UsageError(f"{month} has not ended; --since TIME shows how it has changed since then.")
    moment = end_of(month, settings.timezone) if since is None else since
    refuse_future(moment, now, "--since", "nothing can have changed since")
    with log_progress() as advance:
        answer = asyncio.run(_asked(settings, month, moment, advance))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2))
    else:
        _print(answer, Console())
    refuse_difference(answer)


async def _asked(settings: Settings, month: Month, since: datetime, advance: Advance) -> Restated:
    async with tables_and_log(settings) as (reader, log):
        return await restated(
            log, await reader.snapshot([f"{MONTH}{month}"]), settings.definitions, month, since, advance
        )


def _print(answer: Restated, console: Console) -> None:
    since = answer.since.isoformat(timespec="seconds")
    console.print(Text(f"{answer.month} since {since}, values in {answer.currency}", "bold"), soft_wrap=True)
    if not answer.events_before:
        console.print(Text("Kafka got no event by then: all of the month came after", "italic"), soft_wrap=True)
    if not answer.events:
        console.print(Text(f"nothing that came since has changed it ({answer.events_after:,} events)"), soft_wrap=True)
        return
    kinds = Counter(event.kind for event in answer.events)
    parts = ", ".join(f"{_WORDS[kind]} {kinds[kind]:,}" for kind in Kind if kinds[kind])
    told = f"{len(answer.events):,} of {answer.events_after:,} events that came since changed it: {parts}"
    console.print(Text(told), soft_wrap=True)
    _print_changes(answer, console)
    for event in answer.events[:_SHOWN_EVENTS]:
        _print_event(event, console)
    if more := len(answer.events) - _SHOWN_EVENTS:
        _print_rest(more, "events", console)


def _print_changes(answer: Restated, console: Console) -> None:
    if not answer.changes:
        console.print(Text("they undo each other: every number is what it was"), soft_wrap=True)
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("Number", overflow="fold")
    for heading in ("Then", "Now", "Change"):
        table.add_column(heading, justify="right", no_wrap=True)
    for change in answer.changes[:_SHOWN_CHANGES]:
        numbers = (_number(number) for number in (change.then, change.now))
        table.add_row(Text(_name(change)), *numbers, _difference(change.difference))
    console.print(table)
    if more := len(answer.changes) - _SHOWN_CHANGES:
        _print_rest(more, "numbers", console)


def _print_rest(more: int, what: str, console: Console) -> None:
    if more > 0:
        console.print(Text(f"and {more:,} more {what}; --json lists all", "italic"))


def _print_event(event: Restating, console: Console) -> None:
    head = f"{event.arrived_at.isoformat(timespec='seconds')}  {_WORDS[event.kind]}: {event.entity}"
    console.print()
    console.print(Text(printable(head), "bold"), soft_wrap=True)
    what = f"event {printable(event.event_id)} of {event.occurred_at.isoformat(timespec='seconds')}"
    lines = [f"{what} at {event.topic}[{event.partition}]@{event.offset}"]
    by_label = (
        f"{_difference(number)} {printable(field)}"
        for field, number in event.changes.items()
        if "salesperson=" not in field
    )
    lines.append(", ".join(by_label) or "another salesperson")
    others = [entity for entity in event.by_entity if entity != event.entity]
    if others:
        more = len(others) - _SHOWN_OTHERS
        shown = ", ".join(printable(entity) for entity in others[:_SHOWN_OTHERS])
        lines.append(f"through what it made of {shown}" + (f" and {more:,} more" if more > 0 else ""))
    console.print(Padding(Text("\n".join(lines)), (0, 0, 0, 2), expand=False))


def _name(change: Change) -> str:
    metric = change.metric.replace("_", " ")
    return metric if change.of == TOTAL else f"  {metric}, {printable(change.of)}"


def _number(number: Number) -> str:
    return grouped(number) if isinstance(number, str) else f"{number:,}".replace(",", " ")


def _difference(number: Number) -> str:
    written = _number(number)
    return written if written.startswith("-") else f"+{written}"
