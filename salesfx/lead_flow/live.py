"""The lead flow as it is at a moment, by the tables of leads by hour: of all leads, and of each source."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from salesfx.lead_flow.closed_days import is_closed
from salesfx.lead_flow.hours import A_DAY, Clock, Days, Position, hour_tables, leads_by_hour, usual_in
from salesfx.lead_flow.judgement import WINDOWS, State, Window, judge
from salesfx.lead_flow.sharing import shares
from salesfx.lead_flow.usual import HISTORY_DAYS, LeadFlow
from salesfx.settings import Settings

DAYS_BACK = HISTORY_DAYS + 42
"""Days that are looked at: what is usual is known of a silence, too, that has gone on for weeks."""
SINCE_LAST_LEAD = "since_last_lead"
WINDOW_NAMES = (*(f"{days}d" for days in WINDOWS), SINCE_LAST_LEAD)


class FlowState(StrEnum):
    """What is said of a lead flow."""

    OK = "ok"
    LOW = "low"
    SILENT = "silent"
    TOO_LITTLE_EVIDENCE = "too_little_evidence"
    FEED_BROKEN = "feed_broken"


_STATES = {
    State.OK: FlowState.OK,
    State.LOW: FlowState.LOW,
    State.SILENT: FlowState.SILENT,
    State.LITTLE_EVIDENCE: FlowState.TOO_LITTLE_EVIDENCE,
}


@dataclass(frozen=True)
class Flow:
    """What is said of all leads, or of those of one source."""

    state: FlowState
    windows: Mapping[str, Window]
    """By name, of `WINDOW_NAMES`; those for which the history is too short are missing."""
    begins: Mapping[str, datetime]
    """When each of the windows began."""
    last_lead: datetime | None
    """End of the hour in which the last lead came, or the moment itself where it is that hour; None where none is known."""
    history_days: int
    """Whole days since the first lead, up to the day before; `DAYS_BACK` at most."""

    @property
    def worst(self) -> str | None:
        """The window that says most: of an alarm the least likely of those that ring, by its level."""
        shown = [name for name in self.windows if name != SINCE_LAST_LEAD]
        if self.state is FlowState.SILENT:
            return SINCE_LAST_LEAD
        if self.state is FlowState.LOW:
            low = {name: self.windows[name] for name in shown if self.windows[name].is_low}
            return min(low, key=lambda name: low[name].probability / max(low[name].level, _TINY))
        return _CALM if _CALM in shown else next(reversed(shown), None)

    @property
    def since(self) -> datetime | None:
        """Since when fewer come than usual, as far as can be told; None where nothing rings."""
        alarming = self.state in {FlowState.LOW, FlowState.SILENT} and self.worst
        return self.begins[alarming] if alarming else None


_TINY = 1e-300
_CALM = "7d"
"""The window that is told of where all is well: a week has every weekday."""


@dataclass(frozen=True)
class LeadFlows:
    """What is said of the lead flow at a moment."""

    at: datetime
    """In the business time zone."""
    trouble: Sequence[str]
    """What is wrong with the way of the events into the tables."""
    total: Flow
    by_source: Mapping[str, Flow]


def lead_flow_tables(today: date) -> list[str]:
    """Name the tables that the lead flow of a day is judged by."""
    return hour_tables(today, DAYS_BACK)


class LeadFlowJudge:
    """Judges lead flows, at one moment after the other; what is usual is worked out once for a day.

    More exactly: as long as nothing of the days before has changed. A late event restates them, and what is usual with them.
    """

    def __init__(self, settings: Settings) -> None:
        self._clock = Clock(ZoneInfo(settings.timezone))
        self._budget = settings.false_alarms_per_year
        self._is_closed = is_closed(settings.holidays_country, settings.closed_days)
        self._kept: Mapping[str | None, LeadFlow] = {}

    def flows(
        self,
        tables: Mapping[str, Mapping[str, int]],
        sources: Mapping[str, str],
        other: str,
        now: datetime,
        trouble: Sequence[str] = (),
    ) -> LeadFlows:
        """Judge the lead flow.

        Args:
            tables: Those that `lead_flow_tables` names for the local date.
            sources: What each source that has leads is shown as.
            other: What a further one is shown as.
            now: The moment; aware.
            trouble: What is wrong with the way of the events into the tables: then counts say nothing.

        """
        position = self._clock.position(now)
        total, found = leads_by_hour(tables, sources, other, (position.day, position.hour))
        every: dict[str | None, _History] = {None: self._history(total, now, position)}
        for name in sorted({*sources.values(), *found}):
            every[name] = self._history(found.get(name, {}), now, position)
        flows = {whose: self._flow(whose, history) for whose, history in every.items()}
        usual = {
            name: None if flow is None else flow.usual(every[name].days)
            for name, flow in flows.items()
            if name is not None
        }
        budgets = shares(usual, self._budget)
        judged = {
            whose: self._judged(history, flows[whose], self._budget if whose is None else budgets[whose], trouble)
            for whose, history in every.items()
        }
        self._kept = {whose: flow for whose, flow in flows.items() if flow is not None}
        return LeadFlows(
            at=now.astimezone(self._clock.zone),
            trouble=trouble,
            total=judged[None],
            by_source={name: flow for name, flow in judged.items() if name is not None},
        )

    def _history(self, days: Days, now: datetime, position: Position) -> "_History":
        """Take what has come as a history, which begins on the day after the first lead.

        That day may have begun before the log did; and a flow is not known to have had days without leads before it.
        """
        first = max(position.day - DAYS_BACK, min(days, default=position.day) + 1)
        last_day = max(days, default=None)
        last_lead = None
        if last_day is not None:
            hour = max(hour for hour in range(A_DAY) if days[last_day][hour])
            last_lead = min(now, self._clock.begin(last_day, hour + 1))
        counts = [list(days.get(day, _NO_LEADS)) for day in range(first, position.day + 1)]
        missing = []
        for day, hour in self._clock.missing(first, position.day):
            # What the model expects of the hour that is left out in spring is taken to have come, and is not told.
            if (day, hour) < (position.day, position.hour) and (filled := usual_in(days, day, hour)):
                counts[day - first][hour] = filled
                missing.append((day, hour, filled))
        return _History(now, position, first, counts, last_lead, missing)

    def _flow(self, name: str | None, history: "_History") -> LeadFlow | None:
        """Give the model's flow; where only today has changed, with what is usual from last time."""
        if not history.counts:
            return None
        first, counts = date.fromordinal(history.first), history.counts
        kept = self._kept.get(name)
        if kept is None or kept.first != first or kept.counts[:-1] != counts[:-1]:
            return LeadFlow(first, counts, self._is_closed)
        flow = copy(kept)
        flow.counts = counts
        flow.totals = [*kept.totals[:-1], sum(counts[-1])]
        return flow

    def _judged(self, history: "_History", flow: LeadFlow | None, budget: float, trouble: Sequence[str]) -> Flow:
        state, windows = FlowState.TOO_LITTLE_EVIDENCE, {}
        if flow is not None:
            judgement = judge(
                flow,
                history.days,
                history.position.hour,
                budget,
                part=history.position.part,
                last_lead=history.last_lead_position,
            )
            state = _STATES[judgement.state]
            known = [f"{days}d" for days in WINDOWS if history.days >= days and flow.usual(history.days - days)]
            windows = dict(zip([*known, SINCE_LAST_LEAD], judgement.windows, strict=False))
        return Flow(
            state=FlowState.FEED_BROKEN if trouble else state,
            windows=dict(history.told(windows)),
            begins={name: self._begin(history, name, window) for name, window in windows.items()},
            last_lead=history.last_lead and history.last_lead.astimezone(self._clock.zone),
            history_days=max(0, history.days),
        )

    def _begin(self, history: "_History", name: str, window: Window) -> datetime:
        if name == SINCE_LAST_LEAD and history.last_lead is not None:
            begin = history.last_lead
        else:
            begin = self._clock.begin(history.position.day - int(window.days), history.position.hour)
        return begin.astimezone(self._clock.zone)


