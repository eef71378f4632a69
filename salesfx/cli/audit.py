"""`salesfx audit`: the tables computed again, and compared."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from salesfx.audit.audit import EventsTotal, Options
from salesfx.audit.audit import audit as run_audit
from salesfx.audit.findings import MAX_LISTED, CellDifference, Findings, Listed, Report
from salesfx.audit.records import Progress as Advance
from salesfx.cli.kpi import MonthType
from salesfx.event_log import KafkaSource
from salesfx.kafka_security import quiet_kafka_python
from salesfx.reading import Month
from salesfx.reading.month import local_today
from salesfx.settings import Settings
from salesfx.tables import tables_of

_SHOWN = 10
"""Most findings of one kind that people are shown: a hundred of one would hide the one of another."""
_STAGES = {
    "records": "records read",
    "behind": "records read again, for who is behind the differences",
    "log": "events read from Kafka",
    "cells": "entities computed",
}


@click.command("audit", short_help="Compute every table again, and compare.")
@click.option("--month", type=MonthType(), help="Compare this month only.")
@click.option("--from-log", is_flag=True, help="Also compute the tables from Kafka's log, up to the stored offsets.")
@click.option("--json", "as_json", is_flag=True, help="For machines: see docs/audit.md.")
@click.pass_obj
def audit(settings: Settings, *, month: Month | None, from_log: bool, as_json: bool) -> None:
    """Compute every table again from the records, and compare cell by cell.

    With --from-log also from Kafka's log, by code that shares nothing with what makes the tables. Workers may go on
    meanwhile. Exit status: 0 where everything agrees, warnings or not; 1 where something differs.
    """
    options = Options(
        today=local_today(datetime.now(UTC), settings.timezone),
        month=None if month is None else str(month),
    )
    with quiet_kafka_python(), _progress() as (advance, log_total):
        report = asyncio.run(_audited(settings, options, from_log, advance, log_total))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        _print(report)
    if not report.agrees:
        click.get_current_context().exit(1)


async def _audited(
    settings: Settings, options: Options, from_log: bool, advance: Advance, log_total: EventsTotal
) -> Report:
    tables = tables_of(settings)
    try:
        return await run_audit(
            tables, settings, options, advance, KafkaSource(settings, tables) if from_log else None, log_total
        )
    finally:
        await tables.close()


@contextmanager
def _progress() -> Iterator[tuple[Advance, EventsTotal]]:
    """Show on a terminal how far it is; elsewhere show nothing."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.completed:>12,.0f} {task.description}"), BarColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def task(stage: str) -> TaskID:
            if stage not in tasks:
                tasks[stage] = progress.add_task(_STAGES[stage], total=None)
            return tasks[stage]

        yield (
            lambda stage, done: progress.advance(task(stage), done),
            lambda total: progress.update(task("log"), total=total),
        )


def _print(report: Report) -> None:
    where = f"of {report.month}" if report.month else "of every month"
    read = ", ".join(f"{number:,} {kind}" for kind, number in report.checked.items() if kind != "cells")
    click.echo(f"{report.checked['cells']:,} cells {where}, computed again from {read or 'no'} records")
    if report.log is not None:
        events, refused = (sum(getattr(each, name) for each in report.log.values()) for name in ("events", "refused"))
        click.echo(f"and from {events:,} events of Kafka's log, {refused:,} of which cannot be used")
    _print_differences(report.differences)
    _print_findings("INCONSISTENT", report.inconsistencies)
    _print_findings("warning", report.warnings)
    if report.agrees:
        click.echo("everything agrees")
    else:
        click.echo("the tables are not what they should be: docs/audit.md says what each finding means and what to do")


def _print_differences(differences: Listed[CellDifference]) -> None:
    for each in differences.listed[:_SHOWN]:
        click.echo(
            f"DIFFERS  {each.table} {each.field}: {each.in_tables} in the tables, {each.computed} from the {each.computed_from}"
        )
        behind = ", ".join(each.behind.listed)
        if more := each.behind.total - len(each.behind.listed):
            behind += f" and {more:,} more"
        click.echo(f"         counted there by the {each.computed_from}: {behind or 'nothing'}")
    _print_rest("DIFFERS", "cells", differences)


def _print_findings(word: str, findings: Findings) -> None:
    for kind, found in sorted(findings.items()):
        for each in found.listed[:_SHOWN]:
            click.echo(f"{word}  {kind}: {each.sentence}")
        _print_rest(word, kind, found)


def _print_rest(word: str, what: str, listed: Listed[Any]) -> None:
    if more := listed.total - min(len(listed.listed), _SHOWN):
        click.echo(f"{word}  {what}: and {more:,} more; --json lists up to {MAX_LISTED} of a kind")
