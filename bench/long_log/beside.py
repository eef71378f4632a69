"""A rebuild beside a worker that keeps the live tables, while events come in: how fast the new ones grow."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from bench import load
from bench.command_line import run
from bench.workers import Seen, wait_until
from salesfx.settings import Settings
from salesfx.tables.layout import Layout

_PATIENCE = 3600.0
_TICK_SECONDS = 0.05
_LOOK_SECONDS = 0.2
CHANGED = {"SALESFX_TIMEZONE": "America/New_York"}


def rebuilt(
    settings: Settings, messages: Iterator[load.Message], events: int, rate: int, check: Callable[[], None]
) -> dict[str, Any]:
    """Make the tables anew under another time zone while events come in, and audit what it made.

    Args:
        settings: Of the live tables, which a worker keeps.
        messages: What comes next.
        events: How many there are before.
        rate: How many come in a second.
        check: Raises where the worker has ended.

    """
    seen = Seen(settings)
    with _coming(settings, messages, rate) as came:
        figures = _rebuilt(settings, seen, events, came)
    wait_until("the worker has what came", lambda: seen.done() >= events + came(), check, _PATIENCE)
    audit = run(settings, ("audit",), CHANGED)
    if audit.status:
        raise SystemExit(
            f"the audit of the new tables says:\n{audit.out.decode()[-2000:]}{audit.error.decode()[-2000:]}"
        )
    return figures


def _rebuilt(settings: Settings, seen: Seen, events: int, came: Callable[[], int]) -> dict[str, Any]:
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
            time.sleep(_LOOK_SECONDS)
    ended = running.result()
    if ended.status or not msgspec.json.decode(ended.out)["swapped"]:
        raise SystemExit(f"the rebuild ended with {ended.status}:\n{ended.error.decode()[-2000:]}")
    return {
        "rate": (reached - first) / (grown - growing),
        "seconds": ended.seconds,
        "came": came(),
        "peak_mib": ended.peak_mib,
    }


@contextmanager
def _coming(settings: Settings, messages: Iterator[load.Message], rate: int) -> Iterator[Callable[[], int]]:
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
