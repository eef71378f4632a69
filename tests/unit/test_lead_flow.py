"""Whether as many leads come as usual."""

import math
import random
from collections.abc import Callable
from datetime import date, timedelta

import pytest

from salesfx.lead_flow.judgement import Judgement, State, judge
from salesfx.lead_flow.usual import CLOSED, LEAST_DAYS, LeadFlow

MONDAY = date(2026, 1, 5)
WEEK = (1.2, 1.2, 1.1, 1.1, 1.0, 0.8, 0.6)
"""What each weekday has of an average day."""


def no_holiday(_: date) -> bool:
    """Every day is a day like others."""
    return False


def steady(rate: float, days: int, *, slots: int = 1, seed: int = 1) -> list[list[int]]:
    """Draw counts of a flow in which nothing changes; hours have a rhythm of their own."""
    chance = random.Random(seed)
    shares = [1.0] if slots == 1 else [1 + math.sin((hour - 8) / 12 * math.pi) for hour in range(slots)]
    return [[poisson(chance, rate * WEEK[day % 7] * share / sum(shares)) for share in shares] for day in range(days)]


def poisson(chance: random.Random, mean: float) -> int:
    """Draw a count, by the times between leads."""
    count, passed = 0, chance.expovariate(1)
    while passed < mean:
        count, passed = count + 1, passed + chance.expovariate(1)
    return count


def at_the_end(
    counts: list[list[int]], is_closed: Callable[[date], bool] = no_holiday, budget: float = 1.0
) -> Judgement:
    """Judge after the last day."""
    return judge(LeadFlow(MONDAY, counts, is_closed), len(counts), 0, budget)


def states(counts: list[list[int]], is_closed: Callable[[date], bool] = no_holiday) -> dict[int, State]:
    """Judge every morning from the tenth week on."""
    flow = LeadFlow(MONDAY, counts, is_closed)
    return {day: judge(flow, day, 0, 1.0, details=False).state for day in range(70, len(counts) + 1)}


def test_what_is_usual_is_found_again() -> None:
    """The level, the rhythm of the week and that of the day."""
    flow = LeadFlow(MONDAY, steady(200, 140, slots=24))
    usual = flow.usual(140)
    assert usual is not None
    assert usual.level == pytest.approx(200, rel=0.05)
    assert usual.rhythm[:7] == pytest.approx(WEEK, abs=0.08)
    assert usual.expected(0, slice(12, 16)) > 3 * usual.expected(0, slice(0, 4))
    assert usual.dispersion < 1.5


def test_more_scatter_than_chance_is_found() -> None:
    """Else an overdispersed flow would ring every week."""
    chance = random.Random(3)
    counts = [[poisson(chance, chance.gammavariate(10, 7))] for _ in range(140)]
    usual = LeadFlow(MONDAY, counts).usual(140)
    assert usual is not None
    assert usual.dispersion == pytest.approx(8, rel=0.4)


def test_a_steady_flow_is_ok() -> None:
    """Over half a year, with a budget of one alarm a year."""
    assert set(states(steady(70, 250)).values()) == {State.OK}


def test_silence_is_found_within_the_day() -> None:
    """Of three leads an hour nothing for six hours of the day is no chance."""
    counts = steady(70, 101, slots=24)
    counts[100][9:] = [0] * 15
    flow = LeadFlow(MONDAY, counts)
    assert judge(flow, 100, 9, 1.0).state is State.OK
    found = judge(flow, 100, 15, 1.0)
    assert found.state is State.SILENT
    silence = found.windows[-1]
    assert (silence.observed, silence.is_low) == (0, True)
    assert silence.days == pytest.approx(6 / 24, abs=2 / 24)


@pytest.mark.parametrize("days", [20, 60, 120])
def test_nothing_likely_is_an_alarm_however_long_a_silence_goes_on(days: int) -> None:
    """By then hardly a lead is usual, so that hardly a silence begins, and each might ring; bounds stay among counts that may come."""
    flow = LeadFlow(MONDAY, [*steady(700, 140, slots=24), *[[0] * 24] * days])
    judgement = judge(flow, len(flow.counts), 0, 1.0)
    assert max(window.level for window in judgement.windows) < 0.5
    assert all(window.least < 10 * window.expected + 10 for window in judgement.windows)


def test_what_comes_later_is_not_looked_at() -> None:
    """A history is judged as it would have been then."""
    counts = steady(70, 120, slots=24)
    until = judge(LeadFlow(MONDAY, [*counts[:100], [*counts[100][:12], *[0] * 12]]), 100, 12, 1.0)
    assert judge(LeadFlow(MONDAY, counts), 100, 12, 1.0) == until


@pytest.mark.parametrize(("share", "days"), [(0.3, 3), (0.5, 7), (0.7, 14)])
def test_a_drop_is_found_by_the_window_that_it_takes(share: float, days: int) -> None:
    """The smaller the drop, the longer it takes to know."""
    counts = steady(70, 150)
    for day in range(150 - days, 150):
        counts[day] = [round(counts[day][0] * share)]
    found = at_the_end(counts)
    assert found.state is State.LOW
    assert found.worst is not None
    assert found.worst.observed <= found.worst.least
    assert found.worst.probability <= found.worst.level


