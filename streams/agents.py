"""One Faust agent a topic, and what it does when a batch does not get through."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import faust
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from salesfx.errors import NeedsAttentionError, SalesfxError
from streams.arrivals import Arrivals, is_small
from streams.batch import Batch, Partition
from streams.ending import end_process
from streams.processor import Processor, Work
from streams.steering import OffsetSteering

log = logging.getLogger("salesfx.worker")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
"""Seconds between tries while Redis or Kafka is away; the watchdog ends the tries."""


class BatchHandler:
    """Takes batches from the agents to the processor, and heals what fails."""

    def __init__(self, processor: Processor, steering: OffsetSteering) -> None:
        self._processor = processor
        self._steering = steering
        self.trouble: str | None = None
        """What was last wrong with Redis or Kafka, in words."""
        self._failed_at: dict[Partition, int] = {}
        self._under_way: Counter[str] = Counter()
        """What is being done for batches of each topic."""

    def is_busy(self, partition: Partition) -> bool:
        """Tell whether the partition's agent works on a batch, behind which others may wait."""
        return self._under_way[partition.topic] > 0

    async def handle(self, batches: AsyncIterable[Batch]) -> None:
        """Process batches of one topic in their order.

        A large one is on its way while the next is decoded. Small ones are awaited: what arrives meanwhile goes together.
        """
        arrivals = Arrivals()
        async with asyncio.TaskGroup() as group:
            group.create_task(arrivals.take_in(batches))
            before: asyncio.Task[None] | None = None
            async for together in arrivals.groups():
                works = [work for batch in together if (work := await self._decoded(batch)) is not None]
                if before is not None:
                    await before
                if works:
                    before = group.create_task(self._persist(works))
                    await (before if is_small(together) else works[0].begun.wait())

    async def _decoded(self, batch: Batch) -> Work | None:
        if not self._steering.is_current(batch):
            return None
        with self._busy(batch):
            try:
                return await self._processor.decode(batch)
            except Exception as error:  # noqa: BLE001 - a defect of ours, as below
                self._heal(batch, error)
                return None

    async def _persist(self, works: Sequence[Work]) -> None:
        """Process batches; returns when each is in, or when its partition is going to be read again."""
        try:
            with self._busy(works[0].batch):
                for work in works if len(works) == 1 else await self._not_settled_together(works):
                    await self._try_until_settled(work)
        finally:
            works[0].begun.set()

    async def _not_settled_together(self, works: Sequence[Work]) -> Sequence[Work]:
        current = [work for work in works if self._steering.is_current(work.batch)]
        try:
            return await self._processor.process_together(current) if current else []
        except Exception as error:  # noqa: BLE001 - whatever it is, the tries one by one meet it again, and treat it
            log.debug("%d batches together: %s; one by one", len(current), error)
            return current

    @contextmanager
    def _busy(self, batch: Batch) -> Iterator[None]:
        self._under_way[batch.source.topic] += 1
        try:
            yield
        finally:
            self._under_way[batch.source.topic] -= 1

    async def _try_until_settled(self, work: Work) -> None:
        batch, pause = work.batch, _FIRST_PAUSE
        while self._steering.is_current(batch):
            try:
                elsewhere = await self._processor.process(work)
            except (RedisError, KafkaError, OSError) as error:
                self.trouble = f"{type(error).__name__}: {error}"
                log.warning("%s at %d is tried again: %s", batch.source, batch.before, self.trouble)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except SalesfxError as error:
                end_process(error)
            except Exception as error:  # noqa: BLE001 - a defect of ours: once it is healed by reading again
                self._heal(batch, error)
            else:
                if elsewhere is None:
                    self._failed_at.pop(batch.source, None)
                else:
                    self._steering.read_again(
                        batch.source, f"stored is {elsewhere.stored}, the batch begins at {batch.before}"
                    )
                return

    def _heal(self, batch: Batch, error: Exception) -> None:
        if self._failed_at.get(batch.source) == batch.before:
            log.critical("the same batch failed twice", exc_info=error)
            end_process(
                NeedsAttentionError(
                    f"the events of {batch.source} from offset {batch.before} to {batch.after} cannot be processed: "
                    f"{type(error).__name__}: {error}. This is a defect of salesfx; nothing is lost, but nothing after "
                    "them counts until it is mended. Please report it with the traceback above."
                )
            )
        self._failed_at[batch.source] = batch.before
        log.error("%s at offset %d failed", batch.source, batch.before, exc_info=error)
        self._steering.read_again(batch.source, "its batch failed")


def declare_agents(app: faust.App, handler: BatchHandler, topics: Mapping[str, str]) -> None:
    """Declare one agent for each topic.

    They never yield, and acknowledge nothing to Kafka: the offsets are Redis's.
    """
    for name, topic in topics.items():
        app.agent(
            app.topic(name, key_serializer="raw", value_serializer="raw", value_type=None, acks=False),
            name=f"salesfx.{topic}",
            concurrency=1,
        )(_agent(handler))


def _agent(handler: BatchHandler) -> Any:
    async def agent(batches: AsyncIterable[Batch]) -> None:
        await handler.handle(batches)

    return agent
