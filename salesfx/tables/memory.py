"""The tables in memory: the twin of the Redis ones, for tests and for trying things without a server."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from salesfx.definitions import Definitions
from salesfx.tables.definitions_check import definitions_lost, may_upgrade
from salesfx.tables.feed_marks import note_heartbeats, note_refused
from salesfx.tables.layout import DAYS, FIRST_GENERATION, HOURS, MONTH, VERSION_BYTES, by_table, partition_field
from salesfx.tables.store import (
    Answer,
    Commit,
    Committed,
    Conflict,
    Elsewhere,
    OtherDefinitions,
    Snapshot,
    TablesGoneError,
    Versioned,
)


class MemoryTables:
    """See `salesfx.tables.store.Tables` for what each method does. Several clients may share one by `client`.

    There is one generation only: rebuilds and swaps are Redis's.
    """

    def __init__(self) -> None:
        self.data = MemoryData()
        self._fingerprint = ""

    def client(self) -> "MemoryTables":
        """Give another client of the same tables."""
        other = MemoryTables()
        other.data = self.data
        return other

    async def open(self, definitions: Definitions) -> None:
        """Make the tables ready for commits under these definitions, creating them where there are none."""
        if self.data.definitions is None and self.data.offsets:
            raise definitions_lost("meta")
        if self.data.definitions is None or may_upgrade(self.data.definitions, definitions):
            self.data.definitions, self.data.fingerprint = definitions.canonical(), definitions.fingerprint
        self._fingerprint = definitions.fingerprint

    async def load(self, refs: Collection[str]) -> Versioned:
        """Read records with their versions."""
        return {ref: self.data.records.get(ref) for ref in refs}

    async def commit(self, commit: Commit) -> Answer:
        """Apply a commit, once."""
        data = self.data
        if data.fingerprint is None:
            return Elsewhere(None)
        if data.fingerprint != self._fingerprint:
            return OtherDefinitions(data.fingerprint)
        for topic, partition, before, _ in commit.ranges:
            stored = data.offsets.get(partition_field(topic, partition))
            if stored != before:
                return Elsewhere(stored)
        refs = [*commit.writes, *(ref for ref in commit.seen if ref not in commit.writes)]
        conflicts = [ref for ref in refs if (data.records.get(ref) or b"")[:VERSION_BYTES] != commit.seen[ref]]
        if conflicts:
            return Conflict(conflicts)
        return Committed(tuple(self._apply(commit)))

    def _apply(self, commit: Commit) -> list[str]:
        data = self.data
        for ref, content in commit.writes.items():
            if content is None:
                data.records.pop(ref, None)
            else:
                data.records[ref] = commit.version + content
        for name, increments in by_table(commit.cells).items():
            _add(data.tables.setdefault(name, {}), increments)
            if not data.tables[name]:
                del data.tables[name]
        for field, number in commit.counters.items():
            data.counters[field] = data.counters.get(field, 0) + number
        data.marks.update(commit.marks)
        for topic, partition, _, after in commit.ranges:
            data.offsets[partition_field(topic, partition)] = after
        for topic, (events, refused) in commit.arrived.items():
            note_refused(data.marks, topic, events, refused)
        return note_heartbeats(data.marks, commit.heartbeats)

    async def offsets(self) -> dict[str, int]:
        """Read the stored offsets."""
        return dict(self.data.offsets)

    async def start_at(self, topic: str, partition: int, offset: int) -> int:
        """Store a partition's first offset where none is stored, and give the one that is."""
        if self.data.fingerprint is None:
            raise TablesGoneError("the tables are gone since they were opened")
        return self.data.offsets.setdefault(partition_field(topic, partition), offset)

    async def log_identity(self, ours: Mapping[str, str]) -> dict[str, str]:
        """Store ids of Kafka's cluster and topics where none are stored, and give those that are."""
        if self.data.fingerprint is not None:
            self.data.log = {**ours, **self.data.log}
        return dict(self.data.log)

    async def stored_log_identity(self) -> dict[str, str]:
        """Give the ids of Kafka's cluster and topics that are stored, without storing any."""
        return dict(self.data.log)

    async def snapshot(self, tables: Collection[str] = ()) -> Snapshot | None:
        """Read tables and everything beside them, atomically."""
        data = self.data
        if data.definitions is None or data.fingerprint is None:
            return None
        return Snapshot(
            generation=FIRST_GENERATION,
            fingerprint=data.fingerprint,
            definitions=data.definitions,
            months=sorted(name.removeprefix(MONTH) for name in data.tables if name.startswith(MONTH)),
            tables={name: dict(data.tables.get(name, {})) for name in tables},
            offsets=dict(data.offsets),
            counters=dict(data.counters),
            marks=dict(data.marks),
        )

    @asynccontextmanager
    async def view(self, tables: Collection[str] | None = None) -> AsyncIterator["MemoryView | None"]:
        """Open a view: the tables and records of one instant; None where there are none."""
        if tables is None:
            tables = [
                kind + name.removeprefix(MONTH)
                for name in self.data.tables
                if name.startswith(MONTH)
                for kind in (MONTH, DAYS, HOURS)
            ]
        snapshot = await self.snapshot(tables)
        yield None if snapshot is None else MemoryView(snapshot, dict(self.data.records))

    async def check(self) -> None:
        """Nothing in memory is evicted."""

    async def close(self) -> None:
        """There is nothing to give back."""


class MemoryView:
    """The tables and all records as they were at one instant; see `salesfx.tables.store.View`."""

    def __init__(self, snapshot: Snapshot, records: Mapping[str, bytes]) -> None:
        self.snapshot = snapshot
        self._records = records

    async def scan(self, *kinds: str) -> AsyncIterator[dict[str, bytes]]:
        """Give every record of some kinds, by reference and without its version."""
        yield {ref: record[VERSION_BYTES:] for ref, record in self._records.items() if ref.startswith(kinds)}

    async def read(self, refs: Collection[str]) -> dict[str, bytes | None]:
        """Read records, without their versions; None where there was none."""
        found = {ref: self._records.get(ref) for ref in refs}
        return {ref: None if record is None else record[VERSION_BYTES:] for ref, record in found.items()}


class MemoryData:
    """What a Redis would hold."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Lose everything, like FLUSHALL."""
        self.definitions: bytes | None = None
        self.fingerprint: str | None = None
        self.log: dict[str, str] = {}
        self.offsets: dict[str, int] = {}
        self.records: dict[str, bytes] = {}
        self.tables: dict[str, dict[str, int]] = {}
        self.counters: dict[str, int] = {}
        self.marks: dict[str, str] = {}


def _add(table: dict[str, int], increments: Mapping[str, int]) -> None:
    for field, number in increments.items():
        total = table.get(field, 0) + number
        if total:
            table[field] = total
        else:
            table.pop(field, None)
