"""The worker's throughput, the whole way to Redis, against a program that only decodes the same events.

    python -m bench.throughput [--events 1000000] [--runs 3]

Publishes simulated events to a real Kafka once, then lets the two take turns reading all of it:

* floor: aiokafka and msgspec, decoding every event into the fields that its topic has, and nothing else;
* worker: `salesfx worker`, from its first stored offset to the last, with a real Redis and its append-only file on.

Prints events per second of each, and the ratio of their medians.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.worker import running_worker
from salesfx.events import EVENT_TYPES, TOPICS
from salesfx.kafka_log import KafkaLog
from salesfx.local import LocalServers
from salesfx.settings import Settings
from salesfx.simulator import load
from salesfx.tables import RedisTables, connect

_BATCH = 4000
_PENDING = 20_000
_POLL_SECONDS = 0.02


async def publish(settings: Settings, count: int) -> None:
    """Publish the events once."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, linger_ms=20, max_batch_size=256 * 1024)
    await producer.start()
    pending = []
    for topic, key, value in load(1, count):
        pending.append(await producer.send(topic, value, key=key))
        if len(pending) >= _PENDING:
            await asyncio.gather(*pending)
            pending.clear()
    await producer.flush()
    await producer.stop()


async def floor(settings: Settings, count: int) -> float:
    """Decode everything and do nothing with it; give events per second from the first record on."""
    decoders = {topic: msgspec.json.Decoder(_plain(topic)).decode for topic in TOPICS}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, isolation_level="read_committed", max_partition_fetch_bytes=4 * 1024 * 1024
    )
    await consumer.start()
    consumer.assign([TopicPartition(topic, number) for topic in TOPICS for number in range(settings.partitions)])
    await consumer.seek_to_beginning()
    seen, started = 0, None
    while seen < count:
        for partition, records in (await consumer.getmany(timeout_ms=1000, max_records=_BATCH)).items():
            started = started or time.perf_counter()
            decode = decoders[partition.topic]
            for record in records:
                decode(record.value)
            seen += len(records)
    took = time.perf_counter() - (started or 0)
    await consumer.stop()
    return seen / took


async def worker(settings: Settings, count: int, run: int) -> float:
    """Run a worker over everything, into tables of its own; give events per second from its first commit on."""
    name = f"run-{run}"
    environ = {
        **os.environ,
        "SALESFX_KAFKA": settings.kafka,
        "SALESFX_REDIS": settings.redis,
        "SALESFX_NAMESPACE": name,
        "SALESFX_GROUP": name,
    }
    tables = RedisTables(connect(settings.redis), name)
    await tables.open(settings.definitions)
    try:
        with running_worker(environ) as check:
            before, started = 0, None
            while True:
                done = sum((await tables.offsets()).values())
                if done and started is None:
                    before, started = done, time.perf_counter()
                if done >= count and started is not None:
                    return (done - before) / (time.perf_counter() - started)
                check()
                await asyncio.sleep(_POLL_SECONDS)
    finally:
        await tables.close()


def _plain(topic: str) -> type[msgspec.Struct]:
    """Give the event's fields with the plainest types, as a program would that checks nothing."""
    fields = msgspec.structs.fields(EVENT_TYPES[topic])
    return msgspec.defstruct(topic, [(field.name, str | int | float | bool | None, None) for field in fields], gc=False)


async def measure(settings: Settings, events: int, runs: int) -> None:
    """Let the two take turns, and print."""
    KafkaLog(settings).ensure_topics()
    print(f"publishing {events} events", file=sys.stderr)
    await publish(settings, events)
    floors, workers = [], []
    for run in range(runs):
        floors.append(await floor(settings, events))
        workers.append(await worker(settings, events, run))
        print(f"run {run + 1}: floor {floors[-1]:,.0f}/s, worker {workers[-1]:,.0f}/s", file=sys.stderr)
    ratio = statistics.median(workers) / statistics.median(floors)
    print(
        f"decode only {statistics.median(floors):,.0f} events/s, worker {statistics.median(workers):,.0f} events/s, "
        f"ratio {ratio:.3f} (medians of {runs} runs over {events:,} events)"
    )


def main() -> None:
    """Measure with servers of our own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="salesfx-bench-") as folder, LocalServers(Path(folder)) as servers:
        settings = Settings(kafka=servers.kafka, redis=servers.redis)
        asyncio.run(measure(settings, options.events, options.runs))


if __name__ == "__main__":
    main()
