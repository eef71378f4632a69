"""`salesfx report`: a month that has ended, for mail or chat."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

import click

from salesfx.cli.kpi import MonthType
from salesfx.cli.log_reading import log_progress, refuse_difference, tables_and_log
from salesfx.language import LANGUAGES, Language
from salesfx.looking_back import restated
from salesfx.looking_back.arrivals import Advance
from salesfx.looking_back.restated import Kind, end_of
from salesfx.reading import Month, Reader, current_month
from salesfx.reading.monthly import Document, Ended, document, report_tables
from salesfx.reading.written import FORMATS
from salesfx.settings import Settings
from salesfx.targets.lines import Targets


@click.command("report", short_help="Write the report of a month that has ended.")
@click.option("--month", type=MonthType(), help="The month; by default the last one in the business time zone.")
@click.option("--lang", type=click.Choice(LANGUAGES), default="en", show_default=True, help="Language.")
@click.option("--format", "form", type=click.Choice(tuple(FORMATS)), default="text", show_default=True, help="Form.")
@click.option("--restated", "with_restated", is_flag=True, help="Also tell what was restated since; reads Kafka's log.")
@click.pass_obj
def report(settings: Settings, *, month: Month | None, lang: str, form: str, with_restated: bool) -> None:
    """Write the report of a month that has ended: for mail or chat.

    The four KPIs against their targets, the month before and the same month a year before; categories, sources, salespeople.
    """
    current = current_month(datetime.now(UTC), settings.timezone)
    chosen = current.back(1) if month is None else month
    if chosen >= current:
        raise click.UsageError(f"{chosen} has not ended; `salesfx kpi --month {chosen}` shows it so far.")
    if chosen.year <= 1:
        raise click.UsageError(f"{chosen} has no month a year before.")
    if with_restated:
        with log_progress() as advance:
            written = asyncio.run(_read_with_log(settings, chosen, Language(lang), advance))
    else:
        written = asyncio.run(_read(settings, chosen, Language(lang)))
    click.echo(FORMATS[form](written), nl=False)


async def _read(settings: Settings, month: Month, language: Language) -> Document:
    reader = Reader.connected(settings)
    try:
        snapshot = await reader.snapshot(report_tables(month))
    finally:
        await reader.close()
    return document(snapshot, month, Targets(settings.targets), language)


async def _read_with_log(settings: Settings, month: Month, language: Language, advance: Advance) -> Document:
    async with tables_and_log(settings) as (reader, log):
        snapshot = await reader.snapshot(report_tables(month))
        since = await restated(log, snapshot, settings.definitions, month, end_of(month, settings.timezone), advance)
    refuse_difference(since)
    kinds = Counter(event.kind for event in since.events)
    ended = Ended(since.then, {kind: kinds[kind] for kind in Kind})
    return document(snapshot, month, Targets(settings.targets), language, ended)
