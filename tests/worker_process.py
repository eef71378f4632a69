"""A real worker in a process of its own, on names of Kafka and Redis that no other test uses."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka import KafkaAdminClient

from salesfx.audit.recomputation import recomputed_cells
from salesfx.definitions import Definitions
from salesfx.events import DEAD_LETTERS
from salesfx.kafka_log import KafkaLog
from salesfx.kpi import Cells
from salesfx.settings import load_settings
from salesfx.simulator import load
from salesfx.tables import RedisTables, Snapshot, connect
from salesfx.tables.layout import DAYS, HOURS, to_cells

PATIENCE = 120.0
"""Seconds for what has no time of its own: the machine may be busy with other things."""
READ_AGAIN = "is read again"
"""What the worker logs when it seeks back."""
_MAIN = "\nfrom salesfx.cli import main\nmain()\n"


class Message(NamedTuple):
    """What is published."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None


class Place(NamedTuple):
    """Where a message came to lie."""

    topic: str
    partition: int
    offset: int


async def eventually(what: str, ask: Callable[[], Awaitable[Any]], seconds: float = PATIENCE) -> None:
    """Wait until a question is answered by something true."""
    deadline = time.monotonic() + seconds
    while not await ask():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.05)


class WorkerProcess:
    """`salesfx worker`, started by `Site.worker`."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
            )

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self.process.poll()

    @property
    def sentence(self) -> str:
        """Its last words."""
        said = [line for line in self.log.splitlines() if line.startswith("salesfx")]
        return said[-1] if said else ""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def times(self, words: str) -> int:
        """Count how often it has printed these words."""
        return self.log.count(words)

    async def says(self, words: str) -> None:
        """Wait until it has printed these words."""

        async def said() -> bool:
            assert self.status is None or words in self.log, f"it ended with {self.status}"
            return words in self.log

        await eventually(f"the worker says {words!r}", said)

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end, and give its exit status."""

        async def has_ended() -> bool:
            return self.status is not None

        await eventually("the worker ends", has_ended, seconds)
        assert self.status is not None
        return self.status


