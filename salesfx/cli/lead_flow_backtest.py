"""`salesfx lead-flow backtest`: the alarm over a history, as it would have rung then."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from salesfx.cli.naming import naming
from salesfx.cli.publish import progress_of
from salesfx.importer import FileError, FileFormat, RowRefused, read_rows
from salesfx.importer.rows import find_columns
from salesfx.lead_flow.backtest import Backtest, Found, Naive, naive
from salesfx.lead_flow.closed_days import is_closed
from salesfx.lead_flow.episodes import Episode
from salesfx.lead_flow.history import Columns, History, HistoryReader
from salesfx.lead_flow.naive import NAIVE_RULES
from salesfx.lead_flow.sharing import shares
from salesfx.lead_flow.usual import LEAST_DAYS, LeadFlow
from salesfx.rules import Rules
from salesfx.settings import Settings

_SHOWN_REFUSALS = 20


class EpisodeJson(msgspec.Struct, kw_only=True):
    """An alarm: from the first look that rang to the last."""

    start: str
    end: str | None
    window_days: float
    observed: int
    expected: float
    probability: float


class FoundJson(msgspec.Struct, kw_only=True):
    """Drops that were put into the history."""

    drops: int
    found: int
    share: float | None
    median_delay_days: float | None
    greatest_delay_days: float | None


class NaiveJson(msgspec.Struct, kw_only=True):
    """A rule of thumb."""

    rule: str
    episodes: int
    injected: FoundJson | None


class FlowJson(msgspec.Struct, kw_only=True):
    """One flow."""

    source: str | None
    leads: int
    years: float
    false_alarms_per_year: float
    false_alarms_expected: float
    judged_share: float
    episodes: list[EpisodeJson]
    injected: FoundJson | None = None
    naive: list[NaiveJson] | None = None


class BacktestJson(msgspec.Struct, kw_only=True):
    """What `--json` prints."""

    file: str
    first: str
    last: str
    looks: str
    rows: int
    refused: int
    refusals: list[dict[str, Any]]
    flows: list[FlowJson]


@click.command("backtest", short_help="Run the alarm over a history of leads.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--time-column", required=True, help="Column with the date, or date and time, of a lead.")
@click.option("--source-column", help="Column with its source; each source is judged too.")
@click.option("--count-column", help="Column with a number of leads, where a row is not one lead.")
@click.option(
    "--date-format",
    default="iso",
    show_default=True,
    help="iso, day-first, month-first, or a format like %d.%m.%Y %H:%M.",
)
@click.option("--delimiter", default=",", show_default=True, help="Between the cells.")
@click.option("--encoding", default="utf-8", show_default=True, help="Of the file.")
@click.option("--country", help="ISO 3166 code of the country whose public holidays hold. Default: holidays_country.")
@click.option(
    "--false-alarms-per-year",
    "budget",
    type=click.FloatRange(0.01, 365),
    help="For the total, and as many for all sources together. Default: the setting.",
)
@click.option("--inject", type=click.FloatRange(1, 100), metavar="PERCENT", help="Put drops of that size in.")
@click.option("--days", type=click.IntRange(1, 60), default=3, show_default=True, help="How long such a drop lasts.")
@click.option("--compare", is_flag=True, help="Judge by rules of thumb, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw a picture there; needs salesfx[plot]."
)
@click.pass_obj
def backtest(
    settings: Settings,
    *,
    file: Path,
    time_column: str,
    source_column: str | None,
    count_column: str | None,
    date_format: str,
    delimiter: str,
    encoding: str,
    country: str | None,
    budget: float | None,
    inject: float | None,
    days: int,
    compare: bool,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Run the alarm over the leads in a CSV file, as it would have run then: hour by hour where the file has times.

    It lists what would have rung. With --inject it also tells how many drops of that size it would have found, and how
    soon. Exit status: 0 where all rows could be used, 1 where some could not.
    """
    if plot is not None:
        _check_plot()
    names = {"--time-column": time_column, "--source-column": source_column, "--count-column": count_column}
    form = _format(delimiter, encoding, date_format)
    closed = _closed(settings, country)
    history, rows, refusals, refused = _read(file, form, names, date_format, settings)
    per_year = budget or settings.false_alarms_per_year
    drop = (inject / 100, days) if inject is not None else None
    flows = _flows(history, closed, per_year, drop, compare=compare)
    last = history.first + timedelta(days=len(history.total) - 1)
    outcome = BacktestJson(
        file=str(file),
        first=history.first.isoformat(),
        last=last.isoformat(),
        looks="hourly" if history.slots > 1 else "daily",
        rows=rows,
        refused=refused,
        refusals=refusals,
        flows=flows,
    )
    if plot is not None:
        from salesfx.cli.lead_flow_plot import draw  # noqa: PLC0415 - needs an extra

        draw(history, LeadFlow(history.first, history.total, closed), flows[0].episodes, plot)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(outcome), indent=2))
    else:
        _print(outcome, inject, days)
    if refused:
        click.get_current_context().exit(1)


