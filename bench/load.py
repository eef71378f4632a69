"""Seeded events in a real Kafka, in the order of their publishing or out of it."""

import asyncio
import json
import random
from collections.abc import Iterable, Iterator

from aiokafka import AIOKafkaProducer
from rich.progress import Progress, TaskID

from bench.contenders import peer_work
from bench.contenders.contender import Totals
from salesfx.kafka_log import KafkaLog
from salesfx.settings import Settings
from salesfx.simulator import load

SEED = 1
LEADS_PER_MONTH = 30_000
"""A large company: two years of it are a million events. Further ones are of others like it, in the same two years."""
_PENDING = 20_000

Message = tuple[str, bytes, bytes]
"""Topic, key, value."""


def in_order(count: int) -> Iterator[Message]:
    """Give events as CRMs publish them, with the little disorder that these have."""
    return load(SEED, count, LEADS_PER_MONTH)


def disordered(count: int, late: float, twice: float) -> Iterator[Message]:
    """Give the same events, some of them late by up to the whole of the load, and some of them again.

    Args:
        count: How many different events; what is published twice comes on top.
        late: The share of events that come at a later place, anywhere up to the end.
        twice: The share of events that come a second time, likewise.

    """
    chance = random.Random(SEED)  # noqa: S311 - a seeded load
    events = list(in_order(count))
    places = [(chance.uniform(at, count) if chance.random() < late else at, event) for at, event in enumerate(events)]
    places += [(chance.uniform(at, count), event) for at, event in enumerate(events) if chance.random() < twice]
    return (event for _, event in sorted(places))


def expected(messages: Iterable[Message]) -> Totals:
    """Work out what every peer must come to."""
    records: dict[str, peer_work.Record] = {}
    cells: dict[str, int] = {}
    for _, _, value in messages:
        event = json.loads(value)
        for cell, number in peer_work.changes(records.setdefault(peer_work.home(event), {}), event).items():
            cells[cell] = cells.get(cell, 0) + number
    return peer_work.totals(cells)


def publish(settings: Settings, messages: Iterable[Message], total: int, progress: Progress) -> None:
    """Make the topics and publish messages to them, by aiokafka's own partitioner, in their order."""
    KafkaLog(settings).ensure_topics()
    asyncio.run(_publish(settings, messages, total, progress))


async def _publish(settings: Settings, messages: Iterable[Message], total: int, progress: Progress) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, linger_ms=20, max_batch_size=256 * 1024)
    task = progress.add_task(f"publishing {settings.topic_prefix}", total=total)
    async with producer:
        pending: list[asyncio.Future[object]] = []
        for topic, key, value in messages:
            pending.append(await producer.send(settings.kafka_topic(topic), value, key=key))
            if len(pending) >= _PENDING:
                await _flushed(pending, progress, task)
        await _flushed(pending, progress, task)


async def _flushed(pending: list["asyncio.Future[object]"], progress: Progress, task: TaskID) -> None:
    await asyncio.gather(*pending)
    progress.advance(task, len(pending))
    pending.clear()
