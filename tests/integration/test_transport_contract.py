"""What streams/transport.py relies on inside Faust and aiokafka, which are pinned for it.

Where one of these fails after an update, the transport has to be looked at before the pin is moved.
"""

import asyncio
import inspect
import re
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, OffsetResetStrategy
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import OffsetOutOfRangeError
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from salesfx.settings import load_settings
from salesfx.tables.layout import FIRST_GENERATION
from streams import transport
from streams.app import build_app
from streams.batch import Batch, Partition
from streams.transport import BatchConsumer, BatchConsumerThread, BatchTransport, RebalanceListener
from tests.worker_process import Message, Site, eventually

SOMEWHERE = load_settings(environ={})


@pytest.mark.parametrize("name", ["faust-streaming", "aiokafka", "kafka-python"])
def test_the_versions_are_the_pinned_ones(name: str) -> None:
    """The pins of pyproject.toml are exact, and what is installed is what they name."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    pinned = [re.sub(r"\[.*\]", "", dependency) for dependency in project["project"]["dependencies"]]
    assert f"{name}=={version(name)}" in pinned


# Faust.


@pytest.fixture
async def app() -> faust.App:
    """Make the worker's app, and do not start it."""
    return build_app(SOMEWHERE, FIRST_GENERATION)


@pytest.fixture
def consumer(app: faust.App) -> BatchConsumer:
    """Make its consumer, not started."""
    made = app.consumer
    assert isinstance(made, BatchConsumer)
    return made


@pytest.fixture(autouse=True)
def _aiokafka_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let other tests of this process have aiokafka's own records again."""
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)


async def test_faust_uses_our_transport_consumer_and_thread(app: faust.App, consumer: BatchConsumer) -> None:
    """A transport set on the app is the app's, its Consumer is what it creates, and that creates its own thread."""
    assert isinstance(app.transport, BatchTransport)
    assert isinstance(consumer._thread, BatchConsumerThread)
    assert consumer.transport is app.transport
    assert consumer.steering is app.transport.steering
    assert type(consumer._thread._rebalance_listener) is RebalanceListener


async def test_nothing_is_acknowledged_to_kafka(app: faust.App) -> None:
    """Topics with acks=False are left out of Faust's commits."""
    for agent in app.agents.values():
        for topic in agent.channel.topics:
            assert not app.topics.acks_enabled_for(topic)


async def test_faust_has_no_server_and_declares_no_topics(app: faust.App) -> None:
    """The settings that would open a port or make topics are off."""
    assert not app.conf.web_enabled
    assert not app.conf.topic_allow_declare
    assert app.conf.topic_disable_leader


async def test_the_thread_makes_the_consumer_in_the_method_that_we_override(consumer: BatchConsumer) -> None:
    """What it makes reads committed events only, and takes both settings from the attributes that we set."""
    made = consumer._thread._create_worker_consumer(consumer.transport)
    assert made._isolation_level == "read_committed"
    assert (made._fetch_min_bytes, made._fetch_max_wait_ms) == (transport.FETCH_MIN_BYTES, transport.FETCH_MAX_WAIT_MS)
    assert made._partition_assignment_strategy == (RangePartitionAssignor,)
    theirs = driver.AIOKafkaConsumerThread._create_worker_consumer(consumer._thread, consumer.transport)
    assert theirs._isolation_level == "read_uncommitted", "else ours would not be needed"
    assert made._max_poll_records == consumer.app.conf.broker_max_poll_records


