"""`salesfx worker`: the process that takes events from Kafka to the tables."""

import asyncio
import logging
import os
import threading
from typing import Any

import faust
from redis.exceptions import RedisError

from salesfx.kafka_security import quiet_kafka_python
from salesfx.settings import Settings
from salesfx.tables.away import redis_away
from streams.app import build_app, check_before_start
from streams.collector import spare_collector

STOP_SECONDS = 8.0
"""Longest time from SIGTERM to the end: less than what supervisors wait before they kill."""


def run_worker(settings: Settings, *, from_log_start: bool = False, log_level: str = "INFO") -> None:
    """Run until SIGTERM or Ctrl-C, or until the worker must not go on.

    Raises:
        SalesfxError: It could not start; the sentence says what to do.
        SystemExit: At the end.

    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=log_level)
    for chatty in ("aiokafka", "kafka", "faust", "mode", "streams.transport"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        with quiet_kafka_python():
            generation = asyncio.run(check_before_start(settings, from_log_start=from_log_start))
    except (RedisError, OSError) as error:
        raise redis_away(settings.redis, error) from error
    spare_collector()
    app = build_app(settings, generation)
    worker = _Worker(app, loglevel=log_level, quiet=True, redirect_stdouts=False)
    worker.spinner = None
    worker.execute_from_commandline()


class _Worker(faust.Worker):
    """Faust's worker, which leaves logging to us, and ends when it is told to."""

    def _schedule_shutdown(self, signal: Any) -> None:
        """Stop, and end where that takes long: Kafka's client waits for a Kafka that is away. Nothing is lost by it."""
        deadline = threading.Timer(STOP_SECONDS, os._exit, [0])
        deadline.daemon = True
        deadline.start()
        super()._schedule_shutdown(signal)

    def _setup_logging(self) -> None:
        """Keep what `run_worker` set up."""
