"""The batches that have arrived for one agent, in groups that are worth going together."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable

from streams.batch import SMALL_BATCH, Batch


def is_small(batches: Iterable[Batch]) -> bool:
    """Tell whether batches may go together, and have no need to be decoded ahead."""
    return sum(len(batch.records) for batch in batches) <= SMALL_BATCH


class Arrivals:
    """Takes batches in as they come, and gives out in one go what has gathered meanwhile, as long as it is small."""

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self._news = asyncio.Event()
        self._ended = False

    async def take_in(self, batches: AsyncIterable[Batch]) -> None:
        """Take batches in until there are no more."""
        try:
            async for batch in batches:
                self._batches.append(batch)
                self._news.set()
        finally:
            self._ended = True
            self._news.set()

    async def groups(self) -> AsyncIterator[list[Batch]]:
        """Give batches in their order; a large one comes alone."""
        while True:
            while not self._batches:
                if self._ended:
                    return
                self._news.clear()
                await self._news.wait()
            yield self._group()

    def _group(self) -> list[Batch]:
        group: list[Batch] = []
        while self._batches and (not group or is_small([*group, self._batches[0]])):
            group.append(self._batches.popleft())
            group[-1].is_taken = True
        return group
