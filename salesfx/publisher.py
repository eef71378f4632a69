"""Publishing events to Kafka from Python: in a CRM, beside one, or out of a file.

    with Publisher() as publisher:
        publisher.send(LeadCreated(event_id="4711-1", lead_id="4711", occurred_at=now, source="web"))

An event is checked by the same decoder that the worker uses before it is sent, keyed by its lead, and sent by an
idempotent producer that waits for all replicas. What Kafka did not take is raised, never dropped.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.errors import IllegalStateError, KafkaError, KafkaTimeoutError

from salesfx.decoder import decode
from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.events import TOPICS, CrmEvent
from salesfx.heartbeat import HEADER
from salesfx.kafka_log import reaching_kafka
from salesfx.kafka_security import kafka_python_options
from salesfx.pulse import Pulse
from salesfx.refusal import Reason, Refused
from salesfx.settings import Settings, load_settings

MAX_PENDING_EVENTS = 20_000
MAX_PENDING_BYTES = 32 * 1024 * 1024
"""Bounds of what was accepted and is not acknowledged yet: kafka-python's own buffer has none. Beyond, `send` waits."""
_SHOWN_FAILURES = 20
_CONNECT_SECONDS = 10
_GRACE_SECONDS = 5


class InvalidEventError(SalesfxError):
    """The worker would refuse this event, so it was not sent.

    Attributes:
        topic: Where it was to go.
        reason: Slug of `salesfx.refusal.Reason`.
        detail: Which field is wrong, and why.

    """

    def __init__(self, topic: str, reason: Reason, detail: str) -> None:
        super().__init__(f"{topic} event not sent: {reason}: {detail}")
        self.topic = topic
        self.reason = reason
        self.detail = detail


class Undelivered(NamedTuple):
    """One event that Kafka did not acknowledge."""

    topic: str
    key: str
    """The entity's own id."""
    error: str


class DeliveryError(SalesfxError):
    """Kafka did not acknowledge events that it was given.

    They may or may not be in Kafka. Publishing them again is safe: salesfx counts an event once however often it comes.

    Attributes:
        count: How many.
        undelivered: The first twenty of them.

    """

    def __init__(self, count: int, undelivered: Iterable[Undelivered]) -> None:
        self.count = count
        self.undelivered = tuple(undelivered)
        named = ", ".join(f"{event.topic} {event.key}" for event in self.undelivered)
        more = f" and {count - len(self.undelivered)} more" if count > len(self.undelivered) else ""
        errors = "; ".join(dict.fromkeys(event.error for event in self.undelivered))
        super().__init__(
            f"Kafka did not acknowledge {count} event{'' if count == 1 else 's'} ({errors}): {named}{more}. "
            "They may be published again: an event counts once however often it comes."
        )


class _Pending(NamedTuple):
    future: Any
    topic: str
    key: str
    size: int
    deadline: float
    """On the monotonic clock, in seconds."""


class _Producer(KafkaProducer):  # type: ignore[misc]
    """kafka-python's `close` raises, and closes nothing, where something stays undelivered; this one closes."""

    def flush(self, timeout: float | None = None) -> None:
        with contextlib.suppress(KafkaTimeoutError):
            super().flush(timeout)


