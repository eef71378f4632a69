"""How fast the log is written to an archive, and read from there, beside reading it from Kafka; and how large it is."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import click

from bench import load
from bench.command_line import run
from bench.results import keep, spread, table
from bench.surroundings import progress_bars, servers
from salesfx.event_log import Piece, Range
from salesfx.event_log.archive.reading import Archive
from salesfx.event_log.archive.verification import verify_archive
from salesfx.event_log.kafka import read_log
from salesfx.events import TOPICS
from salesfx.kafka_log import KafkaLog
from salesfx.settings import Settings

_WAYS = {
    "written": "written from Kafka to the archive",
    "verified": "verified, and compared with Kafka",
    "from_archive": "read from the archive",
    "from_kafka": "read from Kafka",
}


@click.command(short_help="How fast an archive is written and read, and how large it is.")
@click.option("--events", default=1_000_000, show_default=True, help="Events in the log.")
@click.option("--runs", default=3, show_default=True, help="Of each way; they take turns.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(events: int, runs: int, file: Path | None) -> None:
    """Publish events, archive them, and read them from both."""
    rates: dict[str, list[float]] = {name: [] for name in _WAYS}
    peaks: list[float] = []
    with servers() as (local, settings, folder), progress_bars() as bars:
        load.publish(settings, load.in_order(events), events, bars)
        for number in range(runs):
            bars.console.print(f"run {number + 1} of {runs}")
            local.check()
            place = folder / f"archive-{number}"
            seconds, peak = _written(settings, place)
            peaks.append(peak)
            for name, took in {"written": seconds, **asyncio.run(_read(settings, place, events))}.items():
                rates[name].append(events / took)
        size = {
            "archive": sum(each.stat().st_size for each in place.glob("*.parquet")) / events,
            "kafka": _kafka_bytes(folder, settings) / events,
        }
    figures = {
        "events": events,
        "rates": {name: spread(each) for name, each in rates.items()},
        "bytes": size,
        "peak_mib": max(peaks),
    }
    click.echo(f"kept in {keep('archive', figures, file)}\n")
    click.echo(shown(figures))


def _written(settings: Settings, place: Path) -> tuple[float, float]:
    """Write an archive in a process of its own; give its seconds, and the peak of its memory in MiB."""
    done = run(settings, ("archive", "--to", str(place)))
    if done.status:
        raise SystemExit(done.error.decode())
    return done.seconds, done.peak_mib


async def _read(settings: Settings, place: Path, events: int) -> dict[str, float]:
    """Verify an archive, read it, and read Kafka; give the seconds of each."""
    held = await asyncio.to_thread(KafkaLog(settings).ranges)
    ranges = [Range(topic, partition, begin, end) for (topic, partition), (begin, end) in held.items()]
    seconds, started = {}, time.perf_counter()
    verified = await verify_archive(settings, place)
    seconds["verified"] = time.perf_counter() - started
    archive = Archive(place)
    for name, pieces in (
        ("from_archive", [archive.read(each) for each in ranges]),
        ("from_kafka", [read_log(settings, ranges)]),
    ):
        started = time.perf_counter()
        read = sum([await _counted(each) for each in pieces])
        seconds[name] = time.perf_counter() - started
        if not read == events == verified.compared or verified.faults:
            raise SystemExit(f"{name}: {read} of {events} events, {verified.faults}")
    return seconds


async def _counted(pieces: AsyncIterator[Piece]) -> int:
    return sum([len(piece.records) async for piece in pieces])


def _kafka_bytes(folder: Path, settings: Settings) -> int:
    """Add up the segments of our topics."""
    names = {settings.kafka_topic(topic) for topic in TOPICS}
    logs = (folder / "servers").rglob("*.log")
    return sum(log.stat().st_size for log in logs if log.parent.name.rpartition("-")[0] in names)


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as two tables."""
    kafka = figures["rates"]["from_kafka"]["median"]
    rates = table(
        (f"{figures['events']:,} events", "events/s (median)", "least to greatest", "of the rate from Kafka"),
        [
            (
                words,
                f"{rate['median']:,.0f}",
                f"{rate['least']:,.0f} to {rate['greatest']:,.0f}",
                f"{rate['median'] / kafka:.2f}",
            )
            for name, words in _WAYS.items()
            for rate in [figures["rates"][name]]
        ],
    )
    size = figures["bytes"]
    sizes = table(
        ("size", "bytes an event", "of Kafka's"),
        [
            ("in Kafka, as published: not compressed", f"{size['kafka']:.1f}", ""),
            ("in the archive", f"{size['archive']:.1f}", f"{size['archive'] / size['kafka']:.2f}"),
        ],
    )
    return f"{rates}\n\n{sizes}\n\nWriting took {figures['peak_mib']:,.0f} MiB of memory at most."
