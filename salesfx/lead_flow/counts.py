"""How likely it is that so few come by chance: lower tails of the Poisson and the negative binomial distribution."""

import math

_SMALLEST = 1e-300
_PRECISE = 1e-12
_MOST_TERMS = 10_000
_POISSON = 1e-6
"""A variance that is greater than the mean by less than this share is the mean: the negative binomial has its limit there."""


def lower_tail(count: int, mean: float, variance: float) -> float:
    """Give the probability that no more than `count` come.

    Args:
        count: At least 0 for a probability above 0.
        mean: Expected count, at least 0.
        variance: Of the count; what is not above the mean is Poisson's.

    """
    if count < 0:
        return 0.0
    if mean <= 0:
        return 1.0
    if variance <= mean * (1 + _POISSON):
        return upper_gamma(count + 1.0, mean)
    size = mean * mean / (variance - mean)
    return _incomplete_beta(size, count + 1.0, size / (size + mean))


def bound(probability: float, mean: float, variance: float) -> int:
    """Give the greatest count that is as unlikely: its lower tail is not above the probability; -1 where even 0 is likelier.

    Raises:
        ValueError: The probability is 1 or more, which no count reaches.

    """
    if probability >= 1:
        raise ValueError(f"no count is as likely as {probability}")
    if lower_tail(0, mean, variance) > probability:
        return -1
    low, high = 0, max(1, math.ceil(mean))  # the tail up to the mean is no small probability
    while lower_tail(high, mean, variance) <= probability:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if lower_tail(middle, mean, variance) <= probability:
            low = middle
        else:
            high = middle
    return low


def upper_gamma(shape: float, at: float) -> float:
    """Give the regularised upper incomplete gamma function: by its series below the shape, by its continued fraction above.

    DLMF 8.11.4 and 8.9.2.
    """
    front = math.exp(shape * math.log(at) - at - math.lgamma(shape))
    if at < shape + 1:
        term = total = 1 / shape
        for step in range(1, _MOST_TERMS):
            term *= at / (shape + step)
            total += term
            if term < total * _PRECISE:
                break
        return max(0.0, 1 - front * total)
    fraction = _Lentz(at + 1 - shape)
    for step in range(1, _MOST_TERMS):
        if fraction.add(-step * (step - shape), at + 2 * step + 1 - shape):
            break
    return front / fraction.value


def _incomplete_beta(a: float, b: float, at: float) -> float:
    """Give the regularised incomplete beta function, by its continued fraction on the side where that converges fast.

    DLMF 8.17.22.
    """
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(at) + b * math.log1p(-at))
    if at > (a + 1) / (a + b + 2):
        return 1 - front / (b * _beta_fraction(b, a, 1 - at))
    return front / (a * _beta_fraction(a, b, at))


def _beta_fraction(a: float, b: float, at: float) -> float:
    fraction = _Lentz(1.0)
    for step in range(1, _MOST_TERMS):
        half, odd = divmod(step, 2)
        if odd:
            numerator = -(a + half) * (a + b + half) * at / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            numerator = half * (b - half) * at / ((a + 2 * half - 1) * (a + 2 * half))
        if fraction.add(numerator, 1.0):
            break
    return fraction.value


class _Lentz:
    """A continued fraction, taken from its front by the modified method of Lentz."""

    def __init__(self, first: float) -> None:
        self.value = self._above = first or _SMALLEST
        self._below = 0.0

    def add(self, numerator: float, denominator: float) -> bool:
        """Take the next part; tell whether it made no difference."""
        self._below = 1 / ((denominator + numerator * self._below) or _SMALLEST)
        self._above = (denominator + numerator / self._above) or _SMALLEST
        factor = self._above * self._below
        self.value *= factor
        return abs(factor - 1) < _PRECISE
