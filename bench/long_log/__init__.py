"""What reads a whole log, or all that was made of it: how long it takes, and how much memory, as logs grow."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.progress import Progress

from bench import load
from bench.command_line import run
from bench.long_log.beside import rebuilt
from bench.results import keep, table
from bench.surroundings import progress_bars, servers
from bench.throughput import timed
from bench.workers import Seen, workers
from salesfx.settings import Settings

MONTH = "2023-01"
"""The first of the load: it has ended before the moment between the halves, so that what came after restates it."""
_MANY_TIMES = 10
"""At least so many more events than at the beginning can come while a rebuild runs."""
WORKER, REBUILD = "a worker makes the tables", "`salesfx rebuild`, beside that worker, up to the swap"


@click.command(short_help="Audits, looking back and a rebuild, as the log grows.")
@click.option(
    "--events", "sizes", multiple=True, type=int, default=(1_000_000,), help="Events in the log; may be repeated."
)
@click.option("--rate", default=1000, show_default=True, help="Events a second that come in while the rebuild runs.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(sizes: tuple[int, ...], rate: int, file: Path | None) -> None:
    """Let a worker make tables of a log; audit them, look back in the log, and make them anew while events come in."""
    figures: dict[str, Any] = {"rate": rate, "sizes": []}
    for events in sizes:
        figures["sizes"].append({"events": events, **measured(events, rate)})
        place = keep("long_log", figures, file)
    click.echo(f"kept in {place}\n")
    click.echo(shown(figures))


def measured(events: int, rate: int) -> dict[str, Any]:
    """Measure a log of so many events."""
    with servers() as (local, settings, folder), progress_bars() as bars:
        messages = load.in_order(_MANY_TIMES * events)
        moments = _published(settings, messages, events, bars)
        with workers(settings, folder) as (worker,):
            began = time.monotonic()
            live_rate = timed(Seen(settings).done, events, WORKER, bars)
            ways: dict[str, Any] = {WORKER: {"seconds": time.monotonic() - began}}
            for name, arguments in _ways(moments).items():
                bars.console.print(name)
                ways[name] = _measured(settings, arguments)
            bars.console.print(REBUILD)
            rebuild = rebuilt(settings, messages, events, rate, worker.check)
            local.check()
    ways[REBUILD] = {name: rebuild.pop(name) for name in ("seconds", "peak_mib")}
    return {"ways": ways, "rebuild": {"live_rate": live_rate, **rebuild}}


def _published(settings: Settings, messages: Iterator[load.Message], events: int, bars: Progress) -> list[str]:
    """Publish a log in two halves; give moments before them, between, and after."""
    moments = [datetime.now(UTC) - timedelta(days=1)]
    for _ in range(2):
        load.publish(settings, islice(messages, events // 2), events // 2, bars)
        time.sleep(1)
        moments.append(datetime.now(UTC))
    return [moment.isoformat() for moment in moments]


def _ways(moments: Sequence[str]) -> dict[str, tuple[str, ...]]:
    before, between, after = moments
    known, restated = ("kpi", "--month", MONTH, "--known-at"), ("restated", MONTH, "--since")
    return {
        "`salesfx audit`": ("audit",),
        "`salesfx audit --from-log`": ("audit", "--from-log"),
        "`salesfx kpi --known-at`: nothing had come": (*known, before),
        "`salesfx kpi --known-at`: half had come": (*known, between),
        "`salesfx kpi --known-at`: all had come": (*known, after),
        "`salesfx restated`: half came after": (*restated, between),
        "`salesfx restated`: all came after": (*restated, before),
    }


def _measured(settings: Settings, arguments: Sequence[str]) -> dict[str, Any]:
    """Run a command once; give its seconds, and the peak of its memory in MiB."""
    done = run(settings, [*arguments, "--json"])
    if done.status:
        raise SystemExit(f"{arguments} ended with {done.status}: {done.error.decode()[-2000:]}")
    listed = len(msgspec.json.decode(done.out).get("events", ())) if arguments[0] == "restated" else None
    return {"seconds": done.seconds, "peak_mib": done.peak_mib} | ({} if listed is None else {"listed": listed})


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a table: seconds and memory by size."""
    sizes = figures["sizes"]
    head = ["", *(cell for size in sizes for cell in (f"{size['events']:,} events: s", "MiB at most"))]
    rows = [[name, *(cell for size in sizes for cell in _cells(size["ways"][name]))] for name in sizes[0]["ways"]]
    return "\n\n".join([table(head, rows), *(_told(size, figures["rate"]) for size in sizes)])


def _cells(way: Mapping[str, Any]) -> tuple[str, str]:
    return f"{way['seconds']:,.1f}", f"{way['peak_mib']:,.0f}" if "peak_mib" in way else ""


def _told(size: Mapping[str, Any], rate: int) -> str:
    rebuild, listed = size["rebuild"], [way["listed"] for way in size["ways"].values() if "listed" in way]
    ratio = rebuild["rate"] / rebuild["live_rate"]
    return (
        f"{size['events']:,} events: the worker took {rebuild['live_rate']:,.0f} a second, and the rebuild beside it, with {rate:,} more "
        f"coming in each second ({rebuild['came']:,} until the swap), {rebuild['rate']:,.0f}: {ratio:.2f} times. `restated` listed "
        f"{listed[0]:,} events, and {listed[1]:,}."
    )
