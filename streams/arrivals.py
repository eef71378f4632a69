"""The batches that have arrived from the agents, in groups that are worth going together."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable

from streams.batch import SMALL_BATCH, Batch, Partition


def is_small(batches: Iterable[Batch]) -> bool:
    """Tell whether batches may go together, and have no need to be decoded ahead."""
    return sum(len(batch.records) for batch in batches) <= SMALL_BATCH


class Arrivals:
    """Takes batches in as they come, and gives out in one go what has gathered meanwhile, as long as it is small.

    Of a partition there is one at most in a group: those that follow each other are put together.
    """

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self._news = asyncio.Event()
        self._ended = False

    def put(self, batch: Batch) -> None:
        """Take a batch in."""
        self._batches.append(batch)
        self._news.set()

    def has(self, partition: Partition) -> bool:
        """Tell whether a batch of a partition is waiting."""
        return any(batch.source == partition for batch in self._batches)

    def end(self) -> None:
        """Say that there are no more."""
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
        group: dict[Partition, Batch] = {}
        while self._batches and (not group or _may_join(group, self._batches[0])):
            batch = self._batches.popleft()
            batch.is_taken = True
            earlier = group.get(batch.source)
            group[batch.source] = batch if earlier is None else earlier.followed_by(batch)
        return list(group.values())


def _may_join(group: dict[Partition, Batch], batch: Batch) -> bool:
    earlier = group.get(batch.source)
    return is_small([*group.values(), batch]) and (earlier is None or earlier.is_followed_by(batch))
