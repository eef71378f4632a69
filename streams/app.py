"""The worker: a Faust app put together from its parts."""

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Awaitable
from typing import Any
from urllib.parse import urlsplit

import faust
from faust.auth import SASLCredentials, SSLCredentials

from salesfx.events import TOPICS
from salesfx.forgotten_file import missing
from salesfx.kafka_log import KafkaLog
from salesfx.kafka_security import bootstrap_servers, ssl_context
from salesfx.rules import Rules
from salesfx.settings import Settings
from salesfx.tables import tables_of
from streams.agents import BatchHandler, declare_agents
from streams.dead_letters import DeadLetters
from streams.ending import end_process
from streams.heartbeats import Heartbeats
from streams.processor import Processor
from streams.steering import OffsetSteering, start_at_log_start
from streams.transport import BatchApp, BatchTransport
from streams.watch import LOOK_SECONDS, Watch

log = logging.getLogger("salesfx.worker")

BATCH_RECORDS = 4000
"""Most records of one batch: enough to make a commit worth its cost, few enough not to hold Redis up."""
FETCH_BYTES = 4 * 1024 * 1024
SESSION_SECONDS, HEARTBEAT_SECONDS = 10.0, 3.0
"""A worker that was killed is replaced within the session timeout; Faust's 60 s leave a partition orphaned."""


async def check_before_start(settings: Settings, *, from_log_start: bool = False) -> str:
    """Create missing topics, and refuse a Kafka or a Redis that would lose what must not be lost.

    Args:
        settings: What is in force.
        from_log_start: Where no offset is stored, begin where the log begins now, though events before that are gone.
            It is acted on here only: a Redis that loses its data later must not be made again incomplete.

    Returns:
        The generation of the tables that the worker is to make.

    Raises:
        SalesfxError: With what to do.

    """
    no_list = missing(settings.forgotten_file)
    if no_list is not None:
        log.warning("%s", no_list)
    kafka_log = KafkaLog(settings)
    created = await asyncio.to_thread(kafka_log.ensure_topics)
    if created:
        log.info("created the topics %s", ", ".join(created))
    await asyncio.to_thread(kafka_log.check_topics)
    tables = tables_of(settings)
    try:
        await tables.check()
        await tables.open(settings.definitions)
        if from_log_start:
            await start_at_log_start(tables, await asyncio.to_thread(kafka_log.ranges))
        return tables.generation
    finally:
        await tables.close()


def build_app(settings: Settings, generation: str) -> faust.App:
    """Put the worker of one generation of the tables together."""
    topics = {settings.kafka_topic(topic): topic for topic in TOPICS}
    tables = tables_of(settings, generation)
    kafka_log = KafkaLog(settings)
    steering = OffsetSteering(tables, settings.definitions, kafka_log, topics, settings.archive)
    letters, heartbeats = DeadLetters(settings), Heartbeats(settings)

    app = BatchApp(group_name(settings, generation), **_faust_settings(settings))
    # Before the first agent: Faust makes its transport when one is declared.
    app.transport = BatchTransport(app.conf.broker, app, app.loop, steering=steering)

    processor = Processor(tables, Rules(settings.definitions), letters, topics)
    handler = BatchHandler(processor, steering)
    watch = Watch(tables, steering, kafka_log, topics, settings.watchdog_seconds, handler)
    declare_agents(app, handler.arrivals, topics)

    @app.task
    async def process_arrivals() -> None:
        try:
            await _or_end(handler.process_arrivals())
        finally:
            await letters.leave()

    @app.task
    async def send_heartbeats() -> None:
        await _or_end(heartbeats.send_for_ever())

    async def look_once() -> None:
        if app.rebalancing:
            watch.wait_for_rebalance()
        else:
            await watch.look(app.consumer)

    @app.task
    async def look() -> None:
        while not app.should_stop:
            await app.sleep(LOOK_SECONDS)
            if app.should_stop:
                break
            await _or_end(look_once())

    return app


async def _or_end(work: Awaitable[None]) -> None:
    """Await what the worker cannot do without: whatever goes wrong in it, going on would be unwatched, or come to nothing."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - as above
        end_process(error)


def group_name(settings: Settings, generation: str) -> str:
    """Name the consumer group of the workers that make one generation of the tables.

    Workers of other tables must not share it: Kafka would split the partitions among both, and each set of tables would
    get a part. No offsets lie in the group, so its name is free.
    """
    parts = urlsplit(settings.redis)
    tables = f"{settings.topic_prefix} {parts.hostname}:{parts.port}{parts.path}"
    return f"{settings.group}.{settings.namespace}.{generation}.{hashlib.sha256(tables.encode()).hexdigest()[:8]}"


def _faust_settings(settings: Settings) -> dict[str, Any]:
    return {
        "broker": [f"kafka://{server}" for server in bootstrap_servers(settings)],
        "broker_credentials": _credentials(settings),
        "broker_session_timeout": SESSION_SECONDS,
        "broker_heartbeat_interval": HEARTBEAT_SECONDS,
        "broker_max_poll_records": BATCH_RECORDS,
        "consumer_max_fetch_size": FETCH_BYTES,
        "consumer_auto_offset_reset": "earliest",
        "consumer_metadata_max_age_ms": 30_000,
        "processing_guarantee": "at_least_once",
        "table_standby_replicas": 0,
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "stream_wait_empty": False,
        "stream_buffer_maxsize": 100_000,  # the transport keeps batches few: Faust would stop reading for a second
        "web_enabled": False,  # it would listen on every address
        "store": "memory://",
        "key_serializer": "raw",
        "value_serializer": "raw",
    }


def _credentials(settings: Settings) -> Any:
    context: ssl.SSLContext | None = ssl_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        # Without a context Faust sends the password in clear; only SASL_PLAINTEXT, chosen by the user, has none.
        return SASLCredentials(
            username=settings.kafka_username,
            password=settings.kafka_password,
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context)
