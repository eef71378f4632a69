"""Kafka, two Redises and the proxies between them and the workers, to be hurt in every way."""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from salesfx.local.folder import prepare, private_folder, write_private
from salesfx.local.kafka import LocalKafka
from salesfx.local.ports import kept_ports
from salesfx.local.redis import LocalRedis
from tests.soak.proxy import Proxy

_PORTS = ("kafka", "kafka_workers", "kafka_controller", "redis_a", "redis_b")
_PROXIES = ("proxy_kafka", "proxy_redis", "proxy_readers", "proxy_link")
_SYNC_SECONDS = 120.0
_COPIES = 4
"""How many copies of Redis's data are kept."""


class ProxiedKafka(LocalKafka):
    """Kafka with a second listener for the workers, whose clients are told the proxy's port."""

    def __init__(self, *, workers_port: int, advertised_port: int, **options: Any) -> None:
        super().__init__(**options)
        self._workers_port = workers_port
        self._advertised_port = advertised_port

    def _write_settings(self, file: Path, logs: Path) -> None:
        super()._write_settings(file, logs)
        listeners = f"PLAINTEXT://{self.address},WORKERS://127.0.0.1:{self._workers_port}"
        lines = [
            f"listeners={listeners},CONTROLLER://127.0.0.1:{self._controller_port}",
            f"advertised.listeners=PLAINTEXT://{self.address},WORKERS://127.0.0.1:{self._advertised_port}",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,WORKERS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name=PLAINTEXT",
        ]
        # Of a setting that stands there twice, the last one counts.
        write_private(file, file.read_text(encoding="utf-8") + "\n".join(lines) + "\n")


