"""How long `salesfx audit` takes, and how much memory, on very many leads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from bench import load
from bench.command_line import run
from bench.results import keep, table
from bench.surroundings import progress_bars, servers
from bench.workers import make_tables
from salesfx.settings import Settings

WAYS: Mapping[str, tuple[str, ...]] = {"salesfx audit": (), "salesfx audit --from-log": ("--from-log",)}


@click.command(short_help="How long an audit takes, and how much memory.")
@click.option(
    "--events", default=1_360_000, show_default=True, help="Events in the tables; a million leads by default."
)
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(events: int, file: Path | None) -> None:
    """Let a worker make the tables, then audit them without and with the log."""
    with servers() as (local, settings, folder), progress_bars() as bars:
        load.publish(settings, load.in_order(events), events, bars)
        make_tables(settings, folder, events, bars, local.check)
        rows = {}
        for name, options in WAYS.items():
            bars.console.print(name)
            rows[name] = measure(settings, options)
    figures = {"events": events, "ways": rows}
    click.echo(f"kept in {keep('audit', figures, file)}\n")
    click.echo(shown(figures))


def measure(settings: Settings, options: tuple[str, ...]) -> dict[str, Any]:
    """Run one audit; give its seconds, the peak of its memory in MiB, and what it checked."""
    done = run(settings, ("audit", "--json", *options))
    report = msgspec.json.decode(done.out)
    if not report["agrees"]:
        raise SystemExit("the audit found differences")
    return {"seconds": done.seconds, "peak_mib": done.peak_mib, "checked": report["checked"]}


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a table."""
    return table(
        (f"{figures['events']:,} events", "s", "memory at most, MiB"),
        [(name, f"{row['seconds']:,.1f}", f"{row['peak_mib']:,.0f}") for name, row in figures["ways"].items()],
    )
