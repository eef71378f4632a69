"""Reading parts of Kafka's log by their offsets, committed records only. Blocking."""

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from kafka import KafkaConsumer, TopicPartition

from salesfx.dead_letters.lenient_reading import read_leniently
from salesfx.dead_letters.letter import Place
from salesfx.kafka_log import KafkaAwayError, reaching_kafka
from salesfx.kafka_security import kafka_python_options
from salesfx.settings import Settings

_CONNECT_SECONDS = 10
_SILENCE_SECONDS = 30.0
"""A Kafka that has more to read and sends nothing for so long is away: its client itself waits for ever."""
_POLL_MILLISECONDS = 500
_RECORDS = 5000
_WORTH_A_SEEK = 2000
"""Records between two that are wanted from which on it is quicker to seek than to read on."""


class LogReader:
    """Reads what the log holds between two offsets. Use it in a `with` statement, in one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Any = None

    def __enter__(self) -> Self:
        read_leniently()
        with reaching_kafka(self._settings):
            self._consumer = KafkaConsumer(
                **kafka_python_options(self._settings),
                client_id="salesfx-reader",
                isolation_level="read_committed",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=_CONNECT_SECONDS * 1000,
                # Measured: it is computed in Python, and TCP has one of its own. With it a million letters take twice as long.
                check_crcs=False,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._consumer.close()

    def ranges(self, topic: str) -> dict[int, tuple[int, int]]:
        """Tell where each partition's log begins, and where its committed records end; empty where there is no such topic.

        Args:
            topic: As Kafka names it.

        Raises:
            KafkaAwayError: Kafka cannot be reached.

        """
        with reaching_kafka(self._settings):
            numbers = self._consumer.partitions_for_topic(topic) or ()
            partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
            if not partitions:
                return {}
            begins, ends = self._consumer.beginning_offsets(partitions), self._consumer.end_offsets(partitions)
        return {partition.partition: (begins[partition], ends[partition]) for partition in partitions}

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Any]:
        """Give the committed records of a partition from one offset to before another.

        Yields:
            kafka-python's records.

        Raises:
            KafkaAwayError: Kafka cannot be reached, or sends nothing.

        """
        source = TopicPartition(topic, partition)
        position, heard = start, time.monotonic()
        with reaching_kafka(self._settings):
            self._consumer.assign([source])
            self._consumer.seek(source, start)
        while position < end:
            records, reached = self._poll(source)
            if reached > position:
                position, heard = reached, time.monotonic()
            elif time.monotonic() - heard > _SILENCE_SECONDS:
                raise KafkaAwayError(
                    f"Kafka at {self._settings.kafka} sends nothing of {topic}, partition {partition}, from offset "
                    f"{position} on, for {_SILENCE_SECONDS:.0f} s. Check that all its brokers run, and try again."
                )
            for record in records:
                if record.offset >= end:
                    return
                yield record

    def _poll(self, source: TopicPartition) -> tuple[list[Any], int]:
        """Take what is there, and tell how far that is."""
        with reaching_kafka(self._settings):
            polled = self._consumer.poll(timeout_ms=_POLL_MILLISECONDS, max_records=_RECORDS)
            # Positions, not the records' offsets: aborted records and markers leave holes.
            return polled.get(source, []), self._consumer.position(source)

    def pick(self, topic: str, places: Iterable[tuple[int, int]]) -> Iterator[Any]:
        """Give single records, by partition and offset in ascending order; those that are not there are left out.

        Raises:
            KafkaAwayError: Kafka cannot be reached, or sends nothing.

        """
        for partition, offsets in _runs(sorted(places)):
            wanted = frozenset(offsets)
            for record in self.read(topic, partition, offsets[0], offsets[-1] + 1):
                if record.offset in wanted:
                    yield record

    def at(self, place: Place) -> Any | None:
        """Give the record at a place; None where the log has none there, or not any more.

        Raises:
            KafkaAwayError: Kafka cannot be reached, or sends nothing.

        """
        begin, end = self.ranges(place.topic).get(place.partition, (0, 0))
        if not begin <= place.offset < end:
            return None
        return next(self.pick(place.topic, [(place.partition, place.offset)]), None)


def _runs(places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, list[int]]]:
    """Put together what is read in one go."""
    run: list[int] = []
    current = -1
    for partition, offset in places:
        if run and (partition != current or offset - run[-1] > _WORTH_A_SEEK):
            yield current, run
            run = []
        current = partition
        run.append(offset)
    if run:
        yield current, run
