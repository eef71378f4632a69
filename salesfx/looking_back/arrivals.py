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
    """The log does not tell whether Kafka had got an event by a moment."""


class Arrival(NamedTuple):
    """A message, and when it got into Kafka; ordered by that, then by where it lies."""

    timestamp: int
    """In milliseconds since 1970; where Kafka did not date it, a moment before which it did not come."""
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


class Divided(NamedTuple):
    """Messages that were read in one go, divided by a moment."""

    by_then: list[Arrival]
    """Kafka got them by the moment."""
    later: list[Arrival]
    """It got them after."""


async def divided(log: LogSource, ranges: list[Range], limit: int, advance: Advance) -> AsyncIterator[Divided]:
    """Read the log, each piece of it divided by a moment.

    Kafka got a message that has its sender's time after the one before it in its partition, and before the one behind it. So where
    one before it came later than the moment, it did as well, and is given that one's time; otherwise it came by then if one behind
    it did, and if that came later, or there is none, nobody can tell.

    Args:
        log: Where the events are.
        ranges: What is read of it; see `LogSource.read`.
        limit: The moment, in milliseconds since 1970; what came in it counts.
        advance: Told how far it is.

    Raises:
        UndatedLogError: It cannot be told whether Kafka had got a message by then.
        KafkaAwayError: Kafka does not answer, or refuses us.

    """
    positions = sum(each.end - each.begin for each in ranges)
    partitions = {each: _Partition(each, limit) for each in ranges}
    async for piece in log.read(ranges):
        yield partitions[piece.of].divided(piece.records)
        advance(READING, piece.after - piece.before, positions)
    for partition in partitions.values():
        partition.end()


class _Partition:
    """Divides the messages of one partition, which come in their order."""

    def __init__(self, of: Range, limit: int) -> None:
        self._of = of
        self._limit = limit
        self._undated: Any = None
        """The last message that is taken to have come by the moment, until one behind it shows that."""
        self._later: int | None = None
        """When the last one that came later did."""

    def divided(self, records: list[Any]) -> Divided:
        """Divide the next ones."""
        parts = Divided([], [])
        for record in records:
            if record.timestamp_type == _LOG_APPEND_TIME:
                timestamp = record.timestamp
                if timestamp > self._limit:
                    if self._undated is not None:
                        raise self._undated_before(record)
                    self._later = timestamp
                self._undated = None
            elif self._later is not None:
                timestamp = self._later
            else:
                timestamp, self._undated = self._limit, record
            arrival = Arrival(
                timestamp, self._of.topic, self._of.partition, record.offset, record.value, record.headers
            )
            (parts.later if timestamp > self._limit else parts.by_then).append(arrival)
        return parts

    def end(self) -> None:
        """See to it that nothing is left of which nobody can tell."""
        if self._undated is not None:
            raise UndatedLogError(
                f"{self._without_time()}, and so have all behind it in its partition: whether Kafka had got it by the moment "
                "that is asked for, the log does not tell. `salesfx doctor` names topics with "
                "message.timestamp.type=CreateTime; once that is put right, moments after the next message of this partition "
                "can be looked back to."
            )

    def _undated_before(self, dated: Any) -> UndatedLogError:
        return UndatedLogError(
            f"{self._without_time()}. Kafka got it before {moment_of(dated.timestamp).isoformat()}, when it got the next of its "
            "partition that it dated; but whether by the moment that is asked for, the log does not tell. Ask for a moment "
            "after that."
        )

    def _without_time(self) -> str:
        return (
            f"the message {self._of.topic}[{self._of.partition}]@{self._undated.offset} has the time at which its sender says "
            "that it was sent (CreateTime), not the time at which Kafka got it (LogAppendTime)"
        )
