"""The level of a lead flow, followed from day to day.

It is that of a random walk which is seen through counts. What is known of it is worth so many leads; a day's count adds its
own, and the walk takes some away, the more the faster it is. (That is the discounted gamma-Poisson filter of West and
Harrison, Bayesian Forecasting and Dynamic Models, 1997, section 10.8, with the discount from the drift.) How fast the walk
is, the counts themselves tell: each of some drifts foresees the next day more or less well, and they are taken together by
that. So few leads are averaged over months, and many are followed within days.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

PRIOR_DRIFT = 0.006**2
_DRIFTS = tuple((deviation, deviation**2) for deviation in (0.0015, 0.003, 0.006, 0.012, 0.024, 0.048))
"""Relative standard deviations of a day's change of level, and the variances."""
_DOUBLINGS = 1.5
"""So many doublings away from the prior drift another is as unlikely as one standard deviation."""
_SLUMP, _SPIKE, _STEP = 2.0, 4.0, 3.5
"""Standard deviations."""
_LEAST_WEIGHT = 0.2
"""Of a day in a slump: less, and a drop that stays would never become usual."""
_STEP_UP_DAYS, _STEP_DOWN_DAYS = 3, 14
"""A level that has changed for so long is followed faster: it is a step. Downwards that is after all alarms."""
_OUTLIER = 9.0
_WEEK = 7
_LEAST = 0.5
"""Leads; what is known is never worth less."""


@dataclass(frozen=True, slots=True)
class Days:
    """What came in some days, and what kinds of days they are."""

    totals: Sequence[int]
    kinds: Sequence[int]


@dataclass(frozen=True, slots=True)
class Track:
    """The level from day to day, under one drift."""

    levels: Sequence[float]
    """As each day begins, and after the last."""
    weights: Sequence[float]
    """Of each day, which is less in a slump."""
    steps: Sequence[int]
    """The days with which another level began."""
    error: float
    """Relative variance of the last level."""
    drift: float
    fit: float
    """Logarithm of the likelihood."""


def levels_around(days: Days, rhythm: Sequence[float], track: Track) -> list[float]:
    """Give each day's level by the days around it, a week to either side, but not over a step."""
    came = [0.0, *accumulate(w * total for w, total in zip(track.weights, days.totals, strict=True))]
    foreseen = [0.0, *accumulate(w * rhythm[kind] for w, kind in zip(track.weights, days.kinds, strict=True))]
    edges = sorted({0, *track.steps, len(days.totals)})
    found = []
    for begin, end in pairwise(edges):
        for day in range(begin, end):
            since, until = max(begin, day - _WEEK), min(end, day + _WEEK + 1)
            found.append((came[until] - came[since]) / (foreseen[until] - foreseen[since]))
    return found


def follow_all(days: Days, rhythm: Sequence[float], dispersion: float) -> tuple[float, float, float]:
    """Give the level after the last day, its relative variance, and the variance by which it changes in a day."""
    tracks = [follow(days, rhythm, dispersion, drift) for _, drift in _DRIFTS]
    fits = [
        track.fit - (math.log2(max(drift, 1e-12) / PRIOR_DRIFT) / 2 / _DOUBLINGS) ** 2 / 2
        for track, (_, drift) in zip(tracks, _DRIFTS, strict=True)
    ]
    best = max(fits)
    weights = [math.exp(fit - best) for fit in fits]
    whole = sum(weights)
    level = sum(w * track.levels[-1] for w, track in zip(weights, tracks, strict=True)) / whole
    error = sum(w * track.error for w, track in zip(weights, tracks, strict=True)) / whole
    return level, error, sum(w * drift for w, (_, drift) in zip(weights, _DRIFTS, strict=True)) / whole


def follow(days: Days, rhythm: Sequence[float], dispersion: float, drift: float) -> Track:
    """Follow the level under one drift."""
    totals, kinds = days.totals, days.kinds
    # A first guess, which speaks for one day.
    came, foreseen = sum(totals[:_WEEK]) / _WEEK, max(sum(rhythm[kind] for kind in kinds[:_WEEK]) / _WEEK, _LEAST)
    levels, weights, steps = [came / foreseen], [], list[int]()
    # Sums up to each day of how far the counts were off, and of the variance of that.
    offs, variances = [0.0], [0.0]
    fit = 0.0
    for day, (total, kind) in enumerate(zip(totals, kinds, strict=True)):
        mean = levels[-1] * rhythm[kind]
        variance = max(dispersion * mean + dispersion / max(came, _LEAST) * mean * mean, 1.0)
        off, deviation = total - mean, math.sqrt(variance)
        offs.append(offs[-1] + off)
        variances.append(variances[-1] + variance)
        if day >= 2 * _WEEK:
            fit -= (math.log(variance) + min(off * off / variance, _OUTLIER)) / 2
        weight = min(1.0, max(_LEAST_WEIGHT, (_SLUMP * deviation / off) ** 2)) if off < 0 else 1.0
        for long, direction in ((_STEP_UP_DAYS, 1), (_STEP_DOWN_DAYS, -1)):
            # All of some days together are further off than chance.
            if day + 1 >= long and direction * (offs[-1] - offs[-1 - long]) > _STEP * math.sqrt(
                variances[-1] - variances[-1 - long]
            ):
                came, foreseen, weight = came / 2, foreseen / 2, 1.0
                if not steps or day - steps[-1] > 2 * _STEP_DOWN_DAYS:
                    steps.append(day - long + 1)
        before = totals[day - 1] / rhythm[kinds[day - 1]] * rhythm[kind] if day and rhythm[kinds[day - 1]] else 0.0
        counted = min(float(total), max(mean + _SPIKE * deviation, before))
        kept = 1 / (1 + drift * came / dispersion)
        came, foreseen = kept * came + weight * counted, kept * foreseen + weight * rhythm[kind]
        levels.append(came / foreseen)
        weights.append(weight)
    return Track(levels, weights, steps, dispersion / max(came, _LEAST) + drift, drift, fit)
