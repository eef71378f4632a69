"""Where a month is said to end, held against how months do end."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest

from salesfx.kpi import Cells
from salesfx.reading.month import Month
from salesfx.reading.progress import Forecast, ProgressOf, progress_tables
from salesfx.settings import Settings
from salesfx.targets.forecast import Coming, Past, coming, count_at_end
from salesfx.targets.rhythm import Rhythm, rhythm_of
from tests.unit.test_reader import tables_of

FLAT = Rhythm((1.0,) * 8, (1.0,) * 5, 1.0, 0.0)
SETTINGS = Settings(timezone="UTC")


def weekday(day: date) -> bool:
    """Tell working days."""
    return day.weekday() < 5


def simulated(seed: int, a_month: float, sway: float = 0.2, late: float = 1.0) -> Cells:
    """Draw two years of leads and deals: months with a level of their own, weekends with few, and skewed sizes."""
    dice = random.Random(seed)
    cells: Cells = {}
    day, level = date(2024, 1, 1), 1.0
    while day < date(2026, 1, 1):
        if day.day == 1:
            level = dice.gammavariate(1 / sway**2, sway**2)
        mean = a_month / 22 * level * (1.0 if weekday(day) else 0.1) * (late if day.day > 24 else 1.0)
        number = _poisson(dice, mean)
        if number:
            cells[day.isoformat(), "leads|source=web"] = number
            cells[day.isoformat(), "booked_sales|category=expansion"] = number
            worth = sum(round(100 * dice.lognormvariate(7, 0.8)) for _ in range(number))
            cells[day.isoformat(), "booked_sales_value|category=expansion"] = worth
        day += timedelta(days=1)
    return cells


def _poisson(dice: random.Random, mean: float) -> int:
    waited, number = dice.expovariate(1.0), 0
    while waited < mean:
        waited, number = waited + dice.expovariate(1.0), number + 1
    return number


async def forecasts(cells: Cells, days: tuple[int, ...]) -> dict[str, list[tuple[Forecast, float]]]:
    """Forecast each month of the second year as some of its days end, and put beside it what it came to."""
    tables = await tables_of(cells)
    progress = ProgressOf(SETTINGS)
    found: dict[str, list[tuple[Forecast, float]]] = {"leads": [], "booked_sales_value": []}
    for number in range(1, 13):
        month = Month(2025, number)
        snapshot = await tables.snapshot(progress_tables(month))
        assert snapshot is not None
        ended = progress.month(snapshot, month, datetime(2026, 2, 1, tzinfo=UTC))
        for day in days:
            seen = progress.month(snapshot, month, datetime(2025, number, day, 23, tzinfo=UTC))
            for kpi, pairs in found.items():
                forecast = seen.kpis[kpi].forecast
                assert forecast is not None
                pairs.append((forecast, float(ended.kpis[kpi].so_far or 0)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("a_month", [3, 12, 150])
async def test_four_of_five_months_end_within_the_forecast(a_month: float) -> None:
    """Of months with a level of their own, seen early, in the middle and late: for few items, and for many."""
    within: dict[str, list[bool]] = {"leads": [], "booked_sales_value": []}
    for seed in range(8):
        for kpi, pairs in (await forecasts(simulated(seed, a_month), (5, 14, 23))).items():
            within[kpi] += [float(low.low) <= came <= float(low.high) for low, came in pairs]
    share = {kpi: sum(each) / len(each) for kpi, each in within.items()}
    # Counts are whole, so that of few the interval holds more than it must.
    assert 0.75 <= share["leads"] <= (0.96 if a_month < 20 else 0.9)
    assert 0.75 <= share["booked_sales_value"] <= 0.9


def test_few_are_as_uncertain_as_chance_makes_them() -> None:
    """Of two a month nothing is sure as it begins; as it ends, what has come stands."""
    past = [Past(2, 30.0)] * 12
    assert count_at_end(0, _known(coming(0, 0.0, 30.0, past, FLAT))) == (0, 2, 4)
    assert count_at_end(3, _known(coming(3, 30.0, 0.0, past, FLAT))) == (3, 3, 3)


def test_what_has_come_corrects_what_was_foreseen() -> None:
    """Half a month of twice as many is believed in part; the more there are, the more it is believed."""
    few = _known(coming(4, 15.0, 15.0, [Past(4, 30.0)] * 12, FLAT)).mean / 2
    many = _known(coming(400, 15.0, 15.0, [Past(400, 30.0)] * 12, FLAT)).mean / 200
    assert 1.0 < few < 1.5 < many < 2.0


def test_without_a_past_only_the_month_speaks() -> None:
    """As it begins nothing is foreseen; later it is, and widely."""
    assert coming(0, 0.0, 30.0, [], FLAT) is None
    low, middle, high = count_at_end(10, _known(coming(10, 15.0, 15.0, [], FLAT)))
    assert 13 <= low < middle < high
    assert 19 <= middle <= 21


def _known(to_come: Coming | None) -> Coming:
    assert to_come is not None
    return to_come


def test_a_team_that_closes_at_the_months_end_is_not_behind_in_its_middle() -> None:
    """The last fifth of its months weighs more than the first."""
    days = [[date(2026, month, 1) + timedelta(days=n) for n in range(30)] for month in (4, 6, 9)]
    counts = [0 if day.weekday() > 4 else 1 if day.day < 25 else 12 for day in days[0]]
    rhythm = rhythm_of([(month, counts) for month in days], weekday)
    assert rhythm.fifths[4] > 3 * rhythm.fifths[0]
