"""The Prometheus families, built afresh for each scrape from one snapshot of the tables.

docs/metrics.md lists them; the KPIs' own families follow from `salesfx.kpi.CATALOGUE`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from salesfx import __version__
from salesfx.events import TOPICS
from salesfx.kpi import CATALOGUE, Breakdown, Metric
from salesfx.lead_flow.live import LeadFlows
from salesfx.lead_flow_gauges import lead_flow_families
from salesfx.reading.lag import LogEndsView
from salesfx.reading.numbers import Numbers, Person
from salesfx.reading.progress import MonthProgress
from salesfx.reading.report import CATEGORIES
from salesfx.reading.window import Window, shown_tables
from salesfx.refusal import Reason
from salesfx.tables.feed_marks import heartbeats_in
from salesfx.tables.store import Snapshot
from salesfx.target_gauges import target_families
from salesfx.targets.lines import Targets

__all__ = ["LogEndsView", "SalesCollector", "registry_of", "shown_tables"]

_MONTHS_AGO = "months_ago"
_SALESPERSON = "salesperson"


class SalesCollector(Collector):
    """The families of one scrape."""

    def __init__(
        self,
        snapshot: Snapshot | None,
        today: date,
        log_ends: LogEndsView | None = None,
        feed_trouble: Sequence[str] = (),
        lead_flows: LeadFlows | None = None,
        progress: tuple[Targets, MonthProgress] | None = None,
    ) -> None:
        """Make a collector.

        Args:
            snapshot: With the tables that `shown_tables` names; None where there is nothing to be shown: then
                `salesfx_up` is 0 and nothing stale is said.
            today: Local date in the business time zone.
            log_ends: What Kafka said last; None where it was not asked yet.
            feed_trouble: What `salesfx.feed.trouble` says of the snapshot.
            lead_flows: What is said of the lead flow, by the same snapshot.
            progress: The targets, and how the current month goes by the same snapshot.

        """
        self._snapshot = snapshot
        self._today = today
        self._log_ends = log_ends
        self._feed_trouble = feed_trouble
        self._lead_flows = lead_flows
        self._progress = progress

    def describe(self) -> list[Family]:
        """Name no families beforehand, so that registering reads nothing."""
        return []

    def collect(self) -> Iterator[Family]:
        """Build the families."""
        snapshot, log_ends = self._snapshot, self._log_ends
        yield _single(
            "salesfx_up",
            "Whether the tables can be read: Redis answers, and they mean what the settings say",
            snapshot is not None,
        )
        yield InfoMetricFamily("salesfx_build", "The version of salesfx that serves this.", {"version": __version__})
        if log_ends is not None:
            yield _single(
                "salesfx_kafka_up", "Whether Kafka told the ends of its logs when it was last asked", log_ends.answers
            )
        if snapshot is None:
            return
        window = Window(snapshot, self._today)
        yield from _context(window, snapshot)
        for metric in CATALOGUE:
            yield from _metric_families(metric, window)
        if self._lead_flows is not None:
            yield from lead_flow_families(self._lead_flows)
        if self._progress is not None:
            targets, progress = self._progress
            yield from target_families(targets, window.months, progress)
        yield from _counters(snapshot.counters)
        yield _batches(snapshot.counters)
        yield from _marks(snapshot.marks)
        yield from _feed(snapshot.marks, is_up=not self._feed_trouble)
        if log_ends is not None and log_ends.answers:
            yield _lag(log_ends.ends, snapshot.offsets)


def registry_of(collector: SalesCollector) -> CollectorRegistry:
    """Put a collector into a registry of its own, for prometheus_client to write down."""
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def _single(name: str, text: str, value: bool) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text + ".", float(value))


def _context(window: Window, snapshot: Snapshot) -> Iterator[Family]:
    months = InfoMetricFamily(
        "salesfx_month", "Which month a months_ago is, in the business time zone.", labels=[_MONTHS_AGO]
    )
    for ago, month in window.months.items():
        months.add_metric([str(ago)], {"month": str(month)})
    yield months
    yield InfoMetricFamily(
        "salesfx_reporting_currency",
        "The currency of every value.",
        {"currency": msgspec.json.decode(snapshot.definitions)["currency"]},
    )


def _metric_families(metric: Metric, window: Window) -> Iterator[Family]:
    """Build a metric's four families: by its label and by salesperson, of whole months and to date."""
    months = list(window.whole_months(metric.months_ahead))
    yield _by_label(metric, window, months, "", "")
    yield _by_salesperson(metric, window, months, "", "")
    months = list(window.months_to_date())
    yield _by_label(metric, window, months, "_to_date", _TO_DATE)
    yield _by_salesperson(metric, window, months, "_to_date", _TO_DATE)


_TO_DATE = ", on its days up to today's (last month: the same days)"
_Months = Sequence[tuple[int, Numbers]]


def _by_label(metric: Metric, window: Window, months: _Months, suffix: str, also: str) -> Family:
    label = metric.breakdown.value
    family = GaugeMetricFamily(
        f"salesfx_{metric.name}{suffix}", _help(metric, label, also), labels=[_MONTHS_AGO, label]
    )
    for ago, numbers in months:
        known = numbers.by_label[metric.name]
        for name in window.labels(metric.breakdown):
            family.add_metric([str(ago), name], _sample(metric, known.get(name, 0)))
    return family


