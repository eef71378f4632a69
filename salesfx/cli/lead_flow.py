"""`salesfx lead-flow`: whether fewer leads come than usual."""

import asyncio
import importlib
import importlib.util
from datetime import UTC, datetime

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from salesfx.cli.moment import MomentType
from salesfx.lead_flow.sentence import duration, number, percent, rarity
from salesfx.reading import Reader
from salesfx.reading.lead_flow import FlowQuestionError, LeadFlowJson, WindowJson, lead_flow
from salesfx.reading.shown import printable
from salesfx.settings import Settings

_BACKTEST = "backtest"
_BACKTEST_MODULE = "salesfx.cli.lead_flow_backtest"
_WIDTH = 100
_STYLES = {"ok": "green", "low": "bold red", "silent": "bold red", "feed_broken": "bold yellow"}


class _WithBacktest(click.Group):
    """Imports the backtest only when it is called."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return [_BACKTEST] if importlib.util.find_spec(_BACKTEST_MODULE) else []

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(context):
            return None
        command: click.Command = importlib.import_module(_BACKTEST_MODULE).backtest
        return command


@click.group(
    "lead-flow",
    cls=_WithBacktest,
    invoke_without_command=True,
    short_help="Say whether fewer leads come than usual.",
)
@click.option("--source", help="Only of this source, as the tables show it.")
@click.option(
    "--at",
    type=MomentType(end=True),
    help="As it would have been judged then by today's tables: RFC 3339, or a date, which stands for its end.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON, as /api/lead-flow gives it.")
@click.pass_context
def lead_flow_(context: click.Context, *, source: str | None, at: datetime | None, as_json: bool) -> None:
    """Say whether fewer leads come than usual, and how much is known.

    The states are ok, low, silent, too little evidence, and feed broken; docs/lead-flow.md says how it decides.
    """
    if context.invoked_subcommand is not None:
        return
    settings = context.find_object(Settings)
    assert settings is not None  # noqa: S101 - the main command loads them
    try:
        answer = asyncio.run(_asked(settings, at, source))
    except FlowQuestionError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2))
    else:
        _print(answer, Console())


async def _asked(settings: Settings, at: datetime | None, source: str | None) -> LeadFlowJson:
    reader = Reader.connected(settings)
    try:
        return await lead_flow(reader, settings, datetime.now(UTC), at=at, source=source)
    finally:
        await reader.close()


def _print(answer: LeadFlowJson, console: Console) -> None:
    of = "All leads" if answer.source is None else f"Leads from {printable(answer.source)}"
    width = min(console.width, _WIDTH)
    console.print(Text.assemble((f"{of}, {answer.at:%Y-%m-%d %H:%M}: ", "bold"), _state(answer.state)), width=width)
    if answer.windows:
        console.print(_windows(answer.windows), width=width)
    console.print(Text(printable(answer.sentence)), width=width)
    if answer.by_source:
        console.print()
        console.print(_sources(answer), width=width)
        for name, flow in answer.by_source.items():
            if flow.state in {"low", "silent"}:
                console.print(Text.assemble((f"{printable(name)}: ", "bold"), printable(flow.sentence)), width=width)


def _windows(windows: list[WindowJson]) -> Table:
    table = _table("Time", "Leads", "Expected", "Alarm up to", "By chance", "Smallest drop")
    for window in windows:
        table.add_row(
            _name(window),
            number(window.observed),
            _expected(window),
            "-" if window.least < 0 else number(window.least),
            rarity(window.tail_probability),
            "-" if window.smallest_detectable_drop is None else percent(window.smallest_detectable_drop),
            style="bold red" if window.rings else None,
        )
    return table


def _sources(answer: LeadFlowJson) -> Table:
    table = _table("Source", "State", "Leads", "Expected", "Alarm up to")
    table.columns[1].justify = "left"
    for name, flow in answer.by_source.items():
        shown = {window.window: window for window in flow.windows}
        week = shown.get("7d")
        row = ("-", "-", "-") if week is None else (number(week.observed), _expected(week), _bound(week))
        table.add_row(Text(printable(name)), _state(flow.state), *row)
    table.caption = "leads, expected and alarm: of the last 7 days"
    table.caption_justify = "left"
    return table


def _bound(window: WindowJson) -> str:
    return "-" if window.least < 0 else number(window.least)


def _name(window: WindowJson) -> str:
    if window.window.endswith("d"):
        return f"last {duration(float(window.window[:-1]))}"
    return "since the last lead"


def _expected(window: WindowJson) -> str:
    return f"{window.expected:.1f}"


def _state(state: str) -> Text:
    return Text(state.replace("_", " "), _STYLES.get(state, ""))


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column(first, overflow="fold", max_width=30)
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
