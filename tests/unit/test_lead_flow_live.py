"""The lead flow by the tables of leads by hour, at a moment."""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from salesfx.kpi import Cells
from salesfx.lead_flow.closed_days import is_closed
from salesfx.lead_flow.live import (
    DAYS_BACK,
    SINCE_LAST_LEAD,
    WINDOW_NAMES,
    Flow,
    FlowState,
    LeadFlowJudge,
    LeadFlows,
    lead_flow_tables,
)
from salesfx.settings import Settings
from salesfx.tables.layout import by_table
from tests.unit.test_lead_flow import poisson

SOFIA = ZoneInfo("Europe/Sofia")
NOW = datetime(2026, 11, 20, 14, 20, tzinfo=SOFIA)
FORTY = 40
"""So many an hour, and more, come without chance, so that what is expected can be told exactly."""
Rate = Callable[[datetime], float]
"""Leads an hour at a local hour, given without its time zone."""


def even(_: datetime) -> float:
    """Expect seventy leads a day, at any hour as many."""
    return 70 / 24


def by_office_hours(hour: datetime) -> float:
    """Expect seventy leads a working day, in the day's work, and few at the weekend."""
    return (9 if 8 <= hour.hour < 16 else 0) * (1 if hour.weekday() < 5 else 0.15)


def leads(source: str, begin: datetime, end: datetime, rate: Rate = even, seed: int = 1) -> Cells:
    """Draw leads between two moments; an hour that comes twice brings leads twice, one that is missing none."""
    chance, cells = random.Random(f"{seed}{source}"), Cells()
    hour = begin.astimezone(UTC)
    while hour < end:
        local = hour.astimezone(SOFIA)
        expected = rate(local.replace(tzinfo=None))
        came = int(expected) if expected >= FORTY else poisson(chance, expected)
        hour += timedelta(hours=1)
        if came:
            cell = (local.isoformat()[:13], f"leads|source={source}")
            cells[cell] = cells.get(cell, 0) + came
    return cells


def ago(days: float, now: datetime = NOW) -> datetime:
    """Go back by days of the calendar."""
    return now - timedelta(days=days)


def judged(cells: Cells, now: datetime = NOW, trouble: tuple[str, ...] = (), **settings: object) -> LeadFlows:
    """Judge what is in these cells."""
    sources = {field.removeprefix("leads|source="): field.removeprefix("leads|source=") for _, field in cells}
    judge = LeadFlowJudge(Settings(**settings))  # type: ignore[arg-type]
    return judge.flows(tables(cells, now), sources, "other", now, trouble)


def tables(cells: Cells, now: datetime = NOW) -> Mapping[str, Mapping[str, int]]:
    """Give the tables that are asked for, and no others."""
    everything = by_table(cells)
    return {name: everything.get(name, {}) for name in lead_flow_tables(now.date())}


def silence(flow: Flow) -> float:
    """Give the hours since the last lead."""
    return flow.windows[SINCE_LAST_LEAD].days * 24


def test_a_steady_flow_is_ok_in_all_and_by_source() -> None:
    """With every window, and counts that are those of the tables."""
    cells = leads("web", ago(150), NOW) | leads("fair", ago(150), NOW, by_office_hours)
    found = judged(cells)
    assert found.total.state is FlowState.OK
    assert {name: flow.state for name, flow in found.by_source.items()} == dict.fromkeys(("web", "fair"), FlowState.OK)
    assert tuple(found.total.windows) == WINDOW_NAMES
    first = ago(7).replace(minute=0)
    came = sum(n for (hour, _), n in cells.items() if hour >= first.isoformat()[:13])
    week = found.total.windows["7d"]
    assert (week.observed, found.total.begins["7d"]) == (came, first)
    assert week.expected == pytest.approx(came, rel=0.15)
    assert found.at == NOW
    assert found.total.since is None


def test_a_dead_source_is_found_where_the_total_hides_it() -> None:
    """Half a day after its last lead; the others go on."""
    cells = leads("web", ago(150), NOW) | leads("ads", ago(150), ago(1.5), lambda _: 1.0)
    found = judged(cells)
    assert found.by_source["ads"].state is FlowState.SILENT
    assert found.by_source["web"].state is FlowState.OK
    assert found.by_source["ads"].since == found.by_source["ads"].last_lead
    assert silence(found.by_source["ads"]) == pytest.approx(36, abs=4)


def test_a_drop_rings_since_its_window_began() -> None:
    """Of the windows that ring the least likely tells since when."""
    cells = leads("web", ago(150), ago(3)) | leads("web", ago(3) + timedelta(hours=1), NOW, lambda _: 0.9)
    found = judged(cells).total
    assert found.state is FlowState.LOW
    assert found.worst == "3d"
    assert found.since == ago(3).replace(minute=0)


