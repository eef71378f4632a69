"""Writing the archive: what Kafka has committed since it was last written.

One file a topic and month. Its month is that of Kafka's timestamps, in UTC; a partition is cut where Kafka finds the first
record of the next month, so that each file has one stretch of positions of each partition, and the stretches of a partition
follow each other. A file is written whole under another name; then the manifest names it, then the one before is removed.
Whenever a run is killed, the manifest that is there names files that are there.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.event_log.archive.manifest import (
    MANIFEST,
    ArchiveDamagedError,
    ArchivedFile,
    Manifest,
    NoArchiveError,
    damaged,
    load_manifest,
    store_manifest,
)
from salesfx.event_log.archive.parquet import OpenFile, ParquetFile
from salesfx.event_log.kafka import read_log
from salesfx.event_log.piece import LogIncompleteError, Range
from salesfx.events import TOPICS
from salesfx.kafka_log import KafkaLog, OtherLogError
from salesfx.lenient_records import exact_header_names
from salesfx.local.file_lock import FileLock
from salesfx.reading.month import Month
from salesfx.settings import Settings
from salesfx.tables.layout import partition_field

Progress = Callable[[int], None]
"""Told how many positions have been read since it was told last."""
Total = Callable[[int], None]
"""Told how many positions there are to be read."""
Spans = dict[int, tuple[int, int]]
"""From where up to where, by partition."""
_FIRST_MONTH = Month(2000, 1)
"""What claims to be older than Kafka is taken for as old as this: producers may write any timestamp, where they are let."""
_A_FILE = re.compile(r"[a-z_]+-\d{4}-\d\d-[0-9a-f]{8}\.parquet", re.ASCII)
_OURS = re.compile(rf"{_A_FILE.pattern}|[a-z_]+-\d{{4}}-\d\d\.new|manifest\.json\.\d+\.new", re.ASCII)
_LOCK = ".lock"


class ArchiveBusyError(SalesfxError):
    """Another process writes to the archive."""


class ArchiveUnwritableError(NeedsAttentionError):
    """The archive's folder cannot be written to."""


class Written(msgspec.Struct, frozen=True):
    """What a run did."""

    folder: str
    files: list[ArchivedFile]
    """Those that were written."""
    rows: int
    """Records that were added."""
    spans: dict[str, tuple[int, int]]
    """From where up to where the archive has each partition, by the field of its stored offset."""


async def write_archive(
    settings: Settings,
    folder: Path,
    now: datetime,
    progress: Progress = lambda _: None,
    total: Total = lambda _: None,
    *,
    new: bool = False,
) -> Written:
    """Add what Kafka has committed since the archive was last written.

    Args:
        settings: Where Kafka is.
        folder: The archive's; it is made where it is missing.
        now: Records that claim to be of later than this month are of this month.
        progress: Told how far it is.
        total: Told how far it is to go.
        new: Whether one may be begun of a log whose beginning Kafka has forgotten.

    Raises:
        OtherLogError: The archive is of another log, or of a topic that is not there.
        NoArchiveError: There is none, and Kafka has forgotten the beginning of its log.
        LogIncompleteError: Kafka has forgotten events that are not in the archive, or lost some that are.
        ForgottenMeanwhileError: It forgot some while they were read.
        ArchiveDamagedError: There are files without a manifest, or a file that is to be added to is not what was written.
        ArchiveBusyError: Another process writes to it.
        ArchiveUnwritableError: The folder cannot be written to, or the disk is full.
        KafkaAwayError: Kafka cannot be reached.

    """
    with _writing_to(folder), _locked(folder), exact_header_names():
        writer = _Writer(settings, folder, now, progress)
        added = await writer.begin(new=new)
        total(sum(end - begin for spans in added.values() for begin, end in spans.values()))
        for topic, spans in added.items():
            await writer.write_topic(topic, spans)
        return writer.written()


