"""One file of the archive: its columns, how records come into them, and out again. Blocking: call it in a thread.

A row group holds records of one partition, in the order of their offsets; groups of one partition follow each other.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise, repeat
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from salesfx.errors import NeedsAttentionError
from salesfx.event_log.archive.manifest import ArchivedFile, Covered, damaged
from salesfx.lenient_bytes import LenientBytes, exact_name

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise NeedsAttentionError(
        "the archive's files are Parquet, which needs the extra `archive`: pip install 'salesfx[archive]'"
    ) from error

_GROUP_ROWS = 50_000
_GROUP_BYTES = 16 * 1024 * 1024
"""Of keys and values: what is held in memory at most, give or take one fetch."""
SCHEMA = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", pa.int64(), nullable=False),  # milliseconds since 1970; -1: none
        pa.field("timestamp_type", pa.int8()),  # 0: the producer's; 1: the time at which Kafka got it
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field(
            "headers",
            pa.list_(
                pa.field(
                    "element",
                    pa.struct([pa.field("name", pa.binary(), nullable=False), pa.field("value", pa.binary())]),
                    nullable=False,
                )
            ),
            nullable=False,
        ),
    ]
)
"""In Kafka's own bytes: a name need not be UTF-8, and null is not the same as empty."""
_PARTITION, _OFFSET = 0, 1
_RUNS = ("offset", "timestamp")


class ArchivedRecord(NamedTuple):
    """One record, with what readers take from aiokafka's."""

    topic: str
    """As it is called in the archive: without a prefix."""
    partition: int
    offset: int
    timestamp: int
    """Milliseconds since 1970."""
    timestamp_type: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    """Names that are not UTF-8 are decoded as in `salesfx.lenient_records`."""


class ParquetFile:
    """Writes a file whole: under a name that no manifest knows, and then under its own. A context manager."""

    def __init__(self, folder: Path, topic: str, month: str) -> None:
        """Begin one.

        Args:
            folder: The archive's.
            topic: Our name of it.
            month: Like 2026-10.

        """
        self._topic, self._month = topic, month
        self._path = folder / f"{topic}-{month}.new"
        self._tables: list[Any] = []
        self._kept_rows = self._kept_bytes = 0
        self._rows = 0
        self._covered: list[Covered] = []

    def __enter__(self) -> Self:
        self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        self._writer = pq.ParquetWriter(
            self._file,
            SCHEMA.with_metadata({"salesfx.topic": self._topic, "salesfx.month": self._month}),
            compression="zstd",
            use_dictionary=["partition", "timestamp_type"],
            column_encoding=dict.fromkeys(_RUNS, "DELTA_BINARY_PACKED"),
            write_statistics=[field.name for field in SCHEMA if field.name not in {"key", "value", "headers"}],
        )
        return self

    def add_records(self, partition: int, records: Sequence[Any]) -> None:
        """Add what was read from Kafka."""
        if records:
            self.add_table(_table_of(partition, records))

    def add_table(self, table: Any) -> None:
        """Add rows of one partition."""
        self._tables.append(table)
        self._kept_rows += table.num_rows
        self._kept_bytes += table.nbytes
        if self._kept_rows >= _GROUP_ROWS or self._kept_bytes >= _GROUP_BYTES:
            self._write_group()

    def end_partition(self, partition: int, begin: int, end: int) -> None:
        """Say that all of one partition has been added, and between which positions it lies."""
        self._write_group()
        rows = self._rows - sum(each.rows for each in self._covered)
        self._covered.append(Covered(partition, begin, end, rows))

    def _write_group(self) -> None:
        if self._tables:
            self._writer.write_table(pa.concat_tables(self._tables), row_group_size=self._kept_rows)
        self._rows += self._kept_rows
        self._tables, self._kept_rows, self._kept_bytes = [], 0, 0

    def finish(self) -> ArchivedFile:
        """Have it on the disk under its own name, and say what it is."""
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        digest = _digest(self._path)
        name = f"{self._topic}-{self._month}-{digest[:8]}.parquet"
        size = self._path.stat().st_size
        self._path.replace(self._path.with_name(name))
        return ArchivedFile(name, self._topic, self._month, digest, size, self._rows, tuple(self._covered))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file.closed:
            return
        # What is thrown away need not be written; the error is on its way. Closing writes, which fails again on a full disk.
        for close in (self._writer.close, self._file.close):
            with suppress(pa.ArrowException, OSError):
                close()
        self._path.unlink(missing_ok=True)