async def test_getmany_is_asked_for_the_active_partitions(
    consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And gives one message for each partition's batch, with the batch's beginning as its offset and without headers."""
    tp = TP("lead_created", 1)
    batch = Batch(Partition(*tp), 5, 9, [], 0)
    asked = []

    async def getmany(active_partitions: set[TP], timeout: float) -> dict[TP, list[Batch]]:  # noqa: ASYNC109 - Faust's
        asked.append((set(active_partitions), timeout))
        return {tp: [batch]}

    monkeypatch.setattr(consumer, "_getmany", getmany)
    monkeypatch.setattr(consumer, "highwater", lambda _: 9)
    consumer._set_active_tps({tp})
    consumer.resume_flow()
    messages = [item async for item in consumer.getmany(1.0)]
    assert asked == [({tp}, 1.0)]
    ((found, message),) = messages
    assert (found, message.tp, message.offset, message.value, message.headers) == (tp, tp, 5, batch, ())
    assert message.generation_id == consumer.app.consumer_generation_id


async def test_perform_seek_goes_through_seek_to_committed(
    consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer becomes the read offset, below which Faust drops messages."""
    tp = TP("lead_created", 1)

    async def seek_to_committed() -> dict[TP, int]:
        return {tp: 7}

    monkeypatch.setattr(consumer, "seek_to_committed", seek_to_committed)
    await consumer.perform_seek()
    assert consumer._read_offset[tp] == 7


async def test_seek_wait_sets_the_read_offset(consumer: BatchConsumer) -> None:
    """Else Faust would drop what is read again, without a word."""
    tp, sought = TP("lead_created", 1), []

    async def position(_: TP) -> int:
        return 0

    fake = SimpleNamespace(seek=lambda *seek: sought.append(seek), position=position)
    consumer._read_offset[tp] = 100
    await consumer._thread._seek_wait(fake, {tp: 5})
    assert (sought, consumer._read_offset[tp]) == ([(tp, 5)], 5)
    await consumer._thread._seek_wait(fake, {tp: 0})
    assert consumer._read_offset[tp] is None


def test_the_read_offset_is_set_after_the_callback() -> None:
    """For this a seek is carried out by the fetch loop: one by an agent would be overwritten."""
    source = inspect.getsource(Consumer._drain_messages)
    assert re.search(r"callback\(message\).*set_read_offset\(tp, offset\)", source, re.DOTALL)
    assert "r_offset is None or offset >= r_offset" in source


@pytest.mark.parametrize("method", ["on_partitions_revoked", "on_partitions_assigned"])
def test_the_listener_has_the_methods_that_we_override(method: str) -> None:
    """Called by aiokafka at a rebalance."""
    assert callable(getattr(driver.ConsumerRebalanceListener, method))


async def test_a_kafka_that_hangs_does_not_occupy_the_thread(
    consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question for the log's range ends by itself, in the thread, whose two workers carry out everything else."""

    async def hang(_: object) -> None:
        await asyncio.sleep(100)

    async def call(ask: Callable[[], Any]) -> Any:
        return await ask()

    monkeypatch.setattr(transport, "LOG_RANGE_SECONDS", 0.01)
    monkeypatch.setattr(consumer._thread, "_consumer", SimpleNamespace(beginning_offsets=hang, end_offsets=hang))
    monkeypatch.setattr(consumer._thread, "call_thread", call)
    with pytest.raises(TimeoutError):
        await consumer.log_range([Partition("lead_created", 0)])


# aiokafka, on a real Kafka.


@asynccontextmanager
async def reader(site: Site, partition: TopicPartition) -> AsyncIterator[AIOKafkaConsumer]:
    """Give a consumer made as Faust makes it, with the attribute that we set."""
    made = AIOKafkaConsumer(
        bootstrap_servers=site.settings.kafka,
        group_id=site.settings.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_uncommitted",
    )
    made._isolation_level = "read_committed"
    made._fetch_min_bytes, made._fetch_max_wait_ms = 2, 50
    await made.start()
    made.assign([partition])
    try:
        yield made
    finally:
        await made.stop()


async def transaction(site: Site, partition: TopicPartition, count: int, *, commit: bool) -> None:
    """Write a transaction, and end it."""
    producer = AIOKafkaProducer(bootstrap_servers=site.settings.kafka, transactional_id=site.settings.group)
    await producer.start()
    await producer.begin_transaction()
    for _ in range(count):
        await producer.send_and_wait(partition.topic, b"{}", partition=partition.partition)
    await (producer.commit_transaction() if commit else producer.abort_transaction())
    await producer.stop()


def state_of(consumer: Any, partition: TopicPartition) -> Any:
    """Find the state of a partition where the transport finds it."""
    return consumer._subscription.subscription.assignment.state_value(partition)


async def test_the_position_moves_over_markers_and_aborted_events(site: Site) -> None:
    """The fetcher takes the isolation level from the attribute, and the position tells what it has passed.

    Records are given for committed events only; an aborted tail gives none and moves the position all the same.
    """
    partition = TopicPartition(site.topic("lead_created"), 0)
    async with reader(site, partition) as consumer:
        assert consumer._fetcher._isolation_level == READ_COMMITTED
        assert (consumer._fetcher._fetch_min_bytes, consumer._fetcher._fetch_max_wait_ms) == (2, 50)
        await consumer.seek_to_beginning(partition)
        await consumer.position(partition)
        state = state_of(consumer, partition)
        assert state.has_valid_position
        assert state.position == 0
        end = 0
        for count, commit in ((3, True), (2, False), (1, True), (4, False)):
            await transaction(site, partition, count, commit=commit)
            end += count + 1
            got: list[Any] = []

            async def read(got: list[Any] = got) -> list[Any]:
                with consumer._fetcher._subscriptions.fetch_context():
                    fetched = await consumer._fetcher.fetched_records({partition}, timeout=0.2, max_records=100)
                got += fetched.get(partition, [])
                return got

            async def has_passed(end: int = end, read: Callable[[], Any] = read) -> bool:
                await read()
                return bool(state_of(consumer, partition).position == end)

            await eventually(f"the position comes to {end}", has_passed)
            assert len(got) == (count if commit else 0)
            assert await consumer.end_offsets([partition]) == {partition: end}


async def test_the_end_is_that_of_the_committed_events(site: Site) -> None:
    """The isolation level also holds for the question where the log ends: an open transaction is no lag."""
    partition = TopicPartition(site.topic("lead_created"), 0)
    await site.publish([Message("lead_created", b"{}", partition=0)] * 3)
    producer = AIOKafkaProducer(bootstrap_servers=site.settings.kafka, transactional_id=site.settings.group)
    await producer.start()
    async with reader(site, partition) as consumer:
        await producer.begin_transaction()
        await producer.send_and_wait(partition.topic, b"{}", partition=0)
        assert await consumer.end_offsets([partition]) == {partition: 3}
        await producer.commit_transaction()

        async def is_counted() -> bool:
            return bool(await consumer.end_offsets([partition]) == {partition: 5})

        await eventually("the transaction is counted", is_counted)
    await producer.stop()


async def test_a_position_is_only_chosen_while_that_is_allowed(site: Site) -> None:
    """The fetcher looks at the strategy each time: NONE makes an offset out of range an error of the fetch."""
    partition = TopicPartition(site.topic("lead_created"), 0)
    await site.publish([Message("lead_created", b"{}", partition=0)] * 3)
    async with reader(site, partition) as consumer:
        await consumer.position(partition)
        consumer._fetcher._default_reset_strategy = OffsetResetStrategy.NONE
        consumer.seek(partition, 1000)
        with pytest.raises(OffsetOutOfRangeError) as error:
            await asyncio.wait_for(_fetch_for_ever(consumer, partition), 60)
        assert error.value.args[0] == {partition: 1000}
        consumer._fetcher._default_reset_strategy = OffsetResetStrategy.EARLIEST

        async def is_reset() -> bool:
            await consumer._fetcher.fetched_records({partition}, timeout=0.2, max_records=1)
            return bool(
                state_of(consumer, partition).has_valid_position and state_of(consumer, partition).position < 1000
            )

        await eventually("the position is reset", is_reset)


async def _fetch_for_ever(consumer: Any, partition: TopicPartition) -> None:
    while True:
        await consumer._fetcher.fetched_records({partition}, timeout=0.2, max_records=100)


async def test_an_assignment_that_was_replaced_tells_so(site: Site) -> None:
    """Batches of an assignment that is not active any more are dropped; its partitions' positions are no more ours."""
    partition, other = (TopicPartition(site.topic("lead_created"), number) for number in (0, 1))
    async with reader(site, partition) as consumer:
        before = consumer._subscription.subscription.assignment
        assert before.active
        assert before.tps == {partition}
        consumer.assign([other])
        assert not before.active
        assert consumer._subscription.subscription.assignment is not before
        assert before.state_value(other) is None
