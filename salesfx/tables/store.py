"""What every store of the tables can do; the Redis one and its in-memory twin pass the same contract tests."""

import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from salesfx.definitions import Definitions
from salesfx.errors import NeedsAttentionError, SalesfxError
from salesfx.kpi import Cells
from salesfx.tables.layout import VERSION_BYTES

Versioned = dict[str, bytes | None]
"""Records by reference, each with its version in front; None where there is none."""


class DefinitionsChangedError(NeedsAttentionError):
    """The tables were made under other definitions than those in force."""


class StoreUnfitError(NeedsAttentionError):
    """The Redis is set up so that it could lose what must not be lost."""


class TablesDamagedError(NeedsAttentionError):
    """Somebody else has written to the tables what is no number."""

    def __init__(self, table: str, cell: tuple[bytes, bytes]) -> None:
        anew = "set `namespace` to a new name" if table.endswith("offsets") else "run `salesfx rebuild --anyway`"
        super().__init__(
            f"the table {table} in Redis holds {cell[1][:40]!r} under {cell[0][:200]!r}, which salesfx never writes. Put a "
            f"backup of Redis back, or {anew}: the tables are then made anew from the log."
        )


class TablesGoneError(SalesfxError):
    """Redis has lost the tables since they were opened; open them again."""


class ViewLostError(SalesfxError):
    """The tables were emptied, restored or replaced while a view of them was open; open another."""


class Range(NamedTuple):
    """What a batch covers of its partition."""

    topic: str
    partition: int
    before: int
    """The consumer's position before the batch."""
    after: int
    """The consumer's position after it, which becomes the stored offset."""

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition} {self.before}-{self.after}"


@dataclass(frozen=True, slots=True)
class Commit:
    """Batches of as many partitions, most often one, to be applied whole or not at all."""

    ranges: Sequence[Range]
    """What they cover; of a partition one at most."""
    seen: Mapping[str, bytes] = field(default_factory=dict)
    """Version of every record that was read, by reference; empty where there was none."""
    writes: Mapping[str, bytes | None] = field(default_factory=dict)
    """New contents of those that change, without a version; None removes."""
    cells: Cells = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    """Increments of the counters; they are exact, because they are part of the commit."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """Times to be kept as they are."""
    heartbeats: Sequence[tuple[str, str, str]] = ()
    """Topic, feed and Unix time of each; of every feed the newest is kept, of as many feeds as there is room for."""
    arrived: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By topic, how many events came, from 1, and how many of them were refused."""
    version: bytes = field(default_factory=lambda: os.urandom(VERSION_BYTES))
    """Of every record that it writes, and of this attempt alone: a counter would be fooled by a Redis that lost a write."""


@dataclass(frozen=True, slots=True)
class Committed:
    """All of it is in."""

    without_room: Sequence[str] = ()
    """Topics of which a feed's heartbeat was not kept, because too many feeds are."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Records were changed meanwhile; read these again and merge again."""

    refs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Of the first range that does not begin where its partition is: the stored offset; None where none is stored."""

    stored: int | None


@dataclass(frozen=True, slots=True)
class OtherDefinitions:
    """The tables are being made under another fingerprint."""

    fingerprint: str


Answer = Committed | Conflict | Elsewhere | OtherDefinitions


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was in the tables at one instant: one exact prefix of each partition."""

    generation: str
    fingerprint: str
    definitions: bytes
    """Canonical JSON."""
    months: Collection[str]
    """Every month that has a table."""
    tables: Mapping[str, Mapping[str, int]]
    """The tables that were asked for, by name; empty where there is none."""
    offsets: Mapping[str, int]
    counters: Mapping[str, int]
    marks: Mapping[str, str]


class View(Protocol):
    """The tables and all records as they were at one instant, however many commits come meanwhile."""

    snapshot: Snapshot
    """The tables of that instant, and the offsets that they stand on."""

    def scan(self, *kinds: str) -> AsyncIterator[dict[str, bytes]]:
        """Give every record of some kinds once, by reference and without its version, in chunks of some thousands.

        Args:
            kinds: Prefixes of the references, like `salesfx.lead.LEAD`; all keys are walked over once for all of them.

        Raises:
            ViewLostError: What the view shows is not known any more.

        """

    async def read(self, refs: Collection[str]) -> dict[str, bytes | None]:
        """Read records, without their versions; None where there was none.

        Raises:
            ViewLostError: What the view shows is not known any more.

        """


class Tables(Protocol):
    """The KPI tables with the records and offsets that they stand on."""

    async def open(self, definitions: Definitions) -> None:
        """Make the tables ready for commits under these definitions, creating them where there are none.

        Raises:
            DefinitionsChangedError: They were made under others.

        """

    async def load(self, refs: Collection[str]) -> Versioned:
        """Read records with their versions."""

    async def commit(self, commit: Commit) -> Answer:
        """Apply a commit, once."""

    async def offsets(self) -> dict[str, int]:
        """Read the stored offsets, by `topic:partition`; empty where the tables are gone."""

    async def start_at(self, topic: str, partition: int, offset: int) -> int:
        """Store a partition's first offset where none is stored, and give the one that is.

        Raises:
            TablesGoneError: Nothing says any more what the tables mean: an offset alone would look like damage.

        """

    async def log_identity(self, ours: Mapping[str, str]) -> dict[str, str]:
        """Store ids of Kafka's cluster and topics where none are stored, and give those that are.

        Where the tables are gone, none are stored: they would be left behind by a generation that was dropped.
        """

    async def stored_log_identity(self) -> dict[str, str]:
        """Give the ids of Kafka's cluster and topics that are stored, without storing any."""

    async def snapshot(self, tables: Collection[str] = ()) -> Snapshot | None:
        """Read tables, by name, and everything beside them, atomically; None where there are none."""

    def view(self, tables: Collection[str] | None = None) -> AbstractAsyncContextManager[View | None]:
        """Open a view: the tables and records of one instant; None where there are none.

        Args:
            tables: Names of the tables that its snapshot is to hold; None: all of every month.

        """

    async def check(self) -> None:
        """Refuse a store that could lose what must not be lost.

        Raises:
            StoreUnfitError: It could.

        """

    async def close(self) -> None:
        """Give back its connections."""