def _table_of(partition: int, records: Sequence[Any]) -> Any:
    columns = [
        pa.repeat(pa.scalar(partition, pa.int32()), len(records)),
        *(
            pa.array([getattr(record, field.name) for record in records], field.type)
            for field in list(SCHEMA)[_OFFSET:-1]
        ),
        pa.array(
            [[(exact_name(name), value) for name, value in record.headers] for record in records], SCHEMA.types[-1]
        ),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


class OpenFile:
    """Reads a file. A context manager."""

    def __init__(self, folder: Path, file: ArchivedFile, *, known: bool = False) -> None:
        """Open it, and see that it is what was written.

        Args:
            folder: The archive's.
            file: What the manifest says of it.
            known: Its hash was compared already.

        Raises:
            FileNotFoundError: It is gone.
            ArchiveDamagedError: It is not what was written.

        """
        self._path, self._as_written = folder / file.name, file
        try:
            if not known and _digest(self._path) != file.sha256:
                raise damaged(self._path, "its SHA-256 is not the manifest's")
            self._file = pq.ParquetFile(self._path)
            if not self._file.schema_arrow.equals(SCHEMA):
                raise damaged(self._path, "its columns are not those of an archive")
            self._groups = [self._range_of(number) for number in range(self._file.num_row_groups)]
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise damaged(self._path, str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    @property
    def rows(self) -> int:
        """How many records it holds."""
        rows: int = self._file.metadata.num_rows
        return rows

    def tables(self, partition: int, begin: int = 0) -> Iterator[Any]:
        """Give the rows of a partition, a row group at a time, but no groups that end before a position."""
        for number, (of, last) in enumerate(self._groups):
            if of == partition and last >= begin:
                try:
                    yield self._file.read_row_group(number)
                except (pa.ArrowException, OSError) as error:
                    raise damaged(self._path, str(error)) from error

    def _range_of(self, number: int) -> tuple[int, int]:
        """Tell a row group's partition, and the last offset in it."""
        group = self._file.metadata.row_group(number)
        partition, offset = (group.column(column).statistics for column in (_PARTITION, _OFFSET))
        if partition is None or offset is None or partition.min != partition.max:
            raise damaged(self._path, f"row group {number} is not of one partition")
        return partition.min, offset.max


def records_of(topic: str, table: Any) -> list[ArchivedRecord]:
    """Give a table's rows as records."""
    columns = [table.column(field.name).to_pylist() for field in list(SCHEMA)[:-1]]
    headers = (
        tuple((LenientBytes(name).decode(), value) for name, value in each) if each else ()
        for each in exact_headers(table)
    )
    return list(map(ArchivedRecord, repeat(topic), *columns, headers))


def exact_headers(table: Any) -> Iterable[Sequence[tuple[bytes, bytes | None]]]:
    """Give the headers of a table's rows, their names as they lie in Kafka."""
    for chunk in table.column("headers").chunks:
        whole = chunk.flatten()
        if not len(whole):
            yield from [()] * len(chunk)
            continue
        pairs = list(zip(whole.field("name").to_pylist(), whole.field("value").to_pylist(), strict=True))
        ends = chunk.offsets.to_pylist()
        yield from (pairs[begin - ends[0] : end - ends[0]] for begin, end in pairwise(ends))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
