"""What a worker looks at every few seconds, because nothing else would tell it."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Protocol

from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from salesfx.kafka_log import KafkaAwayError, KafkaLog
from salesfx.tables import Tables
from salesfx.tables.layout import partition_field
from streams.batch import Partition
from streams.ending import WorkerError
from streams.steering import OffsetSteering
from streams.transport import Offsets

log = logging.getLogger("salesfx.worker")

LOOK_SECONDS = 3.0
_LOOK_TIMEOUT_SECONDS = 15.0
_PATIENCE_WITH_OTHERS = 10
"""How many times as long a partition may wait behind others that go on: with a long log to read, each has its turn."""
CHECK_SECONDS = 60.0
"""How often policies and identities, which change by hand only, are looked at."""


class Consumer(Protocol):
    """What the watch asks the consumer."""

    async def positions(self) -> Offsets:
        """Tell where it stands in every assigned partition."""

    async def log_range(self, partitions: list[Partition]) -> tuple[Offsets, Offsets]:
        """Ask Kafka where the log begins and ends."""


class Agents(Protocol):
    """What the watch asks the agents."""

    trouble: str | None

    def is_busy(self, partition: Partition) -> bool:
        """Tell whether a batch of the partition has arrived that is not settled."""


class Watch:
    """Notices a Redis that lost data, a consumer that is stuck, a log that is another, a Redis that evicts."""

    def __init__(
        self,
        tables: Tables,
        steering: OffsetSteering,
        kafka_log: KafkaLog,
        topics: Mapping[str, str],
        watchdog_seconds: float,
        agents: Agents,
    ) -> None:
        self._tables = tables
        self._steering = steering
        self._kafka_log = kafka_log
        self._topics = topics
        self._watchdog_seconds = watchdog_seconds
        self._agents = agents
        self._last: dict[Partition, tuple[int | None, int]] = {}
        """Stored offset and position of each partition at the last look."""
        self._moved_at: dict[Partition, float] = {}
        """When each partition last made progress, or had nothing to do."""
        self._committed_at = float("-inf")
        """When any of them last made progress."""
        self._checked_at = time.monotonic()
        self._trouble: str | None = None
        self._rebalancing_since: float | None = None

    def wait_for_rebalance(self) -> None:
        """Note that partitions are being distributed, so that there is nothing to look at.

        Raises:
            WorkerError: It takes so long that it must have hung.

        """
        now = time.monotonic()
        self._rebalancing_since = self._rebalancing_since or now
        if now - self._rebalancing_since > 2 * self._watchdog_seconds:
            raise WorkerError(
                f"the partitions have been about to be distributed for {now - self._rebalancing_since:.0f} s. The worker "
                "ends, so that a new one can start afresh."
            )

    async def look(self, consumer: Consumer) -> None:
        """Look once.

        Raises:
            SalesfxError: The worker must not go on.

        """
        self._rebalancing_since = None
        try:
            async with asyncio.timeout(_LOOK_TIMEOUT_SECONDS):
                await self._look_at_offsets(consumer)
            if time.monotonic() - self._checked_at >= CHECK_SECONDS:
                await self._check()
        except (TimeoutError, RedisError, KafkaError, KafkaAwayError, OSError) as error:
            self._trouble = f"{type(error).__name__}: {error}"
            log.warning("cannot look at the offsets: %s", self._trouble)
            self._bark()

    async def _look_at_offsets(self, consumer: Consumer) -> None:
        positions = await consumer.positions()
        now = time.monotonic()
        self._moved_at = {partition: self._moved_at.get(partition, now) for partition in positions}
        by_field = await self._tables.offsets()
        stored = {p: by_field.get(partition_field(self._topics[p.topic], p.partition)) for p in positions}
        self._reread_lost(positions, stored)
        _, ends = await consumer.log_range(list(positions))
        for partition, end in ends.items():
            lag = end - (stored[partition] or 0)
            moved = self._last.get(partition, (None, 0))[0] != stored[partition]
            if lag < 0:
                raise WorkerError(
                    f"the stored offset of {partition} is {stored[partition]}, beyond the end of its log at {end}: the "
                    "topic was cut, or deleted and made again."
                )
            if lag == 0 or moved:
                self._moved_at[partition] = now
            if moved:
                self._committed_at = now
        self._last = {partition: (stored[partition], positions[partition]) for partition in positions}
        self._bark()

    def _reread_lost(self, positions: Offsets, stored: Mapping[Partition, int | None]) -> None:
        """Have partitions read again whose stored offset is not where the consumer stands, and stays so.

        An idle partition gets no answer from a commit that would tell it so.
        """
        for partition, position in positions.items():
            stays = self._last.get(partition) == (stored[partition], position)
            if stored[partition] != position and stays and not self._agents.is_busy(partition):
                self._steering.read_again(
                    partition, f"stored is {stored[partition]}, the consumer stands at {position}"
                )

    def _bark(self) -> None:
        now = time.monotonic()
        others_go_on = now - self._committed_at <= self._watchdog_seconds
        patience = self._watchdog_seconds * (_PATIENCE_WITH_OTHERS if others_go_on else 1)
        for partition, moved_at in self._moved_at.items():
            if now - moved_at > patience:
                raise WorkerError(
                    f"nothing was committed of {partition} for {now - moved_at:.0f} s, though it has events to read or "
                    f"Redis or Kafka does not answer. Last trouble: {self._agents.trouble or self._trouble or 'none'}. "
                    "The worker ends, so that a new one can start afresh."
                )

    async def _check(self) -> None:
        self._checked_at = time.monotonic()
        await self._tables.check()
        await self._steering.check_identity()
        await asyncio.to_thread(self._kafka_log.check_topics)
