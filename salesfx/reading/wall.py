"""What the wall shows at one instant: the JSON of `/api/wall`, and of each message of `/api/wall/events`."""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from salesfx.feed import Trouble, troubles
from salesfx.reading.lag import LogEndsView
from salesfx.reading.lead_flow import LeadFlowJson, lead_flow_needs
from salesfx.reading.month import Month
from salesfx.reading.months import MonthHeadline, headline
from salesfx.reading.progress import MonthProgress, progress_tables
from salesfx.reading.report import MonthReport, report_of
from salesfx.reading.window import MONTHS_BACK, Window
from salesfx.tables.store import Snapshot


class LargeDeal(msgspec.Struct, frozen=True):
    """A qualified lead or a won deal that stands out by its value."""

    id: str
    value: str
    salesperson: str | None
    """None where salespeople are not to be seen."""
    date: str


class Large(msgspec.Struct, frozen=True):
    """What stands out in a month, the greatest first; found by reading every lead, so it may be some seconds old."""

    qualified_leads: Sequence[LargeDeal] = ()
    won_deals: Sequence[LargeDeal] | None = None
    """From the value that the settings name; None where it was not looked yet, or they name none."""


class Feed(msgspec.Struct, frozen=True):
    """How the events get into the tables."""

    kafka_answers: bool | None
    """None: not asked yet."""
    lag: int | None
    """Events in Kafka's log that are not in the tables; None where Kafka does not answer."""
    last_event: float | None
    """When the last event got into Kafka, in Unix time."""
    last_commit: float | None
    """When events were last taken into the tables, in Unix time."""
    troubles: Sequence[Trouble]
    """What is wrong with their way."""


class Wall(msgspec.Struct, frozen=True, kw_only=True):
    """All that a wall shows. Sources and salespeople beyond the exporter's bounds are `other`."""

    at: datetime
    """The moment that it is seen from, in the business time zone."""
    timezone: str
    build: str
    """Of the page: one that was loaded from another build loads itself anew."""
    show_salespeople: bool
    month: MonthReport
    history: list[MonthHeadline]
    """The last 13 months, the oldest first; the current one is the last."""
    progress: MonthProgress
    """Against targets, and the same days of last month."""
    lead_flow: LeadFlowJson
    large: Large
    feed: Feed


def wall_tables(today: date) -> list[str]:
    """Name the tables that `wall` reads."""
    return sorted({*lead_flow_needs(today), *progress_tables(Month.of(today))})


def wall(
    snapshot: Snapshot,
    now: datetime,
    *,
    build: str,
    show_salespeople: bool,
    large: Large,
    log_ends: LogEndsView | None,
    progress: MonthProgress,
    lead_flow: LeadFlowJson,
) -> Wall:
    """Put together what a wall shows; pure.

    Args:
        snapshot: With the tables that `wall_tables` names.
        now: The moment, in the business time zone.
        build: Of the page.
        show_salespeople: Whether names may be seen.
        large: What stands out.
        log_ends: What Kafka said last.
        progress: Of the current month.
        lead_flow: What is said of it.

    """
    today = now.date()
    window = Window(snapshot, today)
    whole = dict(window.whole_months(0))
    currency = msgspec.json.decode(snapshot.definitions)["currency"]
    report = report_of(whole[0], Month.of(today), currency)
    return Wall(
        at=now,
        timezone=str(now.tzinfo),
        build=build,
        show_salespeople=show_salespeople,
        month=report if show_salespeople else _without_salespeople(report),
        history=[headline(whole[ago], str(window.months[ago])) for ago in range(MONTHS_BACK, -1, -1)],
        progress=progress if show_salespeople else msgspec.structs.replace(progress, by_salesperson={}),
        lead_flow=lead_flow,
        large=large,
        feed=_feed(snapshot, log_ends, now),
    )


def _without_salespeople(report: MonthReport) -> MonthReport:
    replace = msgspec.structs.replace
    return replace(
        report,
        lead_flow=replace(report.lead_flow, by_salesperson={}),
        qualified_leads=replace(report.qualified_leads, by_salesperson={}),
        conversion=replace(report.conversion, by_salesperson={}),
        sales=replace(report.sales, by_salesperson={}),
    )


def _feed(snapshot: Snapshot, log_ends: LogEndsView | None, now: datetime) -> Feed:
    answers = None if log_ends is None else log_ends.answers
    lag = None
    if log_ends is not None and log_ends.answers:
        lag = sum(max(0, end - snapshot.offsets.get(partition, 0)) for partition, end in log_ends.ends.items())
    last_event, last_commit = _latest(snapshot, "last_event"), _latest(snapshot, "last_commit")
    return Feed(answers, lag, last_event, last_commit, troubles(snapshot, now))


def _latest(snapshot: Snapshot, kind: str) -> float | None:
    return max((float(moment) for name, moment in snapshot.marks.items() if name.startswith(kind + "|")), default=None)
