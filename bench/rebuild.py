"""How fast `salesfx rebuild` is while events come in and a worker keeps the live tables, beside that worker's own way."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec
from aiokafka import AIOKafkaProducer

from bench import load
from bench.command_line import run
from bench.results import keep, table
from bench.surroundings import progress_bars, servers
from bench.throughput import timed
from bench.workers import Seen, wait_until, workers
from salesfx.settings import Settings
from salesfx.tables.layout import Layout

_PATIENCE = 3600.0
_TICK_SECONDS = 0.05
_MANY_TIMES = 10
"""At least so many more events than at the beginning can come."""
CHANGED = {"SALESFX_TIMEZONE": "America/New_York"}


@click.command(short_help="A rebuild beside live tables: its rate, its memory.")
@click.option("--events", default=1_000_000, show_default=True, help="Events in the log at the beginning.")
@click.option("--rate", default=1000, show_default=True, help="Events a second that come in meanwhile.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures here instead.")
def command(events: int, rate: int, file: Path | None) -> None:
    """Let a worker make the tables; then make them anew under another time zone, while events come and the worker goes on."""
    with servers() as (local, settings, folder), progress_bars() as bars:
        # One load: to make it again up to where it goes on would take a processor away from what is measured.
        messages = load.in_order(_MANY_TIMES * events)
        load.publish(settings, islice(messages, events), events, bars)
        seen = Seen(settings)
        with workers(settings, folder) as (worker,):
            live_rate = timed(seen.done, events, "the worker", bars)
            bars.console.print(f"the worker: {live_rate:,.0f} events/s")
            with _coming(settings, messages, rate) as came:
                figures = _rebuilt(settings, seen, events, came)
            wait_until("the worker has what came", lambda: seen.done() >= events + came(), worker.check, _PATIENCE)
            local.check()
        _check(settings)
    figures = {"events": events, "incoming_rate": rate, "live_rate": live_rate, **figures}
    click.echo(f"kept in {keep('rebuild', figures, file)}\n")
    click.echo(shown(figures))


def _rebuilt(settings: Settings, seen: Seen, events: int, came: Any) -> dict[str, Any]:
    """Run a rebuild up to its swap; see from outside how fast the new tables grow."""
    offsets = Layout(settings.namespace, "2").offsets
    first, growing, grown = 0, 0.0, 0.0
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run, settings, ("rebuild", "--yes", "--json"), CHANGED)
        while not running.done():
            done, now = sum(map(int, seen.client.hvals(offsets))), time.perf_counter()
            if done and not first:
                first, growing = done, now
            if done >= events and not grown:
                grown, reached = now, done
            time.sleep(0.02)
    ended = running.result()
    if ended.status or not msgspec.json.decode(ended.out)["swapped"]:
        raise SystemExit(f"the rebuild ended with {ended.status}:\n{ended.error.decode()[-2000:]}")
    return {
        "rebuild_rate": (reached - first) / (grown - growing),
        "seconds_to_swap": ended.seconds,
        "came_until_swap": came(),
        "peak_mib": ended.peak_mib,
    }


@contextmanager
def _coming(settings: Settings, messages: Iterator[load.Message], rate: int) -> Iterator[Any]:
    """Publish further events at a rate meanwhile; gives what tells how many."""
    done, stop = [0], threading.Event()

    async def publish() -> None:
        began = time.perf_counter()
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka, linger_ms=5) as producer:
            while not stop.is_set():
                due = int((time.perf_counter() - began) * rate) - done[0]
                sent = [
                    await producer.send(settings.kafka_topic(topic), value, key=key)
                    for topic, key, value in islice(messages, due)
                ]
                await asyncio.gather(*sent)
                done[0] += len(sent)
                await asyncio.sleep(_TICK_SECONDS)

    thread = threading.Thread(target=lambda: asyncio.run(publish()))
    thread.start()
    try:
        yield lambda: done[0]
    finally:
        stop.set()
        thread.join()


def _check(settings: Settings) -> None:
    """See to it that the new tables are right."""
    done = run(settings, ("audit",), CHANGED)
    if done.status:
        raise SystemExit(f"the audit of the new tables says:\n{done.out.decode()[-2000:]}{done.error.decode()[-2000:]}")


def shown(figures: Mapping[str, Any]) -> str:
    """Write the figures as a table."""
    ratio = figures["rebuild_rate"] / figures["live_rate"]
    return table(
        (f"{figures['events']:,} events, {figures['incoming_rate']:,} more a second", ""),
        [
            ("a worker making the tables, nothing beside it: events/s", f"{figures['live_rate']:,.0f}"),
            ("the rebuild, with that worker going on: events/s", f"{figures['rebuild_rate']:,.0f} ({ratio:.2f} times)"),
            ("from its start to the swap, the comparison included: s", f"{figures['seconds_to_swap']:,.1f}"),
            ("events that came until then", f"{figures['came_until_swap']:,}"),
            ("its memory at most, MiB", f"{figures['peak_mib']:,.0f}"),
        ],
    )