class Publisher:
    """Publishes events to Kafka.

    May be shared by threads. Close it, or use it in a `with` statement: what was not flushed may be lost with the process.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        kafka: str | None = None,
        delivery_timeout: float = 60.0,
        feed: str | None = None,
    ) -> None:
        """Connect to Kafka.

        Args:
            settings: Where Kafka is and how it is reached; None reads `salesfx.toml` and the environment.
            kafka: Bootstrap servers, `host:port` separated by commas, in place of the settings'.
            delivery_timeout: Seconds within which Kafka must have acknowledged an event, from 1; later it is undelivered.
            feed: A name, like `salesforce`, under which a heartbeat goes to each topic every minute until `close`, from a
                thread. salesfx then notices when this process is silent (docs/alerts.md). For a process that runs for ever.

        Raises:
            SettingsError: A setting is not usable.
            FeedNameError: A feed cannot be called so.
            KafkaAwayError: Kafka cannot be reached, or refuses us.

        """
        settings = settings or load_settings()
        if kafka is not None:
            settings = msgspec.structs.replace(settings, kafka=kafka)
        self._settings = settings
        self._options = kafka_python_options(settings)
        self._delivery_timeout = max(delivery_timeout, 1.0)
        self._pulse = None if feed is None else Pulse(settings, feed)
        self._producer: _Producer | None = self._connect()
        self._topics: frozenset[str] = frozenset()
        """As Kafka names them."""
        self._lock = threading.Lock()
        self._pending: deque[_Pending] = deque()
        self._pending_bytes = 0
        self._failures: list[Undelivered] = []
        self._failure_count = 0
        self._closed = False
        if self._pulse is not None:
            self._pulse.start()

    def send(self, event: CrmEvent) -> None:
        """Check an event and hand it over; `flush` waits until Kafka has it.

        Args:
            event: A `LeadCreated`, `QuoteSent` or `DealClosed`. Its `amount` is a Decimal, its moments are aware datetimes.

        Raises:
            InvalidEventError: The worker would refuse it. It was not sent.
            DeliveryError: Earlier events were not delivered, or this one cannot be handed over. It was not sent.
            NeedsAttentionError: Kafka has no such topic. It was not sent.
            KafkaAwayError: Kafka cannot be reached any more. It was not sent.

        """
        self.send_json(event.topic, _encode(event.topic, event))

    def send_dict(self, topic: str, fields: Mapping[str, Any]) -> None:
        """Check an event given by its fields, as in `docs/events.md`, and hand it over.

        Args:
            topic: One of `salesfx.events.TOPICS`.
            fields: Names to strings, numbers, booleans, dates, aware datetimes, Decimals or None.

        Raises:
            InvalidEventError, DeliveryError, NeedsAttentionError, KafkaAwayError: As `send`.

        """
        self.send_json(topic, _encode(topic, fields))

    def send_json(self, topic: str, value: bytes, headers: Iterable[tuple[str, bytes]] = ()) -> None:
        """Check an event that is JSON already and hand it over, byte by byte as it is.

        Args:
            topic: One of `salesfx.events.TOPICS`.
            value: The event, plain or in a CloudEvents envelope.
            headers: Kafka headers, among them those of CloudEvents' binary mode.

        Raises:
            InvalidEventError, DeliveryError, NeedsAttentionError, KafkaAwayError: As `send`.

        """
        if self._closed:
            raise SalesfxError("the publisher is closed; make a new one")
        headers = list(headers)
        if any(name == HEADER for name, _ in headers):
            detail = (
                f"the header {HEADER} makes it a heartbeat, which counts nowhere; give the publisher a feed instead"
            )
            raise InvalidEventError(topic, Reason.INVALID_FIELD, detail)
        if topic not in TOPICS:
            raise InvalidEventError(topic, Reason.INVALID_FIELD, f"topic: {topic!r} is none of {', '.join(TOPICS)}")
        try:
            event = decode(topic, value, headers)
        except Refused as refused:
            raise InvalidEventError(topic, refused.reason, refused.detail) from None
        with self._lock:
            self._raise_failures()
            kafka_topic = self._settings.kafka_topic(topic)
            if kafka_topic not in self._topics:
                self._find_topic(kafka_topic)
            message_key = event.message_key.encode()
            size = len(value) + len(message_key)
            self._make_room(size)
            self._raise_failures()
            future = self._hand_over(topic, event.key, message_key, value, headers)
            deadline = time.monotonic() + self._delivery_timeout
            self._pending.append(_Pending(future, topic, event.key, size, deadline))
            self._pending_bytes += size

    def flush(self) -> None:
        """Wait until Kafka has acknowledged everything that was handed over.

        Raises:
            DeliveryError: Some of it was not acknowledged in time. Raised once; the publisher can be used on.

        """
        with self._lock:
            while self._pending:
                self._settle_oldest()
            self._raise_failures()

    def close(self) -> None:
        """Flush and disconnect. Closing twice does nothing.

        Raises:
            DeliveryError: As `flush`; it is disconnected all the same.

        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            self.flush()
        finally:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif isinstance(error, Exception):
            try:
                self.close()
            except DeliveryError as undelivered:
                error.add_note(str(undelivered))
        else:  # Ctrl-C and the like: not a minute more for a Kafka that may be away
            self._closed = True
            self._end()

    def _end(self) -> None:
        if self._pulse is not None:
            self._pulse.stop()
        self._disconnect(_GRACE_SECONDS)

    def _connect(self) -> _Producer:
        milliseconds = int(self._delivery_timeout * 1000)
        with reaching_kafka(self._settings):
            return _Producer(
                **self._options,
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                delivery_timeout_ms=milliseconds,
                request_timeout_ms=min(30_000, milliseconds // 2),
                max_block_ms=milliseconds,
                bootstrap_timeout_ms=_CONNECT_SECONDS * 1000,
                # Measured: gzip is the fastest, since kafka-python computes the checksum of what is sent in Python.
                compression_type="gzip",
                batch_size=128 * 1024,
                linger_ms=20,
            )

    def _find_topic(self, topic: str) -> None:
        """Ask which topics there are: a producer would only wait in vain for one that is missing."""
        with reaching_kafka(self._settings), contextlib.ExitStack() as stack:
            admin = KafkaAdminClient(**self._options, bootstrap_timeout_ms=_CONNECT_SECONDS * 1000)
            stack.callback(admin.close)
            self._topics = frozenset(admin.list_topics())
        if topic not in self._topics:
            raise NeedsAttentionError(
                f"Kafka at {self._settings.kafka} has no topic {topic}, or hides it from this user. Run `salesfx topics`, or "
                "start `salesfx worker`, which creates it."
            )

    def _make_room(self, size: int) -> None:
        while self._pending and (
            self._pending[0].future.is_done
            or self._pending[0].deadline < time.monotonic()
            or len(self._pending) >= MAX_PENDING_EVENTS
            or self._pending_bytes + size > MAX_PENDING_BYTES
        ):
            self._settle_oldest()

    def _settle_oldest(self) -> None:
        pending = self._pending.popleft()
        self._pending_bytes -= pending.size
        self._settle(pending, pending.deadline)
        if not pending.future.is_done:
            self._give_up()

    def _settle(self, pending: _Pending, deadline: float) -> None:
        try:
            pending.future.get(timeout=max(deadline - time.monotonic(), 0))
        except KafkaError as error:
            self._note_failure(pending.topic, pending.key, error)

    def _give_up(self) -> None:
        """Let go of a producer that neither delivers nor fails in time; the next event gets a new one.

        kafka-python 3.0 expires nothing while an idempotent producer waits for its id: with Kafka away, its own timeout
        never comes, and its `flush` waits until Kafka is back.
        """
        self._disconnect(0)
        deadline = time.monotonic() + _GRACE_SECONDS
        for pending in self._pending:
            self._settle(pending, deadline)
        self._pending.clear()
        self._pending_bytes = 0

    def _disconnect(self, grace: float) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=grace)

    def _hand_over(
        self, topic: str, key: str, message_key: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> Any:
        if self._producer is None:
            self._producer = self._connect()
        try:
            kafka_topic = self._settings.kafka_topic(topic)
            return self._producer.send(kafka_topic, key=message_key, value=value, headers=headers)
        except KafkaError as error:
            raise DeliveryError(1, [self._undelivered(topic, key, error)]) from error

    def _note_failure(self, topic: str, key: str, error: KafkaError) -> None:
        self._failure_count += 1
        if len(self._failures) < _SHOWN_FAILURES:
            self._failures.append(self._undelivered(topic, key, error))

    def _undelivered(self, topic: str, key: str, error: KafkaError) -> Undelivered:
        # What a producer says that we let go is about us, not about Kafka.
        late = isinstance(error, KafkaTimeoutError | IllegalStateError)
        return Undelivered(
            topic, key, f"no acknowledgement within {self._delivery_timeout:g} s" if late else str(error)
        )

    def _raise_failures(self) -> None:
        if self._failure_count:
            error = DeliveryError(self._failure_count, self._failures)
            self._failures, self._failure_count = [], 0
            raise error


def _encode(topic: str, event: CrmEvent | Mapping[str, Any]) -> bytes:
    try:
        fields = msgspec.to_builtins(event, builtin_types=(Decimal,))
        amount = fields.get("amount")
        if isinstance(amount, float):
            detail = f"amount: {amount!r} is a binary float, which is not exact; give a Decimal or a string"
            raise InvalidEventError(topic, Reason.INVALID_FIELD, detail)
        if isinstance(amount, Decimal) and amount.is_finite():
            fields["amount"] = format(amount, "f")  # its own text may have an exponent
        return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
    except (TypeError, ValueError) as error:
        raise InvalidEventError(topic, Reason.NOT_JSON, str(error)) from None
