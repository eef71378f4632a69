"""`salesfx archive` over a real Kafka, and the log read from archive and Kafka together."""

import asyncio
import json
import random
import shutil
import signal
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaProducer

from salesfx.audit.audit import Options, audit
from salesfx.audit.findings import Report
from salesfx.doctor import Finding, examine
from salesfx.event_log import KafkaSource, LogIncompleteError, Range
from salesfx.event_log.archive.manifest import MANIFEST, ArchiveDamagedError, load_manifest
from salesfx.event_log.archive.verification import verify_archive
from salesfx.event_log.archive.writing import ArchiveBusyError, write_archive
from salesfx.event_log.kafka import read_log
from salesfx.kafka_log import KafkaLog, OtherLogError
from salesfx.lenient_records import exact_header_names
from salesfx.settings import Settings
from salesfx.tables import RedisTables, connect
from tests.worked_example import EVENTS
from tests.worker_process import Message, Place, Site, simulated

TODAY = date(2026, 11, 23)
NOW = datetime(2026, 12, 1, tzinfo=UTC)
"""Later than any clock that these tests may run by would not do: records are of months up to this one."""
EXAMPLE = [Message(topic, value) for topic, value in EVENTS]
LEADS = "lead_created"


def with_archive(site: Site, folder: Path | None) -> Settings:
    """Give the site's settings, with an archive."""
    return msgspec.structs.replace(site.settings, archive=folder and str(folder))


async def archived(site: Site, folder: Path) -> int:
    """Archive; give how many records were added."""
    return (await write_archive(site.settings, folder, datetime.now(UTC))).rows


async def audited(site: Site, folder: Path | None) -> Report:
    """Audit the site's tables from the log."""
    tables = RedisTables(connect(site.settings.redis), site.settings.namespace)
    settings = with_archive(site, folder)
    try:
        return await audit(tables, settings, Options(TODAY), lambda *_: None, KafkaSource(settings, tables))
    finally:
        await tables.close()


async def command(site: Site, *arguments: str, patch: str = "", **environ: str) -> tuple[int, str, str]:
    """Run a command of salesfx; give its exit status, and what it wrote to standard output and error."""
    program = ["-c", patch + "\nfrom salesfx.cli import main\nmain()\n"] if patch else ["-m", "salesfx"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, *arguments),
        env={**site.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), error.decode()


async def make_tables(site: Site) -> None:
    """Have a worker make the tables of what was published."""
    with site.worker() as worker:
        await site.caught_up(worker)


def lead(number: int | str, **fields: Any) -> bytes:
    """Write the event of a lead."""
    event = {"event_id": f"e{number}", "occurred_at": "2026-10-05T12:00:00Z", "lead_id": f"T{number}", **fields}
    return json.dumps(event).encode()


async def publish_transactions(site: Site, count: int) -> None:
    """Publish some events in transactions of which every second one is aborted, to all partitions."""
    producer = AIOKafkaProducer(bootstrap_servers=site.settings.kafka, transactional_id=site.settings.group)
    await producer.start()
    try:
        for number in range(count):
            await producer.begin_transaction()
            for partition in range(3):
                await producer.send(site.topic(LEADS), lead(f"{number}-{partition}"), partition=partition)
            await (producer.abort_transaction() if number % 2 else producer.commit_transaction())
    finally:
        await producer.stop()


async def publish_oddities(site: Site) -> None:
    """Publish what keeps bytes apart that are easily taken for the same: nulls, empty ones, and names that are no text."""

    class NotText(str):
        __slots__ = ()

        def encode(self, *_: object) -> bytes:
            return b"\xff\xfe\x00"

    def publish() -> None:
        producer = KafkaProducer(bootstrap_servers=site.settings.kafka)
        for partition in range(3):
            producer.send(
                site.topic(LEADS), lead(f"odd{partition}"), partition=partition, headers=[(NotText("h"), b"1")]
            )
        producer.send(site.topic(LEADS), b"", key=b"", partition=0, headers=[("a", b""), ("a", b"\x00\xff")])
        producer.flush()
        producer.close()

    await site.publish(
        [
            Message(LEADS, None, b"k", partition=0),
            Message(LEADS, b"\xff\xfe not JSON", None, partition=1),
            Message("quote_sent", None, b"", [("име", "стойност".encode()), ("null", None)], partition=2),  # type: ignore[list-item]
        ]
    )
    await asyncio.to_thread(publish)


