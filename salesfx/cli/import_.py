"""`salesfx import`: events out of a CRM's CSV export."""

import codecs
import csv
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import msgspec
from rich.console import Console

from salesfx.cli.naming import naming
from salesfx.cli.publish import progress_of
from salesfx.errors import NeedsAttentionError
from salesfx.events import FIRST_YEAR
from salesfx.importer import (
    FileError,
    FileFormat,
    Importer,
    Made,
    Map,
    RowRefused,
    load_map,
    parse_moment,
    read_rows,
)
from salesfx.kafka_security import quiet_kafka_python
from salesfx.publisher import Publisher
from salesfx.settings import Settings

_SHOWN_REFUSALS = 20


class _Outcome(msgspec.Struct, kw_only=True):
    """What an import came to; `--json` prints it."""

    file: str
    exported_at: str
    dry_run: bool
    rows: int = 0
    published: Counter[str] = msgspec.field(default_factory=Counter)
    """Events by topic, without withdrawals; with dry_run, those that would be."""
    withdrawn: Counter[str] = msgspec.field(default_factory=Counter)
    """Events that withdraw what the row's stage does not have, by topic."""
    rows_without_events: int = 0
    refused: int = 0
    refusals: list[dict[str, Any]] = msgspec.field(default_factory=list)
    samples: list[dict[str, Any]] = msgspec.field(default_factory=list)
    """With dry_run, the first event of each kind."""

    def note(self, made: list[Made]) -> None:
        if all(event.retracted for event in made):
            self.rows_without_events += 1
        for event in made:
            counter = self.withdrawn if event.retracted else self.published
            if self.dry_run and not counter[event.topic]:
                self.samples.append({"topic": event.topic, **event.event})
            counter[event.topic] += 1


@click.command("import", short_help="Publish what a CRM's CSV export says.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--map",
    "map_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file that says what the columns mean: see docs/import.md.",
)
@click.option(
    "--exported-at",
    metavar="MOMENT",
    help="When the CRM wrote FILE, like 2026-11-23T09:00. Default: the file's modification time.",
)
@click.option("--dry-run", is_flag=True, help="Publish nothing; show what would be published.")
@click.option(
    "--refused",
    "refused_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the refused rows there as CSV, each with its number and the reason.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary, with all refused rows, as JSON.")
@click.pass_obj
def import_(
    settings: Settings,
    *,
    file: Path,
    map_file: Path,
    exported_at: str | None,
    dry_run: bool,
    refused_file: Path | None,
    as_json: bool,
) -> None:
    """Import a CRM's CSV export: publish the events that its rows stand for.

    Importing the same file again changes nothing; importing a newer export corrects what has changed. A row that cannot
    be used is named with its number, as a spreadsheet shows it, and the reason; the other rows go in. Exit status: 0
    where all rows could be used, 1 where some could not.
    """
    mapping = load_map(map_file)
    moment = _exported_at(file, exported_at, mapping, settings)
    outcome = _Outcome(file=str(file), exported_at=moment.isoformat(), dry_run=dry_run)
    with ExitStack() as stack:
        stack.enter_context(naming(file))
        binary = stack.enter_context(file.open("rb"))
        rows = read_rows(binary, mapping.file)
        header = next((cells for _, cells in rows), None)
        if header is None:
            raise FileError("the file is empty")
        importer = Importer(mapping, header, moment, settings.timezone)
        stack.enter_context(quiet_kafka_python())
        publisher = None if dry_run else stack.enter_context(Publisher(settings))
        console, advance = stack.enter_context(progress_of(binary, "rows"))
        write_refused = stack.enter_context(_refused_rows(refused_file, file, header, mapping.file))
        for number, cells in rows:
            advance()
            outcome.rows += 1
            try:
                made = importer.events(number, cells)
            except RowRefused as refused:
                _refuse(outcome, console, number, str(refused), keep=as_json)
                write_refused(number, cells, str(refused))
                continue
            outcome.note(made)
            for event in made:
                if publisher is not None:
                    publisher.send_json(event.topic, event.value)
    _report(outcome, as_json=as_json, stated=exported_at is not None)
    if outcome.refused:
        click.get_current_context().exit(1)


def _refuse(outcome: _Outcome, console: Console, number: int, reason: str, *, keep: bool) -> None:
    outcome.refused += 1
    if keep:
        outcome.refusals.append({"row": number, "reason": reason})
    if outcome.refused <= _SHOWN_REFUSALS:
        console.print(f"row {number}: {reason}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _refused_rows(
    path: Path | None, source: Path, header: list[str], form: FileFormat
) -> Iterator[Callable[[int, list[str], str], None]]:
    """Open the file for refused rows; it is written like the export, so that the same map reads it."""
    if path is None:
        yield lambda _number, _cells, _reason: None
        return
    if path.exists() and path.samefile(source):
        raise click.BadParameter("that is the file to be imported", param_hint="--refused")
    encoding = "utf-8-sig" if codecs.lookup(form.encoding).name == "utf-8" else form.encoding
    try:
        # A byte that the encoding does not have goes out as it came in.
        stream = path.open("w", encoding=encoding, errors="surrogateescape", newline="")
    except OSError as error:
        raise NeedsAttentionError(f"cannot write {path}: {error.strerror}") from error

    def write(number: int, cells: list[str], reason: str) -> None:
        writable = reason.encode(encoding, "replace").decode(encoding)
        writer.writerow([number, writable, *cells])

    with stream:
        writer = csv.writer(stream, delimiter=form.delimiter)
        writer.writerow(["refused row", "refused because", *header])
        yield write


def _exported_at(file: Path, stated: str | None, mapping: Map, settings: Settings) -> datetime:
    zone = ZoneInfo(mapping.file.timezone or settings.timezone)
    if stated is not None:
        try:
            moment = parse_moment(stated, "iso", zone)
        except ValueError as error:
            raise click.BadParameter(f"{stated!r} {error}", param_hint="--exported-at") from None
    else:
        # To the second: copies and archives keep no more of it.
        moment = datetime.fromtimestamp(int(file.stat().st_mtime), UTC).astimezone(zone)
    if moment.year < FIRST_YEAR or moment > datetime.now(UTC) + timedelta(days=1):
        # From the future it would win over every export to come.
        raise NeedsAttentionError(
            f"{file} cannot have been exported at {moment.isoformat()}: say with --exported-at when the CRM wrote it"
        )
    return moment


def _report(outcome: _Outcome, *, as_json: bool, stated: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(outcome))
        return
    verb = "would be published" if outcome.dry_run else "published"
    click.echo(f"{Path(outcome.file).name}: {outcome.rows:,} rows, {outcome.refused:,} of them refused")
    for topic, count in sorted(outcome.published.items()):
        click.echo(f"  {topic}: {count:,} events {verb}")
    if outcome.rows_without_events:
        click.echo(f"  {outcome.rows_without_events:,} rows make no event at their stage")
    withdrawals = sum(outcome.withdrawn.values())
    if withdrawals:
        click.echo(f"  {withdrawals:,} withdrawals {verb}, of what rows do not have at their stage (any more)")
    for sample in outcome.samples:
        click.echo("  for example " + msgspec.json.encode(sample).decode())
    if outcome.refused > _SHOWN_REFUSALS:
        more = outcome.refused - _SHOWN_REFUSALS
        click.echo(f"  {more:,} more refused rows are not shown; --refused FILE.csv writes all of them")
    how = "as stated" if stated else "the file's modification time; --exported-at states another"
    click.echo(f"  exported at {outcome.exported_at} ({how})")
