"""What a log is read as: pieces of ranges, each between two positions."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple, Protocol

from salesfx.errors import NeedsAttentionError, SalesfxError


class LogIncompleteError(NeedsAttentionError):
    """The log does not hold all that the tables were made from."""


class ForgottenMeanwhileError(SalesfxError):
    """Kafka forgot events while they were read."""


class Range(NamedTuple):
    """What is to be read of one partition."""

    topic: str
    partition: int
    begin: int
    end: int
    """The first offset that is not read any more."""


class Piece(NamedTuple):
    """What was read of a range in one go: what lies between two of the consumer's positions."""

    of: Range
    before: int
    """The position before it: the end of the range's last piece, or the range's beginning."""
    after: int
    """The position after it. Markers of transactions and aborted events leave holes, so there may be no records."""
    records: list[Any]
    """aiokafka's, with offset, timestamp, timestamp_type, key, value and headers."""


class LogSource(Protocol):
    """Where the log is read from."""

    async def ranges(self, offsets: Mapping[str, int]) -> list[Range]:
        """Tell what tables that stand on these offsets were made from."""

    def read(self, ranges: list[Range]) -> AsyncIterator[Piece]:
        """Give piece after piece, those of one range in the order of their offsets."""
