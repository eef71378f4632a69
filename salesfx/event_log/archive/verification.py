"""Whether an archive is whole, and is what Kafka has, as far as that still has it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from salesfx.event_log.archive.manifest import ArchiveDamagedError, ArchivedFile, Covered, damaged
from salesfx.event_log.archive.parquet import OpenFile, exact_headers
from salesfx.event_log.archive.reading import Archive
from salesfx.event_log.kafka import read_log
from salesfx.event_log.piece import ForgottenMeanwhileError, Piece, Range
from salesfx.kafka_log import KafkaLog
from salesfx.lenient_bytes import exact_name
from salesfx.lenient_records import exact_header_names
from salesfx.settings import Settings
from salesfx.tables.layout import partition_field

_AT_ONCE = 4000
_LISTED = 100


class Row(NamedTuple):
    """A record in Kafka's bytes."""

    offset: int
    timestamp: int
    timestamp_type: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...]


class Verified(msgspec.Struct):
    """What was found."""

    folder: str
    files: int = 0
    rows: int = 0
    """Records in files that are whole."""
    compared: int = 0
    """Those of them that were compared with Kafka's, byte by byte."""
    spans: dict[str, tuple[int, int]] = {}
    faults: list[str] = []
    """Sentences; at most 100."""

    def fault(self, sentence: str) -> None:
        """Note one, once."""
        if len(self.faults) < _LISTED and sentence not in self.faults:
            self.faults.append(sentence)


async def verify_archive(
    settings: Settings, folder: Path, progress: Callable[[int], None] = lambda _: None
) -> Verified:
    """Read all of an archive, and compare it with the log.

    Args:
        settings: Where Kafka is.
        folder: The archive's.
        progress: Told how many records were looked at since it was told last.

    Raises:
        NoArchiveError: There is none.
        ArchiveDamagedError: Its manifest is damaged.
        OtherLogError: It is of another log.
        KafkaAwayError: Kafka cannot be reached.

    """
    archive = Archive(folder)
    log = KafkaLog(settings)
    archive.check_identity(await asyncio.to_thread(log.identity))
    verifier = _Verifier(settings, archive, log, progress)
    await verifier.look_at_kafka()
    with exact_header_names():
        files = [await verifier.verify(file) for file in archive.manifest.files]
    found, manifest = verifier.found, msgspec.structs.replace(archive.manifest, files=tuple(files))
    await verifier.look_at_kafka()
    for topic, partition in manifest.partitions():
        if span := manifest.span(topic, partition):
            found.spans[partition_field(topic, partition)] = span
            log_begin, log_end = verifier.held.get((topic, partition), (0, 0))
            _check_meeting(f"{topic}[{partition}]", span, log_begin, log_end, found)
    return found


class _Verifier:
    """Looks at files one after the other, while the archive may be added to and Kafka may forget."""

    def __init__(self, settings: Settings, archive: Archive, log: KafkaLog, progress: Callable[[int], None]) -> None:
        self._settings, self._archive, self._log, self._progress = settings, archive, log, progress
        self.found = Verified(str(archive.folder))
        self.held: dict[tuple[str, int], tuple[int, int]] = {}
        """Where each partition's log begins and ends in Kafka."""

    async def look_at_kafka(self) -> None:
        """See what Kafka has by now."""
        self.held = await asyncio.to_thread(self._log.ranges)

    async def verify(self, file: ArchivedFile) -> ArchivedFile:
        """Look at a file, or at the one that has taken its place; give which."""
        self.found.files += 1
        try:
            while not await self._looked_at(file):
                file = self._archive.replacement(file)
                await self.look_at_kafka()
        except ArchiveDamagedError as error:
            self.found.fault(str(error))
        return file

    async def _looked_at(self, file: ArchivedFile) -> bool:
        """Look at a file; tell whether it is there."""
        while True:
            one = _File(self._settings, self._archive.folder, file, self.found.fault, self._progress)
            try:
                await one.verify(self.held)
            except FileNotFoundError:
                return False
            except ForgottenMeanwhileError:  # what Kafka has forgotten need not be compared
                await self.look_at_kafka()
                continue
            self.found.rows += file.rows
            self.found.compared += one.compared
            return True


