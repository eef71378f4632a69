"""How a budget of false alarms is spent: the bounds that windows of different lengths may have together.

A window that slides along a flow in which nothing changes is below a bound in clumps: where it is low now, it was low an
hour ago. What the budget counts is clumps. Their rate is Aldous's (Probability Approximations via the Poisson Clumping
Heuristic, 1989, section C): of a stationary process whose correlation falls by `a` a day, locally like a random walk,
clumps below b standard deviations begin at the rate a b^2 Q(b) if it is looked at all the time. Looks that are apart miss
some of that: Siegmund's factor v(b sqrt(2 a d)) for looks every d days (Sequential Analysis, 1985, section 8.4). It
leads from looks at any moment to windows end to end, where each look is an event of its own.

Counts are discrete: instead of b^2 Q(b) stands (mean - c) P(c), its limit, which is exact for Poisson counts looked at all
the time. The bounds are whole numbers, so that part of a share may be left; it is lent to the windows whose next bound it
pays for, and what remains to the time since the last lead, which is measured in finer steps.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from salesfx.lead_flow.counts import bound, lower_tail

DAYS_A_YEAR = 365.25
_FINE = 0.25
"""Expected leads of a slot up to which the time since the last lead grows as if without steps."""
_MOST_SLOTS = 100
_LIKELY = 0.4
"""What is as likely is no alarm, however seldom it could come about."""
_LEAST_BOUND = 1
"""That there was none at all is seen sooner by the time since the last lead."""


@dataclass(frozen=True, slots=True)
class Sliding:
    """A window as it is to be expected, before anything of it is known."""

    mean: float
    """Of its count."""
    variance: float
    decay: float
    """By how much the correlation of its count with itself falls in a day."""
    step: float
    """Days between looks, as far as these see anything new."""
    look: float
    """Days between looks."""


@dataclass(frozen=True, slots=True)
class Silence:
    """The time since the last lead, as it is to be expected."""

    begins: float
    """How many such times begin in a day."""
    a_slot: float
    """Leads to be expected of an average slot: in such steps it grows."""
    chance: Callable[[float], float]
    """The probability that none comes where so many are expected."""


@dataclass(frozen=True, slots=True)
class Spent:
    """The probabilities up to which something is an alarm."""

    windows: Sequence[float]
    """Of the windows as they were given; 0 where none can ring."""
    silence: float
    rate: float
    """False alarms a year that all of it makes, if each rang by itself."""


def clumps_a_year(count: int, sliding: Sliding) -> float:
    """Give the rate at which a window comes to have so few: how often a year that begins where nothing changes."""
    mean, variance = sliding.mean, sliding.variance
    tail = lower_tail(count, mean, variance)
    if count >= mean or tail <= 0:
        return DAYS_A_YEAR / sliding.look if count >= mean else 0.0
    alone = tail - lower_tail(count - 1, mean, variance)
    square = max((mean - count) * alone / tail, 1.0)  # near the mean nothing is rare
    between = _siegmund(math.sqrt(2 * square * sliding.decay * sliding.step))
    return DAYS_A_YEAR * min(sliding.decay * square * between, 1 / sliding.look) * tail


def _siegmund(x: float) -> float:
    """Give v(x) by the formula of Siegmund and Yakir (The Statistics of Gene Mapping, 2007, section 5.2)."""
    if x < 1e-6:  # noqa: PLR2004 - its limit at 0 is 1
        return 1.0
    half = x / 2
    below = 0.5 * math.erfc(-half / math.sqrt(2))
    density = math.exp(-half * half / 2) / math.sqrt(2 * math.pi)
    return (2 / x) * (below - 0.5) / (half * below + density)


def spend(false_alarms_per_year: float, windows: Sequence[Sliding], silence: Silence) -> Spent:
    """Share a budget out, by what is to be expected alone.

    Args:
        false_alarms_per_year: All that there may be.
        windows: The windows that slide.
        silence: The time since the last lead, which is one of those that share.

    """
    equal = false_alarms_per_year / (len(windows) + 1)
    left = false_alarms_per_year - _attained(silence, equal)
    counts = [_first_bound(window, equal) for window in windows]
    rates = [clumps_a_year(count, window) if count >= 0 else 0.0 for count, window in zip(counts, windows, strict=True)]
    left -= sum(rates)
    able = set(range(len(windows)))
    while able:
        least = min(able, key=rates.__getitem__)
        count = max(_LEAST_BOUND, counts[least] + 1)
        rate = clumps_a_year(count, windows[least])
        if count < windows[least].mean and rate - rates[least] <= left:
            left -= rate - rates[least]
            counts[least], rates[least] = count, rate
        else:
            able.remove(least)
    levels = [_between(count, window) for count, window in zip(counts, windows, strict=True)]
    begins = DAYS_A_YEAR * silence.begins
    silent = _attained(silence, equal) + max(left, 0.0)
    return Spent(levels, min(_LIKELY, silent / begins) if begins else 0.0, sum(rates) + (silent if begins else 0.0))


def _first_bound(window: Sliding, rate: float) -> int:
    """Give the greatest count that is come to no more often; -1 where none is."""
    # Clumps are fewer than looks that are low, and more than windows that are low, laid end to end.
    low = bound(min(_LIKELY, rate * window.look / DAYS_A_YEAR), window.mean, window.variance)
    high = max(low, bound(min(_LIKELY, rate / window.decay / DAYS_A_YEAR), window.mean, window.variance)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if clumps_a_year(middle, window) <= rate:
            low = middle
        else:
            high = middle
    return low if low >= _LEAST_BOUND else -1


def _between(count: int, window: Sliding) -> float:
    """Give a probability between that of a bound and that of the next: within a day what is expected changes a little."""
    if count < 0:
        return 0.0
    here, above = (lower_tail(n, window.mean, window.variance) for n in (count, count + 1))
    return math.sqrt(here * above)


def _attained(silence: Silence, rate: float) -> float:
    """Give what of a share the time since the last lead uses up, as it grows in steps."""
    if silence.a_slot <= _FINE:
        return rate
    slots, attained = 1, math.inf
    while attained > rate:
        attained = DAYS_A_YEAR * silence.begins * silence.chance(slots * silence.a_slot)
        slots += 1
        if slots > _MOST_SLOTS:
            return rate
    return attained
