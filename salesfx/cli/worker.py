"""`salesfx worker`."""

import click

from salesfx.settings import Settings
from streams.worker import run_worker


@click.command()
@click.option(
    "--from-log-start", is_flag=True, help="Count only what is there where Kafka has forgotten the first events."
)
@click.option("--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING"]), default="INFO", show_default=True)
@click.pass_obj
def worker(settings: Settings, *, from_log_start: bool, log_level: str) -> None:
    """Take events from Kafka to the tables in Redis. Start at most as many as a topic has partitions."""
    run_worker(settings, from_log_start=from_log_start, log_level=log_level)
