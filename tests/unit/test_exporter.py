"""What Prometheus is told."""

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from salesfx import __version__
from salesfx.events import TOPICS
from salesfx.exporter import SalesCollector, registry_of, shown_tables
from salesfx.kpi import CATALOGUE, Breakdown, Cells
from salesfx.reading.lag import LogEndsView
from salesfx.refusal import Reason
from salesfx.tables import Snapshot
from salesfx.tables.store import Commit, Range
from tests.unit.test_reader import tables_of, worked_example

TODAY = date(2026, 11, 20)
DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def families(snapshot: Snapshot | None, today: date = TODAY, log_ends: LogEndsView | None = None) -> list[Family]:
    """Scrape once."""
    return list(SalesCollector(snapshot, today, log_ends).collect())


def samples(scraped: Iterable[Family]) -> Samples:
    """Give samples by name and labels; none may come twice."""
    listed = [
        (sample.name, frozenset(sample.labels.items()), sample) for family in scraped for sample in family.samples
    ]
    found = {(name, labels): float(sample.value) for name, labels, sample in listed}
    assert len(found) == len(listed)
    assert all(sample.timestamp is None for _, _, sample in listed)
    return found


def value(found: Samples, name: str, **labels: str) -> float | None:
    """Look one sample up."""
    return found.get((name, frozenset(labels.items())))


async def scrape(cells: Cells, today: date = TODAY) -> Samples:
    """Scrape tables that hold these cells."""
    tables = await tables_of(cells)
    return samples(families(await tables.snapshot(shown_tables(today)), today))


def text(snapshot: Snapshot | None, today: date = TODAY, log_ends: LogEndsView | None = None) -> bytes:
    """Scrape once, as text."""
    return generate_latest(registry_of(SalesCollector(snapshot, today, log_ends)))


async def full_snapshot() -> Snapshot:
    """Fold the worked example, and add everything that a worker writes beside it."""
    tables = await worked_example()
    await tables.commit(
        Commit(
            [Range("lead_created", 0, 1, 40)],
            counters={
                "processed|lead_created": 39,
                "rejected|lead_created|no_rate": 2,
                "batches|lead_created": 2,
                "batch_microseconds|lead_created": 1_500_000,
            },
            marks={"last_event|lead_created:0": "1790000000.123", "last_commit|lead_created:0": "1790000001.5"},
            heartbeats=[("lead_created", "crm", "1790000002.250")],
        )
    )
    snapshot = await tables.snapshot(shown_tables(TODAY))
    assert snapshot is not None
    return snapshot


async def test_the_worked_example_as_gauges() -> None:
    """Seen from November: the lead of last month, and the deal of this one, in units of the currency."""
    found = samples(families(await full_snapshot()))
    assert value(found, "salesfx_leads", months_ago="1", source="web") == 1
    assert value(found, "salesfx_leads", months_ago="0", source="web") == 0
    assert value(found, "salesfx_leads_by_salesperson", months_ago="1", salesperson="unassigned") == 1
    assert value(found, "salesfx_qualified_leads_value", months_ago="1", source="web") == 1200
    assert value(found, "salesfx_cohort_customers", months_ago="1", source="web") == 1
    assert value(found, "salesfx_new_customers", months_ago="5", source="unattributed") == 1
    assert value(found, "salesfx_booked_sales", months_ago="0", category="expansion") == 1
    assert value(found, "salesfx_booked_sales_value", months_ago="0", category="expansion") == 1150
    assert (
        value(
            found,
            "salesfx_booked_sales_value_by_salesperson",
            months_ago="0",
            salesperson="unassigned",
            category="expansion",
        )
        == 1150
    )
    assert value(found, "salesfx_month_info", months_ago="0", month="2026-11") == 1
    assert value(found, "salesfx_month_info", months_ago="-3", month="2027-02") == 1
    assert value(found, "salesfx_month_info", months_ago="12", month="2025-11") == 1
    assert value(found, "salesfx_reporting_currency_info", currency="EUR") == 1
    assert value(found, "salesfx_up") == 1


async def test_the_months_to_come_are_shown_for_planned_sales_only() -> None:
    """Three of them, each with its categories."""
    cells: Cells = {
        ("2027-02-10", "planned_sales_value|category=returning"): 12345,
        ("2027-02-10", "leads|source=web"): 1,
    }
    found = await scrape(cells)
    assert value(found, "salesfx_planned_sales_value", months_ago="-3", category="returning") == 123.45
    assert value(found, "salesfx_planned_sales_value", months_ago="-1", category="returning") == 0
    ahead = {name for name, labels in found if dict(labels).get("months_ago") == "-1"}
    assert {name.removeprefix("salesfx_").partition("_")[0] for name in ahead} == {"planned", "month"}


