"""One month's four KPIs as they were known at an earlier time."""

from datetime import datetime
from typing import NamedTuple

from salesfx.definitions import Definitions, made_under
from salesfx.event_log import LogSource
from salesfx.looking_back.arrivals import Advance, divided, milliseconds
from salesfx.looking_back.folding import MonthFold
from salesfx.reading.month import Month
from salesfx.reading.numbers import of_month
from salesfx.reading.report import MonthReport, report_of
from salesfx.rules import Rules
from salesfx.tables.store import Snapshot


class Known(NamedTuple):
    """What was known."""

    report: MonthReport
    events: int
    """How many events it is made from."""
    refused: int
    """How many of them cannot be used."""
    later: int
    """How many messages of the log came after."""


async def known_at(
    log: LogSource, snapshot: Snapshot, ours: Definitions, month: Month, moment: datetime, advance: Advance
) -> Known:
    """Report a month as the events make it that Kafka had got by a moment.

    All of the log is read, up to the offsets that the tables stand on: within a partition timestamps grow, but after a
    change of its leader those of another clock may go back a little, so no event tells that none of those behind it counts.

    Args:
        log: Where the events are.
        snapshot: Of the tables: whose definitions hold, and how far the log is read. With a moment that is later than all
            events the report is that of these tables.
        ours: The definitions in force: they have the list of what is withdrawn.
        month: Which.
        moment: Aware; events that came in its millisecond count.
        advance: Told how far it is.

    Raises:
        UndatedLogError: The log does not tell whether Kafka had got an event by then.
        KafkaAwayError, OtherLogError, LogIncompleteError: The log cannot be read, or is not the tables' whole log.

    """
    definitions = made_under(snapshot.definitions, ours)
    folded, limit, later = MonthFold(Rules(definitions), month), milliseconds(moment), 0
    async for read in divided(log, await log.ranges(snapshot.offsets), limit, advance):
        folded.take(read.by_then)
        later += len(read.later)
    report = report_of(of_month(folded.table), month, definitions.currency)
    return Known(report, folded.events, folded.refused, later)
