"""The log in Kafka, read from where tables were made from up to exactly the offsets that they stand on."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import redis.exceptions
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from salesfx.event_log.archive.reading import Archive, archive_of
from salesfx.event_log.piece import ForgottenMeanwhileError, LogIncompleteError, Piece, Range
from salesfx.kafka_log import KafkaAwayError, KafkaLog, check_identity
from salesfx.kafka_security import kafka_python_options
from salesfx.lenient_records import is_about_a_header_name, read_leniently
from salesfx.settings import Settings
from salesfx.tables import Tables
from salesfx.tables.away import redis_away
from salesfx.tables.layout import LOG_START

_AT_ONCE = 4000
_PATIENCE_SECONDS = 60.0
"""Longest time without anything read before Kafka counts as away."""


class KafkaSource:
    """The log in Kafka, and in front of it what only the archive has, where the settings name one."""

    def __init__(self, settings: Settings, tables: Tables) -> None:
        """Make one.

        Args:
            settings: Where Kafka and the archive are.
            tables: They tell which log they belong to, and where they were told to begin.

        """
        self._settings = settings
        self._tables = tables
        self._log = KafkaLog(settings)

    async def ranges(self, offsets: Mapping[str, int]) -> list[Range]:
        """Tell what the tables were made from, after seeing to it that the log still has all of it.

        Raises:
            OtherLogError: It is another log, or the archive is of another one.
            LogIncompleteError: Its beginning or its end is gone, or lies neither in Kafka nor in the archive.
            NoArchiveError, ArchiveDamagedError: The archive is needed and cannot be read.
            KafkaAwayError: Kafka cannot be reached.
            TablesAwayError: Redis cannot be reached.

        """
        try:
            stored = await self._tables.stored_log_identity()
        except (redis.exceptions.RedisError, OSError) as error:
            raise redis_away(self._settings.redis, error) from error
        identity = await asyncio.to_thread(self._log.identity)
        check_identity(stored, identity)
        held = await self._held()
        ranges = [_range(field, int(stored.get(LOG_START + field, 0)), end) for field, end in sorted(offsets.items())]
        for each in ranges:
            _check_end(each, held.get((each.topic, each.partition), (0, 0))[1], self._settings)
        if lost := [gone for each in ranges if (gone := _gone(each, held))]:
            self._archive_with(lost, identity)
        return ranges

    async def _held(self) -> dict[tuple[str, int], tuple[int, int]]:
        return await asyncio.to_thread(self._log.ranges)

    def _archive_with(self, gone: list[Range], identity: Mapping[str, str]) -> Archive:
        """Open the archive, which must have all that is gone from Kafka."""
        archive = archive_of(self._settings.archive, identity)
        if archive is not None:
            for each in gone:
                archive.manifest.check_reach(each.topic, each.partition, each.begin, each.end)
                archive.check_files(each)
            return archive
        where = f"{self._settings.kafka_topic(gone[0].topic)}[{gone[0].partition}]"
        raise LogIncompleteError(
            f"the log of {where} begins at {gone[0].end} now, but the tables were made from {gone[0].begin} on: events that "
            "they count are gone, so they cannot be computed from the log again. Where there is an archive of them, name it "
            "(`archive`, SALESFX_ARCHIVE). `salesfx audit` without --from-log still compares the tables with the records."
        )

    async def read(self, ranges: list[Range]) -> AsyncIterator[Piece]:
        """Give what Kafka has forgotten from the archive, as far as that goes, and the rest from Kafka; see `read_log`."""
        whole = {(each.topic, each.partition): each for each in ranges}
        positions = {at: each.begin for at, each in whole.items()}
        if self._settings.archive is not None:
            async for piece in self._read_archive(ranges):
                positions[piece.of.topic, piece.of.partition] = piece.after
                yield piece
        rest = [each._replace(begin=positions[at]) for at, each in whole.items()]
        async for piece in read_log(self._settings, rest):
            yield piece._replace(of=whole[piece.of.topic, piece.of.partition])

    async def _read_archive(self, ranges: list[Range]) -> AsyncIterator[Piece]:
        held = await self._held()
        needed = [(each, gone) for each in ranges if (gone := _gone(each, held))]
        if needed:
            identity = await asyncio.to_thread(self._log.identity)
            archive = self._archive_with([gone for _, gone in needed], identity)
            for each, _ in needed:
                async for piece in archive.read(each):
                    yield piece


def _range(field: str, begin: int, end: int) -> Range:
    topic, _, partition = field.rpartition(":")
    return Range(topic, int(partition), begin, end)


def _check_end(wanted: Range, log_end: int, settings: Settings) -> None:
    if log_end < wanted.end:
        raise LogIncompleteError(
            f"the log of {settings.kafka_topic(wanted.topic)}[{wanted.partition}] ends at {log_end}, but the tables stand on "
            f"{wanted.end}: Kafka lost events that they count. Restore the log, or set `namespace` to a new name: its "
            "tables are then made from this log."
        )


def _gone(wanted: Range, held: Mapping[tuple[str, int], tuple[int, int]]) -> Range | None:
    """Give the part of a range that lies before Kafka's log begins; None where there is none."""
    log_begin, _ = held.get((wanted.topic, wanted.partition), (0, 0))
    gone = wanted._replace(end=min(wanted.end, log_begin))
    return gone if gone.begin < gone.end else None


