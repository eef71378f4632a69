"""The worker on a real Kafka and a real Redis: whatever happens on the way, the tables are those of the set of events."""

import asyncio
import json
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from aiokafka import AIOKafkaProducer
from kafka import KafkaProducer

from salesfx.events import DEAD_LETTERS, MAX_MESSAGE, TOPICS
from salesfx.kpi import Cells
from salesfx.local import LocalServers
from salesfx.refusal import Reason
from salesfx.tables.layout import FIRST_GENERATION
from streams.app import group_name
from tests.worker_process import READ_AGAIN, Message, Place, Site, WorkerProcess, eventually, expected, simulated

OWN_ID = {"lead_created": "lead_id", "quote_sent": "quote_id", "deal_closed": "deal_id"}
SMALL_BATCHES = "import streams.app\nstreams.app.BATCH_RECORDS = 50\n"
"""So that there are many commits, and much to interrupt."""
MIDDLING_BATCHES = SMALL_BATCHES.replace("50", "250")


@pytest.fixture
def own_redis() -> Iterator[LocalServers]:
    """Start a Redis that the test may do anything to."""
    with (
        tempfile.TemporaryDirectory(prefix="salesfx-own-") as folder,
        LocalServers(Path(folder), kafka=False) as servers,
    ):
        yield servers


# Bad messages among good ones.


def usable(topic: str, **changes: Any) -> dict[str, Any]:
    """Give a usable event, with changes that may make it another."""
    event: dict[str, Any] = {"event_id": "e", "occurred_at": "2026-03-04T05:06:07Z", OWN_ID[topic]: "bad"}
    if topic == "quote_sent":
        event |= {"amount": "10", "currency": "EUR", "need": "n"}
    if topic == "deal_closed":
        event |= {"outcome": "won", "amount": "10", "currency": "EUR"}
    return event | changes


def written(topic: str, **changes: Any) -> bytes:
    """Write an event as JSON."""
    return json.dumps(usable(topic, **changes)).encode()


def only(*topics: str) -> tuple[str, ...]:
    """Name the topics that can have a defect."""
    return topics


Maker = Callable[[random.Random, str], bytes | None]
PRICED = only("quote_sent", "deal_closed")
DEFECTS: list[tuple[Reason, tuple[str, ...], Maker]] = [
    (Reason.NOT_JSON, TOPICS, lambda chance, _: b"\xff" + chance.randbytes(chance.randrange(300))),
    (Reason.NOT_JSON, TOPICS, lambda _, topic: written(topic)[:-1]),
    (Reason.NOT_JSON, TOPICS, lambda _, topic: written(topic) + b"}"),
    (Reason.NOT_JSON, TOPICS, lambda _, topic: written(topic, note="?").replace(b"?", b"\xc3\x28")),
    (Reason.NOT_JSON, TOPICS, lambda _, topic: written(topic, x=float("nan"))),
    (Reason.NOT_JSON, TOPICS, lambda chance, _: b"[" * chance.randrange(200, MAX_MESSAGE)),
    (Reason.NOT_JSON, TOPICS, lambda _, topic: b'{"x":' * 5000 + written(topic) + b"}" * 5000),
    (Reason.NOT_JSON, TOPICS, lambda chance, _: chance.choice([b"[]", b"null", b"17", b'"text"', b"true", b" "])),
    (Reason.MISSING_FIELD, TOPICS, lambda _, __: b"{}"),
    (Reason.MISSING_FIELD, TOPICS, lambda _, topic: written(topic, **{OWN_ID[topic]: ""})),
    (Reason.MISSING_FIELD, TOPICS, lambda _, topic: written(topic, event_id=" \t")),
    (Reason.MISSING_FIELD, TOPICS, lambda _, topic: written(topic, occurred_at=None)),
    (Reason.MISSING_FIELD, PRICED, lambda _, topic: written(topic, currency="")),
    (
        Reason.INVALID_FIELD,
        TOPICS,
        lambda chance, topic: written(topic, event_id=chance.choice([5, [], {}, True, 1.5])),
    ),
    (
        Reason.INVALID_FIELD,
        TOPICS,
        lambda chance, topic: written(topic, **{OWN_ID[topic]: chance.choice([5, ["x"], {}])}),
    ),
    (Reason.INVALID_FIELD, TOPICS, lambda _, topic: written(topic, **{OWN_ID[topic]: "i" * 201})),
    (Reason.INVALID_FIELD, TOPICS, lambda _, topic: written(topic, salesperson="a\x00b")),
    (Reason.INVALID_FIELD, TOPICS, lambda chance, topic: written(topic, revision=chance.choice([-1, 1.5, 2**63, "x"]))),
    (Reason.INVALID_FIELD, TOPICS, lambda chance, topic: written(topic, retracted=chance.choice(["yes", 1, [], {}]))),
    (
        Reason.INVALID_FIELD,
        TOPICS,
        lambda chance, topic: written(topic, occurred_at=f"{chance.choice([1, 1999, 2101, 9999]):04}-03-04T05:06:07Z"),
    ),
    (
        Reason.INVALID_FIELD,
        TOPICS,
        lambda chance, topic: written(
            topic, occurred_at=chance.choice(["2026-03-04T05:06:07", "now", 17, "2026-13-01T00:00:00Z"])
        ),
    ),
    (
        Reason.INVALID_FIELD,
        PRICED,
        lambda chance, topic: written(topic, amount=chance.choice([-1, "1e3", "NaN", 10**10, [], "1,5"])),
    ),
    (Reason.INVALID_FIELD, only("deal_closed"), lambda _, topic: written(topic, outcome="maybe")),
    (Reason.NO_RATE, PRICED, lambda chance, topic: written(topic, currency=chance.choice(["XXX", "USD"]))),
    (Reason.NO_VALUE, TOPICS, lambda _, __: None),
    (Reason.NO_VALUE, TOPICS, lambda _, __: b""),
    (Reason.INVALID_ENVELOPE, TOPICS, lambda _, __: b'{"specversion":"0.3","id":"1","data":{}}'),
    (Reason.INVALID_ENVELOPE, TOPICS, lambda _, __: b'{"specversion":"1.0","id":"1"}'),
    (
        Reason.TOO_LARGE,
        TOPICS,
        lambda chance, topic: written(topic, note="n" * chance.randrange(MAX_MESSAGE, 2 * MAX_MESSAGE)),
    ),
]
HUGE = 1_000_000


