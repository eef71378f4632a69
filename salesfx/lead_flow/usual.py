"""What is usual: the leads to be expected of a day and its hours, from those that came before.

All of it is arithmetic on counts by local day and slot (an hour, or a whole day where only days are known). It has to bear
with what real lead flows do: slumps that nobody has mended yet, one day of a fair, a step that stays, holidays, a trend,
and more scatter than chance alone would give.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

HISTORY_DAYS = 70
"""Days that what is usual is taken from: ten weeks, so that each weekday comes ten times."""
LEAST_DAYS = 28
"""With fewer days nothing is judged."""
CLOSED = 7
"""Kind of a day on which nobody works, beside the weekdays from 0, Monday."""
_KINDS = 8
_KEPT_A_DAY = 0.5 ** (1 / 10.0)
"""Of a day's weight in the level so much is left a day later, and so half of it after ten."""
_RHYTHM_PRIOR = 5.0
"""Leads that speak for a day like any other, against what came on its weekday."""
_PRIOR_DAYS, _PRIOR_DISPERSION = 5, 1.5
_PRIOR_WANDERING, _PRIOR_WEEKS = 0.12, 2
"""Relative standard deviation of a week's level from what was foreseen, and the weeks that speak for it."""
_ROUNDS = 3
"""In which rhythm, level and scatter are found from each other."""
_SLUMP, _SPIKE, _STEP = 2.0, 4.0, 3.5
"""Standard deviations."""
_LEAST_WEIGHT = 0.2
"""Of a day in a slump: less, and a drop that stays would never become usual."""
_STEP_UP_DAYS, _STEP_DOWN_DAYS = 3, 14
"""A level that has changed for so long is followed faster: it is a step. Downwards that is after all alarms."""
_WEEK = 7


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
    wandering: float
    """Relative standard deviation of the level from what is foreseen."""

    def expected(self, kind: int, slots: slice = slice(None)) -> float:
        """Give the expected count of a day of a kind, or of some of its slots."""
        return self.level * self.rhythm[kind] * sum(self.shape[kind][slots])

    def until(self, kind: int, slots: float) -> float:
        """Give the expected count of the first slots of a day of a kind, like 9.25 of them."""
        whole = int(slots)
        expected = self.expected(kind, slice(whole))
        return expected + (slots - whole) * self.expected(kind, slice(whole, whole + 1)) if slots > whole else expected

    def variance(self, mean: float) -> float:
        """Give the variance of a count with this mean: chance, scatter, and a level that is not known exactly."""
        return _variance(mean, self.dispersion, self.wandering)


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
        self._usual: dict[int, Usual | None] = {}

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


def _variance(mean: float, dispersion: float, wandering: float) -> float:
    return dispersion * mean + (wandering * mean) ** 2


def _usual(flow: LeadFlow, start: int, end: int) -> Usual:
    totals, kinds = flow.totals[start:end], flow.kinds[start:end]
    rhythm, weights = [1.0] * _KINDS, [1.0] * len(totals)
    dispersion, wandering = _PRIOR_DISPERSION, _PRIOR_WANDERING
    levels: list[float] = []
    steps: list[int] = []
    for _ in range(_ROUNDS):
        around = _levels_around(totals, kinds, rhythm, weights, steps)
        rhythm = _rhythm(totals, kinds, around, weights)
        dispersion = _dispersion(totals, kinds, rhythm, around, dispersion)
        levels, weights, steps = _levels_before(totals, kinds, rhythm, dispersion, wandering)
        wandering = _wandering(totals, kinds, rhythm, levels, dispersion, steps)
    return Usual(
        level=levels[-1],
        rhythm=tuple(rhythm),
        shape=_shape(flow, start, end),
        dispersion=dispersion,
        wandering=wandering,
    )


def _levels_around(
    totals: Sequence[int],
    kinds: Sequence[int],
    rhythm: Sequence[float],
    weights: Sequence[float],
    steps: Sequence[int],
) -> list[float]:
    """Give each day's level by the days around it, a week to either side, but not over a step."""
    found = []
    for day in range(len(totals)):
        begin = max((step for step in steps if step <= day), default=0)
        end = min((step for step in steps if step > day), default=len(totals))
        near = range(max(begin, day - _WEEK), min(end, day + _WEEK + 1))
        foreseen = sum(weights[other] * rhythm[kinds[other]] for other in near)
        found.append(sum(weights[other] * totals[other] for other in near) / foreseen)
    return found


