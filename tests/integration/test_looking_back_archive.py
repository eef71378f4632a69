"""Looking back in a log of which the first half is only in the archive."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from salesfx.event_log.archive.writing import write_archive
from tests.integration.test_archive import cut_everywhere
from tests.integration.test_looking_back import command, late_and_changed, make_tables, moment, months, output
from tests.worker_process import Site, simulated


@pytest.fixture
async def site(kafka: str, redis_url: str, namespace: str, tmp_path: Path) -> Site:
    """Topics and tables of our own, and an archive."""
    site = Site(kafka, redis_url, namespace, SALESFX_ARCHIVE=str(tmp_path / "archive"))
    await site.make_topics()
    return site


async def test_half_of_the_log_is_only_in_the_archive(site: Site, tmp_path: Path) -> None:
    """What was known, and what has restated a month since, is the same to the letter as when Kafka had all of it."""
    first, later = late_and_changed(simulated(3, 1500))
    await make_tables(site, first)
    then = await moment()
    await make_tables(site, later)
    month = (await months(site))[1]
    looks = (
        ("kpi", "--month", month, "--known-at", then, "--json"),
        ("restated", month, "--since", then, "--json"),
    )
    whole = [await output(site, *look) for look in looks]
    await write_archive(site.settings, tmp_path / "archive", datetime.now(UTC))
    await cut_everywhere(site)
    assert [await output(site, *look) for look in looks] == whole
    (tmp_path / "archive").rename(tmp_path / "elsewhere")
    status, out, _ = await command(site, *looks[0])
    assert (status, out) != (0, whole[0])