async def publish_all_sorts(site: Site) -> None:
    """Publish what an archive has to get right, in partitions of all topics."""
    await publish_transactions(site, 4)
    await site.publish(simulated(5, 3000), compression="zstd")
    await publish_oddities(site)
    await site.publish(EXAMPLE)
    await publish_transactions(site, 3)


async def cut_everywhere(site: Site, share: float = 0.5) -> dict[str, int]:
    """Delete the first part of every partition's log; give where they begin now, by the fields of the stored offsets."""
    begins = {}
    for field, end in (await site.ends()).items():
        topic, _, partition = field.rpartition(":")
        begins[field] = int(end * share)
        await site.cut(Place(site.topic(topic), int(partition), begins[field]))
    return begins


Bytes = tuple[Any, ...]


async def in_kafka(site: Site) -> dict[str, list[Bytes]]:
    """Read all that Kafka has, by the field of the stored offset."""
    ranges = await asyncio.to_thread(KafkaLog(site.settings).ranges)
    wanted = [Range(topic, partition, begin, end) for (topic, partition), (begin, end) in ranges.items()]
    found: dict[str, list[Bytes]] = {}
    with exact_header_names():
        async for piece in read_log(site.settings, wanted):
            found.setdefault(f"{piece.of.topic}:{piece.of.partition}", []).extend(
                (
                    *(record.offset, record.timestamp, record.timestamp_type, record.key, record.value),
                    [(name.encode("utf-8", "surrogateescape"), value) for name, value in record.headers],
                )
                for record in piece.records
            )
    return found


def in_files(folder: Path) -> dict[str, list[Bytes]]:
    """Read the archive's files as anybody would."""
    found: dict[str, list[Bytes]] = {}
    for file in load_manifest(folder).files:
        for row in pq.read_table(folder / file.name).to_pylist():
            headers = [(header["name"], header["value"]) for header in row["headers"]]
            found.setdefault(f"{file.topic}:{row['partition']}", []).append(
                (*(row[name] for name in ("offset", "timestamp", "timestamp_type", "key", "value")), headers)
            )
    return found


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Give the time of change and the content of each file."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


async def test_every_byte_is_kept(site: Site, folder: Path) -> None:
    """Keys, values, headers whose names are no text, nulls, timestamps: as any reader of Parquet sees them."""
    await publish_all_sorts(site)
    rows = await archived(site, folder)
    kafka = await in_kafka(site)
    assert in_files(folder) == kafka
    assert rows == sum(map(len, kafka.values()))
    odd = [headers for records in kafka.values() for *_, headers in records if headers]
    assert [(b"\xff\xfe\x00", b"1")] in odd
    assert [("име".encode(), "стойност".encode()), (b"null", None)] in odd
    found = await verify_archive(site.settings, folder)
    assert (found.faults, found.rows, found.compared) == ([], rows, rows)
    held = await asyncio.to_thread(KafkaLog(site.settings).ranges)
    assert found.spans == {f"{topic}:{partition}": span for (topic, partition), span in held.items() if span[1]}


