"""Stores of tables for tests: in memory and in real servers, and what tests do with them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from salesfx.definitions import Definitions
from salesfx.kpi import Cells
from salesfx.tables import RedisTables, Snapshot, Tables, connect
from salesfx.tables.layout import DAYS, HOURS, MONTH, VERSION_BYTES, Layout, to_cells
from salesfx.tables.store import Answer, Commit, Range

TOPIC = "lead_created"
DEFINITIONS = Definitions()


@dataclass
class Store:
    """Tables that nobody has opened yet, and what a test does to them from outside."""

    tables: Tables
    client: Callable[[], Tables]
    """Makes another client of the same tables."""
    lose: Callable[[], Awaitable[None]]
    """Empties the store behind the clients' backs."""


@dataclass
class RedisStore(Store):
    """The same in a real Redis."""

    redis: Any
    """A client of redis-py."""
    namespace: str
    layout: Layout

    async def dump(self) -> dict[str, bytes]:
        """Give everything under the namespace, as Redis itself would write it down."""
        keys = [key async for key in self.redis.scan_iter(match=f"{{{self.namespace}}}:*", count=10_000)]
        return {key.decode(): await self.redis.dump(key) or b"" for key in keys}


class OpenRedisStore:
    """A store in a Redis, whose namespace is emptied at the end."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url, self._namespace = url, namespace
        self._clients: list[Tables] = []

    async def __aenter__(self) -> RedisStore:
        self._redis = connect(self._url)
        return RedisStore(
            self._client(), self._client, self._lose, self._redis, self._namespace, Layout(self._namespace, "1")
        )

    async def __aexit__(self, *_: object) -> None:
        await self._lose()
        for client in self._clients:
            await client.close()
        await self._redis.aclose()

    def _client(self) -> Tables:
        self._clients.append(RedisTables(connect(self._url), self._namespace))
        return self._clients[-1]

    async def _lose(self) -> None:
        keys = [key async for key in self._redis.scan_iter(match=f"{{{self._namespace}}}:*", count=10_000)]
        for start in range(0, len(keys), 5000):
            await self._redis.unlink(*keys[start : start + 5000])


def batch(before: int, after: int, partition: int = 0, **parts: Any) -> Commit:
    """Make a commit."""
    return Commit([Range(TOPIC, partition, before, after)], **parts)


async def versions(tables: Tables, *refs: str) -> dict[str, bytes]:
    """Read the versions of records."""
    return {ref: (record or b"")[:VERSION_BYTES] for ref, record in (await tables.load(refs)).items()}


async def contents(tables: Tables, *refs: str) -> dict[str, bytes | None]:
    """Read records without their versions."""
    return {
        ref: None if record is None else record[VERSION_BYTES:] for ref, record in (await tables.load(refs)).items()
    }


async def shown(tables: Tables, *names: str) -> Snapshot:
    """Take a snapshot that must be there."""
    snapshot = await tables.snapshot(names)
    assert snapshot is not None
    return snapshot


async def put(tables: Tables, before: int, after: int, **records: bytes | None) -> Answer:
    """Commit records by their names, over whatever is there."""
    return await tables.commit(batch(before, after, seen=await versions(tables, *records), writes=records))


async def all_cells(tables: Tables) -> Cells:
    """Read every cell, by way of the months that a snapshot names."""
    months = (await shown(tables)).months
    snapshot = await shown(tables, *(kind + month for month in months for kind in (MONTH, DAYS, HOURS)))
    return to_cells(snapshot.tables.items())
