"""Whether the leads of the last days are fewer than chance explains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from salesfx.lead_flow.counts import bound, lower_tail
from salesfx.lead_flow.usual import LeadFlow, Usual

WINDOWS = (1, 3, 7, 14)
"""Days that are looked at together, up to now."""
_DAYS_A_YEAR = 365.25
_SHARE = 1 / (len(WINDOWS) + 1)
"""Each of the windows, and the time since the last lead, may give as many false alarms."""
_LOOKS = 2.6
"""A window that slides makes more false alarms than windows that are laid end to end, by this factor."""
_POWER = 0.8
"""A drop counts as one that would be seen where it is seen in four cases of five."""


class State(StrEnum):
    """What is to be said of a lead flow."""

    OK = "ok"
    LOW = "low"
    SILENT = "silent"
    LITTLE_EVIDENCE = "too little evidence"


@dataclass(frozen=True, slots=True)
class Window:
    """The leads of some time up to now, beside what is usual."""

    days: float
    """Its length; of the time since the last lead what it happens to be."""
    observed: int
    expected: float
    variance: float
    """Of a count that is expected to be that."""
    least: int
    """With so many or fewer it is an alarm; -1 where even none would be none."""
    probability: float
    """That so few come by chance."""
    level: float
    """The probability up to which it is an alarm."""
    smallest_drop: float | None
    """Share that would have to be missing to be seen in four cases of five; None where nothing would be seen."""

    @property
    def is_low(self) -> bool:
        """Tell whether it is an alarm."""
        return self.probability <= self.level


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be said of a lead flow at one moment."""

    state: State
    windows: Sequence[Window]
    """By their length, the time since the last lead at the end; none where there is too little history."""

    @property
    def worst(self) -> Window | None:
        """The window that is least likely, by its level."""
        return min(self.windows, key=lambda window: window.probability / window.level, default=None)


def judge(
    flow: LeadFlow,
    day: int,
    slot: int,
    false_alarms_per_year: float,
    *,
    details: bool = True,
    part: float = 0.0,
    last_lead: tuple[int, float] | None = None,
) -> Judgement:
    """Judge a lead flow at a moment.

    Args:
        flow: The counts; what comes after that moment is not looked at.
        day: Number of the day.
        slot: Slots of it that are over; 0 as the day begins.
        false_alarms_per_year: How many there may be where nothing changes.
        details: Also tell the bounds and the smallest drops, which takes most of the time.
        part: Share of the next slot that is over too, below 1. Its count so far then is that slot's count.
        last_lead: When the last lead came, where it is known: number of the day, and slots of it until then, like 9.25.
            Else it is taken to have come at the end of its slot.

    """
    now = _Moment(day, slot, part)
    windows = [_window(flow, now, days, false_alarms_per_year, details) for days in WINDOWS]
    silence = _silence(flow, now, last_lead, false_alarms_per_year, details)
    found = [window for window in (*windows, silence) if window]
    if silence is not None and silence.is_low:
        return Judgement(State.SILENT, found)
    if any(window.is_low for window in found):
        return Judgement(State.LOW, found)
    longest = windows[-1] or windows[-2]
    if longest is None or lower_tail(0, longest.expected, longest.variance) > longest.level:
        return Judgement(State.LITTLE_EVIDENCE, found)
    return Judgement(State.OK, found)


@dataclass(frozen=True, slots=True)
class _Moment:
    day: int
    slot: int
    part: float

    @property
    def slots(self) -> float:
        """Slots of the day that are over."""
        return self.slot + self.part


def _window(flow: LeadFlow, now: _Moment, days: int, false_alarms_per_year: float, details: bool) -> Window | None:
    """Look at some days up to now; they begin with a whole slot."""
    usual = flow.usual(now.day - days) if now.day >= days else None
    if usual is None:
        return None
    observed = sum(flow.counts[now.day - days][now.slot :]) + sum(flow.totals[now.day - days + 1 : now.day])
    if now.slots:
        observed += sum(flow.counts[now.day][: math.ceil(now.slots)])
    expected = _expected(flow, usual, _Moment(now.day - days, now.slot, 0.0), now)
    level = false_alarms_per_year * _SHARE * days / _DAYS_A_YEAR / _LOOKS
    return _compared(days, observed, expected, usual.variance(expected), level, details)


def _expected(flow: LeadFlow, usual: Usual, since: _Moment, until: _Moment) -> float:
    """Give the expected count from one moment to another, which lies before the end of what is counted, or at it."""
    days = range(since.day + 1, until.day)
    expected = usual.level * sum(usual.rhythm[flow.kinds[day]] for day in days)
    if until.day > since.day:
        expected += usual.expected(flow.kinds[since.day]) if since.day < len(flow.kinds) else 0.0
    if until.slots:
        expected += usual.until(flow.kinds[until.day], until.slots)
    return expected - (usual.until(flow.kinds[since.day], since.slots) if since.slots else 0.0)


def _silence(
    flow: LeadFlow, now: _Moment, last_lead: tuple[int, float] | None, false_alarms_per_year: float, details: bool
) -> Window | None:
    """Look at the time since the last lead."""
    since = _last_lead(flow, now) if last_lead is None else _Moment(last_lead[0], 0, last_lead[1])
    usual = flow.usual(since.day) if since is not None else None
    if since is None or usual is None:
        return None
    expected = max(0.0, _expected(flow, usual, since, now))
    # As many such times begin in a year as slots have leads.
    a_day = sum(1 - math.exp(-usual.level * share) for share in usual.shape[0])
    level = false_alarms_per_year * _SHARE / (_DAYS_A_YEAR * a_day) if a_day else 0.0
    days = max(0.0, now.day - since.day + (now.slots - since.slots) / flow.slots)
    return _compared(days, 0, expected, usual.variance(expected), level, details)


def _last_lead(flow: LeadFlow, now: _Moment) -> _Moment | None:
    """Give the end of the slot of the last lead; None where there is none."""
    day, slot = now.day, math.ceil(now.slots) - 1
    while day >= 0:
        while slot >= 0:
            if flow.counts[day][slot]:
                return now if (day, slot) == (now.day, now.slot) else _Moment(day, slot + 1, 0.0)
            slot -= 1
        day, slot = day - 1, flow.slots - 1
    return None


def _compared(days: float, observed: int, expected: float, variance: float, level: float, details: bool) -> Window:
    probability = lower_tail(observed, expected, variance)
    least = bound(level, expected, variance) if details else -1
    drop = _smallest_drop(least, expected, variance) if details else None
    return Window(days, observed, expected, variance, least, probability, level, drop)


def _smallest_drop(least: int, expected: float, variance: float) -> float | None:
    if least < 0:
        return None
    low, high = 0.0, 1.0
    for _ in range(12):
        drop = (low + high) / 2
        if lower_tail(least, expected * (1 - drop), variance * (1 - drop)) >= _POWER:
            high = drop
        else:
            low = drop
    return high
