"""Where a month's number will stand at its end: what has come, and what is still to come, with its uncertainty.

The month has a level of its own, which is known from past months roughly: a gamma distribution around what they foresee, as
wide as they were wrong about each other. What has come this month corrects it. What is still to come is then negative
binomial: for few expected it is as wide as chance makes it, and as the month ends it narrows to what has come. A value is so
many items of sizes that vary as they did before.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from salesfx.lead_flow.counts import lower_tail, upper_gamma
from salesfx.targets.rhythm import Rhythm

LOW, MIDDLE, HIGH = 0.1, 0.5, 0.9
"""The probabilities of being less: between the outer ones lie four of five months."""
_HALF_LIFE_MONTHS = 3.0
_PRIOR_WANDERING, _PRIOR_MONTHS = 0.25, 2.0
"""Relative standard deviation of a month from what those before it foresee, and the months that speak for it."""
_UNKNOWN_COUNT = 0.5
"""Speaks for a level of which nothing is known (Jeffreys' prior)."""
_ALIKE = 1e4
"""Items that hardly differ in size have at most this shape."""
_STEPS = 60
_SLICES = 200


class Past(NamedTuple):
    """A month that has ended: how many came, and the weight of its days."""

    number: int
    weight: float


@dataclass(frozen=True, slots=True)
class Coming:
    """How many are still to come."""

    mean: float
    variance: float

    def tail(self, count: int) -> float:
        """Give the probability that no more than so many come."""
        return lower_tail(count, self.mean, self.variance)

    def quantile(self, probability: float) -> int:
        """Give the least count that is not exceeded with this probability."""
        if self.tail(0) >= probability:
            return 0
        low, high = 0, max(1, math.ceil(self.mean))
        while self.tail(high) < probability:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.tail(middle) >= probability else (middle, high)
        return high


class Sizes(NamedTuple):
    """What items are worth, in hundredths."""

    mean: float
    variance: float
    items: int
    """From how many that is known."""


def coming(so_far: int, gone: float, left: float, past: Sequence[Past], rhythm: Rhythm) -> Coming | None:
    """Foresee what is still to come.

    Args:
        so_far: What has come this month.
        gone: Weight of the days that are gone.
        left: Weight of those that are left, today's rest among them.
        past: Months that have ended, the last one at the end; none of them a part only.
        rhythm: Of the days; its dispersion is the variance of a day's count by its mean.

    Returns:
        None where nothing is known: no past, and nothing of the month gone.

    """
    scatter, drift = rhythm.dispersion, rhythm.drift
    if past:
        level, shape = foreseen(past), 1 / _wandering(past, scatter) ** 2
        rate = shape / level
    elif gone > 0:
        level, shape, rate = so_far / gone, _UNKNOWN_COUNT, 0.0
    else:
        return None
    # Counts that scatter more than chance say as much as fewer that do not; nor does a half month say all of the other.
    says = 1 / (scatter + drift**2 * level * gone)
    shape, rate = shape + so_far * says, rate + gone * says
    level, variance = shape / rate, shape / rate**2
    mean = level * left
    return Coming(mean, scatter * mean + variance * left**2 + (drift * mean) ** 2)


def count_at_end(so_far: int, to_come: Coming) -> tuple[int, int, int]:
    """Give low, middle and high of a count."""
    low, middle, high = (so_far + to_come.quantile(probability) for probability in (LOW, MIDDLE, HIGH))
    return low, middle, high


def value_at_end(so_far: int, to_come: Coming, sizes: Sizes) -> tuple[int, int, int]:
    """Give low, middle and high of a value, in hundredths."""
    low, middle, high = (so_far + _value_quantile(to_come, sizes, probability) for probability in (LOW, MIDDLE, HIGH))
    return low, middle, high


def ratio_at_end(part_so_far: int, whole_so_far: int, part: Coming, whole: Coming) -> tuple[float, float, float] | None:
    """Give low, middle and high of a ratio whose parts come independently; None where there may be nothing to divide by."""
    wholes = [whole_so_far + whole.quantile((step + 0.5) / _SLICES) for step in range(_SLICES)]
    if wholes[int(LOW * _SLICES)] == 0:
        return None

    come = cache(part.tail)

    def tail(ratio: float) -> float:
        return sum(come(math.floor(ratio * each) - part_so_far) for each in wholes) / _SLICES

    most = (part_so_far + part.quantile(0.999)) / max(1, wholes[0])
    low, middle, high = (_bisected(tail, most, probability) for probability in (LOW, MIDDLE, HIGH))
    return low, middle, high


def foreseen(past: Sequence[Past]) -> float:
    """Foresee the next month's level, per weight of a day: the last months count most."""
    number, weight = _UNKNOWN_COUNT, 0.0
    for age, month in enumerate(reversed(past)):
        kept = 0.5 ** (age / _HALF_LIFE_MONTHS)
        number, weight = number + kept * month.number, weight + kept * month.weight
    return number / weight


def _wandering(past: Sequence[Past], scatter: float) -> float:
    """Give by how much, relatively, months were off from what those before them foresaw, beyond chance."""
    excess = squares = 0.0
    for place in range(1, len(past)):
        mean = foreseen(past[:place]) * past[place].weight
        excess += (past[place].number - mean) ** 2 - scatter * mean
        squares += mean**2
    months = max(1, len(past) - 1)
    prior = _PRIOR_MONTHS * squares / months if squares else 1.0
    return math.sqrt((max(0.0, excess) + prior * _PRIOR_WANDERING**2) / (squares + prior))


def _value_quantile(to_come: Coming, sizes: Sizes, probability: float) -> int:
    """Give a quantile of the sum: nothing where no item comes, else a gamma distribution of the same mean and variance."""
    nothing = to_come.tail(0)
    if probability <= nothing or to_come.mean <= 0 or sizes.mean <= 0:
        return 0
    mean = to_come.mean * sizes.mean
    unsure = to_come.mean**2 * sizes.variance / sizes.items
    square = mean**2 + to_come.mean * sizes.variance + to_come.variance * sizes.mean**2 + unsure
    mean, square = mean / (1 - nothing), square / (1 - nothing)
    shape = min(_ALIKE, mean**2 / max(square - mean**2, mean**2 / _ALIKE))
    wanted = (probability - nothing) / (1 - nothing)

    def tail(value: float) -> float:
        return 1 - upper_gamma(shape, value * shape / mean) if value > 0 else 0.0

    return round(_bisected(tail, mean * (1 + 20 / math.sqrt(shape)), wanted))


def _bisected(tail: Callable[[float], float], most: float, probability: float) -> float:
    low, high = 0.0, most
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if tail(middle) >= probability else (middle, high)
        if high - low <= _PRECISE * high:
            break
    return high


_PRECISE = 1e-6
