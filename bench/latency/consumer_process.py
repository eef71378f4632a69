"""python -m bench.latency.consumer_process KAFKA PREFIX PARTITIONS COUNT NOTES_FILE.

The other end of the bare round trip: a plain consumer that does nothing with the records but note when it has them. It
says `ready` when it stands at the end of the log, and ends after COUNT records.
"""

import asyncio
import gc
import sys
import time
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.latency.notes import Sighting
from salesfx.events import TOPICS
from salesfx.tables.layout import partition_field


async def consume(kafka: str, prefix: str, partitions: int, count: int) -> list[Sighting]:
    """Read so many records from now on."""
    fields = {
        TopicPartition(prefix + topic, number): partition_field(topic, number)
        for topic in TOPICS
        for number in range(partitions)
    }
    found: list[Sighting] = []
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka)
    await consumer.start()
    try:
        consumer.assign(list(fields))
        await consumer.seek_to_end()
        for partition in fields:
            await consumer.position(partition)
        gc.disable()
        print("ready", flush=True)
        while count > 0:
            records = await consumer.getmany(timeout_ms=1000)
            now = time.monotonic()
            for partition, fetched in records.items():
                found.append((now, fields[partition], fetched[-1].offset + 1))
                count -= len(fetched)
    finally:
        await consumer.stop()
    return found


if __name__ == "__main__":
    _, address, topic_prefix, per_topic, to_come, notes_file = sys.argv
    notes = asyncio.run(consume(address, topic_prefix, int(per_topic), int(to_come)))
    Path(notes_file).write_bytes(msgspec.msgpack.encode(notes))