async def test_the_log_is_read_from_the_archive_and_kafka_together(site: Site, folder: Path) -> None:
    """With the first half of the log in the archive alone, the audit agrees, and every record comes once, in order."""
    await publish_all_sorts(site)
    await archived(site, folder)
    await publish_transactions(site, 3)  # in Kafka alone
    await site.publish(simulated(6, 500))
    await make_tables(site)
    whole = await audited(site, None)
    assert whole.agrees, whole
    before = await in_kafka(site)
    await cut_everywhere(site)
    with pytest.raises(LogIncompleteError, match="name it"):
        await audited(site, None)
    report = await audited(site, folder)
    assert report.agrees, report
    assert report.log == whole.log

    tables = RedisTables(connect(site.settings.redis), site.settings.namespace)
    try:
        source = KafkaSource(with_archive(site, folder), tables)
        offsets = await site.offsets()
        positions = dict.fromkeys(offsets, 0)
        read: dict[str, list[Any]] = {}
        async for piece in source.read(await source.ranges(offsets)):
            at = f"{piece.of.topic}:{piece.of.partition}"
            assert (piece.before, piece.of.begin, piece.of.end) == (positions[at], 0, offsets[at])
            assert all(piece.before <= record.offset < piece.after for record in piece.records)
            positions[at] = piece.after
            read.setdefault(at, []).extend(
                (each.offset, each.timestamp, each.key, each.value) for each in piece.records
            )
    finally:
        await tables.close()
    assert positions == offsets
    assert read == {at: [(each[0], each[1], each[3], each[4]) for each in records] for at, records in before.items()}

    status, out, _ = await command(site, "audit", "--from-log", SALESFX_ARCHIVE=str(folder))
    assert (status, "everything agrees" in out) == (0, True)
    found = await verify_archive(site.settings, folder)
    assert found.faults == []
    assert 0 < found.compared < found.rows


async def test_runs_add_to_the_month_and_change_nothing_without_need(site: Site, folder: Path) -> None:
    """There is one file a topic and month however many runs there were; a run without anything new touches none."""
    for part in range(3):
        await site.publish(simulated(part, 200))
        await publish_transactions(site, 2)
        await archived(site, folder)
    files = load_manifest(folder).files
    assert len({(file.topic, file.month) for file in files}) == len(files)
    assert {name for name in contents(folder) if name.endswith(".parquet")} == {file.name for file in files}
    assert in_files(folder) == await in_kafka(site)
    groups = [pq.read_metadata(folder / file.name).num_row_groups for file in files]
    assert max(groups) <= site.settings.partitions, "what several runs brought of a partition is one row group"
    before = contents(folder)
    status, out, _ = await command(site, "archive", "--to", str(folder))
    assert (status, out.splitlines()[-1]) == (0, "nothing new")
    assert contents(folder) == before


async def test_months_are_those_of_kafkas_timestamps(site: Site, folder: Path) -> None:
    """Where producers' times count, each partition is cut at the months, whatever lies between; later ones stay in order."""

    def publish() -> None:
        producer = KafkaProducer(bootstrap_servers=site.settings.kafka)
        for number, (day, partition) in enumerate(
            [
                ("2026-03-31T23:59:59.999+00:00", 0),
                ("2026-04-01T00:00:00+00:00", 0),
                ("2026-03-02T00:00:00+00:00", 0),  # late: it stays where it lies
                ("2026-06-15T12:00:00+00:00", 0),
                ("2026-04-30T12:00:00+00:00", 1),
                ("2026-03-01T00:00:00+02:00", 2),
                ("2031-01-01T00:00:00+00:00", 2),  # a clock that is ahead
            ]
        ):
            when = int(datetime.fromisoformat(day).timestamp() * 1000)
            producer.send(site.topic(LEADS), lead(number), partition=partition, timestamp_ms=when)
            producer.flush()
        producer.close()

    await let_producers_tell_the_time(site)
    await asyncio.to_thread(publish)
    await write_archive(site.settings, folder, NOW)
    files = {
        file.month: [(each.partition, each.begin, each.end) for each in file.partitions]
        for file in load_manifest(folder).files
    }
    assert files == {
        "2026-02": [(2, 0, 1)],
        "2026-03": [(0, 0, 1)],
        "2026-04": [(0, 1, 3), (1, 0, 1)],
        "2026-06": [(0, 3, 4)],
        "2026-12": [(2, 1, 2)],
    }
    assert (await verify_archive(site.settings, folder)).faults == []
    await asyncio.to_thread(publish)
    await write_archive(site.settings, folder, NOW)
    assert in_files(folder) == await in_kafka(site)
    assert (await verify_archive(site.settings, folder)).faults == []


