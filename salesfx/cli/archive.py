"""`salesfx archive`: the log in files, for a Kafka that does not keep it for ever."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from salesfx.event_log.archive.reading import folder_of
from salesfx.kafka_security import quiet_kafka_python
from salesfx.settings import Settings, SettingsError

if TYPE_CHECKING:
    from salesfx.event_log.archive.verification import Verified
    from salesfx.event_log.archive.writing import Written

_MIB = 1024 * 1024


@click.command(short_help="Write the log to files, for a Kafka that does not keep it for ever.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="The archive's folder; default: the setting `archive`.",
)
@click.option("--new", is_flag=True, help="Begin an archive though Kafka has forgotten the beginning of its log.")
@click.option("--verify", is_flag=True, help="Write nothing; check every file, and compare it with what Kafka has.")
@click.option("--json", "as_json", is_flag=True, help="For machines: see docs/archive.md.")
@click.pass_obj
def archive(settings: Settings, *, folder: Path | None, new: bool, verify: bool, as_json: bool) -> None:
    """Add what Kafka has committed since the last run: one Parquet file a topic and month, every byte as it lies in Kafka.

    Run it more often than Kafka forgets. With --verify the exit status is 1 where something is wrong.
    """
    if new and verify:
        raise click.UsageError("--verify writes nothing, so there is nothing to begin: leave --new out.")
    place = chosen_folder(settings, folder, "--to")
    with quiet_kafka_python():
        if verify:
            _verify(settings, place, as_json=as_json)
        else:
            _write(settings, place, new=new, as_json=as_json)


def chosen_folder(settings: Settings, named: Path | None, option: str) -> Path:
    """Give the archive's folder: the one that an option names, else that of the settings.

    Raises:
        SettingsError: Neither names one.

    """
    if named is None and settings.archive is None:
        raise SettingsError(f"which folder? Set `archive` (SALESFX_ARCHIVE), or name it with {option}")
    return folder_of(named or settings.archive or "")


def _write(settings: Settings, folder: Path, *, new: bool, as_json: bool) -> None:
    from salesfx.event_log.archive.writing import write_archive  # noqa: PLC0415 - an extra

    with progress_bar("positions read from Kafka") as (advance, total):
        written = asyncio.run(write_archive(settings, folder, datetime.now(UTC), advance, total, new=new))
    if as_json:
        echo_json(written)
    else:
        _print_written(written)


def _verify(settings: Settings, folder: Path, *, as_json: bool) -> None:
    from salesfx.event_log.archive.verification import verify_archive  # noqa: PLC0415 - an extra

    with progress_bar("records looked at") as (advance, _):
        found = asyncio.run(verify_archive(settings, folder, advance))
    if as_json:
        echo_json(found)
    else:
        _print_verified(found)
    if found.faults:
        click.get_current_context().exit(1)


@contextmanager
def progress_bar(what: str) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """Show on a terminal how far it is; elsewhere show nothing."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.completed:>12,.0f} {task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done: progress.advance(task, done), lambda total: progress.update(task, total=total)


def echo_json(report: Any) -> None:
    """Print a report for machines."""
    click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))


def _print_written(written: "Written") -> None:
    for file in written.files:
        click.echo(f"wrote {file.name}: {file.rows:,} records, {file.bytes / _MIB:,.1f} MiB")
    _print_spans(written.spans)
    click.echo(f"{written.rows:,} records added to {written.folder}" if written.files else "nothing new")


def _print_verified(found: "Verified") -> None:
    for fault in found.faults:
        click.echo(f"WRONG  {fault}")
    _print_spans(found.spans)
    click.echo(
        f"{found.files:,} files with {found.rows:,} records in {found.folder}; {found.compared:,} of these are still in Kafka, "
        "and were compared byte by byte"
    )
    click.echo(
        "something is wrong: docs/archive.md says what to do" if found.faults else "everything is as it was written"
    )


def _print_spans(spans: dict[str, tuple[int, int]]) -> None:
    for field, (begin, end) in spans.items():
        click.echo(f"{field}: from {begin} up to {end}")