def _rhythm(
    totals: Sequence[int], kinds: Sequence[int], levels: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """Give what a day of each kind has of an average day."""
    came, level = [0.0] * _KINDS, [0.0] * _KINDS
    for kind, total, around, weight in zip(kinds, totals, levels, weights, strict=True):
        came[kind] += weight * total
        level[kind] += weight * around
    week = [(came[kind] + _RHYTHM_PRIOR) / (level[kind] + _RHYTHM_PRIOR) for kind in range(_WEEK)]
    mean = sum(week) / _WEEK
    rhythm = [share / mean for share in week]
    # A closed day is like a Sunday, as long as little is known of closed days.
    sunday = rhythm[_WEEK - 1]
    return [*rhythm, (came[CLOSED] + 2 * _RHYTHM_PRIOR * sunday) / (level[CLOSED] + 2 * _RHYTHM_PRIOR)]


def _dispersion(
    totals: Sequence[int],
    kinds: Sequence[int],
    rhythm: Sequence[float],
    levels: Sequence[float],
    before: float,
) -> float:
    """Give the variance by the mean; a single day does not decide it."""
    squares = expected = 0.0
    for kind, total, level in zip(kinds, totals, levels, strict=True):
        mean = level * rhythm[kind]
        squares += min((total - mean) ** 2, 9 * before * mean + 9)
        expected += mean
    prior = _PRIOR_DAYS * expected / len(totals)
    # The level around a day has the day in it.
    own = 1 - 1 / (2 * _WEEK + 1)
    return max(1.0, (squares / own + prior * _PRIOR_DISPERSION) / (expected + prior)) if expected else 1.0


def _levels_before(
    totals: Sequence[int], kinds: Sequence[int], rhythm: Sequence[float], dispersion: float, wandering: float
) -> tuple[list[float], list[float], list[int]]:
    """Follow the level from day to day.

    Returns:
        The level as each day begins, and after the last; the weight of each day, which is less in a slump; and the days
        with which another level began.

    """
    first = range(min(_WEEK, len(totals)))
    came, foreseen = float(sum(totals[day] for day in first)), sum(rhythm[kinds[day]] for day in first)
    levels, weights, apart = [came / foreseen], [], []
    steps: list[int] = []
    for day, (total, kind) in enumerate(zip(totals, kinds, strict=True)):
        mean = levels[-1] * rhythm[kind]
        deviation = math.sqrt(max(_variance(mean, dispersion, wandering), 1.0))
        apart.append((total - mean, deviation))
        weight = min(1.0, max(_LEAST_WEIGHT, (_SLUMP * deviation / (mean - total)) ** 2)) if total < mean else 1.0
        for days, direction in ((_STEP_UP_DAYS, 1), (_STEP_DOWN_DAYS, -1)):
            if _is_step(apart[-days:], days, direction):
                came, foreseen, weight = came / 2, foreseen / 2, 1.0
                if not steps or day - steps[-1] > 2 * _STEP_DOWN_DAYS:
                    steps.append(day - days + 1)
        before = totals[day - 1] / rhythm[kinds[day - 1]] * rhythm[kind] if day and rhythm[kinds[day - 1]] else 0.0
        counted = min(float(total), max(mean + _SPIKE * deviation, before))
        came, foreseen = _KEPT_A_DAY * came + weight * counted, _KEPT_A_DAY * foreseen + weight * rhythm[kind]
        levels.append(came / foreseen)
        weights.append(weight)
    return levels, weights, steps


def _is_step(apart: Sequence[tuple[float, float]], days: int, direction: int) -> bool:
    """Tell whether all of some days, together, are further off than chance."""
    if len(apart) < days:
        return False
    return direction * sum(by for by, _ in apart) > _STEP * math.sqrt(sum(deviation**2 for _, deviation in apart))


def _wandering(
    totals: Sequence[int],
    kinds: Sequence[int],
    rhythm: Sequence[float],
    levels: Sequence[float],
    dispersion: float,
    steps: Sequence[int],
) -> float:
    """Give the relative deviation of a week from what was foreseen as it began, beyond what chance and scatter explain.

    The weeks before and after a step are no measure of what will be.
    """
    excess = squares = weeks = 0.0
    for day in range(2 * _WEEK, len(totals) - _WEEK + 1):
        mean = levels[day] * sum(rhythm[kind] for kind in kinds[day : day + _WEEK])
        if mean and not any(day - _WEEK < step < day + _WEEK for step in steps):
            off = (sum(totals[day : day + _WEEK]) - mean) ** 2
            most = 9 * _variance(mean, dispersion, _PRIOR_WANDERING)
            excess += (min(off, most) - dispersion * mean) / _WEEK
            squares += mean**2 / _WEEK
            weeks += 1 / _WEEK
    if not weeks:
        return _PRIOR_WANDERING
    prior = _PRIOR_WEEKS * squares / weeks
    found = (max(excess, 0.0) + prior * _PRIOR_WANDERING**2) / (squares + prior)
    # The level itself is an estimate, from as many days as its weights come to.
    days = (1 + _KEPT_A_DAY) / (1 - _KEPT_A_DAY)
    leads = max(levels[-1] * min(days, len(totals)), 0.5)
    return math.sqrt(max(found, dispersion / leads))


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