def test_leads_of_later_hours_do_not_count_yet() -> None:
    """A date in the future, or later today, hides no silence."""
    cells = leads("web", ago(150), ago(0.75))
    cells |= leads("web", NOW + timedelta(hours=1), NOW + timedelta(days=10))
    assert judged(cells).total == judged(leads("web", ago(150), ago(0.75))).total
    assert judged(cells).total.state is FlowState.SILENT


def test_a_moment_that_has_passed_is_judged_as_it_was_then() -> None:
    """Today's tables, without what came since."""
    cells = leads("web", ago(150), NOW, seed=4)
    then = ago(20) + timedelta(minutes=30)
    known = {cell: number for cell, number in cells.items() if cell[0] <= then.isoformat()[:13]}
    assert judged(cells, then) == judged(known, then)
    assert judged(cells, then).at == then


def test_a_history_that_begins_late_has_no_days_without_leads_before() -> None:
    """Neither those before the first lead, nor the part of its day before the log began."""
    begin = ago(50).replace(hour=21)
    found = judged(leads("web", begin, NOW)).total
    assert found.state is FlowState.OK
    assert found.history_days == 49
    assert found.windows["1d"].expected == pytest.approx(70, rel=0.1)


def test_a_source_that_has_just_begun_is_told_as_such() -> None:
    """It does not ring, and takes no part of the budget from those that can."""
    old = leads("web", ago(150), NOW)
    found = judged(old | leads("new", ago(20), ago(5)))
    assert found.by_source["new"].state is FlowState.TOO_LITTLE_EVIDENCE
    assert found.by_source["new"].history_days == 19
    assert found.by_source["web"] == judged(old).by_source["web"]


def test_sources_share_a_budget() -> None:
    """With ten more of them each has less."""
    web = leads("web", ago(150), NOW)
    more = web | {cell: n for index in range(10) for cell, n in leads(f"s{index}", ago(150), NOW).items()}
    assert judged(more).by_source["web"].windows["7d"].level < judged(web).by_source["web"].windows["7d"].level
    assert judged(web).by_source["web"].windows == judged(web).total.windows


def test_nothing_is_known_of_no_leads() -> None:
    """No tables, a source without any, a first lead of today."""
    empty = judged({})
    assert (empty.total.state, empty.by_source, empty.total.windows) == (FlowState.TOO_LITTLE_EVIDENCE, {}, {})
    judge = LeadFlowJudge(Settings())
    first = leads("web", NOW - timedelta(hours=3), NOW)
    found = judge.flows(tables(first), {"web": "web", "gone": "gone"}, "other", NOW)
    assert {flow.state for flow in (found.total, *found.by_source.values())} == {FlowState.TOO_LITTLE_EVIDENCE}
    assert (found.total.history_days, found.by_source["gone"].last_lead) == (0, None)


def test_very_few_leads_are_too_little_evidence() -> None:
    """However long the history is."""
    found = judged(leads("web", ago(150), NOW, lambda _: 0.1 / 24)).total
    assert found.state is FlowState.TOO_LITTLE_EVIDENCE
    assert found.windows["14d"].smallest_drop is None


def test_a_silence_of_weeks_is_still_told() -> None:
    """What was usual before it is known as long as the tables that are read have it."""
    found = judged(leads("web", ago(150), ago(60))).total
    assert found.state is FlowState.SILENT
    assert silence(found) == pytest.approx(60 * 24, abs=25)
    gone = judged(leads("web", ago(300), ago(DAYS_BACK + 40))).total
    assert (gone.state, gone.last_lead) == (FlowState.TOO_LITTLE_EVIDENCE, None)


def test_a_broken_feed_outdoes_whatever_the_counts_say() -> None:
    """Of all leads and of each source; the counts are told nevertheless."""
    for end in (NOW, ago(2)):
        found = judged(leads("web", ago(150), end), trouble=("Kafka is away.",))
        assert {found.total.state, found.by_source["web"].state} == {FlowState.FEED_BROKEN}
        assert found.total.windows["7d"].observed > 0
        assert found.total.since is None
        assert found.trouble == ("Kafka is away.",)


def test_closed_days_do_not_ring() -> None:
    """A public holiday of the country in the settings, and a day of one's own; in another country it rings."""
    day = datetime(2026, 9, 22, 18, 0, tzinfo=SOFIA)  # Independence Day, a Tuesday
    closed = is_closed("BG")

    def not_then(hour: datetime) -> float:
        return by_office_hours(hour) * (0.1 if closed(hour.date()) and hour.weekday() < 5 else 1)

    cells = leads("web", ago(150, day), day, not_then)
    assert judged(cells, day).total.state is FlowState.OK
    assert judged(cells, day, holidays_country="AT").total.state is not FlowState.OK
    assert judged(cells, day, holidays_country="", closed_days=("09-22",)).total.state is FlowState.OK


# The clock is changed.

SPRING = datetime(2026, 3, 29, tzinfo=SOFIA)
AUTUMN = datetime(2026, 10, 25, tzinfo=SOFIA)


def many(_: datetime) -> float:
    """Expect so many leads in every hour that one hour without any would be silence."""
    return FORTY


