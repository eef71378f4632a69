"""What every store of the tables can do; the Redis one and its in-memory twin pass the same contract tests."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from salesfx.definitions import Definitions
from salesfx.errors import NeedsAttentionError
from salesfx.kpi import Cells

Versioned = dict[str, bytes | None]
"""Records by reference, each with its version in front; None where there is none."""


class DefinitionsChangedError(NeedsAttentionError):
    """The tables were made under other definitions than those in force."""


class StoreUnfitError(NeedsAttentionError):
    """The Redis is set up so that it could lose what must not be lost."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One batch of one partition, to be applied whole or not at all."""

    topic: str
    partition: int
    before: int
    """The consumer's position before the batch."""
    after: int
    """The consumer's position after it, which becomes the stored offset."""
    seen: Mapping[str, bytes] = field(default_factory=dict)
    """Version of every record that was read, by reference; empty where there was none."""
    writes: Mapping[str, bytes | None] = field(default_factory=dict)
    """New contents of those that change, without a version; None removes."""
    cells: Cells = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    """Increments of the counters; they are exact, because they are part of the commit."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """Times to be kept as they are."""


@dataclass(frozen=True, slots=True)
class Committed:
    """The batch is in."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Records were changed meanwhile; read these again and merge again."""

    refs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The stored offset is not the batch's beginning; None where none is stored."""

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
        """Apply a batch, once."""

    async def offsets(self) -> dict[str, int]:
        """Read the stored offsets, by `topic:partition`; empty where the tables are gone."""

    async def start_at(self, topic: str, partition: int, offset: int) -> int:
        """Store a partition's first offset where none is stored, and give the one that is."""

    async def log_identity(self, ours: Mapping[str, str]) -> dict[str, str]:
        """Store ids of Kafka's cluster and topics where none are stored, and give those that are."""

    async def stored_log_identity(self) -> dict[str, str]:
        """Give the ids of Kafka's cluster and topics that are stored, without storing any."""

    async def snapshot(self, tables: Collection[str] = ()) -> Snapshot | None:
        """Read tables, by name, and everything beside them, atomically; None where there are none."""

    async def check(self) -> None:
        """Refuse a store that could lose what must not be lost.

        Raises:
            StoreUnfitError: It could.

        """

    async def close(self) -> None:
        """Give back its connections."""