async def test_known_series_start_at_0() -> None:
    """Each category in each month, and each source and salesperson in all months where one of them has anything."""
    cells: Cells = {
        ("2026-03-10", "leads|source=web"): 1,
        ("2026-11-10", "booked_sales|category=expansion,salesperson=maria"): 1,
    }
    found = await scrape(cells)
    for metric in CATALOGUE:
        months = [str(ago) for ago in range(-metric.months_ahead, 13)]
        names = ["web"] if metric.breakdown is Breakdown.SOURCE else ["new_account", "expansion", "returning"]
        for suffix, shown in (("", months), ("_to_date", ["0", "1"])):
            got = {labels for name, labels in found if name == f"salesfx_{metric.name}{suffix}"}
            assert got == {
                frozenset({("months_ago", ago), (metric.breakdown.value, name)}) for ago in shown for name in names
            }
    assert value(found, "salesfx_leads_by_salesperson", months_ago="7", salesperson="maria") == 0
    for topic in TOPICS:
        assert value(found, "salesfx_events_processed_total", topic=topic) == 0
        assert value(found, "salesfx_batch_duration_seconds_count", topic=topic) == 0
        for reason in Reason:
            assert value(found, "salesfx_events_rejected_total", topic=topic, reason=reason.value) == 0


async def test_a_source_of_a_month_that_is_not_shown_has_no_series() -> None:
    """Thirteen months ago, or to come: that is shown for what is planned only."""
    cells: Cells = {
        ("2025-10-31", "leads|source=old"): 1,
        ("2025-11-01", "leads|source=just"): 1,
        ("2026-12-01", "leads|source=early"): 1,
        ("2026-12-01", "leads|salesperson=early"): 1,
        ("2026-12-01", "planned_sales|category=expansion,salesperson=planner"): 1,
    }
    found = await scrape(cells)
    assert {dict(labels).get("source") for _, labels in found} - {None} == {"just"}
    assert {dict(labels).get("salesperson") for _, labels in found} - {None} == {"planner"}


async def test_names_are_bounded_and_the_rest_is_summed_up() -> None:
    """Of a hundred sources and people, the twenty and the fifty greatest keep their names; nothing is lost."""
    cells: Cells = {}
    for index in range(100):
        cells["2026-11-10", f"leads|source=s{index:02d}"] = 1 + index
        cells["2026-10-10", f"new_customers|source=s{index:02d}"] = 1
        cells["2026-10-10", f"booked_sales|category=expansion,salesperson=p{index:02d}"] = 1 + index
    found = await scrape(cells)

    def labels_of(name: str, label: str) -> set[str]:
        return {dict(labels)[label] for sample, labels in found if sample == name}

    assert labels_of("salesfx_leads", "source") == {f"s{index}" for index in range(80, 100)} | {"other"}
    assert labels_of("salesfx_new_customers_to_date", "source") == labels_of("salesfx_leads", "source")
    assert value(found, "salesfx_leads", months_ago="0", source="other") == sum(range(1, 81))
    assert value(found, "salesfx_leads_to_date", months_ago="0", source="other") == sum(range(1, 81))
    assert value(found, "salesfx_new_customers", months_ago="1", source="other") == 80
    people = labels_of("salesfx_booked_sales_by_salesperson", "salesperson")
    assert people == {f"p{index}" for index in range(50, 100)} | {"other"}
    assert value(
        found, "salesfx_booked_sales_by_salesperson", months_ago="1", salesperson="other", category="expansion"
    ) == sum(range(1, 51))


async def test_equal_ranks_go_by_name_and_a_source_called_other_joins_the_rest() -> None:
    """So that two scrapes of the same tables are the same."""
    cells: Cells = {("2026-11-10", f"leads|source=s{index:02d}"): 1 for index in range(21)}
    cells["2026-11-10", "leads|source=other"] = 7
    found = await scrape(cells)
    assert value(found, "salesfx_leads", months_ago="0", source="s18") == 1
    assert value(found, "salesfx_leads", months_ago="0", source="s19") is None
    assert value(found, "salesfx_leads", months_ago="0", source="other") == 9


@pytest.mark.parametrize(
    ("today", "this", "last"),
    [
        (date(2026, 3, 1), 1, 1),
        (date(2026, 3, 28), 28, 28),
        (date(2026, 3, 31), 31, 28),
        (date(2026, 2, 28), 28, 28),
        (date(2028, 3, 30), 30, 29),
        (date(2026, 1, 31), 31, 31),
        (date(2026, 5, 31), 31, 30),
    ],
)
async def test_the_same_days_of_last_month(today: date, this: int, last: int) -> None:
    """The day number decides; a shorter last month is whole."""
    cells: Cells = {
        (date.fromordinal(day).isoformat(), "leads|source=web"): 1
        for day in range(today.toordinal() - 70, today.toordinal() + 40)
    }
    found = await scrape(cells, today)
    assert value(found, "salesfx_leads_to_date", months_ago="0", source="web") == this
    assert value(found, "salesfx_leads_to_date", months_ago="1", source="web") == last


