"""What is usual: the leads to be expected of a day and its hours, from those that came before.

All of it is arithmetic on counts by local day and slot (an hour, or a whole day where only days are known). It has to bear
with what real lead flows do: slumps that nobody has mended yet, one day of a fair, a step that stays, holidays, a trend,
and more scatter than chance alone would give. What it estimates it knows only so well, and the variance that it gives to a
count to come says so: otherwise few leads and short histories would ring.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from salesfx.lead_flow.level import PRIOR_DRIFT, Days, Track, follow, follow_all, levels_around
from salesfx.lead_flow.spending import Spent

HISTORY_DAYS = 84
"""Days that what is usual is taken from: twelve weeks, so that each weekday comes twelve times."""
LEAST_DAYS = 28
"""With fewer days nothing is judged."""
CLOSED = 7
"""Kind of a day on which nobody works, beside the weekdays from 0, Monday."""
_KINDS = 8
_WEEK = 7
_RHYTHM_PRIOR = 5.0
"""Leads that speak for a day like any other, against what came on its weekday."""
_PRIOR_DAYS, _PRIOR_DISPERSION = 3, 1.3
"""Days that speak for so much scatter, before any is seen."""
_OUTLIER = 9.0
"""Squared deviation, by the variance, beyond which a day tells no more of the scatter."""
_TAIL = 5.5
"""Half of 1 + b^2, b = 3.2 deviations: what the variance is raised by where it is estimated itself, by the days that it
is estimated from. The tail of Student's t is that of a normal distribution with so much more variance."""
_ROUNDS = 3
"""In which rhythm, level and scatter are found from each other."""
_CLOSED_PRIOR, _CLOSED_DEVIATION = 2.0, 0.35
"""Closed days that speak for a Sunday, and how far from it they may be, in shares of an average day."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual as a day begins."""

    level: float
    """Leads of an average day of the week."""
    rhythm: tuple[float, ...]
    """What a day of each kind has of that."""
    shape: tuple[tuple[float, ...], ...]
    """Of each kind of day the shares of its slots; they sum up to 1."""
    dispersion: float
    """Variance of a day's count by its mean; 1 is pure chance."""
    error: float
    """Relative variance of the level: it is an estimate."""
    drift: float
    """Relative variance by which the level changes in a day."""
    days: int
    """From which it is taken."""
    closed_deviation: float
    """Standard deviation of a closed day's share from what is in the rhythm."""

    def expected(self, kind: int, slots: slice = slice(None)) -> float:
        """Give the expected count of a day of a kind, or of some of its slots."""
        return self.level * self.rhythm[kind] * sum(self.shape[kind][slots])

    def until(self, kind: int, slots: float) -> float:
        """Give the expected count of the first slots of a day of a kind, like 9.25 of them."""
        whole = int(slots)
        expected = self.expected(kind, slice(whole))
        return expected + (slots - whole) * self.expected(kind, slice(whole, whole + 1)) if slots > whole else expected

    def variance(self, mean: float, days: float, closed: float = 0.0) -> float:
        """Give the variance of a count to come.

        Args:
            mean: Its expectation.
            days: That it is counted over, from when this is usual.
            closed: How many of them are closed days.

        """
        return self.chance(mean, days) + self.unknown(mean, days) + closed * (self.level * self.closed_deviation) ** 2

    def chance(self, mean: float, days: float) -> float:
        """Give the part of the variance that is chance and scatter, and what is not known of the rhythm."""
        of_a_week = max(0.0, 1 - days / _WEEK) * _WEEK
        return self.dispersion * mean * (1 + (self._tail + of_a_week) / self.days)

    @property
    def _tail(self) -> float:
        """Give the days' worth of variance for not knowing the dispersion."""
        if self.dispersion <= 1 or not self.level:
            return 0.0
        # The excess kurtosis of a day's count, by the negative binomial.
        excess = 6 * (self.dispersion - 1) / self.level + 1 / (self.dispersion * self.level)
        return _TAIL * (1 + excess / 2)

    def unknown(self, mean: float, days: float) -> float:
        """Give the part of the variance that is not known of the level: as it was, and where it goes within the days."""
        # The variance of a random walk's mean over some days.
        walk = (days + 1) * (2 * days + 1) / (6 * days) if days >= 1 else 1.0
        return (self.error + self.drift * walk) * mean * mean


