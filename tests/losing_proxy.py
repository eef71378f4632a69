"""A TCP proxy in front of a Redis that loses an answer: what was asked is done, and nobody is told."""

import asyncio
import contextlib
from typing import Self
from urllib.parse import urlsplit


class LosingProxy:
    """Forwards everything, but ends the connection of the first transaction instead of giving its answer."""

    def __init__(self, redis_url: str) -> None:
        self._to = urlsplit(redis_url)
        self.has_lost = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        """URL of the Redis, by way of the proxy."""
        port = self._server.sockets[0].getsockname()[1]
        return self._to._replace(netloc=self._to.netloc.replace(f":{self._to.port}", f":{port}")).geturl()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_connection(self._to.hostname, self._to.port)
        is_losing = False

        async def ask() -> None:
            nonlocal is_losing
            while asked := await reader.read(65536):
                if b"EXEC" in asked and not self.has_lost:
                    self.has_lost = is_losing = True
                to_redis.write(asked)

        asking = asyncio.create_task(ask())
        with contextlib.suppress(OSError):
            while (answer := await from_redis.read(65536)) and not is_losing:
                writer.write(answer)
        asking.cancel()
        for side in (writer, to_redis):
            side.close()
