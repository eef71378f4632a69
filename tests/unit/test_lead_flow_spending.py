"""Whether the alarm keeps its budget: by theory against simulation, and the whole model against simulation."""

import math
import random
from datetime import date

import pytest

from salesfx.lead_flow.counts import lower_tail
from salesfx.lead_flow.episodes import Look, episodes
from salesfx.lead_flow.judgement import State, judge
from salesfx.lead_flow.spending import Silence, Sliding, clumps_a_year, spend
from salesfx.lead_flow.usual import LeadFlow
from tests.unit.test_lead_flow import WEEK, poisson

MONDAY = date(2024, 1, 1)


@pytest.mark.parametrize(("rate", "days", "slots", "bound"), [(8, 3, 1, 11), (8, 7, 1, 39), (4, 3, 12, 3)])
def test_the_rate_of_clumps_is_what_a_simulation_counts(rate: float, days: int, slots: int, bound: int) -> None:
    """Daily looks and those every two hours: the formula tells how often a sliding sum comes to be so low.

    To a third: of daily looks it tells about a fifth too few, which is less than what windows have in common.
    """
    chance = random.Random(5)
    years, length = 150, days * slots
    counts = [poisson(chance, rate / slots) for _ in range(int(years * 365.25 * slots))]
    total, last, clumps = sum(counts[:length]), -math.inf, 0
    for place in range(length, len(counts)):
        total += counts[place] - counts[place - length]
        if total <= bound:
            clumps += place - last > length
            last = place
    mean = rate * days
    expected = years * clumps_a_year(bound, Sliding(mean, mean, 1 / days, 1 / slots, 1 / slots))
    assert expected > 40, "else nothing would be shown"
    assert clumps == pytest.approx(expected, rel=0.35)


def test_what_one_cannot_use_is_lent_to_the_others() -> None:
    """Of half a lead a day no short window can ring; time since the last lead has their shares, and all is spent once."""
    windows = [Sliding(0.5 * days, 0.5 * days, 1 / days, 1, 1) for days in (1, 3, 7)]
    silence = Silence(0.4, 0.02, lambda mean: lower_tail(0, mean, mean))
    spent = spend(1.0, windows, silence)
    assert spent.windows == [0.0, 0.0, 0.0]
    assert spent.silence * 0.4 * 365.25 == pytest.approx(1.0)
    assert spent.rate == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [2, 30, 300])
@pytest.mark.parametrize("budget", [0.2, 1.0, 12.0])
def test_no_more_is_spent_than_there_is(rate: float, budget: float) -> None:
    """Whatever the flow; and of many leads hardly anything is left."""
    windows = [Sliding(rate * days, 1.5 * rate * days, 1 / days, 1, 1) for days in (1, 3, 7, 14)]
    spent = spend(budget, windows, Silence(1.0, rate, lambda mean: lower_tail(0, mean, 1.5 * mean)))
    assert 0.7 * budget < spent.rate <= budget * 1.000001


@pytest.mark.parametrize("scatter", [1.0, 2.0])
def test_the_budget_is_kept(scatter: float) -> None:
    """Of 12 a year in four years of a flow in which nothing changes: not clearly more, and not so few that power is lost."""
    budget, years = 12.0, 4
    chance = random.Random(11)
    means = [12 * WEEK[day % 7] for day in range(84 + 365 * years)]
    if scatter > 1:
        means = [chance.gammavariate(mean / (scatter - 1), scatter - 1) for mean in means]
    flow = LeadFlow(MONDAY, [[poisson(chance, mean)] for mean in means])
    looks = []
    for day in range(84, len(means) + 1):
        judgement = judge(flow, day, 0, budget, details=False)
        alarm = judgement.state in {State.LOW, State.SILENT}
        looks.append(Look(float(day), judgement.worst if alarm else None))
    rung = len(list(episodes(looks)))
    assert 0.5 * budget * years < rung < 1.1 * budget * years
