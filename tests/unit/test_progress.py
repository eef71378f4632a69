"""How a month goes: against its target, the same days of last month, and in working time."""

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from salesfx.definitions import Definitions
from salesfx.kpi import Cells
from salesfx.reading.month import Month
from salesfx.reading.progress import MonthProgress, ProgressOf, Verdict, progress_tables
from salesfx.rules import Rules
from salesfx.settings import Settings
from salesfx.tables.store import Snapshot
from salesfx.target_gauges import target_families
from salesfx.targets.lines import KPIS, TargetLine
from tests.folding import FoldedTables
from tests.unit import test_importer
from tests.unit.test_exporter import documented
from tests.unit.test_reader import tables_of

TARGETS = (
    TargetLine(
        since="2026-01",
        leads=200,
        qualified_leads=20,
        qualified_leads_value="20000.50",
        new_customers=5,
        conversion=0.25,
        booked_sales=10,
    ),
    TargetLine(since="2026-01", category="expansion", booked_sales_value=1000),
    TargetLine(since="2026-01", category="new_account", booked_sales_value=500),
    TargetLine(
        since="2026-01",
        salesperson="maria",
        leads=20,
        qualified_leads=5,
        qualified_leads_value=100,
        new_customers=1,
        conversion=0.5,
        booked_sales=2,
        booked_sales_value=500,
    ),
)


def every_day(months: range, a_day: int = 5) -> Cells:
    """Let as much come every day of some months of 2026."""
    cells: Cells = {}
    for number in months:
        for day in range(1, Month(2026, number).days + 1):
            when = f"2026-{number:02d}-{day:02d}"
            for dimension in ("source=web", "salesperson=maria"):
                cells[when, f"leads|{dimension}"] = a_day
                cells[when, f"qualified_leads|{dimension}"] = 2
                cells[when, f"qualified_leads_value|{dimension}"] = 20_000
                cells[when, f"new_customers|{dimension}"] = 1
            for dimension in ("category=expansion", "category=expansion,salesperson=maria"):
                cells[when, f"booked_sales|{dimension}"] = 1
                cells[when, f"booked_sales_value|{dimension}"] = 10_050
    return cells


CELLS = every_day(range(1, 12))


async def snapshot_of(cells: Cells, month: Month) -> Snapshot:
    """Give what is read for a month's progress."""
    snapshot = await (await tables_of(cells)).snapshot(progress_tables(month))
    assert snapshot is not None
    return snapshot


async def progress(cells: Cells, month: Month, now: datetime, settings: Settings | None = None) -> MonthProgress:
    """Tell how a month goes."""
    chosen = settings or Settings(timezone="UTC", targets=TARGETS)
    return ProgressOf(chosen).month(await snapshot_of(cells, month), month, now)


NOVEMBER = Month(2026, 11)


async def test_a_month_to_date_beside_the_same_days_and_the_target() -> None:
    """Up to the 20th: 20 days of five leads, in both months; 14 of 21 working days, and half of the 15th of them, are gone."""
    seen = await progress(CELLS, NOVEMBER, datetime(2026, 11, 20, 13, 30, tzinfo=UTC))
    leads = seen.kpis["leads"]
    assert (leads.so_far, leads.same_days_last_month, leads.target) == (100, 100, 200)
    assert seen.working_days == 21
    assert seen.working_time_gone == pytest.approx(14.5 / 21)
    assert leads.expected_by_now == pytest.approx(200 * 14.5 / 21)
    assert leads.verdict is Verdict.BEHIND
    assert seen.kpis["qualified_leads_value"].target == "20000.50"
    assert seen.kpis["conversion"].so_far == 0.5
    assert seen.kpis["conversion"].verdict is Verdict.AHEAD
    assert seen.kpis["conversion"].expected_by_now == 0.25
    assert seen.kpis["booked_sales_value"].target == "1500.00"
    assert seen.booked_sales_value_by_category["expansion"].so_far == "2010.00"
    assert seen.booked_sales_value_by_category["returning"].target is None
    assert seen.by_salesperson["maria"]["booked_sales_value"].so_far == "2010.00"
    assert list(seen.by_salesperson["maria"]) == list(KPIS)