def test_the_hour_that_is_missing_in_spring_is_no_silence() -> None:
    """Five minutes after 04:00 the last lead came five minutes ago, not an hour and five minutes."""
    now = SPRING.replace(hour=4, minute=5)
    cells = leads("web", ago(150, now), SPRING.replace(hour=4), many)
    assert ("2026-03-29T03", "leads|source=web") not in cells
    found = judged(cells, now).total
    assert found.state is FlowState.OK
    assert found.windows[SINCE_LAST_LEAD].days * 24 * 60 == pytest.approx(5)


@pytest.mark.parametrize("days", [0, 1, 2, 6, 13])
def test_the_hour_that_is_missing_in_spring_is_not_expected(days: int) -> None:
    """In none of the windows that it lies in; what came is told as it is."""
    now = SPRING.replace(hour=15) + timedelta(days=days)
    cells = leads("web", ago(150, now), now, many)
    found = judged(cells, now).total
    assert found.state is FlowState.OK
    for name, window in found.windows.items():
        if name != SINCE_LAST_LEAD:
            begin = found.begins[name].isoformat()[:13]
            assert window.observed == sum(number for (hour, _), number in cells.items() if hour >= begin)
            real_hours = (now.astimezone(UTC) - found.begins[name].astimezone(UTC)) / timedelta(hours=1)
            assert window.expected == pytest.approx(FORTY * real_hours, rel=0.001), name


def test_a_flow_that_stops_before_the_clock_is_changed_is_silent_after_it() -> None:
    """What stands in for the missing hour is no lead; and the time that passed is told, not that of the clock's face."""
    now = SPRING.replace(hour=5, minute=30)
    found = judged(leads("web", ago(150, now), SPRING.replace(hour=2), many), now).total
    assert found.state is FlowState.SILENT
    assert silence(found) == pytest.approx(2.5)
    now = AUTUMN.replace(hour=4, minute=30)
    found = judged(leads("web", ago(150, now), AUTUMN.replace(hour=2), many), now).total
    assert found.state is FlowState.SILENT
    assert silence(found) == pytest.approx(3.5)


@pytest.mark.parametrize("fold", [0, 1])
def test_the_hour_that_comes_twice_is_one_of_two_hours(fold: int) -> None:
    """Half an hour into it, and an hour and a half: neither low, nor silent."""
    now = AUTUMN.replace(hour=3, minute=30, fold=fold)
    end = AUTUMN.replace(hour=3, fold=fold)
    cells = leads("web", ago(150, now), end, many)
    cells["2026-10-25T03", "leads|source=web"] = cells.get(("2026-10-25T03", "leads|source=web"), 0) + 20
    found = judged(cells, now).total
    assert found.state is FlowState.OK
    assert found.windows[SINCE_LAST_LEAD].days == 0
    assert found.windows["1d"].expected == pytest.approx(FORTY * (24 + (0.25, 0.75)[fold]), rel=0.001)


# What is usual is kept.


def test_what_is_kept_changes_no_judgement() -> None:
    """Hour after hour, over midnight, with events that come late, are withdrawn, or bring a new source."""
    end = NOW + timedelta(days=3)
    cells = leads("web", ago(100), end) | leads("ads", ago(60), end, by_office_hours)
    sources = {"web": "web", "ads": "ads", "new": "new"}
    kept, now = LeadFlowJudge(Settings()), NOW
    for hour in range(60):
        if hour == 20:
            cells["2026-10-02T11", "leads|source=ads"] = 30
        if hour == 40:
            del cells[next(cell for cell in cells if cell[1] == "leads|source=web" and cell[0] > "2026-11-03")]
        if hour == 41:
            cells["2026-11-01T11", "leads|source=new"] = 5
        by_now = tables(cells, now)
        fresh = LeadFlowJudge(Settings())
        assert kept.flows(by_now, sources, "other", now) == fresh.flows(by_now, sources, "other", now)
        now += timedelta(hours=1)


def test_what_is_usual_is_worked_out_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape every few seconds asks again, and is answered from what is kept."""
    worked_out = 0
    original = __import__("salesfx.lead_flow.usual", fromlist=["_usual"])._usual

    def counting(*arguments: object) -> object:
        nonlocal worked_out
        worked_out += 1
        return original(*arguments)

    monkeypatch.setattr("salesfx.lead_flow.usual._usual", counting)
    cells, judge = leads("web", ago(150), NOW), LeadFlowJudge(Settings())
    for minute in range(30):
        judge.flows(tables(cells), {"web": "web"}, "other", NOW + timedelta(minutes=minute))
    first = worked_out
    cells["2026-11-20T14", "leads|source=web"] = 7
    judge.flows(tables(cells), {"web": "web"}, "other", NOW + timedelta(minutes=31))
    assert worked_out == first
    cells["2026-11-19T14", "leads|source=web"] = 7
    judge.flows(tables(cells), {"web": "web"}, "other", NOW + timedelta(minutes=32))
    assert worked_out > first