async def test_its_own_health() -> None:
    """Counters, times and batches as the worker wrote them; the lag against what Kafka said."""
    ends = {"lead_created:0": 45, "lead_created:1": 3, "quote_sent:0": 0}
    found = samples(families(await full_snapshot(), log_ends=LogEndsView(True, ends)))
    at = {"topic": "lead_created", "partition": "0"}
    assert value(found, "salesfx_events_processed_total", topic="lead_created") == 39
    assert value(found, "salesfx_events_rejected_total", topic="lead_created", reason="no_rate") == 2
    assert value(found, "salesfx_batch_duration_seconds_count", topic="lead_created") == 2
    assert value(found, "salesfx_batch_duration_seconds_sum", topic="lead_created") == 1.5
    assert value(found, "salesfx_last_event_timestamp_seconds", **at) == 1790000000.123
    assert value(found, "salesfx_last_commit_timestamp_seconds", **at) == 1790000001.5
    assert value(found, "salesfx_lag_events", **at) == 5
    assert value(found, "salesfx_lag_events", topic="lead_created", partition="1") == 3
    assert value(found, "salesfx_lag_events", topic="quote_sent", partition="0") == 0
    assert value(found, "salesfx_kafka_up") == 1
    assert value(found, "salesfx_build_info", version=__version__) == 1


async def test_the_feed_is_up_unless_something_is_wrong_with_it() -> None:
    """When each feed was heard is shown in either case."""
    snapshot = await full_snapshot()
    for wrong, is_up in (((), 1), (("the feed crm was last heard yesterday",), 0)):
        found = samples(SalesCollector(snapshot, TODAY, None, wrong).collect())
        assert value(found, "salesfx_feed_up") == is_up
        heard = value(found, "salesfx_feed_last_heartbeat_timestamp_seconds", feed="crm", topic="lead_created")
        assert heard == 1790000002.25
    assert value(samples(families(None)), "salesfx_feed_up") is None


async def test_a_worker_ahead_of_the_log_ends_that_were_asked_for_has_no_lag() -> None:
    """They are some seconds older than the stored offset."""
    found = samples(families(await full_snapshot(), log_ends=LogEndsView(True, {"lead_created:0": 30})))
    assert value(found, "salesfx_lag_events", topic="lead_created", partition="0") == 0


async def test_no_lag_is_shown_while_kafka_does_not_answer() -> None:
    """Neither an old one nor 0."""
    snapshot = await full_snapshot()
    away = families(snapshot, log_ends=LogEndsView(False))
    assert value(samples(away), "salesfx_kafka_up") == 0
    assert "salesfx_lag_events" not in {family.name for family in away}
    assert value(samples(families(snapshot)), "salesfx_kafka_up") is None


def test_nothing_stale_is_shown_without_tables() -> None:
    """Only that it is so."""
    found = samples(families(None, log_ends=LogEndsView(True, {"lead_created:0": 1})))
    assert {name for name, _ in found} == {"salesfx_up", "salesfx_build_info", "salesfx_kafka_up"}
    assert value(found, "salesfx_up") == 0


async def test_names_follow_the_conventions() -> None:
    """Gauges have no suffix of a counter, and no label is one that Prometheus or Grafana trips over."""
    for family in families(await full_snapshot(), log_ends=LogEndsView(True, {"lead_created:0": 45})):
        assert family.name.startswith("salesfx_")
        assert family.documentation.endswith(".")
        if family.type == "gauge":
            assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
        labels = {label for sample in family.samples for label in sample.labels}
        assert not labels & {"owner", "customer", "type", "stage", "job", "instance"}


async def test_promtool_finds_nothing_wrong() -> None:
    """`promtool check metrics` on a full scrape, and on one without tables."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool on the PATH (Debian's prometheus)")
    for snapshot in (await full_snapshot(), None):
        body = text(snapshot, log_ends=LogEndsView(True, {"lead_created:0": 45}))
        done = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False)  # noqa: ASYNC221
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")


async def test_openmetrics_can_be_read_back() -> None:
    """With names that need escaping, by a strict parser."""
    tables = await tables_of({("2026-11-10", 'leads|source=a "b" \\ {c}, Мария'): 3})
    snapshot = await tables.snapshot(shown_tables(TODAY))
    body = generate_openmetrics(registry_of(SalesCollector(snapshot, TODAY, LogEndsView(True))))  # type: ignore[no-untyped-call]
    found = samples(read_openmetrics(body.decode()))  # type: ignore[no-untyped-call]
    assert value(found, "salesfx_leads", months_ago="0", source='a "b" \\ {c}, Мария') == 3


async def test_every_family_is_documented() -> None:
    """docs/metrics.md has a row for each, with its labels and the sentence that Prometheus is told."""
    rows = DOCS.read_text(encoding="utf-8")
    for family in families(await full_snapshot(), log_ends=LogEndsView(True, {"lead_created:0": 45})):
        assert documented(family) in rows


def documented(family: Family) -> str:
    """Write the row of a family; every family of a full scrape has samples."""
    labels = ", ".join(f"`{label}`" for label in sorted(family.samples[0].labels))
    name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
    return f"| `{name}` | {labels} | {family.documentation} |"


async def test_registering_reads_nothing() -> None:
    """A registry does not collect to learn the names."""
    collector = SalesCollector(None, TODAY)
    collector.collect = None  # type: ignore[assignment,method-assign]
    registry_of(collector)
    assert collector.describe() == []
