"""How long looking back in the log takes, and how much memory."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
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

MONTH = "2023-01"
"""The first of the load: it has ended before the moment between the halves, so that what came after restates it."""
_TEN_MILLION = 10_000_000


@click.command(short_help="How long looking back takes, and how much memory.")
@click.option("--events", default=200_000, show_default=True, help="Events in the log.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(events: int, file: Path | None) -> None:
    """Let a worker make tables of two halves of a load; look back at the moment between them, and at others."""
    with servers() as (local, settings, folder), progress_bars() as bars:
        messages = load.in_order(events)
        moments = [datetime.now(UTC) - timedelta(days=1)]
        for part in (islice(messages, events // 2), messages):
            load.publish(settings, part, events // 2, bars)
            time.sleep(1)
            moments.append(datetime.now(UTC))
        make_tables(settings, folder, events, bars, local.check)
        before, between, after = (moment.isoformat() for moment in moments)
        ways = {
            "salesfx kpi --known-at, none of them: the log is read": ("kpi", "--known-at", before),
            "salesfx kpi --known-at, half of them": ("kpi", "--known-at", between),
            "salesfx kpi --known-at, all of them": ("kpi", "--known-at", after),
            "salesfx restated, half of them after": ("restated", "--since", between),
            "salesfx restated, all of them after": ("restated", "--since", before),
        }
        rows = {}
        for name, arguments in ways.items():
            bars.console.print(name)
            rows[name] = measure(settings, arguments)
    figures = {"events": events, "ways": rows}
    click.echo(f"kept in {keep('lookback', figures, file)}\n")
    click.echo(shown(figures))


def measure(settings: Settings, arguments: Sequence[str]) -> dict[str, Any]:
    """Look back once; give the seconds, the peak of its memory in MiB, and how many events are listed."""
    name, *options = arguments
    month = ["--month", MONTH] if name == "kpi" else [MONTH]
    done = run(settings, [name, *month, *options, "--json"])
    if done.status:
        raise SystemExit(done.error.decode())
    listed = len(msgspec.json.decode(done.out).get("events", ()))
    return {"seconds": done.seconds, "peak_mib": done.peak_mib, "listed": listed}


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a table, with what ten million events come to if it goes on in proportion."""
    ways, times = figures["ways"], _TEN_MILLION / figures["events"]
    by_itself = next(iter(ways.values()))["peak_mib"]
    rows = []
    for name, row in ways.items():
        mib = by_itself + (row["peak_mib"] - by_itself) * times
        estimate = f"{row['seconds'] * times / 60:,.0f}", f"{mib / 1024:,.1f}"
        listed = f"{row['listed']:,}" if "restated" in name else ""
        rows.append((name, listed, f"{row['seconds']:,.1f}", f"{row['peak_mib']:,.0f}", *estimate))
    head = (f"{figures['events']:,} events", "events listed", "s", "memory at most, MiB", "ten million: minutes", "GiB")
    return table(head, rows)