class _Writer:
    def __init__(self, settings: Settings, folder: Path, now: datetime, progress: Progress) -> None:
        self._settings, self._folder, self._progress = settings, folder, progress
        self._now, self._this_month = now, Month.of(now.astimezone(UTC).date())
        self._log = KafkaLog(settings)
        self._manifest = Manifest({})
        self._files: dict[tuple[str, str], ArchivedFile] = {}
        self._rows = 0

    async def begin(self, *, new: bool) -> dict[str, Spans]:
        """Look at archive and log; give what is to be added by topic."""
        identity = await asyncio.to_thread(self._log.identity)
        held = await asyncio.to_thread(self._log.ranges)
        try:
            before = load_manifest(self._folder)
        except NoArchiveError:
            self._check_new(held, anyway=new)
            before = Manifest(identity)
        before.check_identity(identity, self._folder)
        if lost := sorted(before.identity.keys() - identity.keys()):
            raise OtherLogError(
                f"the archive in {self._folder} has the {lost[0].replace(':', ' ')}, which Kafka does not have: was it deleted?"
            )
        added: dict[str, Spans] = {topic: {} for topic in TOPICS}
        begins = dict(before.begins)
        for (topic, partition), (log_begin, log_end) in sorted(held.items()):
            begin, end = _span(before, topic, partition, log_begin, log_end)
            begins.setdefault(partition_field(topic, partition), (before.span(topic, partition) or (begin,))[0])
            if begin < end:
                added[topic][partition] = begin, end
        self._manifest = msgspec.structs.replace(before, identity=identity | before.identity, begins=begins)
        if self._manifest != before:
            store_manifest(self._folder, self._manifest)
        # Only now: what a file has that the manifest does not name is in Kafka still, or it would have been refused.
        self._remove_strays()
        return {topic: spans for topic, spans in added.items() if spans}

    def _check_new(self, held: Mapping[tuple[str, int], tuple[int, int]], *, anyway: bool) -> None:
        """See to it that no archive is there, or was meant, where a new one is to be begun."""
        if any(_A_FILE.fullmatch(path.name) for path in self._folder.iterdir()):
            raise ArchiveDamagedError(
                f"{self._folder} has files of an archive, but no {MANIFEST} that says what they are. Put it back from a copy of "
                "the same time as the files, or name an empty folder (--to). Nothing was changed."
            )
        begun = [f"{topic}[{partition}] at {begin}" for (topic, partition), (begin, _) in sorted(held.items()) if begin]
        if begun and not anyway:
            raise NoArchiveError(
                f"there is no archive in {self._folder}, and Kafka has forgotten the beginning of its log, which a new one would "
                f"not have ({', '.join(begun)} begins now). Is the disk there, and the folder the right one? --new begins one "
                "with what there is."
            )

    def _remove_strays(self) -> None:
        """Remove what a run that was killed left."""
        named = {file.name for file in self._manifest.files}
        for path in self._folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in named:
                path.unlink()

    async def write_topic(self, topic: str, spans: Spans) -> None:
        """Write what is new of a topic, month after month."""
        month = await self._first_month(topic, spans)
        while spans:
            due = {at: span for at, span in spans.items() if month >= self._last(topic, at)}
            if month < self._this_month:
                cuts = await self._cuts(topic, month.back(-1), due)
                due = {at: (begin, cuts[at]) for at, (begin, _) in due.items() if begin < cuts[at]}
            if due:
                await self._write_file(topic, str(month), due)
            rest = {at: (due[at][1] if at in due else begin, end) for at, (begin, end) in spans.items()}
            spans = {at: (begin, end) for at, (begin, end) in rest.items() if begin < end}
            month = month.back(-1)

    async def _first_month(self, topic: str, spans: Spans) -> Month:
        """Find the last month before which nothing new lies."""
        low = max(_FIRST_MONTH, min(self._last(topic, partition) for partition in spans))
        high = self._this_month
        while low < high:
            middle = high.back(_months_between(low, high) // 2)
            cuts = await self._cuts(topic, middle, spans)
            if all(cuts[partition] == begin for partition, (begin, _) in spans.items()):
                low = middle
            else:
                high = middle.back(1)
        return low

    def _last(self, topic: str, partition: int) -> Month:
        """Tell the month of the last file that has something of a partition; none of it may come to lie before that."""
        months = [file.month for file, _ in self._manifest.of(topic, partition)]
        return Month.parse(months[-1]) if months else _FIRST_MONTH

    async def _cuts(self, topic: str, month: Month, spans: Spans) -> dict[int, int]:
        """Tell where in each span a month begins."""
        first = datetime(month.year, month.number, 1, tzinfo=UTC)
        found = await asyncio.to_thread(self._log.positions_at, first)
        return {
            partition: min(max(found.get((topic, partition), end), begin), end)
            for partition, (begin, end) in spans.items()
        }

    async def _write_file(self, topic: str, month: str, spans: Spans) -> None:
        """Write the file of a month anew, with what is new of it."""
        old = self._manifest.file(topic, month)
        held = {} if old is None else {each.partition: (each.begin, each.end) for each in old.partitions}
        with _opened(self._folder, old) as before, ParquetFile(self._folder, topic, month) as file:
            for partition in sorted({*held, *spans}):
                for table in before.tables(partition) if before is not None else ():
                    await asyncio.to_thread(file.add_table, table)
                if partition in spans:
                    await self._copy(file, Range(topic, partition, *spans[partition]))
                begin, _ = held.get(partition) or spans[partition]
                _, end = spans.get(partition) or held[partition]
                await asyncio.to_thread(file.end_partition, partition, begin, end)
            new = await asyncio.to_thread(file.finish)
        self._manifest = self._manifest.with_file(new, self._now)
        store_manifest(self._folder, self._manifest)
        if old is not None and old.name != new.name:
            (self._folder / old.name).unlink()
        self._files[topic, month] = new
        self._rows += new.rows - (old.rows if old else 0)

    async def _copy(self, file: ParquetFile, wanted: Range) -> None:
        async for piece in read_log(self._settings, [wanted]):
            await asyncio.to_thread(file.add_records, wanted.partition, piece.records)
            self._progress(piece.after - piece.before)

    def written(self) -> Written:
        """Say what was done."""
        spans = {
            partition_field(topic, partition): span
            for topic, partition in self._manifest.partitions()
            if (span := self._manifest.span(topic, partition)) is not None
        }
        return Written(str(self._folder), list(self._files.values()), self._rows, spans)


def _span(manifest: Manifest, topic: str, partition: int, log_begin: int, log_end: int) -> tuple[int, int]:
    """Tell what of a partition is to be added.

    Raises:
        LogIncompleteError: What is between the archive and the log is gone, or the log ends before the archive does.

    """
    held = manifest.span(topic, partition)
    if held is None:
        return log_begin, log_end
    end = held[1]
    if not log_begin <= end <= log_end:
        what = (
            f"begins at {log_begin} now: Kafka has forgotten the events between, and a gap cannot be filled. Archive more often "
            "than Kafka forgets; an empty folder (--to) begins a new archive with what is there"
            if end < log_begin
            else f"ends at {log_end}: Kafka lost events that the archive has. Restore the log; what is published to it now "
            "would come to lie at positions that were others' before"
        )
        raise LogIncompleteError(f"the archive has {topic}[{partition}] up to {end}, but its log {what}.")
    return end, log_end


def _months_between(low: Month, high: Month) -> int:
    return (high.year - low.year) * 12 + high.number - low.number


@contextmanager
def _opened(folder: Path, file: ArchivedFile | None) -> Iterator[OpenFile | None]:
    if file is None:
        yield None
        return
    try:
        opened = OpenFile(folder, file)
    except FileNotFoundError:
        raise damaged(folder / file.name, "it is not there") from None
    with opened:
        yield opened


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """Make the folder where it is missing; say whatever goes wrong with files in it as a sentence."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ArchiveUnwritableError(
            f"the archive in {folder} cannot be written to: {error}. What it had is still whole; make room, or name another "
            "folder (--to)"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / _LOCK)
    if not lock.acquire(wait=False):
        raise ArchiveBusyError(f"another process writes to the archive in {folder}; wait until it is done")
    try:
        yield
    finally:
        lock.release()
