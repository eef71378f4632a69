"""The whole audit: a view of the tables and records, and where it is asked for the log."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from typing import NamedTuple

from salesfx.audit.behind import name_entities
from salesfx.audit.comparison import Comparison, table_names
from salesfx.audit.findings import Report, note
from salesfx.audit.from_log import LogAudit
from salesfx.audit.oddities import Oddities
from salesfx.audit.records import Progress, RecordsAudit
from salesfx.audit.versions import Version
from salesfx.audit.winners import Winners
from salesfx.definitions import Definitions, made_under
from salesfx.event_log import LogSource
from salesfx.reading.reader import Reader, with_views
from salesfx.rules import Rules
from salesfx.scratch import in_temporary_folder
from salesfx.settings import Settings
from salesfx.tables import Snapshot, Tables
from salesfx.tables.layout import MONTH
from salesfx.tables.store import View

_KEPT = 10_000
EventsTotal = Callable[[int], None]
"""Told how many events of the log there are to be read."""


class Options(NamedTuple):
    """What is asked for."""

    today: date
    """In the business time zone."""
    month: str | None = None
    """Like 2026-10, to compare that month only."""


async def audit(
    tables: Tables,
    settings: Settings,
    options: Options,
    progress: Progress,
    log: LogSource | None = None,
    log_total: EventsTotal = lambda _: None,
) -> Report:
    """Compute every table again, and compare.

    Args:
        tables: To be audited; workers may go on committing meanwhile.
        settings: Whose definitions the tables must have, and which Redis and topics are meant.
        options: What to look at.
        progress: Told how far it is.
        log: To compute the tables from it too.
        log_total: Told how many events of the log are to be read.

    Raises:
        NoTablesError: There are none.
        DefinitionsChangedError: They were made under other definitions than those of the settings.
        TablesAwayError: Redis gave no answer.
        ViewLostError: The tables were emptied or replaced meanwhile, again and again.
        KafkaAwayError, OtherLogError, LogIncompleteError: The log cannot be read, or is not the tables' whole log.

    """
    reader = Reader(tables, settings)
    with ExitStack() as stack:
        winners = None
        if log is not None:
            # A log that cannot serve is found out before the records are read.
            await log.ranges((await reader.snapshot()).offsets)
            stack.enter_context(in_temporary_folder("An audit from the log"))
            winners = Winners()
            stack.callback(winners.close)

        async def of_records(view: View) -> tuple[Snapshot, Definitions, Report]:
            # Not ours: these may have a rate that the tables do not know of yet.
            definitions = made_under(view.snapshot.definitions, settings.definitions)
            return view.snapshot, definitions, await _audit_records(view, definitions, options, progress, winners)

        snapshot, definitions, report = await with_views(lambda: reader.view(table_names(options.month)), of_records)
        if log is not None and winners is not None:
            ranges = await log.ranges(snapshot.offsets)
            log_total(sum(each.end - each.begin for each in ranges))
            log_audit = LogAudit(winners, snapshot, definitions, settings, progress)
            await log_audit.read(log.read(ranges))
            log_audit.compare(options.month).report(report)
            report.log = log_audit.checked
            report.inconsistencies |= log_audit.findings
            report.warnings |= log_audit.warnings
        report.settle()
        return report


async def _audit_records(
    view: View, definitions: Definitions, options: Options, progress: Progress, winners: Winners | None
) -> Report:
    rules = Rules(definitions)
    oddities = Oddities(rules, options.today, options.month)
    versions = None
    if winners is not None:
        winners.forget_standings()  # of a view that was lost
        versions = _Versions(winners)
    records = RecordsAudit(view, rules, oddities, progress, versions)
    await records.run()
    if versions is not None:
        versions.flush()
    snapshot = view.snapshot
    comparison = Comparison(snapshot.tables, records.cells, "records", options.month)
    if comparison:
        await name_entities(comparison, view, rules, progress)
    report = Report(
        month=options.month,
        offsets=dict(snapshot.offsets),
        checked={**records.checked, "cells": comparison.compared},
        inconsistencies=records.findings,
        warnings=oddities.findings,
    )
    comparison.report(report)
    _check_months(snapshot, report)
    return report


class _Versions:
    """Hands the records' versions on, some thousands at a time."""

    def __init__(self, winners: Winners) -> None:
        self._winners = winners
        self._kept: list[Version] = []

    def __call__(self, version: Version) -> None:
        self._kept.append(version)
        if len(self._kept) >= _KEPT:
            self.flush()

    def flush(self) -> None:
        """Hand on what is kept."""
        self._winners.add_standings(self._kept)
        self._kept.clear()


def _check_months(snapshot: Snapshot, report: Report) -> None:
    """Compare the list of the months with the tables that there are: readers show the months of the list."""
    filled = {name.removeprefix(MONTH) for name, table in snapshot.tables.items() if table and name.startswith(MONTH)}
    listed = {month for month in snapshot.months if report.month in {None, month}}
    for month in sorted(filled - listed):
        note(report.inconsistencies, "months", f"{month} has a table, but is not in the list of the months")
    for month in sorted(listed - filled):
        note(report.inconsistencies, "months", f"{month} is in the list of the months, but has no table")