async def test_positions_without_records_are_covered(site: Site, folder: Path) -> None:
    """Where all was aborted there is nothing to keep, but the archive reaches over it, so that it meets the log later."""
    producer = AIOKafkaProducer(bootstrap_servers=site.settings.kafka, transactional_id=site.settings.group)
    async with producer:
        for _ in range(2):
            await producer.begin_transaction()
            await producer.send(site.topic(LEADS), lead(1), partition=1)
            await producer.abort_transaction()
    assert await archived(site, folder) == 0
    (file,) = load_manifest(folder).files
    assert file.month == f"{datetime.now(UTC):%Y-%m}"
    assert [(each.partition, each.begin, each.end, each.rows) for each in file.partitions] == [(1, 0, 4, 0)]
    await cut_everywhere(site, 1)
    await site.publish([Message(LEADS, lead(2), partition=1)])
    assert await archived(site, folder) == 1
    assert (await verify_archive(site.settings, folder)).faults == []


async def let_producers_tell_the_time(site: Site) -> None:
    """Set the topic so."""

    def alter() -> None:
        with site.admin() as admin:
            from kafka.admin import ConfigResource, ConfigResourceType

            resource = ConfigResource(
                ConfigResourceType.TOPIC,
                site.topic(LEADS),
                {
                    "message.timestamp.type": "CreateTime",
                    "message.timestamp.after.max.ms": str(2**62),
                    "retention.ms": "-1",
                    "cleanup.policy": "delete",
                },
            )
            admin.alter_configs([resource])

    await asyncio.to_thread(alter)


_COUNT_LINES = """
import atexit, os, signal, sys, threading
left, names = [{lines}], {names}
def trace(frame, event, argument):
    code = frame.f_code
    ours = any(part in code.co_filename for part in ("event_log", "local/folder", "salesfx/durable"))
    if not ours or (names and code.co_name not in names): return None
    left[0] -= 1
    if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)
    return trace
atexit.register(lambda: print(-left[0], file=sys.stderr))
sys.settrace(trace)
threading.settrace(trace)
"""
"""Kills the process at a line of the archive's code, of whichever thread; or counts them."""
_COMMITTING = ("_write_file", "finish", "store_manifest", "write_private", "sync_folder", "_remove_strays")
"""Functions in which one file comes into the place of another."""


