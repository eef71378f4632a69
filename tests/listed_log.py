"""A log in memory: messages with the time at which a Kafka would have got each."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import NamedTuple

from salesfx.definitions import Definitions
from salesfx.event_log import Piece, Range
from salesfx.kpi import Cells
from salesfx.looking_back.arrivals import Arrival
from salesfx.tables.layout import FIRST_GENERATION, MONTH, by_table, partition_field
from salesfx.tables.store import Snapshot

CREATE_TIME, LOG_APPEND_TIME = 0, 1


class Stored(NamedTuple):
    """A record as aiokafka gives it."""

    offset: int
    timestamp: int
    value: bytes | None
    timestamp_type: int = LOG_APPEND_TIME
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class ListedLog:
    """See `salesfx.event_log.LogSource`; all messages of a topic lie in one partition, in the order that they are given."""

    def __init__(
        self, messages: Iterable[tuple[int, str, bytes]], timestamp_type: int = LOG_APPEND_TIME, *, at_once: int = 2
    ) -> None:
        """Make one of (timestamp in milliseconds, topic, value), which gives so many records in one piece."""
        self._at_once = at_once
        self.partitions: dict[str, list[Stored]] = {}
        for timestamp, topic, value in messages:
            partition = self.partitions.setdefault(topic, [])
            partition.append(Stored(len(partition), timestamp, value, timestamp_type))

    @property
    def offsets(self) -> dict[str, int]:
        """Where tables stand that were made from all of it."""
        return {partition_field(topic, 0): len(records) for topic, records in self.partitions.items()}

    async def ranges(self, offsets: Mapping[str, int]) -> list[Range]:
        """Tell what is to be read."""
        return [Range(field.rpartition(":")[0], 0, 0, end) for field, end in offsets.items()]

    async def read(self, ranges: list[Range]) -> AsyncIterator[Piece]:
        """Give piece after piece."""
        for each in ranges:
            for start in range(each.begin, each.end, self._at_once):
                end = min(start + self._at_once, each.end)
                yield Piece(each, start, end, list(self.partitions[each.topic][start:end]))

    def arrivals(self) -> list[Arrival]:
        """Give all messages by the order of arrival, then topic, then offset."""
        return sorted(
            Arrival(record.timestamp, topic, 0, record.offset, record.value, record.headers)
            for topic, records in self.partitions.items()
            for record in records
        )


def snapshot_of(cells: Cells, definitions: Definitions, offsets: Mapping[str, int]) -> Snapshot:
    """Give a snapshot of tables that hold these cells."""
    tables = by_table(cells)
    months = sorted(name.removeprefix(MONTH) for name in tables if name.startswith(MONTH))
    return Snapshot(
        FIRST_GENERATION, definitions.fingerprint, definitions.canonical(), months, _Tables(tables), offsets, {}, {}
    )


class _Tables(dict[str, dict[str, int]]):
    """Tables by name; empty where there is none, as a snapshot has them."""

    def __missing__(self, name: str) -> dict[str, int]:
        return {}