def _check_meeting(subject: str, span: tuple[int, int], log_begin: int, log_end: int, found: Verified) -> None:
    if span[1] < log_begin:
        found.fault(
            f"{subject}: the archive ends at {span[1]}, and Kafka's log begins at {log_begin}: between is a gap"
        )
    if span[1] > log_end:
        found.fault(f"{subject}: the archive ends at {span[1]}, and Kafka's log at {log_end}: Kafka lost events")


class _File:
    def __init__(
        self,
        settings: Settings,
        folder: Path,
        file: ArchivedFile,
        fault: Callable[[str], None],
        progress: Callable[[int], None],
    ) -> None:
        self._settings, self._folder, self._file = settings, folder, file
        self._path = folder / file.name
        self._fault, self._progress = fault, progress
        self.compared = 0

    async def verify(self, held: dict[tuple[str, int], tuple[int, int]]) -> None:
        """Look at one file."""
        opened = await asyncio.to_thread(OpenFile, self._folder, self._file)
        with opened:
            counted = sum(each.rows for each in self._file.partitions)
            if not opened.rows == self._file.rows == counted:
                raise damaged(
                    self._path,
                    f"it holds {opened.rows} records; the manifest says {self._file.rows}, by partition {counted}",
                )
            for covered in self._file.partitions:
                log_begin, log_end = held.get((self._file.topic, covered.partition), (0, 0))
                begin, end = max(covered.begin, log_begin), min(covered.end, log_end)
                rows = self._rows(opened, covered)
                await self._compare(Range(self._file.topic, covered.partition, begin, max(begin, end)), rows)
                for _ in rows:  # to the end, where they are counted
                    pass

    def _rows(self, opened: OpenFile, covered: Covered) -> Iterator[Row]:
        """Give a partition's rows, which must be in order, between their positions, and as many as the manifest says."""
        position, rows = covered.begin, 0
        for table in opened.tables(covered.partition):
            for start in range(0, table.num_rows, _AT_ONCE):
                some = table.slice(start, _AT_ONCE)
                for row in _rows_of(some):
                    if not position <= row.offset < covered.end:
                        raise damaged(self._path, f"{row.offset} of partition {covered.partition} is out of place")
                    position = row.offset + 1
                    yield row
                rows += some.num_rows
                self._progress(some.num_rows)
        if rows != covered.rows:
            raise damaged(self._path, f"it holds {rows} records of partition {covered.partition}, not {covered.rows}")

    async def _compare(self, both: Range, rows: Iterator[Row]) -> None:
        """Compare with Kafka what both have; the first difference is told."""
        async for piece in read_log(self._settings, [both]) if both.begin < both.end else _nothing():
            for record in piece.records:
                ours = next((row for row in rows if row.offset >= both.begin), None)
                if ours != _row_of(record):
                    self._fault(
                        f"{self._path}: {both.topic}[{both.partition}]@{record.offset} is in Kafka, and "
                        + (
                            "not in the archive"
                            if ours is None or ours.offset != record.offset
                            else "another record there"
                        )
                    )
                    return
                self.compared += 1
        more = next((row for row in rows if row.offset >= both.begin), None)
        if more is not None and more.offset < both.end:
            self._fault(f"{self._path}: {both.topic}[{both.partition}]@{more.offset} is not in Kafka")


async def _nothing() -> AsyncIterator[Piece]:
    for piece in list[Piece]():
        yield piece


def _rows_of(table: Any) -> Iterator[Row]:
    columns = [table.column(name).to_pylist() for name in Row._fields[:-1]]
    headers = (tuple(each) for each in exact_headers(table))
    return map(Row, *columns, headers)


def _row_of(record: Any) -> Row:
    headers = tuple((exact_name(name), value) for name, value in record.headers)
    return Row(record.offset, record.timestamp, record.timestamp_type, record.key, record.value, headers)
