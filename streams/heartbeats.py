"""The worker's own heartbeat: it goes through Kafka, a worker and Redis like an event, and so proves that events can."""

import asyncio
import logging
from datetime import UTC, datetime

from aiokafka.errors import KafkaError

from salesfx.events import TOPICS
from salesfx.heartbeat import WORKER, message
from salesfx.settings import Settings
from streams.producer import WorkersProducer

log = logging.getLogger("salesfx.worker")


class Heartbeats:
    """Sends one through each topic, again and again."""

    def __init__(self, settings: Settings) -> None:
        self._topics = [settings.kafka_topic(topic) for topic in TOPICS]
        self._seconds = settings.heartbeat_seconds
        self._producer = WorkersProducer(settings)
        self._trouble: str | None = None

    async def send_for_ever(self) -> None:
        """Send them until it is cancelled; a Kafka that does not take them is waited for, and told of once."""
        try:
            while self._seconds:
                await self._try_to_send()
                await asyncio.sleep(self._seconds)
        finally:
            await self._producer.leave()

    async def _try_to_send(self) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._send()
            self._tell(None)
        except (KafkaError, OSError, TimeoutError) as error:
            self._tell(f"{type(error).__name__}: {error}")
            await self._producer.close()

    async def _send(self) -> None:
        producer = await self._producer.started()
        key, value, headers = message(WORKER, datetime.now(UTC))
        deliveries = [await producer.send(topic, value, key=key, headers=headers) for topic in self._topics]
        await asyncio.gather(*deliveries)

    def _tell(self, trouble: str | None) -> None:
        if trouble is not None and self._trouble is None:
            log.warning(
                "cannot send heartbeats: %s. Events are read all the same, but the feed will be called broken. Does Kafka let "
                "this user write to the topics?",
                trouble,
            )
        self._trouble = trouble
