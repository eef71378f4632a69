"""What the worker makes of logs as other people's producers and topics leave them."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from salesfx.events import DEAD_LETTERS, TOPICS
from tests.worker_process import Message, Site, expected, simulated


@pytest.fixture
def site(kafka: str, redis_url: str, namespace: str) -> Site:
    """Names of this test's own."""
    return Site(kafka, redis_url, namespace)


async def test_every_codec_of_kafka_is_read(site: Site) -> None:
    """A producer may compress as it likes."""
    await site.make_topics()
    messages = simulated(11, 400)
    for number, codec in enumerate(("gzip", "lz4", "snappy", "zstd")):
        producer = AIOKafkaProducer(bootstrap_servers=site.settings.kafka, compression_type=codec)
        await producer.start()
        for message in messages[number::4]:
            await site.send(producer, message)
        await producer.stop()
    with site.worker() as worker:
        await site.caught_up(worker)
    assert await site.cells() == expected(messages)


async def test_two_sets_of_tables_grow_beside_each_other(kafka: str, redis_url: str, namespace: str) -> None:
    """Workers of two namespaces read all of the same log: Kafka does not split it between them."""
    site = Site(kafka, redis_url, namespace)
    beside = Site(kafka, redis_url, namespace, SALESFX_NAMESPACE=namespace + "-b")
    await site.make_topics()
    messages = simulated(12, 300)
    await site.publish(messages)
    with site.worker() as one, beside.worker() as other:
        await asyncio.gather(site.caught_up(one), beside.caught_up(other))
    assert await site.cells() == expected(messages)
    assert await beside.cells() == expected(messages)


async def test_a_letter_that_the_topic_does_not_take_whole_is_cut(site: Site) -> None:
    """A dead-letter topic that somebody made with a small bound keeps the beginning, and nothing waits for it."""
    with site.admin() as admin:
        for topic in TOPICS:
            admin.create_topics(
                {
                    site.topic(topic): {
                        "num_partitions": site.settings.partitions,
                        "replication_factor": 1,
                        "configs": {"retention.ms": "-1", "message.timestamp.type": "LogAppendTime"},
                    }
                }
            )
        small = {"num_partitions": 3, "replication_factor": 1, "configs": {"max.message.bytes": "200000"}}
        admin.create_topics({site.topic(DEAD_LETTERS): small}, wait_for_metadata=True)
    messages = simulated(13, 50)
    huge = Message("lead_created", b"x" * 900_000)
    await site.publish([messages[0], huge, *messages[1:]])
    with site.worker() as worker:
        await site.caught_up(worker)
    (letter,) = await site.dead_letters()
    headers = dict(letter.headers)
    assert (headers["reason"], headers["truncated"]) == (b"too_large", b"true")
    assert huge.value is not None
    assert huge.value.startswith(letter.value)
    assert await site.cells() == expected(messages)

