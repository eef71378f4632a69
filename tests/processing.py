"""Batches on their way, for tests."""

from salesfx.tables.store import Elsewhere
from streams.agents import BatchHandler
from streams.arrivals import Arrivals
from streams.batch import Batch
from streams.processor import Processor


async def process(processor: Processor, batch: Batch) -> Elsewhere | None:
    """Decode a batch and take it to the tables."""
    return await processor.process(await processor.decode(batch))


async def handle(handler: BatchHandler, *batches: Batch) -> None:
    """Let batches arrive all at once, and process them."""
    handler.arrivals = Arrivals()
    for batch in batches:
        handler.arrivals.put(batch)
    handler.arrivals.end()
    await handler.process_arrivals()
