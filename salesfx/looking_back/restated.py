"""How a month has changed since a moment, and because of which events.

The types are the JSON of `salesfx restated --json`: fields in its order, money as decimal strings of the reporting currency.
"""

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from salesfx.business_time import from_instant
from salesfx.definitions import Definitions, made_under
from salesfx.event_log import LogSource
from salesfx.kpi import CATALOGUE
from salesfx.looking_back.arrivals import (
    REPLAYING,
    Advance,
    Arrival,
    divided,
    milliseconds,
    moment_of,
)
from salesfx.looking_back.folding import Fields, MonthFold, Step
from salesfx.looking_back.later import Later
from salesfx.money import decimal_string
from salesfx.reading.month import Month
from salesfx.reading.numbers import of_month
from salesfx.reading.report import MonthReport, report_of
from salesfx.rules import Rules
from salesfx.scratch import in_temporary_folder
from salesfx.tables.layout import MONTH
from salesfx.tables.store import Snapshot

VALUES = frozenset(metric.name for metric in CATALOGUE if metric.is_value)
TOTAL = "total"
"""In place of a dimension: the metric over all of its sources or categories."""

Number = int | str
"""A count, or a decimal string of the reporting currency."""
Numbers = dict[str, Number]
"""By `metric|dimension`, as the tables name their cells."""


class Kind(StrEnum):
    """Why an event changed the month, as far as the event itself tells."""

    LATE = "late"
    """The first of its lead, quote or deal; that happened before the moment, and Kafka got the event after."""
    CORRECTION = "correction"
    """A greater version of a lead, quote or deal that there was; it may also bring back one that was withdrawn."""
    RETRACTION = "retraction"
    """It withdraws a lead, quote or deal."""
    NEW = "new"
    """The first of something that happened after the moment, and has to do with the month: a deal won of one of its leads."""


class Restating(msgspec.Struct, frozen=True):
    """An event that changed the month."""

    kind: Kind
    entity: str
    """Reference of its lead, quote or deal, like deal:D7."""
    event_id: str
    occurred_at: datetime
    arrived_at: datetime
    """When Kafka got it; where that did not date it, when it got the last one before it that it dated."""
    topic: str
    """Our name of it."""
    partition: int
    offset: int
    changes: Numbers
    """What it added to the month's cells."""
    by_entity: dict[str, Numbers]
    """The same by the lead, quote or deal whose contribution changed; others than its own where it gave these another
    category or source."""


class Change(msgspec.Struct, frozen=True):
    """One number of the month, then and now."""

    metric: str
    of: str
    """`total`, or like source=web."""
    then: Number
    now: Number
    difference: Number


class Restated(msgspec.Struct, frozen=True):
    """How a month has changed since a moment."""

    month: str
    currency: str
    since: datetime
    then: MonthReport
    now: MonthReport
    changes: list[Change]
    """Totals first, then by source, category and salesperson; what is as it was is left out."""
    events: list[Restating]
    """In the order in which Kafka got them, then by topic, partition and offset."""
    events_before: int
    events_after: int
    """How many events Kafka got after the moment; those that changed the month are among them."""
    refused: int
    """How many of all cannot be used."""
    agrees: bool
    """Whether `now`, which the log adds up to, is what the tables show."""


