"""The stores that the contract of the tables is tested on, and what tests with a Kafka have of their own."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from salesfx.local import LocalServers
from salesfx.tables import MemoryTables, Tables
from tests.stores import DEFINITIONS, TOPIC, OpenRedisStore, RedisStore, Store
from tests.worker_process import Site


@pytest.fixture(params=["memory", "valkey", "redis7"])
async def store(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Store]:
    """Each kind of store, empty."""
    if request.param == "memory":
        tables = MemoryTables()

        async def lose() -> None:
            tables.data.clear()

        yield Store(tables, tables.client, lose)
        return
    url = request.getfixturevalue("redis_url" if request.param == "valkey" else "redis7_url")
    async with OpenRedisStore(url, namespace) as made:
        yield made


@pytest.fixture(params=["valkey", "redis7"])
async def in_redis(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[RedisStore]:
    """Each kind of Redis, empty."""
    url = request.getfixturevalue("redis_url" if request.param == "valkey" else "redis7_url")
    async with OpenRedisStore(url, namespace) as made:
        yield made


@pytest.fixture(scope="module")
def own_redis_url() -> Iterator[str]:
    """Start a Valkey that no other module uses: for what concerns the whole server."""
    folder = Path(tempfile.mkdtemp(prefix="salesfx-own-redis-"))
    try:
        with LocalServers(folder, kafka=False) as running:
            yield running.redis
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def own(own_redis_url: str, namespace: str) -> AsyncIterator[RedisStore]:
    """Tables in a Valkey that may be harmed as a whole."""
    async with OpenRedisStore(own_redis_url, namespace) as made:
        yield made


@pytest.fixture
async def tables(store: Store) -> Tables:
    """Tables of each kind, open, with partition 0 at offset 0."""
    await store.tables.open(DEFINITIONS)
    await store.tables.start_at(TOPIC, 0, 0)
    return store.tables


@pytest.fixture
async def site(kafka: str, redis_url: str, namespace: str) -> Site:
    """Topics and tables of the test's own."""
    site = Site(kafka, redis_url, namespace)
    await site.make_topics()
    return site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where an archive goes."""
    return tmp_path / "archive"
