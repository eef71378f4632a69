"""What happens to archives: lost manifests, clocks that are behind, retention that is quicker, disks that are not there."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from salesfx.event_log import ForgottenMeanwhileError, KafkaSource, LogIncompleteError, Range
from salesfx.event_log.archive.manifest import MANIFEST, ArchiveDamagedError, NoArchiveError, load_manifest
from salesfx.event_log.archive.verification import verify_archive
from salesfx.event_log.archive.writing import write_archive
from salesfx.event_log.kafka import read_log
from salesfx.kafka_log import KafkaLog, OtherLogError
from salesfx.tables import RedisTables, connect
from tests.integration.test_archive import LEADS, in_files, in_kafka, lead, looked_at, with_archive
from tests.worker_process import Message, Place, Site


async def archived(site: Site, folder: Path, now: datetime | None = None, *, new: bool = False) -> int:
    """Archive; give how many records were added."""
    return (await write_archive(site.settings, folder, now or datetime.now(UTC), new=new)).rows


async def publish(site: Site, first: int, last: int, partition: int = 1, topic: str = LEADS) -> None:
    """Publish leads to one partition, numbered from the first up to the last."""
    await site.publish([Message(topic, lead(number), partition=partition) for number in range(first, last)])


async def cut(site: Site, offset: int, partition: int = 1) -> None:
    """Have Kafka forget leads before an offset."""
    await site.cut(Place(site.topic(LEADS), partition, offset))


def files(folder: Path) -> set[str]:
    """Name the archive's files."""
    return {path.name for path in folder.glob("*.parquet")}


async def test_without_its_manifest_an_archive_is_left_as_it_is(site: Site, folder: Path) -> None:
    """Its files may be all that is left of the log: none is removed, and what is to be put back is named."""
    await publish(site, 0, 10)
    await archived(site, folder)
    await cut(site, 5)
    before, manifest = files(folder), (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).unlink()
    for new in (False, True):
        with pytest.raises(ArchiveDamagedError, match=r"no manifest\.json .* Put it back"):
            await archived(site, folder, new=new)
    assert files(folder) == before
    (folder / MANIFEST).write_bytes(manifest)
    assert await archived(site, folder) == 0


async def test_an_older_manifest_removes_nothing_that_kafka_has_forgotten(site: Site, folder: Path) -> None:
    """A manifest put back from an older copy does not know the newer file, which may be all that is left of these days."""
    await publish(site, 0, 10)
    await archived(site, folder)
    older = (folder / MANIFEST).read_bytes()
    await publish(site, 10, 20)
    await archived(site, folder)
    newer, left = (folder / MANIFEST).read_bytes(), files(folder)
    await cut(site, 15)
    (folder / MANIFEST).write_bytes(older)
    with pytest.raises(LogIncompleteError, match="up to 10, but its log begins at 15"):
        await archived(site, folder)
    assert files(folder) == left
    (folder / MANIFEST).write_bytes(newer)
    assert (await verify_archive(site.settings, folder)).faults == []


async def test_a_clock_that_is_behind_does_no_harm(site: Site, folder: Path) -> None:
    """A machine that starts with a wrong clock archives before its clock is set: positions go on where they ended."""
    await publish(site, 0, 10)
    await archived(site, folder)
    for behind in (datetime(2026, 1, 5, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)):
        await publish(site, 10, 20)
        await publish(site, 10, 20, partition=2)
        assert await archived(site, folder, behind) == 20
    await publish(site, 20, 30)
    assert await archived(site, folder) == 10
    assert in_files(folder) == await in_kafka(site)
    assert (await verify_archive(site.settings, folder)).faults == []


async def test_what_is_added_while_it_is_verified_is_no_fault(site: Site, folder: Path) -> None:
    """The nightly run replaces the file of the open month, and the check goes on in the new one."""
    await publish(site, 0, 10, topic="deal_closed")
    await publish(site, 0, 10)
    await archived(site, folder)

    async def add() -> None:
        await publish(site, 10, 20)
        await archived(site, folder)

    runs = iter([threading.Thread(target=lambda: asyncio.run(add()))])

    def progress(_: int) -> None:
        for run in runs:
            run.start()
            run.join()

    found = await verify_archive(site.settings, folder, progress)
    assert (found.faults, found.files, found.rows, found.compared) == ([], 2, 30, 30)
    assert found.spans == {"deal_closed:1": (0, 10), "lead_created:1": (0, 20)}


