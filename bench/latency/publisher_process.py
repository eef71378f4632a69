"""python -m bench.latency.publisher_process KAFKA PREFIX RATE EVENTS_FILE NOTES_FILE.

An open-loop driver: when each event is due was decided before, and it is sent then, however long the ones before it take.
It says `ready`, and begins at the moment (monotonic) that comes in a line.
"""

import asyncio
import gc
import selectors
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from bench.latency.notes import Due, Sent
from salesfx.tables.layout import partition_field

_LATE_AT_ONCE = 16
"""Events that are sent in one go where they are overdue, before the client's own tasks get their turn."""


async def publish(kafka: str, prefix: str, rate: float, events: list[Due]) -> Sent:
    """Publish events on their schedule; return when Kafka has acknowledged the last."""
    count = len(events)
    # No lingering: what is due goes out at once. While an answer is under way, what comes meanwhile forms the next batch.
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", linger_ms=0, max_batch_size=256 * 1024)
    async with producer:
        for topic in {topic for topic, *_ in events}:
            await producer.partitions_for(prefix + topic)
        sent = Sent(_told_to_begin(), rate, [0.0] * count, [0.0] * count, [("", -1)] * count)

        def acknowledged(number: int, future: Any) -> None:
            sent.acknowledged[number] = time.monotonic()
            place = future.result()
            sent.places[number] = partition_field(events[number][0], place.partition), place.offset

        for number, (topic, partition, key, value) in enumerate(events):
            early = sent.due(number) - time.monotonic()
            if early > 0 or number % _LATE_AT_ONCE == 0:
                await asyncio.sleep(max(early, 0))
            sent.handed[number] = time.monotonic()
            future = await producer.send(prefix + topic, value, key=key, partition=partition)
            future.add_done_callback(partial(acknowledged, number))
        await producer.flush()
    if not all(sent.acknowledged):
        raise SystemExit("Kafka has not acknowledged everything")
    return sent


def _told_to_begin() -> float:
    gc.collect()
    gc.freeze()
    gc.disable()
    print("ready", flush=True)
    return float(sys.stdin.readline())


def _exact_loop() -> asyncio.AbstractEventLoop:
    """Make an event loop that sleeps to the microsecond; epoll, the default, rounds up to milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    _, address, topic_prefix, per_second, events_file, notes_file = sys.argv
    to_send = msgspec.msgpack.decode(Path(events_file).read_bytes(), type=list[Due])
    with asyncio.Runner(loop_factory=_exact_loop) as runner:
        notes = runner.run(publish(address, topic_prefix, float(per_second), to_send))
    Path(notes_file).write_bytes(msgspec.msgpack.encode(notes))