@pytest.mark.slow
@pytest.mark.parametrize("names", [(), _COMMITTING], ids=["anywhere", "while-it-commits"])
async def test_killed_at_any_moment_it_leaves_a_valid_archive(
    site: Site, folder: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Whatever line a run is killed at, what it leaves is whole, and the next run completes it."""
    await site.publish(simulated(1, 1500))
    await archived(site, folder)
    await publish_all_sorts(site)
    kafka = await in_kafka(site)

    async def run(trial: Path, lines: int) -> tuple[int, str]:
        shutil.copytree(folder, trial)
        patch = _COUNT_LINES.format(lines=lines, names=names)
        status, _, error = await command(site, "archive", "--to", str(trial), patch=patch)
        return status, error

    status, error = await run(tmp_path / "counted", 0)
    assert status == 0
    lines, chance, grown = int(error.split()[-1]), random.Random(8), 0
    for number in range(8):
        trial, at = tmp_path / f"killed-{number}", chance.randint(lines // 10, lines)
        status, _ = await run(trial, at)
        assert status == -signal.SIGKILL, f"it was not killed at line {at} of {lines}"
        found = await verify_archive(site.settings, trial)
        assert found.faults == [], f"killed at line {at} of {lines}"
        grown += load_manifest(trial) != load_manifest(folder)
        await archived(site, trial)
        assert in_files(trial) == kafka
        assert set(contents(trial)) == {MANIFEST, ".lock", *(file.name for file in load_manifest(trial).files)}
    assert 0 < grown < 8, "every kill came at the same stage"


async def test_a_gap_is_refused(site: Site, folder: Path) -> None:
    """Events that are neither in the archive nor in Kafka are named, by whoever reads, writes, verifies, or looks."""
    places = await site.publish([Message(LEADS, lead(number), partition=1) for number in range(10)])
    await archived(site, folder)
    await site.publish([Message(LEADS, lead(number), partition=1) for number in range(10, 20)])
    await make_tables(site)
    await site.cut(Place(places[0].topic, 1, 15))
    with pytest.raises(LogIncompleteError, match=r"lead_created\[1\] all from 0 up to 15 .* has it from 0 up to 10"):
        await audited(site, folder)
    with pytest.raises(LogIncompleteError, match=r"lead_created\[1\] up to 10, but its log begins at 15"):
        await archived(site, folder)
    assert "ends at 10, and Kafka's log begins at 15" in (await verify_archive(site.settings, folder)).faults[0]
    assert not (await looked_at(site, folder)).ok


async def looked_at(site: Site, folder: Path) -> Finding:
    """Give what doctor says of the archive."""
    findings = await examine(with_archive(site, folder))
    return next(finding for finding in findings if finding.subject == "archive")


async def test_doctor_says_what_is_not_archived_yet(site: Site, folder: Path) -> None:
    """How old the archive is, how much came since, and that it meets the log; without one, what to do."""
    missing = await looked_at(site, folder)
    assert (missing.ok, "salesfx archive" in missing.detail) == (False, True)
    await site.publish([Message(LEADS, lead(number), partition=1) for number in range(10)])
    await archived(site, folder)
    await site.publish([Message(LEADS, lead(number), partition=1) for number in range(10, 13)])
    found = await looked_at(site, folder)
    assert found.ok
    assert "3 positions" in found.detail
    await cut_everywhere(site)
    assert (await looked_at(site, folder)).ok


async def test_an_archive_of_another_log_is_refused(site: Site, folder: Path) -> None:
    """A topic that was made again has the same positions with other events."""
    await site.publish([Message(LEADS, lead(number), partition=1) for number in range(10)])
    await archived(site, folder)
    await site.remake_topic(LEADS)
    places = await site.publish([Message(LEADS, lead(number), partition=1) for number in range(10, 30)])
    with pytest.raises(OtherLogError, match="another topic lead_created"):
        await archived(site, folder)
    await make_tables(site)
    await site.cut(Place(places[0].topic, 1, 5))
    with pytest.raises(OtherLogError, match="another topic lead_created"):
        await audited(site, folder)
    with pytest.raises(OtherLogError):
        await verify_archive(site.settings, folder)


@pytest.mark.parametrize("damage", ["changed", "cut short", "gone"])
async def test_a_damaged_file_is_named(site: Site, folder: Path, damage: str) -> None:
    """Nobody reads on over it, and no run copies it into a new file."""
    await site.publish([Message(LEADS, lead(number), partition=1) for number in range(10)])
    await make_tables(site)
    await archived(site, folder)
    await site.cut(Place(site.topic(LEADS), 1, 5))
    path = folder / load_manifest(folder).files[0].name
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:-20] if damage == "cut short" else whole.replace(b"PAR1", b"PAR2", 1))
    with pytest.raises(ArchiveDamagedError, match=path.name):
        await audited(site, folder)
    await site.publish([Message(LEADS, lead(number), partition=1) for number in range(10, 13)])
    with pytest.raises(ArchiveDamagedError, match=path.name):
        await archived(site, folder)
    status, out, _ = await command(site, "archive", "--verify", "--to", str(folder))
    assert (status, path.name in out) == (1, True)
    path.write_bytes(whole)
    assert (await audited(site, folder)).agrees


async def test_other_bytes_under_a_right_hash_are_found(site: Site, folder: Path) -> None:
    """What was archived wrongly is no damage of the file; the comparison with Kafka finds it."""
    await site.publish([Message(LEADS, lead(number), b"k", partition=1) for number in range(10)])
    with pytest.MonkeyPatch.context() as patched:
        from salesfx.event_log.archive import parquet

        table_of = parquet._table_of
        patched.setattr(
            parquet,
            "_table_of",
            lambda partition, records: table_of(
                partition,
                [each if each.offset != 7 else each.__class__(**{**vars_of(each), "key": b""}) for each in records],
            ),
        )
        await archived(site, folder)
    found = await verify_archive(site.settings, folder)
    assert len(found.faults) == 1
    assert "lead_created[1]@7 is in Kafka, and another record there" in found.faults[0]


def vars_of(record: Any) -> dict[str, Any]:
    """Give a record's fields."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


async def test_one_run_at_a_time(site: Site, folder: Path) -> None:
    """A second one beside the first is refused, and does no harm."""
    await site.publish(simulated(2, 2000))
    first = asyncio.create_task(archived(site, folder))
    refused = 0
    while not first.done():
        await asyncio.sleep(0.05)
        try:
            await archived(site, folder)
        except ArchiveBusyError:
            refused += 1
        else:
            break
    assert await first == 2000
    assert refused > 0
    assert (await verify_archive(site.settings, folder)).faults == []


async def test_an_archive_that_is_written_to_can_be_read(site: Site, folder: Path) -> None:
    """A reader finds its place again where a file was replaced after it had read the manifest."""
    from salesfx.event_log.archive.reading import Archive

    await site.publish([Message(LEADS, lead(number), partition=1) for number in range(10)])
    await archived(site, folder)
    reader = Archive(folder)
    await site.publish([Message(LEADS, lead(number), partition=1) for number in range(10, 15)])
    await archived(site, folder)
    offsets = [record.offset async for piece in reader.read(Range(LEADS, 1, 3, 12)) for record in piece.records]
    assert offsets == list(range(3, 12))


async def test_the_command(site: Site, folder: Path) -> None:
    """The folder comes from the setting or --to; JSON tells files and positions; a missing folder is asked for."""
    await site.publish(EXAMPLE)
    status, _, error = await command(site, "archive")
    assert (status, "SALESFX_ARCHIVE" in error) == (2, True)
    status, out, _ = await command(site, "archive", "--json", SALESFX_ARCHIVE=str(folder))
    written = json.loads(out)
    assert (status, written["rows"], len(written["files"])) == (0, 8, 3)
    status, out, _ = await command(site, "archive", "--verify", "--json", SALESFX_ARCHIVE=str(folder))
    found = json.loads(out)
    assert (status, found["faults"], found["compared"], found["spans"]) == (0, [], 8, written["spans"])
    without = "import sys; sys.modules['pyarrow'] = None\n"
    status, _, error = await command(site, "archive", "--to", str(folder), patch=without)
    assert status == 2
    assert "pip install 'salesfx[archive]'" in error


async def test_a_disk_that_is_full_is_said(site: Site, folder: Path, tmp_path: Path) -> None:
    """What was there is still whole, and the next run with more room goes on; a folder that cannot be is said too."""
    await site.publish([Message(LEADS, lead(number), partition=1) for number in range(10)])
    await archived(site, folder)
    await site.publish(simulated(2, 3000))
    full = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    status, _, error = await command(site, "archive", "--to", str(folder), patch=full)
    assert status == 2
    assert "cannot be written to" in error
    assert "Traceback" not in error
    assert not [name for name in contents(folder) if name.endswith(".new")]
    assert (await verify_archive(site.settings, folder)).faults == []
    await archived(site, folder)
    assert in_files(folder) == await in_kafka(site)
    (tmp_path / "file").write_bytes(b"")
    status, _, error = await command(site, "archive", "--to", str(tmp_path / "file" / "archive"))
    assert (status, "cannot be written to" in error) == (2, True)


async def test_a_worker_without_tables_is_told_of_the_rebuild(site: Site, folder: Path) -> None:
    """It cannot begin where the log begins now; with an archive there is another way than to count less."""
    await site.publish([Message(LEADS, lead(number), partition=1) for number in range(10)])
    await archived(site, folder)
    await site.cut(Place(site.topic(LEADS), 1, 5))
    with site.worker(SALESFX_ARCHIVE=str(folder)) as worker:
        assert await worker.ended() == 2
        assert "`salesfx rebuild`" in worker.sentence
    with site.worker() as worker:
        assert await worker.ended() == 2
        assert "rebuild" not in worker.sentence