async def read_log(settings: Settings, ranges: list[Range]) -> AsyncIterator[Piece]:
    """Read committed events.

    How far a partition is read is the consumer's position, not the last record's offset: the markers of transactions and
    aborted events leave holes, and may be all that there is before the end.

    Yields:
        Piece after piece; together those of a range cover all of it.

    Raises:
        KafkaAwayError: Kafka does not answer, or refuses us.
        ForgottenMeanwhileError: Kafka forgot some of them meanwhile.

    """
    unread = {TopicPartition(settings.kafka_topic(each.topic), each.partition): each for each in ranges}
    unread = {at: each for at, each in unread.items() if each.begin < each.end}
    if not unread:
        return  # a consumer that is stopped as soon as it has started may raise
    consumer = AIOKafkaConsumer(
        **kafka_python_options(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    try:
        await consumer.start()
        consumer.assign(list(unread))
        for at, each in unread.items():
            consumer.seek(at, each.begin)
        positions = {at: each.begin for at, each in unread.items()}
        quiet_since = time.monotonic()
        while unread:
            fetched = await _fetched(consumer, positions)
            reached = {at: min(await consumer.position(at), each.end) for at, each in unread.items()}
            moved = [at for at, after in reached.items() if after != positions[at]]
            for at in moved:
                source = unread[at]
                records = [record for record in fetched.get(at, ()) if record.offset < source.end]
                yield Piece(source, positions[at], reached[at], records)
                if reached[at] == source.end:
                    del unread[at], reached[at]
            positions = reached
            if moved:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > _PATIENCE_SECONDS:
                raise KafkaAwayError(
                    f"Kafka at {settings.kafka} gave nothing of {', '.join(f'{at.topic}[{at.partition}]' for at in unread)} "
                    f"for {_PATIENCE_SECONDS:.0f} s. Is it running?"
                )
    except OffsetOutOfRangeError as error:
        gone = ", ".join(f"{at.topic}[{at.partition}]" for at in unread)
        raise ForgottenMeanwhileError(
            f"Kafka forgot events of {gone} while they were read. Run it again: what it has forgotten by then is looked for in "
            "the archive."
        ) from error
    except KafkaError as error:
        raise KafkaAwayError(f"cannot read the log in Kafka at {settings.kafka}: {error!r}") from error
    finally:
        await consumer.stop()


async def _fetched(consumer: Any, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, list[Any]]:
    try:
        fetched: dict[TopicPartition, list[Any]] = await consumer.getmany(
            *positions, timeout_ms=500, max_records=_AT_ONCE
        )
    except Exception as error:
        if not is_about_a_header_name(error):
            raise
        read_leniently(consumer._fetcher, positions)  # noqa: SLF001 - as the worker does
        for at, position in positions.items():  # what was taken of the others in the same call is read again
            consumer.seek(at, position)
        return {}
    return fetched