def _by_salesperson(metric: Metric, window: Window, months: _Months, suffix: str, also: str) -> Family:
    by_category = metric.breakdown is Breakdown.CATEGORY
    family = GaugeMetricFamily(
        f"salesfx_{metric.name}_by_salesperson{suffix}",
        _help(metric, "salesperson and category" if by_category else _SALESPERSON, also),
        labels=[_MONTHS_AGO, _SALESPERSON, *(["category"] if by_category else [])],
    )
    categories = CATEGORIES if by_category else ("",)
    for ago, numbers in months:
        known = numbers.by_person[metric.name]
        for name in window.salespeople:
            for category in categories:
                labels = [str(ago), name, category] if by_category else [str(ago), name]
                family.add_metric(labels, _sample(metric, known.get(Person(name, category), 0)))
    return family


def _help(metric: Metric, label: str, also: str) -> str:
    unit = " (in units, not in hundredths)" if metric.is_value else ""
    return f"{metric.help}{unit}{also}, by {label}."


def _sample(metric: Metric, number: int) -> float:
    """Give a number as Prometheus has it: a double, and money in units of the currency."""
    return number / 100 if metric.is_value else float(number)


def _counters(counters: Mapping[str, int]) -> Iterator[Family]:
    processed = CounterMetricFamily(
        "salesfx_events_processed",
        "Events taken into the tables, repeated ones among them; rejected ones are counted apart.",
        labels=["topic"],
    )
    for (topic,), number in _counted(counters, "processed", [(topic,) for topic in TOPICS]):
        processed.add_metric([topic], float(number))
    yield processed
    rejected = CounterMetricFamily(
        "salesfx_events_rejected",
        "Events that went to the dead-letter topic, by the reason.",
        labels=["topic", "reason"],
    )
    known = [(topic, reason.value) for topic in TOPICS for reason in Reason]
    for labels, number in _counted(counters, "rejected", known):
        rejected.add_metric(labels, float(number))
    yield rejected


def _batches(counters: Mapping[str, int]) -> Family:
    topics = [(topic,) for topic in TOPICS]
    microseconds = dict(_counted(counters, "batch_microseconds", topics))
    family = SummaryMetricFamily(
        "salesfx_batch_duration_seconds", "Time from taking a batch to its commit in Redis.", labels=["topic"]
    )
    for labels, number in _counted(counters, "batches", topics):
        family.add_metric(labels, number, microseconds.get(labels, 0) / 1_000_000)
    return family


def _counted(
    counters: Mapping[str, int], kind: str, known: Iterable[tuple[str, ...]]
) -> Iterable[tuple[tuple[str, ...], int]]:
    """Pick the counters `kind|label|...` by their labels; the known ones start at 0."""
    numbers = dict.fromkeys(known, 0)
    for field, number in counters.items():
        name, *labels = field.split("|")
        if name == kind:
            numbers[tuple(labels)] = number
    return numbers.items()


def _marks(marks: Mapping[str, str]) -> Iterator[Family]:
    """Tell times; a partition that has none yet has no sample."""
    for kind, text in (
        ("last_event", "When the partition's last event got into Kafka"),
        ("last_commit", "When the partition's last batch was committed to the tables"),
    ):
        family = GaugeMetricFamily(
            f"salesfx_{kind}_timestamp_seconds", text + ", in Unix time.", labels=["topic", "partition"]
        )
        for field, moment in sorted(marks.items()):
            name, _, partition = field.partition("|")
            if name == kind:
                family.add_metric(_topic_and_number(partition), float(moment))
        yield family


def _feed(marks: Mapping[str, str], *, is_up: bool) -> Iterator[Family]:
    yield _single(
        "salesfx_feed_up",
        "Whether events get into the tables, as far as heartbeats and refusals tell: `salesfx doctor` says what is wrong",
        is_up,
    )
    family = GaugeMetricFamily(
        "salesfx_feed_last_heartbeat_timestamp_seconds",
        "When the newest heartbeat of a feed that has got through a topic was sent, in Unix time.",
        labels=["feed", "topic"],
    )
    for (topic, feed), moment in sorted(heartbeats_in(marks).items()):
        family.add_metric([feed, topic], moment)
    yield family


def _lag(ends: Mapping[str, int], offsets: Mapping[str, int]) -> Family:
    """Tell what is still to be read; a partition that nobody has begun counts from 0.

    The ends were asked for some seconds ago and the offsets are of now, so a worker that keeps up may be ahead of them.
    """
    family = GaugeMetricFamily(
        "salesfx_lag_events", "Offsets of the log that are not in the tables yet.", labels=["topic", "partition"]
    )
    for partition, end in sorted(ends.items()):
        family.add_metric(_topic_and_number(partition), float(max(0, end - offsets.get(partition, 0))))
    return family


def _topic_and_number(partition: str) -> list[str]:
    topic, _, number = partition.rpartition(":")
    return [topic, number]
