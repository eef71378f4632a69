"""How Redis is reached."""

from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.connection import HiredisRespSerializer


def connect(url: str, timeout: float = 5.0) -> redis.asyncio.Redis:
    """Make a client; nothing is sent before its first command.

    Args:
        url: redis:// or rediss://, with the password where there is one.
        timeout: Seconds to wait for an answer, or for a connection.

    """
    client = redis.asyncio.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), 2),
    )
    pool: Any = client.connection_pool
    pool.connection_class = _PACKED.get(pool.connection_class, pool.connection_class)
    return client


class _PackedByHiredis:
    """Packs commands in C, as redis-py's synchronous connections do: a batch reads thousands of keys by one command."""

    _serializer = HiredisRespSerializer()

    def pack_command(self, *args: Any) -> Any:
        """Write one command in Redis's protocol."""
        return self._serializer.pack(*args)


class _Connection(_PackedByHiredis, redis.asyncio.Connection):
    pass


class _SSLConnection(_PackedByHiredis, redis.asyncio.SSLConnection):
    pass


_PACKED: dict[Any, Any] = {redis.asyncio.Connection: _Connection, redis.asyncio.SSLConnection: _SSLConnection}
