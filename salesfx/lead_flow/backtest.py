"""The judgement over a history, as it would have been then; and what it would have found of drops that are put into it."""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from salesfx.lead_flow.episodes import Episode, Look, episodes
from salesfx.lead_flow.judgement import State, Window, judge, planned_rate
from salesfx.lead_flow.naive import Rule
from salesfx.lead_flow.usual import LEAST_DAYS, LeadFlow

DAYS_A_YEAR = 365.25
_ALARMS = frozenset({State.LOW, State.SILENT})
_TRIALS = 60
"""Places at which a drop is put into a history."""
_SEED = 1

NOTHING_KNOWN = Window(1, 0, 0.0, 0.0, -1, 1.0, 1.0, None)
"""What a rule of thumb says of its alarm."""

Budget = Callable[[int], float]
"""Told the number of a day: the false alarms that there may be in a year."""
Advance = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of drops of one size."""

    drops: int
    found: int
    """While they lasted."""
    median_delay: float | None
    """Days from the beginning to the alarm, of those that were found."""
    greatest_delay: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the judgement of a history came to."""

    years: float
    """In which it was judged."""
    episodes: Sequence[Episode]
    false_alarms_expected: float
    """In that time, if nothing at all had changed."""
    judged: float
    """Share of the looks with enough evidence to say something."""


class Backtest:
    """One flow, judged at every look.

    Args:
        flow: The whole history.
        budget: What it may ring.
        advance: Called after each day.

    """

    def __init__(self, flow: LeadFlow, budget: Budget, advance: Advance = lambda: None) -> None:
        self._flow = flow
        self._budget = budget
        self._looks: list[Look] = []
        enough = looks = 0
        expected = 0.0
        for day in range(LEAST_DAYS + 1, len(flow.totals) + 1):
            for slot in range(flow.slots if day < len(flow.totals) else 1):
                state, look = _look(flow, day, slot, budget(day))
                self._looks.append(look)
                looks += 1
                enough += state is not State.LITTLE_EVIDENCE
            expected += planned_rate(flow, day, budget(day)) / DAYS_A_YEAR
            advance()
        years = len(self._looks) / flow.slots / DAYS_A_YEAR
        self.outcome = Outcome(years, list(episodes(self._looks)), expected, enough / looks if looks else 0.0)

    def inject(self, share: float, days: int, advance: Advance = lambda: None) -> Found:
        """Put drops into the history, each into the untouched one, at places where nothing rings.

        Args:
            share: Of the leads that are missing: 1 is silence. Which of them come is seeded chance.
            days: How long it lasts; what is found later does not count.
            advance: Called after each drop.

        """
        chance = random.Random(_SEED)  # noqa: S311 - a seeded trial
        delays: list[float] = []
        places = self._places(days)
        for day, slot in places:
            delay = self._delay(day, slot, share, days, chance)
            if delay is not None:
                delays.append(delay)
            advance()
        return _found(len(places), delays)

    def _places(self, days: int) -> list[tuple[int, int]]:
        """Choose beginnings of drops; hours of them are what chance gives."""
        chance = random.Random(_SEED)  # noqa: S311 - a seeded trial
        free = _free(len(self._flow.totals), days, self.outcome.episodes)
        return [(day, chance.randrange(self._flow.slots)) for day in free]

    def _delay(self, day: int, slot: int, share: float, days: int, chance: random.Random) -> float | None:
        last = min(day + days, len(self._flow.totals) - 1)
        counts = [list(slots) for slots in self._flow.counts[day : last + 1]]
        for number, slots in enumerate(counts):
            for place, count in enumerate(slots):
                if (number, place) >= (0, slot) and (number, place) < (days, slot):
                    slots[place] = _thinned(count, 1 - share, chance)
        flow = self._flow.changed(day, counts)
        for look in range(1, days * flow.slots + 1):
            later, now = divmod(slot + look, flow.slots)
            state, _ = _look(flow, day + later, now, self._budget(day + later))
            if state in _ALARMS:
                return look / flow.slots
        return None


@dataclass(frozen=True, slots=True)
class Naive:
    """What a rule of thumb makes of the same history, at the end of each day."""

    episodes: int
    found: Found | None


def naive(flow: LeadFlow, rule: Rule, drop: tuple[float, int] | None = None) -> Naive:
    """Judge a history by a rule of thumb, and put drops into it as `Backtest.inject` does, each at a day's beginning."""
    looks = range(LEAST_DAYS, len(flow.totals))
    alone = [Look(float(day + 1), NOTHING_KNOWN if rule(flow.totals, day) else None) for day in looks]
    rung = list(episodes(alone))
    if drop is None:
        return Naive(len(rung), None)
    share, days = drop
    chance = random.Random(_SEED)  # noqa: S311 - a seeded trial
    begins = _free(len(flow.totals), days, rung)
    delays: list[float] = []
    for day in begins:
        thinned = [_thinned(total, 1 - share, chance) for total in flow.totals[day : day + days]]
        totals = [*flow.totals[:day], *thinned]
        delay = next((n + 1 for n in range(days) if rule(totals, day + n)), None)
        if delay is not None:
            delays.append(delay)
    return Naive(len(rung), _found(len(begins), delays))


def _found(drops: int, delays: Sequence[float]) -> Found:
    return Found(drops, len(delays), statistics.median(delays) if delays else None, max(delays, default=None))


def _free(length: int, days: int, busy: Sequence[Episode]) -> list[int]:
    """Choose days to begin drops on, spread over a history, where no episode would be taken for what is found."""
    around = [(episode.start - days, episode.end or float(length)) for episode in busy]
    free = [
        day
        for day in range(2 * LEAST_DAYS, length - days)
        if not any(since <= day <= until + 1 for since, until in around)
    ]
    step = max(1.0, len(free) / _TRIALS)
    return [free[int(n * step)] for n in range(min(_TRIALS, len(free)))]


def _look(flow: LeadFlow, day: int, slot: int, budget: float) -> tuple[State, Look]:
    judgement = judge(flow, day, slot, budget, details=False)
    alarm = judgement.state in _ALARMS
    return judgement.state, Look(day + slot / flow.slots, judgement.worst if alarm else None)


def _thinned(count: int, kept: float, chance: random.Random) -> int:
    return sum(chance.random() < kept for _ in range(count)) if kept else 0