class LeadFlow:
    """Counts by local day and slot, and the calendar that they are to be understood by."""

    def __init__(
        self, first: date, counts: Sequence[Sequence[int]], is_closed: Callable[[date], bool] = lambda _: False
    ) -> None:
        """Make it.

        Args:
            first: The first day.
            counts: Of each day from then on its counts by slot, as many for each day.
            is_closed: Tells public holidays and days of one's own on which nobody works, Sundays not among them.

        """
        self.first = first
        self.counts = counts
        self.slots = len(counts[0])
        self.totals = [sum(day) for day in counts]
        self.kinds = [
            CLOSED if is_closed(day) else day.weekday() for day in (first + timedelta(n) for n in range(len(counts)))
        ]
        self._closed = [day for day, kind in enumerate(self.kinds) if kind == CLOSED]
        self.spent: dict[tuple[int, float], Spent] = {}
        """How a budget is shared out on a day; kept by the judgement."""
        self._usual: dict[int, Usual | None] = {}

    @property
    def has_closed_days(self) -> bool:
        """Tell whether any is among its days."""
        return bool(self._closed)

    def usual(self, day: int) -> Usual | None:
        """Tell what is usual as a day begins, from the days before it; None where these are too few.

        Args:
            day: Number of the day, from 0; the one after the last is allowed.

        """
        if day not in self._usual:
            start = max(0, day - HISTORY_DAYS)
            enough = day - start >= LEAST_DAYS
            self._usual[day] = _usual(self, start, day) if enough else None
        return self._usual[day]

    def closed_days(self, end: int) -> list[tuple[int, float]]:
        """Give what came on the closed days before a day, beside what an average day of the two weeks before them had."""
        found = []
        for day in self._closed:
            near = [n for n in range(max(0, day - 2 * _WEEK), day) if self.kinds[n] != CLOSED]
            if day < end and near:
                found.append((self.totals[day], sum(self.totals[n] for n in near) / len(near)))
        return found


def _usual(flow: LeadFlow, start: int, end: int) -> Usual:
    days = Days(flow.totals[start:end], flow.kinds[start:end])
    rhythm, dispersion = [1.0] * _KINDS, _PRIOR_DISPERSION
    track = Track([], [1.0] * len(days.totals), [], 0.0, 0.0, 0.0)
    for _ in range(_ROUNDS):
        around = levels_around(days, rhythm, track)
        rhythm = _rhythm(days, around, track.weights)
        dispersion = _dispersion(days, rhythm, around, dispersion)
        track = follow(days, rhythm, dispersion, PRIOR_DRIFT)
    level, error, drift = follow_all(days, rhythm, dispersion)
    rhythm[CLOSED], closed_deviation = _closed(flow.closed_days(end), rhythm[_WEEK - 1])
    return Usual(
        level=level,
        rhythm=tuple(rhythm),
        shape=_shape(flow, start, end),
        dispersion=dispersion,
        error=error,
        drift=drift,
        days=end - start,
        closed_deviation=closed_deviation,
    )


def _rhythm(days: Days, levels: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Give what a day of each kind has of an average day."""
    came, level = [0.0] * _KINDS, [0.0] * _KINDS
    for kind, total, around, weight in zip(days.kinds, days.totals, levels, weights, strict=True):
        came[kind] += weight * total
        level[kind] += weight * around
    week = [(came[kind] + _RHYTHM_PRIOR) / (level[kind] + _RHYTHM_PRIOR) for kind in range(_WEEK)]
    mean = sum(week) / _WEEK
    rhythm = [share / mean for share in week]
    # A closed day is like a Sunday, as long as little is known of closed days.
    sunday = rhythm[_WEEK - 1]
    return [*rhythm, (came[CLOSED] + 2 * _RHYTHM_PRIOR * sunday) / (level[CLOSED] + 2 * _RHYTHM_PRIOR)]


def _closed(known: Sequence[tuple[int, float]], sunday: float) -> tuple[float, float]:
    """Give a closed day's share of an average day, and its standard deviation; of all that are known, for they are few."""
    shares = [came / average for came, average in known if average > 0]
    number = len(shares) + _CLOSED_PRIOR
    mean = (sum(shares) + _CLOSED_PRIOR * sunday) / number
    squares = sum((share - mean) ** 2 for share in shares) + _CLOSED_PRIOR * _CLOSED_DEVIATION**2
    return mean, math.sqrt(squares / number * (1 + 1 / number))


def _dispersion(days: Days, rhythm: Sequence[float], levels: Sequence[float], before: float) -> float:
    """Give the variance by the mean; a single day does not decide it."""
    squares = expected = 0.0
    for kind, total, level in zip(days.kinds, days.totals, levels, strict=True):
        mean = level * rhythm[kind]
        squares += min((total - mean) ** 2, _OUTLIER * before * mean + _OUTLIER)
        expected += mean
    prior = _PRIOR_DAYS * expected / len(levels)
    # The level around a day has the day in it, and so has its weekday's share.
    own = (1 - 1 / (2 * _WEEK + 1)) * (1 - _WEEK / len(levels))
    return max(1.0, (squares / own + prior * _PRIOR_DISPERSION) / (expected + prior)) if expected else 1.0


def _shape(flow: LeadFlow, start: int, end: int) -> tuple[tuple[float, ...], ...]:
    """Give the shares of a day's slots; Monday to Friday are taken together, and so are the other days."""
    if flow.slots == 1:
        return ((1.0,),) * _KINDS
    found: Mapping[bool, list[float]] = {True: [0.5] * flow.slots, False: [0.5] * flow.slots}
    for day in range(start, end):
        counts = found[_is_working(flow.kinds[day])]
        for slot, count in enumerate(flow.counts[day]):
            counts[slot] += count
    shares = {works: tuple(count / sum(counts) for count in counts) for works, counts in found.items()}
    return tuple(shares[_is_working(kind)] for kind in range(_KINDS))


def _is_working(kind: int) -> bool:
    return kind < 5  # noqa: PLR2004 - Monday to Friday
