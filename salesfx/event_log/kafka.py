"""The log in Kafka, read from where tables were made from up to exactly the offsets that they stand on."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple, Protocol

import redis.exceptions
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from salesfx.errors import NeedsAttentionError
from salesfx.kafka_log import KafkaAwayError, KafkaLog, check_identity
from salesfx.kafka_security import kafka_python_options
from salesfx.lenient_records import is_about_a_header_name, read_leniently
from salesfx.settings import Settings
from salesfx.tables import Tables
from salesfx.tables.away import redis_away
from salesfx.tables.layout import LOG_START, partition_field

_AT_ONCE = 4000
_PATIENCE_SECONDS = 60.0
"""Longest time without anything read before Kafka counts as away."""


class LogIncompleteError(NeedsAttentionError):
    """The log does not hold all that the tables were made from."""


class Range(NamedTuple):
    """What is to be read of one partition."""

    topic: str
    partition: int
    begin: int
    end: int
    """The first offset that is not read any more."""


class Piece(NamedTuple):
    """What was read of a range in one go: what lies between two of the consumer's positions."""

    of: Range
    before: int
    """The position before it: the end of the range's last piece, or the range's beginning."""
    after: int
    """The position after it. Markers of transactions and aborted events leave holes, so there may be no records."""
    records: list[Any]
    """aiokafka's, with offset, timestamp, key, value and headers."""


class LogSource(Protocol):
    """Where the log is read from."""

    async def ranges(self, offsets: Mapping[str, int]) -> list[Range]:
        """Tell what tables that stand on these offsets were made from."""

    def read(self, ranges: list[Range]) -> AsyncIterator[Piece]:
        """Give piece after piece, those of one range in the order of their offsets."""


class KafkaSource:
    """The log in Kafka."""

    def __init__(self, settings: Settings, tables: Tables) -> None:
        """Make one.

        Args:
            settings: Where Kafka is.
            tables: They tell which log they belong to, and where they were told to begin.

        """
        self._settings = settings
        self._tables = tables

    async def ranges(self, offsets: Mapping[str, int]) -> list[Range]:
        """Tell what the tables were made from, after seeing to it that the log still has all of it.

        Raises:
            OtherLogError: It is another log.
            LogIncompleteError: Its beginning or its end is gone.
            KafkaAwayError: Kafka cannot be reached.
            TablesAwayError: Redis cannot be reached.

        """
        try:
            stored = await self._tables.stored_log_identity()
        except (redis.exceptions.RedisError, OSError) as error:
            raise redis_away(self._settings.redis, error) from error
        log = KafkaLog(self._settings)
        check_identity(stored, await asyncio.to_thread(log.identity))
        found = {partition_field(*at): held for at, held in (await asyncio.to_thread(log.ranges)).items()}
        return [
            _range(field, int(stored.get(LOG_START + field, 0)), end, found.get(field, (0, 0)), self._settings)
            for field, end in sorted(offsets.items())
        ]

    def read(self, ranges: list[Range]) -> AsyncIterator[Piece]:
        """Read committed events; see `read_log`."""
        return read_log(self._settings, ranges)


def _range(field: str, begin: int, end: int, held: tuple[int, int], settings: Settings) -> Range:
    topic, _, partition = field.rpartition(":")
    where = f"{settings.kafka_topic(topic)}[{partition}]"
    log_begin, log_end = held
    if log_begin > begin and end > begin:
        raise LogIncompleteError(
            f"the log of {where} begins at {log_begin} now, but the tables were made from {begin} on: events that they "
            "count are gone, so they cannot be computed from the log again. `salesfx audit` without --from-log still "
            "compares them with the records."
        )
    if log_end < end:
        raise LogIncompleteError(
            f"the log of {where} ends at {log_end}, but the tables stand on {end}: Kafka lost events that they count. "
            "Restore the log, or set `namespace` to a new name: its tables are then made from this log."
        )
    return Range(topic, int(partition), begin, end)


async def read_log(settings: Settings, ranges: list[Range]) -> AsyncIterator[Piece]:
    """Read committed events.

    How far a partition is read is the consumer's position, not the last record's offset: the markers of transactions and
    aborted events leave holes, and may be all that there is before the end.

    Yields:
        Piece after piece; together those of a range cover all of it.

    Raises:
        KafkaAwayError: Kafka does not answer, or refuses us.

    """
    consumer = AIOKafkaConsumer(
        **kafka_python_options(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    unread = {TopicPartition(settings.kafka_topic(each.topic), each.partition): each for each in ranges}
    unread = {at: each for at, each in unread.items() if each.begin < each.end}
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
