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


def judge(flow: LeadFlow, day: int, slot: int, false_alarms_per_year: float, *, details: bool = True) -> Judgement:
    """Judge a lead flow at a moment.

    Args:
        flow: The counts; what comes at that moment or later is not looked at.
        day: Number of the day.
        slot: Slots of it that are over; 0 as the day begins.
        false_alarms_per_year: How many there may be where nothing changes.
        details: Also tell the bounds and the smallest drops, which takes most of the time.

    """
    windows = [_window(flow, day, slot, days, false_alarms_per_year, details) for days in WINDOWS]
    silence = _silence(flow, day, slot, false_alarms_per_year, details)
    found = [window for window in (*windows, silence) if window]
    if silence is not None and silence.is_low:
        return Judgement(State.SILENT, found)
    if any(window.is_low for window in found):
        return Judgement(State.LOW, found)
    longest = windows[-1] or windows[-2]
    if longest is None or lower_tail(0, longest.expected, longest.variance) > longest.level:
        return Judgement(State.LITTLE_EVIDENCE, found)
    return Judgement(State.OK, found)


def _window(
    flow: LeadFlow, day: int, slot: int, days: int, false_alarms_per_year: float, details: bool
) -> Window | None:
    usual = flow.usual(day - days) if day >= days else None
    if usual is None:
        return None
    observed = sum(flow.counts[day - days][slot:]) + sum(flow.totals[day - days + 1 : day])
    if slot:
        observed += sum(flow.counts[day][:slot])
    expected = _expected(flow, usual, (day - days, slot), (day, slot))
    level = false_alarms_per_year * _SHARE * days / _DAYS_A_YEAR / _LOOKS
    return _compared(days, observed, expected, usual.variance(expected), level, details)


def _expected(flow: LeadFlow, usual: Usual, since: tuple[int, int], until: tuple[int, int]) -> float:
    """Give the expected count from one day and slot to another, which lies before the end of what is counted, or at it."""
    (first, begin), (last, end) = since, until
    if first == last:
        return usual.expected(flow.kinds[first], slice(begin, end))
    expected = usual.expected(flow.kinds[first], slice(begin, None))
    expected += usual.level * sum(usual.rhythm[kind] for kind in flow.kinds[first + 1 : last])
    return expected + usual.expected(flow.kinds[last], slice(end)) if end else expected


def _silence(flow: LeadFlow, day: int, slot: int, false_alarms_per_year: float, details: bool) -> Window | None:
    """Look at the time since the last lead, which begins after the slot in which it came."""
    last_day, last_slot = day, slot - 1
    while last_day >= 0 and (last_slot < 0 or not flow.counts[last_day][last_slot]):
        last_slot -= 1
        if last_slot < 0:
            last_day, last_slot = last_day - 1, flow.slots - 1
    usual = flow.usual(last_day) if last_day >= 0 else None
    if usual is None:
        return None
    expected = _expected(flow, usual, (last_day, last_slot + 1), (day, slot))
    # As many such times begin in a year as slots have leads.
    a_day = sum(1 - math.exp(-usual.level * share) for share in usual.shape[0])
    level = false_alarms_per_year * _SHARE / (_DAYS_A_YEAR * a_day) if a_day else 0.0
    days = day - last_day + (slot - last_slot - 1) / flow.slots
    return _compared(days, 0, expected, usual.variance(expected), level, details)


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
