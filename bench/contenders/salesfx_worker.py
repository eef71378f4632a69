"""salesfx itself: the real worker, in front of a real Redis with its append-only file on."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis

from bench.contenders.contender import TOTALS, Place, Running, Totals
from bench.workers import NO_HEARTBEATS
from salesfx.tables.layout import FIRST_GENERATION, MONTH, Layout


class SalesfxWorker:
    """One `salesfx worker`; every number of it is exact, whatever happens."""

    name = "salesfx"
    leaves_out = "Nothing."
    share = 1.0
    may_count_twice = False

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Nothing to prepare."""

    @contextmanager
    def run(self, place: Place) -> Iterator[Running]:
        """Start a worker whose tables are new, in a Redis that holds nothing else."""
        client = redis.Redis.from_url(place.redis)
        client.flushall()
        tables = TablesOf(client, place.run)
        with client, running_worker(worker_environ(place)) as check:
            tables.check = check
            yield tables


def worker_environ(place: Place) -> dict[str, str]:
    """Give the settings of a worker for one run."""
    (prefix,) = {name.removesuffix(topic) for topic, name in place.topics.items()}
    return {
        **os.environ,
        "SALESFX_KAFKA": place.kafka,
        "SALESFX_REDIS": place.redis,
        "SALESFX_NAMESPACE": place.run,
        "SALESFX_GROUP": place.run,
        "SALESFX_TOPIC_PREFIX": prefix,
        "SALESFX_PARTITIONS": str(place.partitions),
        **NO_HEARTBEATS,
    }


@contextmanager
def running_worker(environ: Mapping[str, str]) -> Iterator[Callable[[], None]]:
    """Run `salesfx worker`, and give what ends the measurement where it has ended."""
    with started_worker(environ) as process:

        def check() -> None:
            if process.poll() is not None:
                raise SystemExit(f"the worker ended with status {process.returncode}")

        yield check


@contextmanager
def started_worker(environ: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `salesfx worker`, and give its process."""
    process = subprocess.Popen([sys.executable, "-m", "salesfx", "worker", "--log-level", "WARNING"], env=dict(environ))
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


class TablesOf:
    """What the tables of a run say, read from outside."""

    def __init__(self, client: Any, namespace: str) -> None:
        self._redis = client
        self._layout = Layout(namespace, FIRST_GENERATION)
        self.check: Callable[[], None] = lambda: None

    def done(self) -> int:
        """Add up the stored offsets."""
        self.check()
        return sum(map(int, self._redis.hvals(self._layout.offsets)))

    def totals(self) -> Totals:
        """Add up the months' tables."""
        found: dict[str, dict[str, int]] = {metric: {} for metric in TOTALS}
        for month in map(bytes.decode, self._redis.smembers(self._layout.months)):
            for field, number in self._redis.hgetall(self._layout.table(MONTH + month)).items():
                metric, dimension = field.decode().split("|", 1)
                if metric in found and "salesperson=" not in dimension:
                    found[metric][month] = found[metric].get(month, 0) + int(number)
        return {metric: {month: n for month, n in months.items() if n} for metric, months in found.items()}
