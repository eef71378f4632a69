"""Messages of the log, each with the time at which Kafka got it."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from salesfx.decoder import Event, Headers, decode, decode_heartbeat
from salesfx.errors import NeedsAttentionError
from salesfx.event_log import LogSource, Range

Advance = Callable[[str, int, int], None]
"""Told how far it is: the stage, how much more of it is done, and how much there is of it."""
READING, REPLAYING = "log", "later"
"""The stages: positions of the log that are read, and messages after a moment that are folded one by one."""

_LOG_APPEND_TIME = 1
"""Kafka's number for a timestamp that the broker set."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UndatedLogError(NeedsAttentionError):
    """The log does not tell when Kafka got an event."""


class Arrival(NamedTuple):
    """A message, and when it got into Kafka; ordered by that, then by where it lies."""

    timestamp: int
    """In milliseconds since 1970."""
    topic: str
    partition: int
    offset: int
    value: bytes | None
    headers: Headers

    def event(self) -> Event | None:
        """Read the event; None where it is a heartbeat.

        Raises:
            Refused: It cannot be used.

        """
        if self.headers and decode_heartbeat(self.value, self.headers) is not None:
            return None
        return decode(self.topic, self.value, self.headers, self.partition, self.offset)


def milliseconds(moment: datetime) -> int:
    """Give an aware datetime as Kafka counts: whole milliseconds since 1970, what is below one dropped."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def moment_of(timestamp: int) -> datetime:
    """Give the moment of a timestamp of Kafka's, in UTC."""
    return _EPOCH + timedelta(milliseconds=timestamp)


async def arrivals(log: LogSource, ranges: list[Range], advance: Advance) -> AsyncIterator[list[Arrival]]:
    """Read the log; see `LogSource.read`.

    Raises:
        UndatedLogError: A timestamp is the sender's, so it does not tell what Kafka knew.
        KafkaAwayError: Kafka does not answer, or refuses us.

    """
    positions = sum(each.end - each.begin for each in ranges)
    async for piece in log.read(ranges):
        yield [_arrival(piece.of, record) for record in piece.records]
        advance(READING, piece.after - piece.before, positions)


def _arrival(of: Range, record: Any) -> Arrival:
    if record.timestamp_type != _LOG_APPEND_TIME:
        raise UndatedLogError(
            f"the message {of.topic}[{of.partition}]@{record.offset} has the time at which its sender says that it was sent "
            "(CreateTime), not the time at which Kafka got it (LogAppendTime), so the log does not tell what was known when. "
            "`salesfx doctor` names topics with message.timestamp.type=CreateTime; once that is put right, messages that "
            "come from then on are dated by Kafka, but not those that are there."
        )
    return Arrival(record.timestamp, of.topic, of.partition, record.offset, record.value, record.headers)