async def test_what_kafka_forgets_meanwhile_is_told_apart_from_a_kafka_that_is_away(site: Site) -> None:
    """Read again, it is looked for in the archive."""
    await publish(site, 0, 10)
    await cut(site, 5)
    with pytest.raises(ForgottenMeanwhileError, match=r"lead_created\[1\] while they were read. Run it again"):
        async for _ in read_log(site.settings, [Range(LEADS, 1, 0, 10)]):
            pass


async def test_what_kafka_forgets_while_it_is_compared_is_no_fault(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is compared."""
    await publish(site, 0, 10)
    await archived(site, folder)
    ranges = KafkaLog.ranges
    looks: Iterator[dict[tuple[str, int], tuple[int, int]]] = iter([KafkaLog(site.settings).ranges()])
    monkeypatch.setattr(KafkaLog, "ranges", lambda self: next(looks, None) or ranges(self))
    await cut(site, 5)
    found = await verify_archive(site.settings, folder)
    assert (found.faults, found.rows, found.compared) == ([], 10, 5)


async def test_a_gap_before_the_first_record_is_refused_too(site: Site, folder: Path) -> None:
    """A partition that was empty at every run so far has been begun as well."""
    await publish(site, 0, 10)
    await archived(site, folder)
    await publish(site, 0, 5, partition=2)
    await cut(site, 3, partition=2)
    with pytest.raises(LogIncompleteError, match=r"lead_created\[2\] up to 0, but its log begins at 3"):
        await archived(site, folder)


async def test_an_archive_begun_where_kafka_has_forgotten_all_is_no_gap(site: Site, folder: Path) -> None:
    """Until a record comes there is nothing that doctor could miss."""
    await publish(site, 0, 10)
    await cut(site, 10)
    await archived(site, folder, new=True)
    assert (await looked_at(site, folder)).ok


async def test_a_folder_whose_disk_is_not_there_is_no_new_archive(site: Site, folder: Path) -> None:
    """An empty mount point would get an archive without a beginning, while the real one is not added to."""
    await publish(site, 0, 10)
    await archived(site, folder)
    await cut(site, 5)
    await asyncio.to_thread(folder.rename, folder.with_name("unmounted"))
    with pytest.raises(NoArchiveError, match=r"lead_created\[1\] at 5.*Is the disk there.*--new"):
        await archived(site, folder)
    assert not (folder / MANIFEST).exists()
    assert await archived(site, folder, new=True) == 5
    assert load_manifest(folder).span(LEADS, 1) == (5, 10)


async def test_a_topic_that_is_gone_is_told(site: Site, folder: Path) -> None:
    """Nothing new would come of it, and nobody would notice."""
    await publish(site, 0, 10)
    await archived(site, folder)
    with site.admin() as admin:
        await asyncio.to_thread(admin.delete_topics, [site.topic("deal_closed")])
    with pytest.raises(OtherLogError, match="has the topic deal_closed, which Kafka does not have"):
        await archived(site, folder)


async def test_a_missing_file_is_told_before_long_work_begins(site: Site, folder: Path) -> None:
    """An audit of millions does not end after an hour with it."""
    await publish(site, 0, 10)
    await archived(site, folder)
    with site.worker() as worker:
        await site.caught_up(worker)
    await cut(site, 5)
    (name,) = files(folder)
    settings = with_archive(site, folder)
    tables = RedisTables(connect(site.settings.redis), site.settings.namespace)
    source, path = KafkaSource(settings, tables), folder / name
    try:
        assert await source.ranges({f"{LEADS}:1": 10}) == [Range(LEADS, 1, 0, 10)]
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(ArchiveDamagedError, match=f"{name} is damaged: it has .* bytes"):
            await source.ranges({f"{LEADS}:1": 10})
        path.unlink()
        with pytest.raises(ArchiveDamagedError, match=f"{name} is damaged: it is not there"):
            await source.ranges({f"{LEADS}:1": 10})
    finally:
        await tables.close()
