"""`salesfx kpi`: the four KPIs of one month, as they are or as they were known."""

import asyncio
from datetime import UTC, datetime

import click
import msgspec
from rich.console import Console

from salesfx.cli.moment import MomentType, refuse_future
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
@click.option(
    "--known-at",
    "moment",
    type=MomentType(end=True),
    help="As it was known then, from Kafka's log: an instant like 2026-11-01T09:00:00+02:00, or a date, which is the end of "
    "that day in the business time zone.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON, as /api/months/YYYY-MM gives it.")
@click.pass_obj
def kpi(settings: Settings, *, month: Month | None, moment: datetime | None, as_json: bool) -> None:
    """Show the four KPIs of one month.

    With --known-at as the events make it that Kafka had got by TIME, under the definitions of today; see
    docs/looking-back.md.
    """
    now = datetime.now(UTC)
    current = current_month(now, settings.timezone)
    chosen = current if month is None else month
    if moment is None:
        report = asyncio.run(_read(settings, chosen))
    else:
        refuse_future(moment, now, "--known-at", "leave --known-at out to see what is known now")
        from salesfx.cli.known_at import look_back  # noqa: PLC0415  (Kafka's clients are slow to import)

        report, current = look_back(settings, chosen, moment), current_month(moment, settings.timezone)
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
