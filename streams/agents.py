"""One Faust agent a topic, and what is done with the batches that they take: also when one does not get through."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterable, Mapping, Sequence
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
    """Takes batches from the agents to the processor, one after the other, and heals what fails.

    Batches of different topics would only make conflicts for each other: quotes and deals are merged into their leads.
    """

    def __init__(self, processor: Processor, steering: OffsetSteering) -> None:
        self._processor = processor
        self._steering = steering
        self.trouble: str | None = None
        """What was last wrong with Redis or Kafka, in words."""
        self._failed_at: dict[Partition, int] = {}
        self._in_hand: Counter[Partition] = Counter()
        """Batches of each partition that are being decoded or processed."""
        self.arrivals = Arrivals()
        """What the agents were given and nobody has taken in hand."""

    def is_busy(self, partition: Partition) -> bool:
        """Tell whether a batch of the partition has arrived that is not settled."""
        return self._in_hand[partition] > 0 or self.arrivals.has(partition)

    async def process_arrivals(self) -> None:
        """Process batches in the order of their arrival, for ever; what it raises is a defect that ends the worker.

        A large one is on its way while the next is decoded and, as far as that can be known, merged. Small ones are awaited: what arrives meanwhile goes together.
        """
        try:
            await self._process_groups()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _process_groups(self) -> None:
        async with asyncio.TaskGroup() as group:
            before: asyncio.Task[None] | None = None
            async for together in self.arrivals.groups():
                self._in_hand.update(batch.source for batch in together)
                works = [work for batch in together if (work := await self._decoded(batch)) is not None]
                if before is not None:
                    if not before.done() and len(works) == 1:  # several are merged as one, when it is their turn
                        works = [await self._processor.fold_ahead(work) for work in works]
                    await before
                before = group.create_task(self._persist(works, together))
                if is_small(together):
                    await before

    async def _decoded(self, batch: Batch) -> Work | None:
        if not self._steering.is_current(batch):
            return None
        try:
            return await self._processor.decode(batch)
        except Exception as error:  # noqa: BLE001 - a defect of ours, as below
            self._heal(batch, error)
            return None

    async def _persist(self, works: Sequence[Work], batches: Sequence[Batch]) -> None:
        """Process what of batches could be decoded; returns when each is in, or its partition is going to be read again."""
        try:
            if not await self._settled_together(works):
                for work in works:
                    await self._try_until_settled(work)
        finally:
            self._in_hand.subtract(batch.source for batch in batches)

    async def _settled_together(self, works: Sequence[Work]) -> bool:
        if len(works) <= 1 or not all(self._steering.is_current(work.batch) for work in works):
            return False
        try:
            return await self._processor.process_together(works)
        except Exception as error:  # noqa: BLE001 - whatever it is, the tries one by one meet it again, and treat it
            log.debug("%d batches together: %s; one by one", len(works), error)
            return False

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


def declare_agents(app: faust.App, arrivals: Arrivals, topics: Mapping[str, str]) -> None:
    """Declare one agent for each topic.

    They never yield, and acknowledge nothing to Kafka: the offsets are Redis's.
    """
    for name, topic in topics.items():
        app.agent(
            app.topic(name, key_serializer="raw", value_serializer="raw", value_type=None, acks=False),
            name=f"salesfx.{topic}",
            concurrency=1,
        )(_agent(arrivals))


def _agent(arrivals: Arrivals) -> Any:
    async def agent(batches: AsyncIterable[Batch]) -> None:
        async for batch in batches:
            arrivals.put(batch)

    return agent
