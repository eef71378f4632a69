"""Batches on their way, for tests."""

from collections.abc import AsyncIterator

from salesfx.tables.store import Elsewhere
from streams.agents import BatchHandler
from streams.batch import Batch
from streams.processor import Processor


async def process(processor: Processor, batch: Batch) -> Elsewhere | None:
    """Decode a batch and take it to the tables."""
    return await processor.process(await processor.decode(batch))


async def handle(handler: BatchHandler, *batches: Batch) -> None:
    """Hand over batches like a stream that ends."""

    async def stream() -> AsyncIterator[Batch]:
        for batch in batches:
            yield batch

    try:
        await handler.handle(stream())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