class Servers:
    """All servers of one run; a Redis may be the primary or stand by."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        """Make them.

        Args:
            folder: Where everything is kept.
            say: Gets short lines for the user's eyes.

        """
        data = prepare(folder)
        ports = kept_ports(data / "ports.json", _PORTS + _PROXIES, moved=say)
        common: dict[str, Any] = {"progress": say, "launched": lambda *_: None}
        self.kafka = ProxiedKafka(
            folder=private_folder(data / "kafka"),
            port=ports["kafka"],
            controller_port=ports["kafka_controller"],
            workers_port=ports["kafka_workers"],
            advertised_port=ports["proxy_kafka"],
            heap_mb=512,
            **common,
        )
        first, second = private_folder(data / "redis-a"), private_folder(data / "redis-b")
        self.primary = LocalRedis(folder=first, port=ports["redis_a"], binary=None, **common)
        shutil.copy2(first / "password", second / "password")  # whoever is promoted has the workers' password
        self.standby = LocalRedis(folder=second, port=ports["redis_b"], binary=None, **common)
        self._password = (first / "password").read_text(encoding="utf-8").strip()
        self.to_kafka = Proxy(ports["proxy_kafka"], ports["kafka_workers"])
        self.to_redis = Proxy(ports["proxy_redis"], ports["redis_a"])
        self.readers_to_redis = Proxy(ports["proxy_readers"], ports["redis_a"])
        self.link = Proxy(ports["proxy_link"], ports["redis_a"])
        """From the replica to the primary."""
        self._copies_folder = private_folder(data / "copies")
        self._copies: list[Path] = []
        self._copied = 0
        self.redis_lock = asyncio.Lock()
        """Held by whoever stops and starts a Redis; a Redis is hurt in one way at a time."""
        self.kafka_lock = asyncio.Lock()

    @property
    def proxies(self) -> tuple[Proxy, ...]:
        """All of them."""
        return self.to_kafka, self.to_redis, self.readers_to_redis, self.link

    def url(self, proxy: Proxy) -> str:
        """Give the URL of Redis through a proxy."""
        return f"redis://:{self._password}@127.0.0.1:{proxy.port}/0"

    async def start(self) -> None:
        """Start Kafka, the primary and the proxies."""
        for proxy in self.proxies:
            await proxy.start()
        await asyncio.gather(asyncio.to_thread(self.primary.start), asyncio.to_thread(self.kafka.start))

    async def stop(self) -> None:
        """Stop everything."""
        for proxy in self.proxies:
            await proxy.stop()
        servers = (self.kafka, self.primary, self.standby)
        await asyncio.gather(*(asyncio.to_thread(server.stop) for server in servers))

    async def ask(self, *command: str, standby: bool = False) -> Any:
        """Send one command to the primary, or to the standby."""
        url = (self.standby if standby else self.primary).url

        def execute() -> Any:
            client: Any = redis.Redis.from_url(url, socket_timeout=30)
            with contextlib.closing(client):
                return client.execute_command(*command)

        return await asyncio.to_thread(execute)

    async def take_copy(self) -> None:
        """Copy the primary's data folder, as it is at one instant."""
        async with self.redis_lock:
            copy = self._copies_folder / f"{self._copied:05d}"
            self._copied += 1
            self.primary.pause()  # files change under the copier's hands otherwise
            try:
                # A rewrite of the append-only file is another process, which goes on: its file is no data yet, and may vanish.
                unfinished = shutil.ignore_patterns("temp-*")
                await asyncio.to_thread(shutil.copytree, self.primary.folder / "data", copy, ignore=unfinished)
            finally:
                self.primary.resume()
            self._copies.append(copy)
            for old in self._copies[:-_COPIES]:
                await asyncio.to_thread(shutil.rmtree, old, ignore_errors=True)
            del self._copies[:-_COPIES]

    async def put_copy_back(self, amount: float, seconds: float = 0.0) -> str:
        """Replace the primary's data by one of the copies; say which."""
        copy = self._copies[int(amount * len(self._copies))]
        await asyncio.to_thread(self.primary.kill)
        data = self.primary.folder / "data"
        await asyncio.to_thread(shutil.rmtree, data)
        await asyncio.to_thread(shutil.copytree, copy, data)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.primary.start)
        return f"{len(self._copies) - self._copies.index(copy)} copies back"

    def lose_the_latest(self, amount: float) -> str:
        """Cut the end off what the killed primary has written down; say how much."""
        logs = (self.primary.folder / "data" / "appendonlydir").glob("*.incr.aof")
        log = max(logs, key=lambda file: file.stat().st_mtime_ns, default=None)
        if log is None:
            return "there is no file"
        size = log.stat().st_size
        lost = int(amount * min(size // 4, 4 * 1024 * 1024))
        os.truncate(log, size - lost)
        return f"{lost} of {size} bytes lost"

    async def attach_replica(self) -> None:
        """Make the standby a replica of the primary that has everything."""
        await asyncio.to_thread(self.standby.kill)
        await asyncio.to_thread(shutil.rmtree, self.standby.folder / "data", ignore_errors=True)
        await asyncio.to_thread(self.standby.start)
        await self.ask("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        await self.ask("CONFIG", "SET", "masterauth", self._password, standby=True)
        self.link.upstream = self.primary.port
        self.link.heal()
        await self.ask("REPLICAOF", "127.0.0.1", str(self.link.port), standby=True)
        deadline = time.monotonic() + _SYNC_SECONDS
        while (await self.ask("INFO", "replication", standby=True)).get("master_link_status") != "up":
            if time.monotonic() > deadline:
                raise AssertionError(f"the replica was not in sync within {_SYNC_SECONDS:.0f} s")
            await asyncio.sleep(0.1)

    async def promote(self) -> None:
        """Kill the primary, and put the replica in its place."""
        await asyncio.to_thread(self.primary.kill)
        await self.ask("REPLICAOF", "NO", "ONE", standby=True)
        self.primary, self.standby = self.standby, self.primary
        for proxy in (self.to_redis, self.readers_to_redis):
            proxy.upstream = self.primary.port
            proxy.cut()
        self.link.cut()
        self.link.heal()
