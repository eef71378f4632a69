"""The dead letters of a rebuild: what was refused before, for the same reason, has its letter already."""

import asyncio
import time
from collections.abc import Collection

from aiokafka.errors import KafkaError

from salesfx.dead_letters.letter import read_origin
from salesfx.dead_letters.log_reader import LogReader
from salesfx.events import DEAD_LETTERS
from salesfx.kafka_log import KafkaAwayError
from salesfx.settings import Settings
from streams.dead_letters import DeadLetter, DeadLetters

_AGAIN_SECONDS = 10.0
"""After so long it is looked again for letters that the workers have sent meanwhile."""


class NewLetters:
    """Sends the letters that are not in the dead-letter topic yet; see `streams.processor.LetterBox`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._letters = DeadLetters(settings)
        self._known: set[int] = set()
        """Hashes of origin and reason: there may be a million letters."""
        self._read_to: dict[int, int] = {}
        self._read_at = float("-inf")

    async def send(self, letters: Collection[DeadLetter]) -> None:
        """Return when all of them are safe.

        Raises:
            KafkaAwayError: Kafka cannot be reached, or refuses them.

        """
        if time.monotonic() - self._read_at > _AGAIN_SECONDS:
            await asyncio.to_thread(self._read)
        new = [letter for letter in letters if _hash(letter) not in self._known]
        if new:
            try:
                await self._letters.send(new)
            except KafkaError as error:
                raise KafkaAwayError(
                    f"Kafka at {self._settings.kafka} takes no dead letters: {error!r}. Run it again when it does; "
                    "it goes on where it was."
                ) from error
            self._known.update(map(_hash, new))

    def _read(self) -> None:
        """Read what the topic has got since the last time."""
        topic = self._settings.kafka_topic(DEAD_LETTERS)
        with LogReader(self._settings) as reader:
            for partition, (begin, end) in reader.ranges(topic).items():
                for record in reader.read(topic, partition, max(begin, self._read_to.get(partition, 0)), end):
                    origin = read_origin(record)
                    if origin is not None:
                        self._known.add(hash((str(origin.place).encode(), origin.reason)))
                self._read_to[partition] = end
        self._read_at = time.monotonic()

    async def close(self) -> None:
        """Give back its connections."""
        await self._letters.close()


def _hash(letter: DeadLetter) -> int:
    return hash((letter.origin, str(letter.refused.reason)))
