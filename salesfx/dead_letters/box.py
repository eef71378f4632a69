"""The dead-letter topic in Kafka: its ledger, its letters, and marks put to them. Blocking."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import redis
from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from salesfx.dead_letters.ledger import Entry, Ledger
from salesfx.dead_letters.letter import Headers, Letter, Place, mark_headers, read_letter
from salesfx.dead_letters.log_reader import LogReader
from salesfx.errors import NeedsAttentionError
from salesfx.events import DEAD_LETTERS, TOPICS
from salesfx.kafka_log import reaching_kafka
from salesfx.kafka_security import kafka_python_options
from salesfx.settings import Settings
from salesfx.tables import tables_of
from salesfx.tables.away import redis_away

_CONNECT_SECONDS = 10
_DELIVERY_SECONDS = 60.0
_MAX_REQUEST = 16 * 1024 * 1024
_GRACE_SECONDS = 5

Advance = Callable[[int], None]
Positions = Mapping[int, int]
"""Offsets by partition of the dead-letter topic."""


class NotTakenError(Exception):
    """Kafka does not take a single event; its neighbours it may."""


def stored_offsets(settings: Settings) -> dict[str, int]:
    """Read how far the workers have come.

    Raises:
        TablesAwayError: Redis cannot be asked.

    """

    async def read() -> dict[str, int]:
        tables = tables_of(settings)
        try:
            return await tables.offsets()
        except (redis.RedisError, OSError) as error:
            raise redis_away(settings.redis, error) from error
        finally:
            await tables.close()

    return asyncio.run(read())


class Box:
    """The dead-letter topic of one installation. Use it in a `with` statement, in one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.topic = settings.kafka_topic(DEAD_LETTERS)
        self.topics = {settings.kafka_topic(topic): topic for topic in TOPICS}
        """Our names of the event topics, by the names that they have in Kafka."""
        self._reader = LogReader(settings)
        self._originals = LogReader(settings)
        """Another one: an original is asked for while letters are being read."""
        self._producer: Any = None
        self._partitions: dict[str, frozenset[int]] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for reader in (self._reader, self._originals):
                stack.enter_context(reader)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()
        if self._producer is not None:
            with contextlib.suppress(KafkaError):  # of what it had still to deliver somebody else has raised
                self._producer.close(timeout=_GRACE_SECONDS if error is None else 0)

    def ledger(self, advance: Advance, started: Callable[[int], None] = lambda _: None) -> Ledger:
        """Fold the whole topic.

        Args:
            advance: Called with a number of records whenever so many more were read.
            started: Called once with the number of records that there are, or a few less.

        Raises:
            KafkaAwayError: Kafka cannot be reached.
            NeedsAttentionError: There is no dead-letter topic.

        """
        ledger, ranges = Ledger(self.topics), self._reader.ranges(self.topic)
        if not ranges:
            raise NeedsAttentionError(
                f"Kafka at {self._settings.kafka} has no topic {self.topic}, or hides it from this user: no event was "
                "ever refused there. `salesfx topics` creates it; is topic_prefix right?"
            )
        started(sum(end - begin for begin, end in ranges.values()))
        for partition, (begin, end) in ranges.items():
            for record in self._reader.read(self.topic, partition, begin, end):
                ledger.add(record)
                advance(1)
        return ledger

    def ends(self) -> Positions:
        """Tell where the topic ends now."""
        return {partition: end for partition, (_, end) in self._reader.ranges(self.topic).items()}

    def letters(self, entries: Iterable[Entry]) -> Iterator[Letter]:
        """Fetch letters, in the order in which they lie in the topic."""
        for record in self._reader.pick(self.topic, [(entry.partition, entry.offset) for entry in entries]):
            letter = read_letter(record)
            if letter is not None:
                yield letter

    def letters_since(self, positions: Positions) -> Iterator[Letter]:
        """Give the letters that stand in the topic behind some positions."""
        for partition, (begin, end) in self._reader.ranges(self.topic).items():
            for record in self._reader.read(self.topic, partition, positions.get(partition, begin), end):
                letter = read_letter(record)
                if letter is not None:
                    yield letter

    def original(self, place: Place) -> Any | None:
        """Give the record at a place of an event topic; None where there is none any more."""
        return self._originals.at(place)

    def publish(self, place: Place, key: bytes | None, value: bytes | None, headers: Headers) -> Any:
        """Hand an event to Kafka, for the topic and, where there still is one, the partition of a place.

        Returns:
            A delivery, for `delivered`.

        Raises:
            KafkaAwayError: Kafka cannot be reached.
            NotTakenError: It cannot be sent.

        """
        if place.topic not in self._partitions:
            self._partitions[place.topic] = frozenset(self._originals.ranges(place.topic))
        partitions = self._partitions[place.topic]
        if not partitions:
            raise NotTakenError(f"Kafka has no topic {place.topic}; `salesfx topics` creates it")
        if key is None and value is None:
            raise NotTakenError("it has neither key nor value")
        partition = place.partition if place.partition in partitions else None
        return self._send(place.topic, partition, key, value, headers)

    def mark(self, entry: Entry, replayed_to: Place | None = None, note: str | None = None) -> Any:
        """Hand the mark of a letter to Kafka: replayed where it says where to, else dropped.

        Returns:
            A delivery, for `delivered`.

        Raises:
            KafkaAwayError: Kafka cannot be reached.

        """
        # The same partition, so that the topic's order is that of what was done.
        return self._send(
            self.topic, entry.partition, str(entry.origin).encode(), None, mark_headers(replayed_to, note)
        )

    def delivered(self, delivery: Any) -> Place:
        """Wait until Kafka has what it was handed, and tell where.

        Raises:
            KafkaAwayError: It does not answer in time. It may have it or not.
            NotTakenError: It is too large for its topic.

        """
        with reaching_kafka(self._settings):
            try:
                at = delivery.get(timeout=_DELIVERY_SECONDS)
            except MessageSizeTooLargeError as error:
                raise NotTakenError(f"Kafka does not take it: {error}") from error
        return Place(at.topic, at.partition, at.offset)

    def _send(self, topic: str, partition: int | None, key: bytes | None, value: bytes | None, headers: Headers) -> Any:
        with reaching_kafka(self._settings):
            if self._producer is None:
                self._producer = self._connected()
            try:
                return self._producer.send(topic, value, key=key, headers=headers, partition=partition)
            except MessageSizeTooLargeError as error:
                raise NotTakenError(f"Kafka does not take it: {error}") from error

    def _connected(self) -> Any:
        milliseconds = int(_DELIVERY_SECONDS * 1000)
        return KafkaProducer(
            **kafka_python_options(self._settings),
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            delivery_timeout_ms=milliseconds,
            request_timeout_ms=milliseconds // 2,
            max_block_ms=milliseconds,
            bootstrap_timeout_ms=_CONNECT_SECONDS * 1000,
            max_request_size=_MAX_REQUEST,
            compression_type="gzip",
            linger_ms=5,
        )
