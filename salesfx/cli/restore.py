"""`salesfx restore`: an archive's events published once more, to a Kafka that has lost its log."""

import asyncio
from pathlib import Path

import click

from salesfx.cli.archive import chosen_folder, echo_json, progress_bar
from salesfx.kafka_security import quiet_kafka_python
from salesfx.settings import Settings


@click.command(short_help="Publish an archive's events to a Kafka that has lost its log.")
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="The archive's folder; default: the setting `archive`.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines: see docs/archive.md.")
@click.pass_obj
def restore(settings: Settings, *, folder: Path | None, as_json: bool) -> None:
    """Publish all events of an archive to empty topics, each to its partition, in its order, every byte as it was.

    Interrupted, it goes on where it was. What it publishes are events of a new log: make tables of them in an empty Redis, or under
    another `namespace`, and begin a new archive.
    """
    from salesfx.event_log.archive.restoring import restore as restored  # noqa: PLC0415 - slow to import

    place = chosen_folder(settings, folder, "--from")
    with quiet_kafka_python(), progress_bar("records published") as (advance, total):
        done = asyncio.run(restored(settings, place, advance, total))
    if as_json:
        echo_json(done)
        return
    earlier = f" ({done.already:,} were there already)" if done.already else ""
    click.echo(f"{done.rows:,} records published from {done.folder}{earlier}")
    click.echo("Tables of them are made in an empty Redis, or under another `namespace`: start a worker with it.")
