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
_END = 100
"""Positions that the end of a partition is looked for in: the last of them may hold a marker of a transaction."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UndatedLogError(NeedsAttentionError):
    """The log does not tell whether Kafka had got an event by a moment."""


class Arrival(NamedTuple):
    """A message, and when it got into Kafka; ordered by that, then by where it lies."""

    timestamp: int
    """In milliseconds since 1970; the sender's where Kafka gave it none."""
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

    A message with its sender's time got into Kafka before the next of its partition that has Kafka's. So where that came by the
    moment, it did as well; where that came later, or there is none, nobody can tell.

    Args:
        log: Where the events are.
        ranges: What is read of it; see `LogSource.read`.
        limit: The moment, in milliseconds since 1970; what came in it counts.
        advance: Told how far it is.

    Raises:
        UndatedLogError: A timestamp is the sender's, and it cannot be told whether Kafka had got the message by then.
        KafkaAwayError: Kafka does not answer, or refuses us.

    """
    await _refuse_undated_ends(log, ranges)
    positions = sum(each.end - each.begin for each in ranges)
    undated: dict[Range, Any] = {}
    async for piece in log.read(ranges):
        by_then, later = [], []
        for record in piece.records:
            if record.timestamp_type != _LOG_APPEND_TIME:
                undated[piece.of] = record
            elif record.timestamp > limit:
                if piece.of in undated:
                    raise _undated_by(piece.of, undated[piece.of], record)
                later.append(_arrival(piece.of, record))
                continue
            else:
                undated.pop(piece.of, None)
            by_then.append(_arrival(piece.of, record))
        yield Divided(by_then, later)
        advance(READING, piece.after - piece.before, positions)
    if undated:
        raise _undated(*next(iter(undated.items())))


async def _refuse_undated_ends(log: LogSource, ranges: list[Range]) -> None:
    """Look at the ends first: where nothing has Kafka's time, that is said at once, not after all of the log is read."""
    last: dict[tuple[str, int], Any] = {}
    ends = [each._replace(begin=max(each.begin, each.end - _END)) for each in ranges]
    async for piece in log.read(ends):
        for record in piece.records:
            last[piece.of.topic, piece.of.partition] = record
    for each in ranges:
        record = last.get((each.topic, each.partition))
        if record is not None and record.timestamp_type != _LOG_APPEND_TIME:
            raise _undated(each, record)


def _arrival(of: Range, record: Any) -> Arrival:
    return Arrival(record.timestamp, of.topic, of.partition, record.offset, record.value, record.headers)


def _undated(of: Range, record: Any) -> UndatedLogError:
    return UndatedLogError(
        f"{_has_senders_time(of, record)}, and so has all that follows in its partition: the log does not tell what was known "
        "when. `salesfx doctor` names topics with message.timestamp.type=CreateTime; put that right, and moments after the "
        "next message can be looked back to, though none before."
    )


def _undated_by(of: Range, record: Any, dated: Any) -> UndatedLogError:
    return UndatedLogError(
        f"{_has_senders_time(of, record)}. Kafka got it before {moment_of(dated.timestamp).isoformat()}, when it got the next of "
        "its partition that it dated, but whether by the moment that is asked for, the log does not tell: ask for a moment "
        "after that."
    )


def _has_senders_time(of: Range, record: Any) -> str:
    return (
        f"the message {of.topic}[{of.partition}]@{record.offset} has the time at which its sender says that it was sent "
        "(CreateTime), not the time at which Kafka got it (LogAppendTime)"
    )