async def test_the_forecasts_ends_decide() -> None:
    """Behind is what is reached with one tenth of probability at most, ahead what is missed so; all between is on track."""
    now = datetime(2026, 11, 20, 13, 30, tzinfo=UTC)
    forecast = (await progress(CELLS, NOVEMBER, now)).kpis["leads"].forecast
    assert forecast is not None
    low, high = int(forecast.low), int(forecast.high)
    assert low < 150 < high
    expected = {low: Verdict.AHEAD, low + 1: Verdict.ON_TRACK, high: Verdict.ON_TRACK, high + 1: Verdict.BEHIND}
    for target, verdict in expected.items():
        settings = Settings(timezone="UTC", targets=(TargetLine(since="2026-01", leads=target),))
        assert (await progress(CELLS, NOVEMBER, now, settings)).kpis["leads"].verdict is verdict, target


async def test_nothing_is_judged_in_the_first_fifth() -> None:
    """Four of 21 days are less than a fifth, and one minute into the fifth is still; its afternoon is more."""
    early = await progress(CELLS, NOVEMBER, datetime(2026, 11, 6, 9, 1, tzinfo=UTC))
    assert {each.verdict for each in early.kpis.values()} == {Verdict.NONE}
    assert early.kpis["leads"].forecast is not None
    later = await progress(CELLS, NOVEMBER, datetime(2026, 11, 6, 18, 0, tzinfo=UTC))
    assert later.kpis["leads"].verdict is not Verdict.NONE


async def test_a_month_that_has_ended_was_reached_or_missed() -> None:
    """All of it beside all of the month before; nothing is forecast."""
    seen = await progress(CELLS, Month(2026, 10), datetime(2026, 11, 20, tzinfo=UTC))
    leads = seen.kpis["leads"]
    assert (leads.so_far, leads.same_days_last_month, leads.forecast) == (155, 150, None)
    assert leads.verdict is Verdict.BEHIND
    assert seen.kpis["booked_sales"].verdict is Verdict.AHEAD
    assert seen.working_time_gone == 1.0


async def test_a_month_without_anything_and_one_to_come() -> None:
    """Zeros, no ratio, and no judgement of a month that has not begun."""
    empty = await progress({}, NOVEMBER, datetime(2026, 11, 20, tzinfo=UTC))
    assert (empty.kpis["leads"].so_far, empty.kpis["booked_sales_value"].so_far) == (0, "0.00")
    assert empty.kpis["conversion"].so_far is None
    assert empty.kpis["booked_sales_value"].forecast is None
    to_come = await progress(CELLS, Month(2027, 2), datetime(2026, 11, 20, tzinfo=UTC))
    assert to_come.working_time_gone == 0
    assert (to_come.kpis["leads"].so_far, to_come.kpis["leads"].verdict) == (0, Verdict.NONE)


async def test_the_first_moment_of_a_month_is_that_of_the_business() -> None:
    """Late in the evening in London it is the first of March in Sofia; February is whole, and nothing is gone."""
    cells: Cells = {("2028-02-29", "leads|source=web"): 3, ("2028-03-01", "leads|source=web"): 1}
    now = datetime(2028, 2, 29, 22, 30, tzinfo=UTC)
    march = await progress(cells, Month(2028, 3), now, Settings(targets=TARGETS))
    assert (march.kpis["leads"].so_far, march.kpis["leads"].same_days_last_month) == (1, 0)
    assert march.working_time_gone == 0
    assert march.at.day == 1
    february = await progress(cells, Month(2028, 2), now, Settings(targets=TARGETS))
    assert (february.kpis["leads"].so_far, february.working_time_gone) == (3, 1.0)


async def test_a_leap_day_is_compared_with_all_there_is() -> None:
    """On 29 February with 29 January, and on 31 March with all of February."""
    cells: Cells = {(f"2028-{month:02d}-{day:02d}", "leads|source=web"): 1 for month in (1, 2, 3) for day in (28, 29)}
    cells |= {("2028-01-30", "leads|source=web"): 1, ("2028-03-31", "leads|source=web"): 1}
    leap = await progress(cells, Month(2028, 2), datetime(2028, 2, 29, 12, tzinfo=UTC))
    assert (leap.kpis["leads"].so_far, leap.kpis["leads"].same_days_last_month) == (2, 2)
    end = await progress(cells, Month(2028, 3), datetime(2028, 3, 31, 12, tzinfo=UTC))
    assert (end.kpis["leads"].so_far, end.kpis["leads"].same_days_last_month) == (3, 2)