def bad_messages(count: int) -> list[tuple[Reason, Message]]:
    """Make unusable messages of every kind, each with the reason for which it is refused."""
    chance = random.Random(7)
    bad = []
    for number in range(count):
        reason, topics, make = DEFECTS[number % len(DEFECTS)]
        topic = topics[number // len(DEFECTS) % len(topics)]
        value = make(chance, topic)
        if number % 250 == 0:  # about as large as Kafka's default lets through
            reason, value = Reason.TOO_LARGE, chance.randbytes(HUGE)
        key = chance.choice([b"", b"key", b"\xff\x00", None]) if value is not None else b"key"
        headers = chance.choice([(), (("source", b"crm"), ("trace", b"\x00\xff"))])
        bad.append((reason, Message(topic, value, key, headers, chance.randrange(3))))
    return bad


async def test_bad_messages_are_set_aside_and_all_others_count(kafka: str, redis_url: str, namespace: str) -> None:
    """5,000 messages of every badness among 5,000 good ones: these all count, those are all in the dead-letter topic.

    With their bytes, key and headers as they were, the reason and the origin; the counters are exact, and the worker goes on.
    """
    site = Site(kafka, redis_url, namespace)
    await site.make_topics()
    good, bad = simulated(2, 5000), bad_messages(5000)
    mixed: list[tuple[Reason | None, Message]] = [*((None, message) for message in good), *bad]
    random.Random(3).shuffle(mixed)
    with site.worker() as worker:
        places = await site.publish(message for _, message in mixed)
        await site.caught_up(worker)
        assert worker.times(READ_AGAIN) == 0

        more = simulated(2, 5100)[5000:]
        await site.publish(more)
        await site.caught_up(worker)
        worker.signal(signal.SIGTERM)
        assert await worker.ended(10) == 0
        assert "Unclosed" not in worker.log, "an error that is none, for whoever stops a worker"
    assert await site.cells() == expected(good + more)

    refused = {
        f"{at.topic}-{at.partition}-{at.offset}".encode(): dead_letter(at, reason, message)
        for at, (reason, message) in zip(places, mixed, strict=True)
        if reason is not None
    }
    letters = await site.dead_letters()
    assert len(letters) == len(refused) == len(bad)
    for letter in letters:
        headers = dict(letter.headers)
        assert headers.pop("detail"), "the detail says something"
        assert abs(int(headers.pop("timestamp")) / 1000 - time.time()) < 3600
        assert (letter.value, headers) == refused[letter.key]

    counters = await site.counters()
    rejected = Counter(f"rejected|{message.topic}|{reason}" for reason, message in bad)
    assert {name: number for name, number in counters.items() if name.startswith("rejected|")} == rejected
    assert {topic: counters[f"processed|{topic}"] for topic in TOPICS} == Counter(m.topic for m in good + more)


def dead_letter(at: Place, reason: Reason, message: Message) -> tuple[bytes | None, dict[str, bytes]]:
    """Tell what a dead letter must hold, apart from the detail."""
    headers = {
        "reason": reason.encode(),
        "topic": at.topic.encode(),
        "partition": str(at.partition).encode(),
        "offset": str(at.offset).encode(),
        **{f"header:{name}": value for name, value in message.headers},
    }
    if message.key is not None:
        headers["key"] = message.key
    return message.value, headers


# Transactions.


@asynccontextmanager
async def transactional(site: Site, name: str) -> AsyncIterator[AIOKafkaProducer]:
    """Give a producer that may begin transactions."""
    producer = AIOKafkaProducer(bootstrap_servers=site.settings.kafka, transactional_id=name)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def test_only_committed_transactions_count(kafka: str, redis_url: str, namespace: str) -> None:
    """Aborted events never count, those of an open transaction count once it is committed, and the lag comes to 0.

    Nothing is read twice, though markers and aborted events leave holes between the offsets, and one is the log's tail.
    """
    site = Site(kafka, redis_url, namespace)
    await site.make_topics()
    events = simulated(4, 600)
    committed = []
    with site.worker() as worker:
        async with transactional(site, f"{namespace}-a") as producer, transactional(site, f"{namespace}-b") as other:
            for number in range(0, 400, 10):
                await producer.begin_transaction()
                for message in events[number : number + 10]:
                    await (await site.send(producer, message))
                if number % 30 == 10:
                    await producer.abort_transaction()
                else:
                    committed += events[number : number + 10]
                    await producer.commit_transaction()
            await site.caught_up(worker)
            assert await site.cells() == expected(committed)

            # What is published behind an open transaction waits for it, and the lag does not count it.
            await other.begin_transaction()
            for message in events[400:450]:
                await (await site.send(other, message))
            await site.publish(events[450:550])
            await site.caught_up(worker)
            await other.commit_transaction()
            await site.caught_up(worker)
            assert await site.cells() == expected(committed + events[400:550])

            await producer.begin_transaction()
            for message in events[550:]:
                await (await site.send(producer, message))
            await producer.abort_transaction()
        await site.caught_up(worker)
        assert await site.cells() == expected(committed + events[400:550])
        assert worker.times(READ_AGAIN) == 0
    assert sum((await site.offsets()).values()) > len(events), "the markers are in the offsets"
    assert await site.dead_letters() == []


# A Redis, and a Kafka, that fail.


def flush(servers: LocalServers) -> None:
    """Have a Redis lose everything."""
    client = redis.Redis.from_url(servers.redis)
    client.flushall()
    client.close()


async def test_a_flushed_redis_is_filled_again_though_no_event_comes(
    kafka: str, own_redis: LocalServers, namespace: str
) -> None:
    """Within 15 seconds after a FLUSHALL the tables are right again, without an event that would give the alarm."""
    site = Site(kafka, own_redis.redis, namespace)
    await site.make_topics()
    events = simulated(5, 2000)
    await site.publish(events)
    with site.worker() as worker:
        await site.caught_up(worker)
        tables = expected(events)
        assert await site.cells() == tables

        flush(own_redis)
        flushed = time.monotonic()
        await eventually("the tables are back", lambda: shows(site, tables), 15)
        print(f"the tables were back after {time.monotonic() - flushed:.1f} s")  # noqa: T201
        await site.caught_up(worker)


async def shows(site: Site, tables: Cells) -> bool:
    """Tell whether the tables are these."""
    return await site.cells() == tables


async def test_a_redis_that_forgets_in_the_middle_of_the_work_costs_nothing(
    kafka: str, own_redis: LocalServers, namespace: str
) -> None:
    """An old backup put back, a FLUSHALL, kill -9 and a pause of Redis while events stream in: the tables come out exact.

    By the same worker, which nobody starts again.
    """
    site = Site(kafka, own_redis.redis, namespace)
    await site.make_topics()
    # A flush would heal what went wrong before it, since all is read again.
    faults = (nothing, flush, back_up, pause_a_while, kill_and_start, put_the_backup_back, nothing)
    events = simulated(6, 2000 * len(faults))
    with site.worker(patch=SMALL_BATCHES) as worker:
        for number, fault in enumerate(faults):
            await site.publish(events[2000 * number : 2000 * (number + 1)])
            before = sum((await site.offsets()).values())
            await eventually("some more is in", partial(more_than, site, before))
            await asyncio.to_thread(fault, own_redis)
        await site.caught_up(worker)
        assert await site.cells() == expected(events)
        assert worker.times(READ_AGAIN) > 0


async def more_than(site: Site, count: int) -> bool:
    """Tell whether more events than these are in."""
    return sum((await site.offsets()).values()) > count


def nothing(_servers: LocalServers) -> None:
    """Do no harm."""


def kill_and_start(servers: LocalServers) -> None:
    """Kill Redis and start it again; it forgets at most what it did not write to its file."""
    servers.redis_process.kill()
    servers.redis_process.start()


def back_up(servers: LocalServers) -> None:
    """Copy what Redis has on its disk."""
    folder = servers.redis_process.folder
    servers.redis_process.kill()
    shutil.copytree(folder / "data", folder / "backup")
    servers.redis_process.start()


def put_the_backup_back(servers: LocalServers) -> None:
    """Have Redis forget what came since the backup, as a failover to a replica that lags behind does."""
    folder = servers.redis_process.folder
    servers.redis_process.kill()
    shutil.rmtree(folder / "data")
    (folder / "backup").rename(folder / "data")
    servers.redis_process.start()


def pause_a_while(servers: LocalServers) -> None:
    """Let Redis hang for longer than its clients wait for an answer, and for less than the watchdog waits."""
    servers.redis_process.pause()
    time.sleep(7)
    servers.redis_process.resume()


async def test_a_kafka_that_was_killed_and_is_back_is_read_on(namespace: str) -> None:
    """The worker resumes by itself when a Kafka that was killed is back, and loses and doubles nothing."""
    with tempfile.TemporaryDirectory(prefix="salesfx-own-") as folder, LocalServers(Path(folder)) as servers:
        site = Site(servers.kafka, servers.redis, namespace)
        await site.make_topics()
        events = simulated(7, 6000)
        with site.worker(patch=SMALL_BATCHES) as worker:
            await site.publish(events[:3000])
            await eventually("some events are in", lambda: more_than(site, 200))
            await asyncio.to_thread(servers.kafka_process.kill)
            await asyncio.sleep(3)
            await asyncio.to_thread(servers.kafka_process.start)
            await site.caught_up(worker)
            await site.publish(events[3000:])
            await site.caught_up(worker)
        assert await site.cells() == expected(events)


# Several workers.


async def both_read(one: WorkerProcess, two: WorkerProcess) -> None:
    """Wait until each of two workers has partitions: the later one's come of a new division among both."""
    await one.says(": reading ")
    await two.says(": reading ")


async def test_a_worker_that_is_killed_is_replaced_by_the_other(kafka: str, redis_url: str, namespace: str) -> None:
    """Of two workers one is killed with -9 in the middle of its work: the other takes over, and the tables are exact."""
    site = Site(kafka, redis_url, namespace)
    await site.make_topics()
    events = simulated(8, 20_000)
    with site.worker(patch=MIDDLING_BATCHES) as first, site.worker(patch=MIDDLING_BATCHES) as second:
        await both_read(first, second)
        publishing = asyncio.create_task(site.publish(events))
        await eventually("some is in", lambda: more_than(site, 3000))
        first.signal(signal.SIGKILL)
        await publishing
        await site.caught_up(second)
        assert await site.cells() == expected(events)


async def test_a_worker_that_slept_through_the_loss_of_its_partitions_does_no_harm(
    kafka: str, redis_url: str, namespace: str
) -> None:
    """A worker stopped beyond its session's end goes on with old batches in hand: none of them counts twice."""
    site = Site(kafka, redis_url, namespace)
    await site.make_topics()
    events = simulated(9, 20_000)
    with site.worker(patch=MIDDLING_BATCHES) as zombie, site.worker(patch=MIDDLING_BATCHES) as other:
        await both_read(zombie, other)
        await site.publish(events[:10_000])
        await eventually("some is in", lambda: more_than(site, 2000))
        zombie.signal(signal.SIGSTOP)
        await site.publish(events[10_000:15_000])
        await site.caught_up(other)  # with the partitions of the other, so its session has ended
        assert await site.cells() == expected(events[:15_000])
        zombie.signal(signal.SIGCONT)
        await site.publish(events[15_000:])
        await site.caught_up(zombie, other)
        assert await site.cells() == expected(events)


async def test_one_lead_through_three_topics_at_once_is_exact(kafka: str, redis_url: str, namespace: str) -> None:
    """Two workers get events of the same few leads from three topics: their commits conflict, and nothing is lost."""
    site = Site(kafka, redis_url, namespace)
    await site.make_topics()
    events = few_leads(6000)
    options = "--log-level", "DEBUG"
    with site.worker(*options, patch=SMALL_BATCHES) as one, site.worker(*options, patch=SMALL_BATCHES) as two:
        await both_read(one, two)
        await site.publish(events)
        await site.caught_up(one, two)
        assert one.times("were changed meanwhile") + two.times("were changed meanwhile") > 0
        assert await site.cells() == expected(events)
    assert await site.dead_letters() == []


def few_leads(count: int) -> list[Message]:
    """Make versions of the leads, quotes and deals of five leads and three accounts."""
    chance = random.Random(11)
    events = []
    for number in range(count):
        topic = chance.choice(TOPICS)
        entity = f"x{chance.randrange(5 if topic == 'lead_created' else 40)}"
        changes = {
            "event_id": f"e{number}",
            OWN_ID[topic]: entity,
            "revision": chance.randrange(1000),
            "occurred_at": f"2026-0{chance.randrange(1, 10)}-1{chance.randrange(10)}T10:00:00Z",
            "account_id": chance.choice(["a1", "a2", "a3", None]),
            "retracted": chance.random() < 0.05,
        }
        if topic != "lead_created":
            changes |= {"lead_id": chance.choice([f"x{chance.randrange(5)}", None]), "amount": chance.randrange(1000)}
        events.append(Message(topic, written(topic, **changes), entity.encode()))
    return events


# The rest.


async def test_a_worker_that_is_told_to_stop_loses_nothing(kafka: str, redis_url: str, namespace: str) -> None:
    """SIGTERM in the middle of the work ends it within 10 seconds with status 0; the next worker goes on from there."""
    site = Site(kafka, redis_url, namespace)
    await site.make_topics()
    events = simulated(10, 10_000)
    await site.publish(events)
    with site.worker(patch=SMALL_BATCHES) as worker:
        await eventually("some is in", lambda: more_than(site, 500))
        worker.signal(signal.SIGTERM)
        assert await worker.ended(10) == 0
        assert "Traceback" not in worker.log
    assert sum((await site.offsets()).values()) < len(events), "it was in the middle"
    with site.worker() as worker:
        await site.caught_up(worker)
        assert await site.cells() == expected(events)
        worker.signal(signal.SIGTERM)
        assert await worker.ended(10) == 0
        assert worker.times(READ_AGAIN) == 0


async def test_two_sets_of_tables_of_one_log_are_each_whole(kafka: str, redis_url: str, namespace: str) -> None:
    """Workers of two namespaces with one `group` get all events each; however these are compressed."""
    site = Site(kafka, redis_url, namespace)
    other = Site(kafka, redis_url, namespace, SALESFX_NAMESPACE=f"{namespace}-2")
    await site.make_topics()
    events = simulated(14, 1000)
    with site.worker() as worker, other.worker() as its_worker:
        await both_read(worker, its_worker)
        for number, codec in enumerate(("gzip", "snappy", "lz4", "zstd")):
            await site.publish(events[250 * number : 250 * (number + 1)], codec)
        await site.caught_up(worker, its_worker)
        await other.caught_up(worker, its_worker)
    assert await site.cells() == await other.cells() == expected(events)


async def test_a_defect_that_passes_is_healed(kafka: str, redis_url: str, namespace: str) -> None:
    """An exception that comes once, in the middle of the work, has the batch read again; nothing is lost or doubled."""
    site = Site(kafka, redis_url, namespace)
    await site.make_topics()
    events = simulated(12, 3000)
    await site.publish(events)
    with site.worker(patch=SMALL_BATCHES + FAILS_ONCE) as worker:
        await site.caught_up(worker)
        assert worker.times("RuntimeError: passing") == 3, "one for each topic"
        assert worker.times(READ_AGAIN) >= 3
    assert await site.cells() == expected(events)


FAILS_ONCE = """
from streams.processor import Processor
failed, process = {}, Processor.process
async def apart(self, works):
    return False
Processor.process_together = apart
async def failing(self, work):
    topic = work.batch.source.topic
    failed[topic] = failed.get(topic, 0) + 1
    if failed[topic] == 4:
        raise RuntimeError("passing")
    return await process(self, work)
Processor.process = failing
"""


async def test_no_header_makes_the_worker_write_anywhere(kafka: str, redis_url: str, namespace: str) -> None:
    """A message with Faust's headers for a reply counts as any other, and no answer to it is written."""
    site = Site(kafka, redis_url, namespace)
    await site.make_topics()
    events = [
        message._replace(
            headers=[("Faust-Ag-ReplyTo", site.topic("lead_created").encode()), ("Faust-Ag-CorrelationId", b"1")]
        )
        for message in simulated(13, 200)
    ]
    await site.publish(events)
    with site.worker() as worker:
        await site.caught_up(worker)
        assert await site.cells() == expected(events)
        assert sum((await site.ends()).values()) == len(events), "nothing was written to our topics"
        await site.publish(events[:1])
        await site.caught_up(worker)
        assert await only_ours(site), "no topic was made"
        assert await offsets_of_group(site) == {}, "nothing is committed to Kafka"
    assert await site.dead_letters() == []


class NotText(str):
    """A header name that Kafka's client writes as bytes that are not UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        """Give what another client might write."""
        return b"\xff\xfe" + str.encode(self)


@pytest.mark.parametrize("compression", [None, "gzip"])
async def test_a_header_name_that_is_not_utf8_stops_nothing(
    kafka: str, redis_url: str, namespace: str, compression: str | None
) -> None:
    """Events with such a header count, those that are refused are set aside, and so do all the others around them."""
    site = Site(kafka, redis_url, namespace)
    await site.make_topics()
    events = simulated(17, 3000)
    refused = [Message(topic, b"{}", b"k") for topic in TOPICS for _ in range(5)]
    mixed = events + refused
    random.Random(1).shuffle(mixed)

    def publish() -> None:
        producer = KafkaProducer(bootstrap_servers=kafka, compression_type=compression, linger_ms=5)
        for number, message in enumerate(mixed):
            odd = number % 300 == 7 or message.value == b"{}"
            headers = [(NotText("trace"), b"1"), ("plain", b"2")] if odd else []
            producer.send(site.topic(message.topic), message.value, message.key, headers)
        producer.flush()
        producer.close()

    with site.worker(patch=MIDDLING_BATCHES) as worker:
        await asyncio.to_thread(publish)
        await site.caught_up(worker)
        assert await site.cells() == expected(events)
        assert worker.times("header name that is not UTF-8") == 1
    letters = await site.dead_letters()
    assert len(letters) == len(refused)
    assert all(dict(letter.headers)["header:\ufffd\ufffdtrace"] == b"1" for letter in letters)


async def only_ours(site: Site) -> bool:
    """Tell whether there is no topic with the site's prefix beside those that it needs."""

    def names() -> set[str]:
        with site.admin() as admin:
            return {name for name in admin.list_topics() if name.startswith(site.settings.topic_prefix)}

    return await asyncio.to_thread(names) == {site.topic(name) for name in (*TOPICS, "salesfx.dead_letters")}


async def offsets_of_group(site: Site) -> dict[Any, Any]:
    """Ask Kafka what the worker's group has committed to it."""

    def ask() -> dict[Any, Any]:
        with site.admin() as admin:
            found: dict[Any, Any] = admin.list_group_offsets([group_name(site.settings, FIRST_GENERATION)])
            return {partition: at for offsets in found.values() for partition, at in offsets.items()}

    return await asyncio.to_thread(ask)


async def test_a_letter_that_the_topic_does_not_take_whole_is_cut(kafka: str, redis_url: str, namespace: str) -> None:
    """A dead-letter topic that somebody made with a small bound keeps the beginning, and nothing waits for it."""
    site = Site(kafka, redis_url, namespace)
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
        small = {
            "num_partitions": site.settings.partitions,
            "replication_factor": 1,
            "configs": {"max.message.bytes": "200000"},
        }
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
