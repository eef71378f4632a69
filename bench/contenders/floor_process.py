"""python -m bench.contenders.floor_process KAFKA PARTITIONS TOPIC=NAME..."""

import asyncio
import sys
import time

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from salesfx.events import EVENT_TYPES

_BATCH = 4000
_REPORT_SECONDS = 0.05


async def decode_all(kafka: str, partitions: int, topics: dict[str, str]) -> None:
    """Read and decode for ever, and report."""
    decoders = {name: msgspec.json.Decoder(EVENT_TYPES[topic]).decode for topic, name in topics.items()}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, isolation_level="read_committed", max_partition_fetch_bytes=4 * 1024 * 1024
    )
    await consumer.start()
    consumer.assign([TopicPartition(name, number) for name in decoders for number in range(partitions)])
    await consumer.seek_to_beginning()
    done, failed, reported = 0, 0, 0.0
    while True:
        for partition, records in (await consumer.getmany(timeout_ms=50, max_records=_BATCH)).items():
            decode = decoders[partition.topic]
            for record in records:
                try:
                    decode(record.value)
                except msgspec.ValidationError:
                    failed += 1
            done += len(records)
        if time.monotonic() - reported >= _REPORT_SECONDS:
            reported = time.monotonic()
            print("progress", done, flush=True)
            if failed:
                raise SystemExit(f"{failed} events are not of the declared types")


if __name__ == "__main__":
    _, address, count, *names = sys.argv
    asyncio.run(decode_all(address, int(count), dict(name.split("=", 1) for name in names)))