class Site:
    """Servers, and names on them, that belong to one test."""

    def __init__(self, kafka: str, redis_url: str, name: str, **environ: str) -> None:
        """Make one.

        Args:
            kafka: Bootstrap servers.
            redis_url: URL of the Redis.
            name: Namespace, consumer group and prefix of the topics.
            environ: Further settings, as they stand in the environment.

        """
        self.environ = {
            "SALESFX_KAFKA": kafka,
            "SALESFX_REDIS": redis_url,
            "SALESFX_NAMESPACE": name,
            "SALESFX_GROUP": name,
            "SALESFX_TOPIC_PREFIX": name + ".",
            "SALESFX_HEARTBEAT_SECONDS": "0",  # what lies in the log is what the test put there
            **environ,
        }
        self.settings = load_settings(environ=self.environ)
        self._log = KafkaLog(self.settings)

    def topic(self, name: str) -> str:
        """Give the name in Kafka of one of our topics."""
        return self.settings.kafka_topic(name)

    @contextmanager
    def worker(self, *options: str, patch: str = "", **environ: str) -> Iterator[WorkerProcess]:
        """Run a worker; it is killed at the end where it still runs.

        Args:
            options: Of `salesfx worker`.
            patch: Python that its process runs first: to break it, or to have it hurry.
            environ: Settings over those of the site.

        """
        program = ["-c", patch + _MAIN] if patch else ["-m", "salesfx"]
        command = [sys.executable, *program, "worker", *options]
        with tempfile.TemporaryDirectory(prefix="salesfx-worker-") as folder:
            ours = {name: value for name, value in os.environ.items() if not name.startswith("SALESFX_")}
            path = {"PYTHONPATH": str(Path(__file__).parent.parent)}
            worker = WorkerProcess(command, {**ours, **path, **self.environ, **environ}, Path(folder) / "worker.log")
            try:
                yield worker
            except BaseException:
                print(f"--- the worker's log (status {worker.status}):\n{worker.log[-8000:]}")  # noqa: T201
                raise
            finally:
                worker.process.kill()
                worker.process.wait()

    async def make_topics(self) -> None:
        """Create the topics, as the worker would."""
        await asyncio.to_thread(self._log.ensure_topics)

    async def publish(self, messages: Iterable[Message], compression: str | None = None) -> list[Place]:
        """Publish, and tell where each message lies."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.kafka,
            acks="all",
            linger_ms=5,
            max_request_size=2 * 1024 * 1024,
            compression_type=compression,
        )
        await producer.start()
        try:
            sent = [await self.send(producer, message) for message in messages]
            metadata = [await delivery for delivery in sent]
        finally:
            await producer.stop()
        return [Place(at.topic, at.partition, at.offset) for at in metadata]

    async def send(self, producer: AIOKafkaProducer, message: Message) -> Any:
        """Hand one message to a producer."""
        return await producer.send(
            self.topic(message.topic),
            message.value,
            key=message.key,
            headers=list(message.headers),
            partition=message.partition,
        )

    async def ends(self) -> dict[str, int]:
        """Ask Kafka where the committed events of each partition end, by the field of the stored offset."""
        ranges = await asyncio.to_thread(self._log.ranges)
        return {f"{topic}:{partition}": end for (topic, partition), (_, end) in ranges.items()}

    async def caught_up(self, *workers: WorkerProcess, seconds: float = PATIENCE) -> None:
        """Wait until the stored offsets are at the ends of the log as they are now; the workers must not end meanwhile."""
        ends = await self.ends()

        async def at_the_ends() -> bool:
            for worker in workers:
                assert worker.status is None, f"a worker ended with {worker.status}: {worker.sentence}"
            return await self.offsets() == ends

        await eventually(f"the stored offsets come to {ends}", at_the_ends, seconds)

    async def offsets(self) -> dict[str, int]:
        """Read the stored offsets; none where there is no Redis now."""
        snapshot = await self.snapshot()
        return {} if snapshot is None else dict(snapshot.offsets)

    async def snapshot(self, tables: Sequence[str] = ()) -> Snapshot | None:
        """Read the tables; None where there are none, or no Redis now."""
        store = RedisTables(connect(self.settings.redis, timeout=2), self.settings.namespace)
        try:
            return await store.snapshot(tables)
        except (redis.RedisError, OSError):
            return None
        finally:
            await store.close()

    async def cells(self) -> Cells:
        """Read all tables."""
        months = await self.snapshot()
        if months is None:
            return {}
        names = [kind + month for month in months.months for kind in (DAYS, HOURS)]
        tables = await self.snapshot(names)
        return {} if tables is None else to_cells(tables.tables.items())

    async def counters(self) -> dict[str, int]:
        """Read the counters of events."""
        snapshot = await self.snapshot()
        return {} if snapshot is None else dict(snapshot.counters)

    async def dead_letters(self) -> list[Any]:
        """Read the whole dead-letter topic."""
        topic = self.topic(DEAD_LETTERS)
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, number) for number in range(self.settings.partitions)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            letters: list[Any] = []
            while any([await consumer.position(partition) < end for partition, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    letters += records
        finally:
            await consumer.stop()
        return letters

    @contextmanager
    def admin(self) -> Iterator[Any]:
        """Give Kafka's admin client."""
        admin = KafkaAdminClient(bootstrap_servers=self.settings.kafka)
        try:
            yield admin
        finally:
            admin.close()

    async def remake_topic(self, name: str) -> None:
        """Delete a topic and make it again, with all that it should be set to."""

        def delete() -> None:
            with self.admin() as admin:
                admin.delete_topics([self.topic(name)])

        async def made() -> bool:
            # The name is free a little later than the deletion is answered.
            try:
                return self.topic(name) in await asyncio.to_thread(self._log.ensure_topics)
            except Exception:  # noqa: BLE001
                return False

        await asyncio.to_thread(delete)
        await eventually(f"{name} is made again", made)

    async def cut(self, place: Place) -> None:
        """Delete the events before a place."""

        def delete() -> None:
            with self.admin() as admin:
                admin.delete_records({TopicPartition(place.topic, place.partition): place.offset})

        await asyncio.to_thread(delete)


def simulated(seed: int, count: int) -> list[Message]:
    """Give a believable load of events."""
    return [Message(topic, value, key) for topic, key, value in load(seed, count)]


def expected(messages: Iterable[Message], definitions: Definitions | None = None) -> Cells:
    """Compute the tables of messages the slow way."""
    events = [(message.topic, message.value) for message in messages if message.value]
    return recomputed_cells(events, definitions or Definitions())
