"""Events that cannot be used go to a topic of their own, with their reason and their origin, before the commit."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from salesfx.dead_letters.letter import KEPT_OF_TOO_LARGE, TRUNCATED, Headers, Place, letter_headers, letter_key
from salesfx.events import DEAD_LETTERS
from salesfx.refusal import Refused
from salesfx.settings import Settings
from streams.producer import WorkersProducer


class DeadLetter(NamedTuple):
    """One record that could not be used, and why."""

    record: Any
    """aiokafka's ConsumerRecord."""
    refused: Refused

    @property
    def place(self) -> Place:
        """Where the record lies."""
        return Place(self.record.topic, self.record.partition, self.record.offset)

    @property
    def origin(self) -> bytes:
        """Key by which a repeat is recognised: topic-partition-offset."""
        return letter_key(self.place)

    @property
    def headers(self) -> Headers:
        """Reason and origin, then the event's own key and headers, so that it can be replayed as it was."""
        record = self.record
        return letter_headers(self.place, record.key, record.headers, self.refused, record.timestamp)


class DeadLetters:
    """Writes to the dead-letter topic, acknowledged by all replicas."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.kafka_topic(DEAD_LETTERS)
        self._producer = WorkersProducer(settings)

    async def send(self, letters: Iterable[DeadLetter]) -> None:
        """Write letters and wait until Kafka has them; on a repeat the key is the same."""
        producer = await self._producer.started()
        try:
            pending = [(letter, await self._put(producer, letter)) for letter in letters]
            for letter, delivery in pending:
                try:
                    await delivery
                except MessageSizeTooLargeError:  # the broker's bound is less than ours
                    await (await self._put_truncated(producer, letter))
        except KafkaError:
            await self.close()  # an idempotent producer may not go on after some errors; the next try makes another
            raise

    async def _put(self, producer: AIOKafkaProducer, letter: DeadLetter) -> Any:
        try:
            return await producer.send(self._topic, letter.record.value, key=letter.origin, headers=letter.headers)
        except MessageSizeTooLargeError:
            return await self._put_truncated(producer, letter)

    async def _put_truncated(self, producer: AIOKafkaProducer, letter: DeadLetter) -> Any:
        headers = [*letter.headers, TRUNCATED]
        return await producer.send(
            self._topic, letter.record.value[:KEPT_OF_TOO_LARGE], key=letter.origin, headers=headers
        )

    async def close(self) -> None:
        """Give back its connections."""
        await self._producer.close()

    async def leave(self) -> None:
        """Give back its connections at the worker's end."""
        await self._producer.leave()
