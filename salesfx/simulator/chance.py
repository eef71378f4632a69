"""Random draws that come out the same on every platform and every version of Python.

Python promises that for `Random.random()` alone; `gauss`, `choices` and the others may change with a release, and
`log` and `exp` differ in their last digit from one C library to the next. So everything here is made of `random()`
and of additions, multiplications and divisions, which IEEE 754 rounds alike everywhere.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def deck(weights: Iterable[tuple[T, int]]) -> tuple[T, ...]:
    """Repeat every item as often as its weight says: a pick from that is weighted, and costs one draw."""
    return tuple(item for item, weight in weights for _ in range(weight))


class Dice:
    """A seeded stream of draws; two with the same seed (an integer) give the same stream."""

    __slots__ = ("random",)

    def __init__(self, seed: int) -> None:
        self.random: Callable[[], float] = Random(seed).random
        """A number from 0 to below 1; the busiest callers use it directly."""

    def chance(self, probability: float) -> bool:
        """Decide whether something of this probability (0 to 1) happens."""
        return self.random() < probability

    def below(self, limit: int) -> int:
        """Draw a whole number from 0 to below `limit`."""
        return int(self.random() * limit)

    def between(self, low: float, high: float) -> float:
        """Draw a number from `low` to below `high`, all equally likely."""
        return low + self.random() * (high - low)

    def pick(self, items: Sequence[T]) -> T:
        """Draw one of `items` (not empty), all equally likely."""
        return items[int(self.random() * len(items))]

    def skewed(self, typical: float) -> float:
        """Draw a waiting time: half of the draws are below about `typical`, a few reach twenty times it."""
        u = self.random()
        return typical * u / (1.05 - u)

    def lognormal(self, median: float, spread: float) -> float:
        """Draw a roughly log-normal number, as often twice the median as half of it.

        `spread` is the deviation of its logarithm.
        """
        random = self.random
        # The sum of four uniform draws has a variance of 1/3; this brings it to mean 0 and deviation 1.
        bell = (random() + random() + random() + random() - 2.0) * 1.7320508
        # e**x as (1 + x / 2**20) ** 2**20: multiplications only.
        power = 1.0 + spread * bell / 1048576
        for _ in range(20):
            power *= power
        return median * power

    def count(self, mean: float, evenness: int) -> int:
        """Draw how many came: Poisson with a gamma-distributed rate, variance `mean + mean**2 / evenness`.

        This is the negative binomial: the tails of a coin before it shows `evenness` heads.
        """
        random = self.random
        heads = evenness / (evenness + mean)
        tails = 0
        while evenness:
            if random() < heads:
                evenness -= 1
            else:
                tails += 1
        return tails
