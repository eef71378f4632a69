"""Real servers for the tests: one Kafka and one Valkey for the session, other Redises where a test asks for them."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from salesfx.local import LocalServers


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let continuous integration insist on everything."""
    parser.addoption("--no-skips", action="store_true", help="fail when a test is skipped")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what no machine has by itself: data that is not ours to ship, and docker compose."""
    absent = set()
    if not os.environ.get("SALESFX_TEST_DATA"):
        absent.add("external_data")
    if not _has_docker_compose():
        absent.add("docker")
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in absent)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _has_docker_compose() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    return subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a skip into a failure where none is allowed."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return  # one of several processes, which tell the one that reports
    if session.config.getoption("--no-skips") and reporter.stats.get("skipped"):
        reporter.write_line("tests were skipped, and --no-skips allows none", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


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
