"""What one fetch brought of one partition."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

SMALL_BATCH = 200
"""Records of a batch, or of some that go together, with which most of the time is waiting for Redis."""


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
    """Whether it is in hand; until then what comes of its partition has to wait, but for a few records."""

    def is_followed_by(self, other: "Batch") -> bool:
        """Tell whether another begins where this one ends, and was read on from there."""
        return (self.source, self.after, self.epoch) == (other.source, other.before, other.epoch)

    def followed_by(self, other: "Batch") -> "Batch":
        """Put both together."""
        records = [*self.records, *other.records]
        return Batch(self.source, self.before, other.after, records, self.epoch, is_taken=True)
