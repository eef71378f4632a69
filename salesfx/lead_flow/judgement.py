"""Whether the leads of the last days are fewer than chance explains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from salesfx.lead_flow.counts import bound, lower_tail
from salesfx.lead_flow.spending import Silence, Sliding, Spent, spend
from salesfx.lead_flow.usual import CLOSED, LeadFlow, Usual

WINDOWS = (1, 3, 7, 14)
"""Days that are looked at together, up to now."""
_LEVEL_DECAY = 1 / 14
"""By how much the correlation of the level's error with itself falls in a day: it is that of the last weeks."""
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
    """The probability up to which it is an alarm; 0 where it cannot be one."""
    smallest_drop: float | None
    """Share that would have to be missing to be seen in four cases of five; None where nothing would be seen."""

    @property
    def is_low(self) -> bool:
        """Tell whether it is an alarm."""
        return self.probability <= self.level > 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be said of a lead flow at one moment."""

    state: State
    windows: Sequence[Window]
    """By their length, the time since the last lead at the end; none where there is too little history."""

    @property
    def worst(self) -> Window | None:
        """The window that is least likely, by its level; None where none can ring."""
        able = [window for window in self.windows if window.level > 0]
        return min(able, key=lambda window: window.probability / window.level, default=None)


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
    levels = _levels(flow, day, false_alarms_per_year)
    windows = [_window(flow, now, days, level, details) for days, level in zip(WINDOWS, levels.windows, strict=True)]
    silence = _silence(flow, now, last_lead, levels.silence, details)
    found = [window for window in (*windows, silence) if window]
    if silence is not None and silence.is_low:
        return Judgement(State.SILENT, found)
    if any(window.is_low for window in found):
        return Judgement(State.LOW, found)
    longest = windows[-1] or windows[-2]
    silent = lower_tail(0, longest.expected, longest.variance) if longest else 1.0
    if longest is None or silent > max(longest.level, levels.silence):
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


def _levels(flow: LeadFlow, day: int, false_alarms_per_year: float) -> Spent:
    """Share the budget out over what can be judged on a day."""
    key = (day, false_alarms_per_year)
    if key not in flow.spent:
        usual = [flow.usual(day - days) if day >= days else None for days in WINDOWS]
        sliding = [_sliding(flow, day, days, then) for days, then in zip(WINDOWS, usual, strict=True) if then]
        spent = spend(false_alarms_per_year, sliding, _silent(flow, usual[0]))
        # The longer windows are the ones that a short history lacks.
        flow.spent[key] = Spent([*spent.windows, *[0.0] * (len(WINDOWS) - len(sliding))], spent.silence)
    return flow.spent[key]


def _sliding(flow: LeadFlow, day: int, days: int, usual: Usual) -> Sliding:
    """Tell how a window is to be expected that ends as a day begins."""
    mean = usual.level * sum(usual.rhythm[kind] for kind in flow.kinds[day - days : day])
    variance = usual.variance(mean, days, flow.kinds[day - days : day].count(CLOSED))
    chance = usual.chance(mean, days) / variance if variance else 1.0
    # Chance is seen at every look, scatter is the day's.
    step = 1 / (flow.slots * usual.dispersion) + 1 - 1 / usual.dispersion
    return Sliding(mean, variance, chance / days + (1 - chance) * _LEVEL_DECAY, step, 1 / flow.slots)


def _silent(flow: LeadFlow, usual: Usual | None) -> Silence:
    """Tell how the time since the last lead is to be expected."""
    if usual is None:
        return Silence(0.0, 0.0, float)
    # As many such times begin in a day as slots have leads.
    begins = sum(1 - math.exp(-usual.level * share) for share in usual.shape[0])
    return Silence(begins, usual.level / flow.slots, lambda mean: lower_tail(0, mean, usual.variance(mean, 1)))


def _window(flow: LeadFlow, now: _Moment, days: int, level: float, details: bool) -> Window | None:
    """Look at some days up to now; they begin with a whole slot."""
    usual = flow.usual(now.day - days) if now.day >= days else None
    if usual is None:
        return None
    since = _Moment(now.day - days, now.slot, 0.0)
    observed = sum(flow.counts[since.day][now.slot :]) + sum(flow.totals[since.day + 1 : now.day])
    if now.slots:
        observed += sum(flow.counts[now.day][: math.ceil(now.slots)])
    expected = _expected(flow, usual, since, now)
    variance = usual.variance(expected, days, _closed(flow, since, now))
    return _compared(days, observed, expected, variance, level, details)


def _expected(flow: LeadFlow, usual: Usual, since: _Moment, until: _Moment) -> float:
    """Give the expected count from one moment to another, which lies before the end of what is counted, or at it."""
    days = range(since.day + 1, until.day)
    expected = usual.level * sum(usual.rhythm[flow.kinds[day]] for day in days)
    if until.day > since.day:
        expected += usual.expected(flow.kinds[since.day])
    if until.slots:
        expected += usual.until(flow.kinds[until.day], until.slots)
    return expected - (usual.until(flow.kinds[since.day], since.slots) if since.slots else 0.0)


def _closed(flow: LeadFlow, since: _Moment, until: _Moment) -> float:
    """Give how many closed days lie between two moments, parts of them too."""
    closed = float(flow.kinds[since.day : until.day].count(CLOSED))
    if not flow.has_closed_days:
        return 0.0
    if since.slots and flow.kinds[since.day] == CLOSED:
        closed -= since.slots / flow.slots
    if until.slots and flow.kinds[until.day] == CLOSED:
        closed += until.slots / flow.slots
    return closed


def _silence(
    flow: LeadFlow, now: _Moment, last_lead: tuple[int, float] | None, level: float, details: bool
) -> Window | None:
    """Look at the time since the last lead."""
    since = _last_lead(flow, now) if last_lead is None else _Moment(last_lead[0], 0, last_lead[1])
    usual = flow.usual(since.day) if since is not None else None
    if since is None or usual is None:
        return None
    expected = max(0.0, _expected(flow, usual, since, now))
    days = max(0.0, now.day - since.day + (now.slots - since.slots) / flow.slots)
    variance = usual.variance(expected, days, max(0.0, _closed(flow, since, now)))
    return _compared(days, 0, expected, variance, level, details)


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