async def test_every_family_is_documented() -> None:
    """docs/metrics.md has a row for each, with its labels and the sentence that Prometheus is told."""
    settings = Settings(timezone="UTC", targets=TARGETS)
    seen = await progress(CELLS, NOVEMBER, datetime(2026, 11, 20, tzinfo=UTC), settings)
    rows = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for family in target_families(ProgressOf(settings).targets, {0: NOVEMBER}, seen):
        assert documented(family) in rows


async def test_gauges_hold_units_and_no_total_beside_its_parts() -> None:
    """A target by category has no sample for all; one in all has no category; what has no target has no sample."""
    settings = Settings(timezone="UTC", targets=TARGETS)
    seen = await progress(CELLS, NOVEMBER, datetime(2026, 11, 20, tzinfo=UTC), settings)
    months = {0: NOVEMBER, 11: Month(2025, 12), -1: Month(2026, 12)}
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in target_families(ProgressOf(settings).targets, months, seen)
        for sample in family.samples
    }
    by_category = {key[1:]: value for key, value in found.items() if key[0] == "salesfx_target_booked_sales_value"}
    assert by_category == {
        (("category", "new_account"), ("months_ago", "0")): 500.0,
        (("category", "expansion"), ("months_ago", "0")): 1000.0,
    }
    assert found["salesfx_target_booked_sales", ("category", ""), ("months_ago", "0")] == 10.0
    assert found["salesfx_target_qualified_leads_value", ("months_ago", "0")] == 20000.5
    forecast = seen.kpis["booked_sales_value"].forecast
    assert forecast is not None
    assert found["salesfx_forecast_booked_sales_value", ("quantile", "0.9")] == float(forecast.high)
    assert {key[0] for key in found if ("months_ago", "11") in key} == set()


async def test_it_is_json() -> None:
    """A moment with its offset, money as decimal strings."""
    now = datetime(2026, 11, 20, 14, tzinfo=timezone(timedelta(hours=2)))
    seen = await progress(CELLS, NOVEMBER, now, Settings(targets=TARGETS))
    read = msgspec.json.decode(msgspec.json.encode(seen))
    assert read["at"] == "2026-11-20T14:00:00+02:00"
    assert read["kpis"]["booked_sales_value"]["so_far"] == "2010.00"
    assert read["kpis"]["leads"]["verdict"] == "behind"


@pytest.mark.external_data
async def test_the_month_to_date_of_real_data_is_that_counted_by_hand() -> None:
    """Maven's CRM data as June 2017 stood on the 15th, and when it had ended.

    Counted in the file by spreadsheet means (awk), by engage_date and, of stage Won, by close_date and close_value:
    1 to 15 June 369 opportunities engaged, 269 won for 644,050; 1 to 15 May 356 engaged, 210 won for 514,315; in all of
    June 792 engaged, 531 won for 1,338,466; in all of May 722 engaged, 438 won for 1,025,713. June 2017 has 22 weekdays, of which 11 lie on 1 to 15 June.
    """
    file = Path(os.environ["SALESFX_TEST_DATA"]) / "maven_crm" / "iso_sales_pipeline.csv"
    folded = FoldedTables(Rules(Definitions(currency="USD")))
    folded.take(test_importer.messages(test_importer.TestMavenCrm().events(file)))
    june = Month(2017, 6)
    snapshot = await snapshot_of(folded.cells, june)
    progress_of = ProgressOf(Settings(holidays_country="", timezone="Europe/Sofia"))
    halfway = progress_of.month(snapshot, june, datetime(2017, 6, 15, 20, 0, tzinfo=UTC))
    shown = {kpi: (each.so_far, each.same_days_last_month) for kpi, each in halfway.kpis.items()}
    assert shown["leads"] == (369, 356)
    assert shown["booked_sales"] == (269, 210)
    assert shown["booked_sales_value"] == ("644050.00", "514315.00")
    assert halfway.working_time_gone == 11 / 22
    ended = progress_of.month(snapshot, june, datetime(2017, 7, 1, tzinfo=UTC))
    shown = {kpi: (each.so_far, each.same_days_last_month) for kpi, each in ended.kpis.items()}
    assert shown["leads"] == (792, 722)
    assert shown["booked_sales"] == (531, 438)
    assert shown["booked_sales_value"] == ("1338466.00", "1025713.00")
