"""The worker's own way into Kafka, for what it has to say itself: dead letters and heartbeats."""

import asyncio
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer

from salesfx.kafka_security import kafka_python_options
from salesfx.settings import Settings

_MAX_REQUEST = 6 * 1024 * 1024
_LEAVING_SECONDS = 2.0


class WorkersProducer:
    """An idempotent producer that waits for all replicas; made when it is first used, and anew after an error.

    Not to be shared by tasks: an idempotent producer may not go on after some errors, and is then closed.
    """

    def __init__(self, settings: Settings) -> None:
        self._options = kafka_python_options(settings)
        self._producer: AIOKafkaProducer | None = None

    async def started(self) -> Any:
        """Give the producer, connected.

        Raises:
            KafkaError: Kafka cannot be reached, or refuses us.

        """
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._options, acks="all", enable_idempotence=True, max_request_size=_MAX_REQUEST, linger_ms=5
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def close(self) -> None:
        """Give back its connections; the next use makes new ones."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def leave(self) -> None:
        """Give back its connections at the worker's end, which a Kafka that is away does not keep waiting."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING_SECONDS):
                await self.close()