async def restated(
    log: LogSource, snapshot: Snapshot, ours: Definitions, month: Month, since: datetime, advance: Advance
) -> Restated:
    """Tell how a month has changed since a moment.

    What came by the moment is folded as it is read. What came after is kept on disk until all is read, since Kafka's
    partitions are read side by side, and is then folded one by one in the order of arrival, so that each change has its event.

    Args:
        log: Where the events are.
        snapshot: With the month's table: up to its offsets the log is read, and its definitions hold.
        ours: The definitions in force: they have the list of what is withdrawn.
        month: Which.
        since: Aware; events that came in its millisecond count as before.
        advance: Told how far it is.

    Raises:
        UndatedLogError: The log does not tell whether Kafka had got an event by then.
        KafkaAwayError, OtherLogError, LogIncompleteError: The log cannot be read, or is not the tables' whole log.
        SalesfxError: There is no room for what came after in the temporary folder.

    """
    definitions = made_under(snapshot.definitions, ours)
    folded, limit = MonthFold(Rules(definitions), month), milliseconds(since)
    timezone = ZoneInfo(definitions.timezone)
    with in_temporary_folder("Telling what was restated"), closing(Later()) as later:
        async for read in divided(log, await log.ranges(snapshot.offsets), limit, advance):
            folded.take(read.by_then)
            later.add(read.later)
        before, then = folded.events, dict(folded.table)
        events = []
        for arrival in later.in_order():
            step = folded.take_one(arrival)
            if step is not None:
                events.append(_restating(step, arrival, since, timezone))
            advance(REPLAYING, 1, len(later))
    return Restated(
        month=str(month),
        currency=definitions.currency,
        since=since.astimezone(timezone),
        then=report_of(of_month(then), month, definitions.currency),
        now=report_of(of_month(folded.table), month, definitions.currency),
        changes=changes(then, folded.table),
        events=events,
        events_before=before,
        events_after=folded.events - before,
        refused=folded.refused,
        agrees=folded.table == snapshot.tables[f"{MONTH}{month}"],
    )


def end_of(month: Month, timezone: str) -> datetime:
    """Give the moment at which a month ends in the business time zone, in UTC."""
    after = month.back(-1)
    return datetime(after.year, after.number, 1, tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def _restating(step: Step, arrival: Arrival, since: datetime, timezone: ZoneInfo) -> Restating:
    event = step.event
    occurred_at = from_instant(event.standing.occurred_at)
    if event.standing.retracted:
        kind = Kind.RETRACTION
    elif step.before is not None:
        kind = Kind.CORRECTION
    else:
        kind = Kind.LATE if occurred_at <= since else Kind.NEW
    return Restating(
        kind=kind,
        entity=event.ref,
        event_id=event.standing.event_id,
        occurred_at=occurred_at.astimezone(timezone),
        arrived_at=moment_of(arrival.timestamp).astimezone(timezone),
        topic=arrival.topic,
        partition=arrival.partition,
        offset=arrival.offset,
        changes=_written(step.changes),
        by_entity={entity: _written(fields) for entity, fields in step.by_entity.items()},
    )


def changes(then: Fields, now: Fields) -> list[Change]:
    """Compare a month's table with an earlier one: what differs, totals first, in the order of the catalogue."""
    earlier, later = of_month(then), of_month(now)
    found = []
    for metric in CATALOGUE:
        pair = earlier.total(metric.name), later.total(metric.name)
        if pair[0] != pair[1]:
            found.append(_change(metric.name, TOTAL, *pair))
    fields = {field for field in then.keys() | now.keys() if then.get(field, 0) != now.get(field, 0)}
    for field in sorted(fields, key=_place):
        name, _, dimension = field.partition("|")
        found.append(_change(name, dimension, then.get(field, 0), now.get(field, 0)))
    return found


_PLACES = {metric.name: place for place, metric in enumerate(CATALOGUE)}


def _place(field: str) -> tuple[int, bool, str]:
    metric, _, dimension = field.partition("|")
    return _PLACES.get(metric, len(_PLACES)), "salesperson=" in dimension, dimension


def _change(metric: str, of: str, then: int, now: int) -> Change:
    return Change(metric, of, *(written(metric, number) for number in (then, now, now - then)))


def _written(fields: Mapping[str, int]) -> Numbers:
    return {field: written(field.partition("|")[0], number) for field, number in sorted(fields.items())}


def written(metric: str, number: int) -> Number:
    """Write a cell's number as JSON has it: a count as it is, hundredths as a decimal string."""
    return decimal_string(number) if metric in VALUES else number
