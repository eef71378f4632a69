"""What a run takes place on: servers, workers, a publisher."""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from salesfx.errors import SalesfxError
from salesfx.local.folder import private_folder
from salesfx.tables import RedisTables, connect
from tests.soak.publishing import Publisher
from tests.soak.servers import Servers
from tests.soak.watching import Sample, snapshot_of_all
from tests.soak.workers import Workers
from tests.worker_process import Site

NAMESPACE = "soak"
REPOSITORY = Path(__file__).parents[2]


class Stage:
    """Servers, workers and a publisher, in one folder."""

    def __init__(
        self, folder: Path, seed: int, rate: float = 200.0, batches: Sequence[int] = (), patch: str = ""
    ) -> None:
        """Make one; nothing is started.

        Args:
            folder: For everything that is written.
            seed: Of the events.
            rate: Events a second, on average.
            batches: Most records of a batch, by worker; without any, as in production.
            patch: Python that the workers run first: to break them.

        """
        self.folder = folder
        self._began = time.monotonic()
        self.servers = Servers(folder, self.say)
        for package in ("salesfx", "streams"):  # so that it may be edited while a run of an hour starts workers anew
            shutil.copytree(
                REPOSITORY / package, folder / "code" / package, ignore=shutil.ignore_patterns("__pycache__")
            )
        self.site = Site(self.servers.kafka.address, self.servers.primary.url, NAMESPACE)
        self.publisher = Publisher(self.site, seed, rate)
        self.workers = Workers(private_folder(folder / "logs"), self.environ(), self.say, batches, patch)

    def say(self, line: str) -> None:
        """Print a line with the time since the start."""
        print(f"{time.monotonic() - self._began:8.1f} s  {line}", flush=True)  # noqa: T201 - the run's own output

    def environ(self) -> Mapping[str, str]:
        """Give the environment of the workers: they reach all servers through proxies."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("SALESFX_")}
        addresses = {
            "SALESFX_KAFKA": f"127.0.0.1:{self.servers.to_kafka.port}",
            "SALESFX_REDIS": self.servers.url(self.servers.to_redis),
        }
        return {**ours, **self.site.environ, **addresses, "PYTHONPATH": str(self.folder / "code")}

    async def start(self, workers: int) -> None:
        """Start the servers and some workers."""
        await self.servers.start()
        await self.site.make_topics()
        for _ in range(workers):
            self.workers.add()

    async def stop(self) -> None:
        """Stop everything; what it wrote stays."""
        await self.workers.stop()
        await self.servers.stop()

    async def drained(self, seconds: float) -> tuple[dict[str, int], dict[str, int]]:
        """Wait until all is in the tables that is in the log, at most so long; give the stored offsets and the ends."""
        deadline = time.monotonic() + seconds
        store = RedisTables(connect(self.servers.primary.url), NAMESPACE)
        ends: dict[str, int] = {}
        stored: dict[str, int] = {}
        try:
            while (not ends or stored != ends) and time.monotonic() < deadline:
                with contextlib.suppress(SalesfxError):
                    ends = await self.site.ends()
                stored = await store.offsets()
                await asyncio.sleep(0.1)
        finally:
            await store.close()
        return stored, ends

    async def tables(self) -> Sample:
        """Read all tables."""
        store = RedisTables(connect(self.servers.primary.url), NAMESPACE)
        try:
            snapshot = await snapshot_of_all(store)
        finally:
            await store.close()
        assert snapshot is not None, "there are no tables"
        return Sample.of(snapshot)