_NO_LEADS = [0] * A_DAY


@dataclass(frozen=True)
class _History:
    """What one flow is judged by."""

    now: datetime
    position: Position
    first: int
    """Ordinal of its first day."""
    counts: list[list[int]]
    """Of each day from then on, today the last; none where the first lead came today."""
    last_lead: datetime | None
    missing: Sequence[tuple[int, int, int]]
    """Hours that a day did not have: ordinal of the day, hour, and what was filled in."""

    @property
    def days(self) -> int:
        """Whole days; the number of today."""
        return self.position.day - self.first

    @property
    def last_lead_position(self) -> tuple[int, float] | None:
        """Number of the day and hours of it, so that the time since is what really passed.

        Across a change of the clock it is an hour more or less than the cells between.
        """
        if self.last_lead is None:
            return None
        passed = (self.now - self.last_lead) / timedelta(hours=1)
        day, hours = divmod(self.days * A_DAY + self.position.hour + self.position.part - passed, A_DAY)
        return int(day), round(hours, 6)

    def told(self, windows: Mapping[str, Window]) -> Iterator[tuple[str, Window]]:
        """Take from windows what was filled in and did not come."""
        for name, window in windows.items():
            filled = 0
            if name != SINCE_LAST_LEAD:
                begin = self.position.day - int(window.days), self.position.hour
                filled = sum(number for day, hour, number in self.missing if (day, hour) >= begin)
            yield (
                name,
                replace(
                    window,
                    observed=window.observed - filled,
                    expected=max(0.0, window.expected - filled),
                    least=max(-1, window.least - filled),
                )
                if filled
                else window,
            )
