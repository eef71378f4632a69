"""The rhythm of a month's days: what each weekday and each part of the month usually has of the whole."""

import math
from collections.abc import Callable, Sequence
from datetime import date
from typing import NamedTuple

_WEEK = 7
_CLOSED = 7
"""Kind of a weekday on which nobody works, beside the weekdays from 0, Monday."""
_KINDS = 8
_FIFTHS = 5
_PRIOR = 5.0
"""Items that speak for a day like any other of its sort."""
_FREE_DAY = 0.2
"""What a day on which nobody works is taken to have of one on which somebody does, before anything is known."""
_PRIOR_DRIFT, _PRIOR_MONTHS = 0.1, 2
_PRIOR_DAYS, _PRIOR_DISPERSION = 20, 1.2
_ROUNDS = 3


class Rhythm(NamedTuple):
    """Weights of days; an average working day has about 1."""

    kinds: tuple[float, ...]
    fifths: tuple[float, ...]
    """By the fifth of the month that a day lies in: there are teams whose deals close at its end."""
    dispersion: float
    """Variance of a day's count by its mean, at least 1."""
    drift: float
    """Relative standard deviation of a half month's level from its month's, beyond chance: a fair, a campaign, an illness."""

    def weights(self, days: Sequence[date], works: Callable[[date], bool]) -> list[float]:
        """Give the weights of the days of a month."""
        return [
            self.kinds[kind] * self.fifths[fifth]
            for kind, fifth in zip(_kinds_of(days, works), _fifths_of(days), strict=True)
        ]


def rhythm_of(months: Sequence[tuple[Sequence[date], Sequence[int]]], works: Callable[[date], bool]) -> Rhythm:
    """Find the rhythm of past months.

    Args:
        months: Of each month its days and what came on each.
        works: Tells working days.

    """
    kinds, fifths = _usual_kinds(works, months), [1.0] * _FIFTHS
    before = list(kinds)
    days = [(counts, _kinds_of(dates, works), _fifths_of(dates)) for dates, counts in months if sum(counts)]
    for _ in range(_ROUNDS):
        kinds = _shares(days, before, by_kind=True, others=fifths)
        fifths = _shares(days, [1.0] * _FIFTHS, by_kind=False, others=kinds)
    weighted = [
        (counts, [kinds[kind] * fifths[fifth] for kind, fifth in zip(kind_of, fifth_of, strict=True)])
        for counts, kind_of, fifth_of in days
    ]
    dispersion = _dispersion(weighted)
    return Rhythm(tuple(kinds), tuple(fifths), dispersion, _drift(weighted, dispersion))


_Weighted = Sequence[tuple[Sequence[int], Sequence[float]]]
"""Of each month the counts and the weights of its days."""


def _dispersion(months: _Weighted) -> float:
    squares = expected = number = 0.0
    for counts, weights in months:
        level = sum(counts) / sum(weights)
        for count, weight in zip(counts, weights, strict=True):
            mean = level * weight
            squares += min((count - mean) ** 2, 9 * mean + 9)
            expected, number = expected + mean, number + 1
    prior = _PRIOR_DAYS * expected / number if number else 1.0
    return max(1.0, (squares + prior * _PRIOR_DISPERSION) / (expected + prior))


def _drift(months: _Weighted, dispersion: float) -> float:
    """Compare the halves of months with each other."""
    excess = squares = 0.0
    for counts, weights in months:
        half = len(counts) // 2
        number, weight = sum(counts), sum(weights)
        first, second = (sum(weights[:half]) / weight, sum(weights[half:]) / weight)
        if min(first, second) <= 0:
            continue
        apart = sum(counts[:half]) / first - sum(counts[half:]) / second
        excess += (apart**2 - dispersion * number * (1 / first + 1 / second)) / 2
        squares += number**2
    prior = _PRIOR_MONTHS * squares / len(months) if squares else 1.0
    return math.sqrt((max(0.0, excess) + prior * _PRIOR_DRIFT**2) / (squares + prior))


def _usual_kinds(works: Callable[[date], bool], months: Sequence[tuple[Sequence[date], Sequence[int]]]) -> list[float]:
    """Give what days have before anything is known: a weekday that is never worked on is one of the weekend."""
    worked = {day.weekday() for dates, _ in months for day in dates if works(day)} or set(range(_WEEK - 2))
    return [1.0 if kind in worked else _FREE_DAY for kind in range(_WEEK)] + [_FREE_DAY]


def _shares(
    days: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int]]],
    before: Sequence[float],
    *,
    by_kind: bool,
    others: Sequence[float],
) -> list[float]:
    """Give one of the two factors, the other being known."""
    came, expected = [_PRIOR] * len(before), [_PRIOR] * len(before)
    for counts, kind_of, fifth_of in days:
        groups, rest = (kind_of, fifth_of) if by_kind else (fifth_of, kind_of)
        weights = [before[group] * others[other] for group, other in zip(groups, rest, strict=True)]
        level = sum(counts) / sum(weights)
        for group, count, weight in zip(groups, counts, weights, strict=True):
            came[group] += count
            expected[group] += level * weight
    found = [share * number / mean for share, number, mean in zip(before, came, expected, strict=True)]
    if by_kind:
        return found
    mean = sum(found) / len(found)
    return [share / mean for share in found]


def _kinds_of(days: Sequence[date], works: Callable[[date], bool]) -> list[int]:
    """Give the kinds of days: a weekday on which nobody works this month is one of the weekend."""
    weekend = {day.weekday() for day in days} - {day.weekday() for day in days if works(day)}
    return [day.weekday() if works(day) or day.weekday() in weekend else _CLOSED for day in days]


def _fifths_of(days: Sequence[date]) -> list[int]:
    return [number * _FIFTHS // len(days) for number in range(len(days))]
