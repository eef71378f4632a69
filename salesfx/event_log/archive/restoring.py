"""Publishing an archive's records once more, to a Kafka that has lost its log.

Each goes to the partition that it came from, in the order that it had, with its key, value and headers. So a partition of the
new log is at any time a beginning of the archive's: an interrupted run is taken up by counting.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from salesfx.errors import NeedsAttentionError
from salesfx.event_log.archive.reading import Archive
from salesfx.event_log.kafka import read_log
from salesfx.event_log.piece import Range
from salesfx.kafka_log import KafkaAwayError, KafkaLog
from salesfx.kafka_security import kafka_python_options
from salesfx.settings import Settings

Progress = Callable[[int], None]
"""Told how many records have been published since it was told last."""
_BATCH_BYTES = 256 * 1024
_LARGEST = 64 * 1024 * 1024
"""Of a request, in bytes: Kafka's own bound decides."""
_PENDING = 5_000
"""Most records that wait for Kafka's answer."""


class NotEmptyError(NeedsAttentionError):
    """The topics hold something else than the beginning of the archive."""


class TooFewPartitionsError(NeedsAttentionError):
    """A topic lacks a partition of the archive."""


class Restored(msgspec.Struct, frozen=True):
    """What a run did."""

    folder: str
    rows: int
    """Records that were published."""
    already: int
    """Those that an earlier run had published."""


async def restore(
    settings: Settings, folder: Path, progress: Progress = lambda _: None, total: Callable[[int], None] = lambda _: None
) -> Restored:
    """Publish all records of an archive to topics that are empty, or that an earlier run has begun to fill.

    Args:
        settings: Where Kafka is; topics that are missing are made.
        folder: The archive's.
        progress: Told how far it is.
        total: Told how many records there are to be published.

    Raises:
        NoArchiveError, ArchiveDamagedError: It cannot be read.
        NotEmptyError: The topics hold other events.
        TooFewPartitionsError: A topic has fewer partitions than in the archive.
        KafkaAwayError: Kafka cannot be reached, or does not take the records.

    """
    archive, log = Archive(folder), KafkaLog(settings)
    await asyncio.to_thread(log.ensure_topics)
    held = await asyncio.to_thread(log.ranges)
    partitions = [_whole(archive, *each) for each in archive.manifest.partitions()]
    already = {each: _already(each, held) for each in partitions}
    for each in partitions:
        archive.check_files(each)
        await _check_beginning(settings, archive, each, already[each])
    rows = sum(file.rows for file in archive.manifest.files)
    total(rows - sum(already.values()))
    try:
        async with AIOKafkaProducer(
            **kafka_python_options(settings),
            acks="all",
            enable_idempotence=True,
            linger_ms=20,
            max_batch_size=_BATCH_BYTES,
            max_request_size=_LARGEST,
        ) as producer:
            for each in partitions:
                await _publish(settings, producer, _records(archive, each, already[each]), progress)
    except KafkaError as error:
        raise KafkaAwayError(
            f"Kafka at {settings.kafka} does not take the records: {error!r}. Run `salesfx restore` again when it does; it goes "
            "on where it was."
        ) from error
    return Restored(str(folder), rows - sum(already.values()), sum(already.values()))


def _whole(archive: Archive, topic: str, partition: int) -> Range:
    begin, end = archive.manifest.span(topic, partition) or (0, 0)
    return Range(topic, partition, begin, end)


def _already(of: Range, held: dict[tuple[str, int], tuple[int, int]]) -> int:
    """Tell how many records a partition has."""
    if (of.topic, of.partition) not in held:
        raise TooFewPartitionsError(
            f"the archive has a partition {of.partition} of {of.topic}, which Kafka does not have. Give all three topics at "
            f"least {of.partition + 1} partitions: `partitions` in the settings, where `salesfx topics` makes them."
        )
    begin, end = held[of.topic, of.partition]
    if begin:
        raise _not_empty(of)
    return end


async def _check_beginning(settings: Settings, archive: Archive, of: Range, already: int) -> None:
    """See to it that what lies in a partition is the beginning of the archive's: as many records, and the last the same."""
    if not already:
        return
    async with aclosing(_records(archive, of, already - 1)) as records:
        last = await anext(records, None)
    async for piece in read_log(settings, [Range(of.topic, of.partition, already - 1, already)]):
        there = [(record.key, record.value) for record in piece.records]
        if there != ([] if last is None else [(last.key, last.value)]):
            raise _not_empty(of)


def _not_empty(of: Range) -> NotEmptyError:
    return NotEmptyError(
        f"{of.topic}[{of.partition}] holds events that are not the beginning of the archive's: an archive is put back to empty "
        "topics, before anything is published to them. Name other topics (`topic_prefix`), or delete these; stop workers "
        "and feeds meanwhile."
    )


async def _records(archive: Archive, of: Range, skipped: int) -> AsyncGenerator[Any, None]:
    """Give a partition's records after the first ones."""
    async for piece in archive.read(of):
        new = piece.records[skipped:]
        skipped = max(0, skipped - len(piece.records))
        for record in new:
            yield record


async def _publish(
    settings: Settings, producer: AIOKafkaProducer, records: AsyncIterator[Any], progress: Progress
) -> None:
    pending: list[Any] = []
    async for record in records:
        topic = settings.kafka_topic(record.topic)
        headers = list(record.headers)
        pending.append(await producer.send(topic, record.value, record.key, record.partition, headers=headers))
        if len(pending) == _PENDING:
            await asyncio.gather(*pending)
            progress(len(pending))
            pending.clear()
    await asyncio.gather(*pending)
    progress(len(pending))
