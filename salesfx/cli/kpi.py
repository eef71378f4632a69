"""`salesfx kpi`: the four KPIs of one month."""

import asyncio
from datetime import UTC, datetime

import click
import msgspec
from rich.console import Console

from salesfx.reading import Month, MonthReport, Reader, current_month
from salesfx.reading.table import print_report
from salesfx.settings import Settings


class MonthType(click.ParamType):
    """A month written YYYY-MM."""

    name = "YYYY-MM"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Month:
        """Read it, or end with a usage error."""
        if isinstance(value, Month):
            return value
        try:
            return Month.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option("--month", type=MonthType(), help="The month; by default the current one in the business time zone.")
@click.option("--json", "as_json", is_flag=True, help="JSON, as /api/months/YYYY-MM gives it.")
@click.pass_obj
def kpi(settings: Settings, month: Month | None, as_json: bool) -> None:
    """Show the four KPIs of one month."""
    current = current_month(datetime.now(UTC), settings.timezone)
    report = asyncio.run(_read(settings, current if month is None else month))
    if as_json:
        # Bytes: JSON is UTF-8 whatever the terminal is.
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        print_report(report, current, Console())


async def _read(settings: Settings, month: Month) -> MonthReport:
    reader = Reader.connected(settings)
    try:
        return await reader.month(month)
    finally:
        await reader.close()
