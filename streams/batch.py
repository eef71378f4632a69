"""What one fetch brought of one partition."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

SMALL_BATCH = 200
"""Records of a batch, or of some that go together, with which most of the time is waiting for Redis. Small ones have no turn
to wait for either: as long as all are in time, quotes and their leads hardly meet."""


class Partition(NamedTuple):
    """A partition of one of our topics, by the name that the topic has in Kafka."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Record(msgspec.Struct, gc=False):
    """One message: what of aiokafka's ConsumerRecord is used, at a fifth of its price."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Milliseconds since 1970, by the topic's clock."""
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Batch(msgspec.Struct, eq=False):
    """The records between two positions of the consumer.

    The range is of positions, not of the records' offsets: transaction markers, aborted and compacted records leave
    holes between these, and may be all that there is.
    """

    source: Partition
    before: int
    after: int
    records: Sequence[Record]
    epoch: int
    """Goes up when the partition is to be read again from elsewhere; a batch of an earlier one is dropped."""
    is_taken: bool = False
    """Whether its agent has it in hand; until then its partition is not read on."""
