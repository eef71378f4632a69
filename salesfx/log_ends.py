"""The ends of Kafka's logs, asked for in the background: what the lag is measured against.

The end that counts is the last stable offset: what a worker, which reads committed events only, can reach.
"""

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from salesfx.events import TOPICS
from salesfx.exporter import LogEndsView
from salesfx.kafka_security import kafka_python_options
from salesfx.settings import Settings
from salesfx.tables.layout import partition_field

EVERY_SECONDS = 10.0
_ANSWER_SECONDS = 8.0
_log = logging.getLogger(__name__)


class LogEnds:
    """Asks again and again; an absent Kafka is an answer, never an error.

    Attributes:
        latest: What Kafka said last; None until it was asked once.

    """

    def __init__(self, settings: Settings, *, every: float = EVERY_SECONDS) -> None:
        """Make it; nothing is asked before `run`.

        Args:
            settings: Where Kafka is.
            every: Seconds between two questions.

        Raises:
            SettingsError: A setting of Kafka's is not usable.

        """
        self.latest: LogEndsView | None = None
        self._options: dict[str, Any] = kafka_python_options(settings)
        self._topics = {settings.kafka_topic(topic): topic for topic in TOPICS}
        self._every = every

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._every)

    async def refresh(self) -> None:
        """Ask once."""
        before = self.latest
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                self.latest = LogEndsView(True, await self._ask())
        except (KafkaError, OSError, TimeoutError) as error:
            self.latest = LogEndsView(False)
            if before is None or before.answers:
                _log.warning(
                    "Kafka does not tell the ends of its logs, so the lag is not shown: %s",
                    error or type(error).__name__,
                )
        except Exception:  # noqa: BLE001 - see below
            # A fault of the client's must not end the only task that would notice its recovery.
            self.latest = LogEndsView(False)
            _log.exception("asking Kafka for the ends of its logs failed")

    async def _ask(self) -> dict[str, int]:
        """Connect, ask, disconnect.

        A consumer that stays would ask for the metadata of a deleted topic by its name, which creates it again on
        brokers that do so; one that is new asks for all topics.
        """
        consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            request_timeout_ms=5000,
        )
        try:
            await consumer.start()
            partitions = [
                TopicPartition(topic, number)
                for topic in self._topics
                for number in consumer.partitions_for_topic(topic) or ()
            ]
            ends = await consumer.end_offsets(partitions)
        finally:
            await consumer.stop()
        return {partition_field(self._topics[partition.topic], partition.partition): end for partition, end in ends.items()}
