"""`salesfx kpi --known-at`: a month as it was known at an earlier time."""

import asyncio
from datetime import datetime

import click

from salesfx.cli.log_reading import log_progress, tables_and_log
from salesfx.looking_back import Known, known_at
from salesfx.looking_back.arrivals import Advance
from salesfx.reading import Month, MonthReport
from salesfx.settings import Settings


def look_back(settings: Settings, month: Month, moment: datetime) -> MonthReport:
    """Report a month as it was known at a moment, and say on standard error what the report is made from."""
    with log_progress() as advance:
        known = asyncio.run(_known(settings, month, moment, advance))
    click.echo(_told(known, moment), err=True)
    return known.report


async def _known(settings: Settings, month: Month, moment: datetime, advance: Advance) -> Known:
    async with tables_and_log(settings) as (reader, log):
        return await known_at(log, await reader.snapshot(), settings.definitions, month, moment, advance)


def _told(known: Known, moment: datetime) -> str:
    """Say what the report is made from."""
    at = moment.isoformat()
    if not known.events:
        first = f"Kafka got its first event after {at}" if known.later else "there is no event in Kafka's log"
        return f"{first}: nothing was known then, so every number is 0"
    refused = f", {known.refused:,} of which cannot be used" if known.refused else ""
    return f"from {known.events:,} events that Kafka had got by {at}{refused}; {known.later:,} messages came later"