def _check_plot() -> None:
    from importlib.util import find_spec  # noqa: PLC0415 - asked for a picture only

    if find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: pip install 'salesfx[plot]'")


def _format(delimiter: str, encoding: str, date_format: str) -> FileFormat:
    if date_format not in {"iso", "day-first", "month-first"} and "%" not in date_format:
        raise click.BadParameter("is iso, day-first, month-first or a format with %", param_hint="--date-format")
    delimiter = "\t" if delimiter == "\\t" else delimiter
    if len(delimiter) != 1:
        raise click.BadParameter("is one character, or \\t", param_hint="--delimiter")
    try:
        "".encode(encoding)
    except LookupError:
        raise click.BadParameter(f"{encoding!r} is no encoding", param_hint="--encoding") from None
    return FileFormat(encoding=encoding, delimiter=delimiter)


def _closed(settings: Settings, country: str | None) -> Callable[[date], bool]:
    try:
        return is_closed(settings.holidays_country if country is None else country, settings.closed_days)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--country") from None


def _read(
    file: Path, form: FileFormat, names: dict[str, str | None], date_format: str, settings: Settings
) -> tuple[History, int, list[dict[str, Any]], int]:
    refusals: list[dict[str, Any]] = []
    number = refused = 0
    with naming(file), file.open("rb") as binary, progress_of(binary, "rows") as (console, advance):
        rows = read_rows(binary, form)
        header = next((cells for _, cells in rows), None)
        if header is None:
            raise FileError("the file is empty")
        wanted = {name: option for option, name in names.items() if name is not None}
        places = find_columns(header, wanted, form.delimiter)
        time, source, count = (places[name] if name is not None else None for name in names.values())
        assert time is not None  # noqa: S101 - the option is required
        reader = HistoryReader(
            Columns(time, source, count), date_format, settings.timezone, Rules(settings.definitions).source
        )
        for row, cells in rows:
            advance()
            number += 1
            try:
                reader.take(cells)
            except RowRefused as error:
                refused += 1
                if refused <= _SHOWN_REFUSALS:
                    refusals.append({"row": row, "reason": str(error)})
                    console.print(f"row {row}: {error}", markup=False, highlight=False, soft_wrap=True)
        history = reader.history()
    if len(history.total) <= LEAST_DAYS:
        raise FileError(
            f"{file}: {len(history.total)} days are too few: {LEAST_DAYS} days come before the first that is judged"
        )
    return history, number, refusals, refused


def _flows(
    history: History, closed: Callable[[date], bool], per_year: float, drop: tuple[float, int] | None, *, compare: bool
) -> list[FlowJson]:
    total = LeadFlow(history.first, history.total, closed)
    sources = {name: LeadFlow(history.first, counts, closed) for name, counts in history.sources.items()}
    remembered: dict[int, dict[str, float]] = {}

    def share(name: str, day: int) -> float:
        if day not in remembered:
            remembered[day] = shares({name: flow.usual(day) for name, flow in sources.items()}, per_year)
        return remembered[day][name]

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("judging", total=(1 + len(sources)) * (len(history.total) - LEAST_DAYS))

        def advance() -> None:
            progress.advance(task)

        found = [_flow(history, None, Backtest(total, lambda _: per_year, advance), total, drop, compare)]
        for name, flow in sources.items():
            run = Backtest(flow, lambda day, name=name: share(name, day), advance)  # type: ignore[misc]
            found.append(_flow(history, name, run, flow, drop, compare))
    last = len(history.total)
    for shown in found:
        shown.false_alarms_per_year = per_year if shown.source is None else share(shown.source, last)
    return found


