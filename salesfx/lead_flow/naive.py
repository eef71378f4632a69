"""The rules of thumb that people set up themselves, to compare with."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

_WEEK, _MONTH = 7, 28
_DEVIATIONS = 3

Rule = Callable[[Sequence[int], int], bool]
"""Told the totals of days, and the number of the day that is over: whether it rings."""


def _half_of_the_week(totals: Sequence[int], day: int) -> bool:
    return day >= _WEEK and totals[day] < sum(totals[day - _WEEK : day]) / _WEEK / 2


def _half_of_the_weekday(totals: Sequence[int], day: int) -> bool:
    return day >= _WEEK and totals[day] < totals[day - _WEEK] / 2


def _far_from_the_month(totals: Sequence[int], day: int) -> bool:
    month = totals[max(0, day - _MONTH) : day]
    return len(month) == _MONTH and totals[day] < statistics.fmean(month) - _DEVIATIONS * statistics.pstdev(month)


NAIVE_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "below half of the mean of 7 days": _half_of_the_week,
        "below half of the same weekday a week before": _half_of_the_weekday,
        "more than 3 standard deviations below the mean of 28 days": _far_from_the_month,
    }
)
"""By what is said of them."""
