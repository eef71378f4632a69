"""The heartbeats of whoever publishes: sent every minute by a thread of their own, as long as the process lives.

They have a Kafka client of their own. So they neither wait for events that are on their way, nor make them wait, and what
becomes of them raises nothing where events are published.
"""

import logging
import threading
from datetime import UTC, datetime

from kafka import KafkaProducer
from kafka.errors import KafkaError

from salesfx.decoder import normalise_name
from salesfx.errors import SalesfxError
from salesfx.events import TOPICS
from salesfx.heartbeat import SECONDS, WORKER, message
from salesfx.kafka_security import kafka_python_options
from salesfx.refusal import Refused
from salesfx.settings import Settings

_CONNECT_SECONDS = 10
_GRACE_SECONDS = 5

log = logging.getLogger("salesfx.publisher")


class FeedNameError(SalesfxError):
    """A feed cannot have this name."""


class Pulse:
    """Sends the heartbeats of one feed until it is stopped."""

    def __init__(self, settings: Settings, feed: str, seconds: float = SECONDS) -> None:
        """Make one; `start` starts it.

        Args:
            settings: Where Kafka is.
            feed: Its name: 1 to 100 characters, no control character, not that of the worker's own feed.
            seconds: Between two heartbeats.

        Raises:
            FeedNameError: It cannot be called so.

        """
        self._feed = _usable(feed)
        self._settings = settings
        self._seconds = seconds
        self._over = threading.Event()
        self._producer: KafkaProducer | None = None
        self._thread = threading.Thread(target=self._beat, name=f"heartbeats of {self._feed}", daemon=True)

    def start(self) -> None:
        """Send the first one now, and then one after the other."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more. A Kafka that is away may hold the thread up; it is then left behind, and ends by itself."""
        self._over.set()
        self._thread.join(_GRACE_SECONDS)

    def _beat(self) -> None:
        told = False
        try:
            while not self._over.is_set():
                try:
                    self._send()
                    told = False
                except (KafkaError, OSError, ValueError) as error:
                    if not told:
                        log.warning("cannot send heartbeats of %s: %s: %s", self._feed, type(error).__name__, error)
                    told = True
                    self._disconnect()
                self._over.wait(self._seconds)
        finally:
            self._disconnect()

    def _send(self) -> None:
        if self._producer is None:
            self._producer = KafkaProducer(
                **kafka_python_options(self._settings),
                acks="all",
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=_CONNECT_SECONDS * 1000,
                request_timeout_ms=_CONNECT_SECONDS * 1000,
                delivery_timeout_ms=2 * _CONNECT_SECONDS * 1000,
                max_block_ms=_CONNECT_SECONDS * 1000,
            )
        key, value, headers = message(self._feed, datetime.now(UTC))
        sent = [
            self._producer.send(self._settings.kafka_topic(topic), key=key, value=value, headers=headers)
            for topic in TOPICS
        ]
        for each in sent:
            each.get(timeout=2 * _CONNECT_SECONDS)

    def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.close(timeout=_GRACE_SECONDS)
            except KafkaError as error:  # something stayed undelivered, which the next heartbeat makes up for
                log.debug("heartbeats of %s: %s", self._feed, error)


def _usable(feed: str) -> str:
    try:
        name = normalise_name(feed, "feed")
    except Refused as refused:
        raise FeedNameError(f"a feed cannot be called so: {refused.detail}") from None
    if name is None:
        raise FeedNameError("the name of a feed is blank")
    if name == WORKER:
        raise FeedNameError(
            f"{WORKER!r} is the feed of `salesfx worker` itself; choose another name, like that of the CRM"
        )
    return name