def _flow(
    history: History, name: str | None, run: Backtest, flow: LeadFlow, drop: tuple[float, int] | None, compare: bool
) -> FlowJson:
    outcome = run.outcome
    rules = {said: naive(flow, rule, drop) for said, rule in NAIVE_RULES.items()} if compare else None
    return FlowJson(
        source=name,
        leads=sum(flow.totals),
        years=round(outcome.years, 2),
        false_alarms_per_year=0.0,
        false_alarms_expected=round(outcome.false_alarms_expected, 2),
        judged_share=round(outcome.judged, 3),
        episodes=[_episode(history, episode) for episode in outcome.episodes],
        injected=_found(run.inject(*drop)) if drop else None,
        naive=None if rules is None else [_naive(said, result) for said, result in rules.items()],
    )


def _episode(history: History, episode: Episode) -> EpisodeJson:
    return EpisodeJson(
        start=_when(history, episode.start),
        end=None if episode.end is None else _when(history, episode.end),
        window_days=round(episode.window.days, 2),
        observed=episode.window.observed,
        expected=round(episode.window.expected, 1),
        probability=float(f"{episode.window.probability:.3g}"),
    )


def _when(history: History, at: float) -> str:
    """Give the local time of a look; a look at a day's end is that day's."""
    if history.slots == 1:
        return (history.first + timedelta(days=at - 1)).isoformat()
    moment = datetime.combine(history.first, datetime.min.time(), UTC) + timedelta(hours=round(at * 24))
    return moment.strftime("%Y-%m-%dT%H:%M")


def _found(found: Found) -> FoundJson:
    share = round(found.found / found.drops, 3) if found.drops else None
    delay = None if found.median_delay is None else round(found.median_delay, 2)
    latest = None if found.greatest_delay is None else round(found.greatest_delay, 2)
    return FoundJson(
        drops=found.drops, found=found.found, share=share, median_delay_days=delay, greatest_delay_days=latest
    )


def _naive(said: str, result: Naive) -> NaiveJson:
    return NaiveJson(rule=said, episodes=result.episodes, injected=_found(result.found) if result.found else None)


def _print(outcome: BacktestJson, inject: float | None, days: int) -> None:
    click.echo(
        f"{Path(outcome.file).name}: {outcome.first} to {outcome.last}, looked at {outcome.looks}; "
        f"{outcome.rows:,} rows, {outcome.refused:,} of them refused"
    )
    for flow in outcome.flows:
        click.echo(f"\n{flow.source or 'all leads'}: {flow.leads:,} leads")
        click.echo(
            f"  {len(flow.episodes)} alarms in {flow.years:.1f} years; {flow.false_alarms_expected:.1f} are to be expected "
            f"where nothing changes; enough evidence {flow.judged_share:.0%} of the time"
        )
        for episode in flow.episodes:
            until = "still on at the end" if episode.end is None else f"to {episode.end}"
            click.echo(
                f"    {episode.start} {until}: {episode.observed:,} in {episode.window_days:g} days, "
                f"{episode.expected:,.1f} expected (probability {episode.probability:.2g})"
            )
        if flow.injected is not None:
            click.echo(f"  drops of {inject:g} % over {days} days: {_said(flow.injected)}")
        for rule in flow.naive or ():
            told = f"; drops: {_said(rule.injected)}" if rule.injected else ""
            click.echo(f"  {rule.rule}: {rule.episodes} alarms{told}")


def _said(found: FoundJson) -> str:
    if not found.drops:
        return "no place to put one"
    delay = (
        ""
        if found.median_delay_days is None
        else (f", after {found.median_delay_days:g} days (median; {found.greatest_delay_days:g} at most)")
    )
    return f"{found.found} of {found.drops} found{delay}"