def test_a_step_upwards_neither_rings_nor_deafens() -> None:
    """After New Year three times as many come: no alarm, and two weeks later a silence and a halving are found as ever."""
    counts = steady(40, 100) + steady(120, 40, seed=2)
    assert set(states(counts).values()) == {State.OK}
    assert at_the_end([*counts[:114], [0]]).state is not State.OK
    halved = [[round(count / 2)] for [count] in counts[114:121]]
    assert at_the_end(counts[:114] + halved).state is State.LOW


def test_a_drop_that_stays_becomes_usual() -> None:
    """It rings when it comes; two months later it is the level against which drops are judged."""
    seen = states(steady(70, 120) + steady(35, 90, seed=2))
    assert State.LOW in [seen[day] for day in range(120, 130)]
    assert {seen[day] for day in range(185, 211)} == {State.OK}


def test_one_day_of_a_fair_does_not_make_others_look_low() -> None:
    """Five hundred leads on one day are no new level."""
    counts = steady(70, 140)
    counts[120] = [500]
    assert set(states(counts).values()) == {State.OK}


def test_a_holiday_does_not_ring() -> None:
    """Closed days are told from silence; one that the calendar does not know of is not."""
    counts = steady(70, 141)
    closed = {MONDAY + timedelta(day) for day in (40, 75, 100, 140)}
    for day in closed:
        counts[(day - MONDAY).days] = [3]
    flow = LeadFlow(MONDAY, counts, closed.__contains__)
    assert flow.kinds[140] == CLOSED
    assert at_the_end(counts, closed.__contains__).state is State.OK
    assert at_the_end(counts).state is State.LOW


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2])
def test_of_very_few_leads_nothing_is_said(rate: float) -> None:
    """Even silence for two weeks would be no wonder; and what is not known is not called ok."""
    assert at_the_end(steady(rate, 140)).state is State.LITTLE_EVIDENCE


def test_a_short_history_is_too_little_evidence() -> None:
    """No window is judged before its baseline has four weeks."""
    assert at_the_end(steady(70, LEAST_DAYS)) == Judgement(State.LITTLE_EVIDENCE, [])
    assert [window.days for window in at_the_end(steady(70, LEAST_DAYS + 3)).windows][:2] == [1, 3]


def test_the_smallest_drop_shrinks_with_the_window_and_the_flow() -> None:
    """What could have been seen is told with the judgement."""
    few, many = at_the_end(steady(5, 140)), at_the_end(steady(500, 140))
    assert few.windows[0].smallest_drop is None, "a day without any of five leads is no alarm"
    for judgement in (few, many):
        drops = [window.smallest_drop or 1.0 for window in judgement.windows if window.days in (3, 7, 14)]
        assert drops == sorted(drops, reverse=True)
    assert (many.windows[2].smallest_drop or 1.0) < (few.windows[2].smallest_drop or 1.0)


def test_a_greater_budget_sees_more() -> None:
    """It is the price of seeing: the bounds rise with it."""
    counts = steady(70, 140)
    for one, many in zip(at_the_end(counts).windows, at_the_end(counts, budget=12.0).windows, strict=True):
        assert many.least >= one.least
        assert many.level > one.level


def test_a_window_is_not_taken_for_the_time_since_the_last_lead() -> None:
    """Of a short history the longest windows are missing, and so is the silence where the last lead came too early in it."""
    judgement = at_the_end(steady(70, LEAST_DAYS - 1) + [[0]] * 4)
    assert [window.days for window in judgement.windows] == [1, 3]
    assert judgement.state is State.LOW


def test_the_running_hour_is_judged_by_its_share() -> None:
    """Within an hour the count so far stands beside what that part of it lets one expect."""
    counts = steady(200, 101, slots=24)
    counts[100][12:] = [4] + [0] * 11
    flow = LeadFlow(MONDAY, counts)
    hour = flow.usual(99)
    assert hour is not None
    whole, parted = (judge(flow, 100, 12, 1.0, part=part).windows[0] for part in (0.0, 0.25))
    assert parted.observed == whole.observed + 4
    assert parted.expected == pytest.approx(whole.expected + hour.expected(flow.kinds[100], slice(12, 13)) / 4)


def test_the_last_lead_may_be_known_to_the_minute() -> None:
    """Where it is not, the silence begins with the next hour."""
    counts = steady(70, 101, slots=24)
    counts[100][9:] = [1] + [0] * 14
    flow = LeadFlow(MONDAY, counts)
    by_hours = judge(flow, 100, 14, 1.0, part=0.5).windows[-1]
    known = judge(flow, 100, 14, 1.0, part=0.5, last_lead=(100, 9.25)).windows[-1]
    assert by_hours.days == pytest.approx(4.5 / 24)
    assert known.days == pytest.approx(5.25 / 24)
    assert known.expected > by_hours.expected
    assert judge(flow, 100, 9, 1.0, part=0.5).windows[-1].days == 0, "the lead of the running hour may have just come"
