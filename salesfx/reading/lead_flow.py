"""What is said of the lead flow at a moment: the JSON of `salesfx lead-flow --json` and `/api/lead-flow`."""

import asyncio
from datetime import date, datetime

import msgspec

from salesfx.errors import SalesfxError
from salesfx.feed import troubles
from salesfx.lead_flow.live import Flow, LeadFlowJudge, LeadFlows, lead_flow_tables
from salesfx.lead_flow.sentence import sentence
from salesfx.reading.month import local_today
from salesfx.reading.reader import Reader
from salesfx.reading.window import OTHER, lead_sources, shown_tables
from salesfx.settings import Settings
from salesfx.tables.store import Snapshot


class FlowQuestionError(SalesfxError):
    """What is asked for does not exist."""

    exit_status = 2


class WindowJson(msgspec.Struct, frozen=True):
    """The leads of some time up to the moment, beside what is usual."""

    window: str
    since: datetime
    observed: int
    expected: float
    least: int
    """So many or fewer are an alarm; -1: not even none."""
    tail_probability: float
    """That so few come by chance."""
    rings: bool
    smallest_detectable_drop: float | None
    """From 0 to 1; null where none could be seen."""


class FlowJson(msgspec.Struct, frozen=True, kw_only=True):
    """One flow."""

    state: str
    sentence: str
    since: datetime | None
    last_lead_before: datetime | None
    history_days: int
    windows: list[WindowJson]


class LeadFlowJson(FlowJson, frozen=True, kw_only=True):
    """The flow that was asked for, and the sources where all leads were."""

    at: datetime
    source: str | None
    feed_trouble: list[str]
    by_source: dict[str, FlowJson]


def lead_flow_needs(today: date) -> list[str]:
    """Name all the tables that `judged` reads for a day."""
    return [*shown_tables(today), *lead_flow_tables(today)]


def judged(judge: LeadFlowJudge, snapshot: Snapshot, now: datetime, timezone: str, *, live: bool = True) -> LeadFlows:
    """Judge the lead flow by a snapshot.

    Args:
        judge: Of these settings.
        snapshot: With the tables that `lead_flow_needs` names.
        now: The moment; aware.
        timezone: Of the business.
        live: Whether it is now; how the feed was at a moment that has passed is not known.

    """
    sources = lead_sources(snapshot.tables, local_today(now, timezone))
    wrong = [each.sentence for each in troubles(snapshot, now)] if live else []
    return judge.flows(snapshot.tables, sources, OTHER, now, wrong)


async def lead_flow(
    reader: Reader,
    settings: Settings,
    now: datetime,
    *,
    at: datetime | None = None,
    source: str | None = None,
    judge: LeadFlowJudge | None = None,
) -> LeadFlowJson:
    """Tell how the lead flow is, or would have been judged at an earlier moment by today's tables.

    Args:
        reader: Of the tables.
        settings: What is in force.
        now: The clock.
        at: The earlier moment.
        source: Only of this one.
        judge: One that is kept, for now.

    Raises:
        FlowQuestionError: The moment has not come, or there is no such source.
        SalesfxError: What `Reader.snapshot` raises.

    """
    if at is not None and at > now:
        raise FlowQuestionError(f"{at.isoformat()} has not come yet: nobody knows how many leads there will be.")
    moment = now if at is None else at
    snapshot = await reader.snapshot(lead_flow_needs(local_today(moment, settings.timezone)))
    chosen = judge if judge is not None and at is None else LeadFlowJudge(settings)
    # In a thread: where nothing is known of yesterday yet, it takes some time.
    flows = await asyncio.to_thread(judged, chosen, snapshot, moment, settings.timezone, live=at is None)
    return to_json(flows, source)


def to_json(flows: LeadFlows, source: str | None = None) -> LeadFlowJson:
    """Write down what is said of all leads, or of those of one source.

    Raises:
        FlowQuestionError: There is no such source.

    """
    flow = flows.total if source is None else flows.by_source.get(source)
    if flow is None:
        names = ", ".join(sorted(flows.by_source)) or "none has any"
        raise FlowQuestionError(f"{source!r:.60} is none of the sources that are shown and had leads by then: {names}.")
    by_source = flows.by_source if source is None else {}
    shown = _flow(flows, flow, source)
    return LeadFlowJson(
        at=flows.at,
        source=source,
        feed_trouble=list(flows.trouble),
        by_source={name: _flow(flows, each, name) for name, each in by_source.items()},
        **{field: getattr(shown, field) for field in shown.__struct_fields__},
    )


def _flow(flows: LeadFlows, flow: Flow, source: str | None) -> FlowJson:
    return FlowJson(
        state=flow.state.value,
        sentence=sentence(flow, flows.at, flows.trouble, source),
        since=flow.since,
        last_lead_before=flow.last_lead,
        history_days=flow.history_days,
        windows=[
            WindowJson(
                window=name,
                since=flow.begins[name],
                observed=window.observed,
                expected=window.expected,
                least=window.least,
                tail_probability=window.probability,
                rings=window.is_low,
                smallest_detectable_drop=window.smallest_drop,
            )
            for name, window in flow.windows.items()
        ],
    )
