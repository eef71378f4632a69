"""The log taken into one generation of the tables, by the worker's own way of a batch."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from salesfx.errors import SalesfxError
from salesfx.event_log import LogSource, Piece, Range
from salesfx.events import TOPICS
from salesfx.rebuilding.room import check_room
from salesfx.rules import Rules
from salesfx.settings import Settings
from salesfx.tables import RedisTables, TablesGoneError
from salesfx.tables.layout import partition_field
from salesfx.tables.store import Elsewhere
from streams.batch import Batch, Partition, Record
from streams.processor import LetterBox, Processor, Work

Progress = Callable[[int], None]
"""Told of events that are in."""


class OthersCommitError(SalesfxError):
    """Somebody else commits into the generation: a worker that has taken over, or another rebuild."""


class Making:
    """Takes the log into one generation."""

    def __init__(self, settings: Settings, tables: RedisTables, source: LogSource, letter_box: LetterBox) -> None:
        """Make one.

        Args:
            settings: With the definitions of the generation.
            tables: Bound to it.
            source: The log that it is made from.
            letter_box: Where events go that cannot be used.

        """
        self._settings = settings
        self._tables = tables
        self._source = source
        topics = {settings.kafka_topic(topic): topic for topic in TOPICS}
        self._processor = Processor(tables, Rules(settings.definitions), letter_box, topics)

    async def up_to(
        self,
        offsets: Mapping[str, int],
        begun: Callable[[int], None] = lambda _: None,
        progress: Progress = lambda _: None,
    ) -> int:
        """Take in what the log holds from the stored offsets up to others, and not one event more.

        Args:
            offsets: Where to stop, by the field of the partition; where the generation is farther already, it stays.
            begun: Told how many events there are.
            progress: Told how many more are in.

        Returns:
            How many there were.

        Raises:
            OthersCommitError: Somebody else has committed meanwhile.
            TablesGoneError: The generation was dropped, or Redis has lost it.
            NoRoomError: Redis is nearly full.
            SalesfxError: The log cannot be read, or is not the tables' whole log.

        """
        ranges = await self._source.ranges(offsets)
        stored = await self._tables.offsets()
        for each in ranges:
            field = partition_field(each.topic, each.partition)
            if field not in stored:
                stored[field] = await self._tables.start_at(each.topic, each.partition, each.begin)
        rest = [each._replace(begin=stored[partition_field(each.topic, each.partition)]) for each in ranges]
        rest = [each for each in rest if each.begin < each.end]
        total = sum(each.end - each.begin for each in rest)
        begun(total)
        if rest:
            await self._take(rest, progress)
        return total

    async def _take(self, ranges: list[Range], progress: Progress) -> None:
        """Take piece after piece; while one is on its way, the next is decoded and, as far as that can be known, merged."""
        before: asyncio.Task[None] | None = None
        try:
            async for piece in self._source.read(ranges):
                work = await self._processor.decode(self._batch(piece))
                if before is not None:
                    if not before.done():
                        work = await self._processor.fold_ahead(work)
                    await before
                before = asyncio.create_task(self._commit(work, piece.after - piece.before, progress))
            if before is not None:
                await before
        finally:
            if before is not None and not before.done():
                before.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await before

    def _batch(self, piece: Piece) -> Batch:
        topic, partition = self._settings.kafka_topic(piece.of.topic), piece.of.partition
        records = [
            Record(topic, partition, each.offset, each.timestamp, each.key, each.value, each.headers)
            for each in piece.records
        ]
        return Batch(Partition(topic, partition), piece.before, piece.after, records, epoch=0)

    async def _commit(self, work: Work, events: int, progress: Progress) -> None:
        await check_room(self._tables)
        match await self._processor.process(work):
            case Elsewhere(None):
                raise TablesGoneError(
                    f"generation {self._tables.generation} is gone from Redis: it was dropped, or Redis was emptied or put "
                    "back. The tables that are shown were not touched by this rebuild. Run it again."
                )
            case Elsewhere(stored):
                raise OthersCommitError(
                    f"somebody else commits into generation {self._tables.generation}: of {work.ranges[0]} it is at {stored} "
                    "by now. Nothing is wrong with it; one is enough."
                )
        progress(events)
