"""Real servers for the tests: one Kafka and one Valkey for the session, other Redises where a test asks for them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from salesfx.local import LocalServers

DEBIAN_REDIS = Path("/usr/bin/redis-server")


@pytest.fixture(scope="session")
def servers() -> Iterator[LocalServers]:
    """A Kafka and a Valkey for the whole session. Tests share them: take names of your own."""
    folder = Path(tempfile.mkdtemp(prefix="salesfx-tests-"))
    try:
        with LocalServers(folder, progress=print) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka(servers: LocalServers) -> str:
    """Bootstrap servers of the session's Kafka."""
    return servers.kafka


@pytest.fixture(scope="session")
def redis_url(servers: LocalServers) -> str:
    """URL of the session's Valkey."""
    return servers.redis


@pytest.fixture(scope="session")
def redis7_url() -> Iterator[str]:
    """URL of a Redis 7 of the distribution, beside the Valkey of the wheel."""
    if not DEBIAN_REDIS.exists():
        if os.environ.get("CI"):
            pytest.fail("no redis-server: .ci/run installs it")
        pytest.skip("there is no /usr/bin/redis-server (Debian's redis-server)")
    folder = Path(tempfile.mkdtemp(prefix="salesfx-redis7-"))
    try:
        with LocalServers(folder, kafka=False, redis_server=DEBIAN_REDIS) as running:
            yield running.redis
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def namespace() -> str:
    """A name for keys and topics that no other test uses."""
    return f"t-{uuid4().hex[:10]}"
