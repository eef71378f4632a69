"""The dashboards' queries, of names that the catalogue and the exporter know.

Two servers that show the same tables must not count twice: of equal series the greatest is taken before anything is summed.
"""

from collections import defaultdict
from datetime import UTC, datetime
from functools import cache

from salesfx.exporter import SalesCollector
from salesfx.kpi import CATALOGUE, Breakdown, Metric
from salesfx.lead_flow.live import Flow, FlowState, LeadFlows
from salesfx.reading.lag import LogEndsView
from salesfx.reading.month import Month
from salesfx.reading.progress import ProgressOf
from salesfx.settings import Settings
from salesfx.tables.store import Snapshot

JOB = 'job=~"$job"'
METRICS = {metric.name: metric for metric in CATALOGUE}
_TOP_SOURCES = 4
"""Sources that are shown by name; with the rest, five parts."""


@cache
def exported() -> dict[str, str]:
    """Give what each series is, by its name: the exporter's own words, of a scrape of empty tables."""
    empty = Snapshot("", "", b'{"currency": "EUR", "timezone": "UTC"}', (), defaultdict(dict), {}, {}, {})
    nothing = Flow(FlowState.TOO_LITTLE_EVIDENCE, {}, {}, None, 0)
    flows = LeadFlows(datetime(2000, 1, 1, tzinfo=UTC), (), nothing, {})
    settings, day = Settings(), flows.at.date()
    progress_of = ProgressOf(settings)
    progress = progress_of.targets, progress_of.month(empty, Month.of(day), flows.at)
    families = SalesCollector(empty, day, LogEndsView(answers=True), (), flows, progress).collect()
    endings = {"counter": ("_total",), "info": ("_info",), "summary": ("_sum", "_count")}
    return {
        family.name + ending: family.documentation for family in families for ending in endings.get(family.type, ("",))
    }


def series(name: str, *matchers: str) -> str:
    """Select a family's series.

    Args:
        name: Of the exporter's.
        matchers: On labels.

    Raises:
        KeyError: The exporter has none of this name.

    """
    exported()[name]
    return f"{name}{{{', '.join((JOB, *matchers))}}}"


def numbers(metric: str, *matchers: str, to_date: bool = False, by_salesperson: bool = False) -> str:
    """Select the numbers of a metric of the catalogue, each once.

    Raises:
        KeyError: There is no such metric.

    """
    labels = _labels(METRICS[metric], by_salesperson=by_salesperson)
    name = f"salesfx_{metric}{'_by_salesperson' if by_salesperson else ''}{'_to_date' if to_date else ''}"
    return f"max by ({', '.join(labels)}) ({series(name, *matchers)})"


def _labels(metric: Metric, *, by_salesperson: bool) -> list[str]:
    label = metric.breakdown.value
    if not by_salesperson:
        return ["months_ago", label]
    return ["months_ago", "salesperson", *([label] if metric.breakdown is Breakdown.CATEGORY else [])]


def to_date(metric: str) -> str:
    """Sum up this month so far, and the same days of the last."""
    return f"sum by (months_ago) ({numbers(metric, to_date=True)})"


def month_ago(number: str) -> str:
    """Match one month."""
    return f'months_ago="{number}"'


def ratio_to_date(part: str, months_ago: str) -> str:
    """Divide a metric by the qualified leads: of this month so far ("0"), or of the same days of the last ("1")."""
    above, below = (
        f"sum({numbers(metric, month_ago(months_ago), to_date=True)})" for metric in (part, "qualified_leads")
    )
    return f"{above} / {below}"


def target(kpi: str) -> str:
    """Give this month's target; where it is set by category, their sum."""
    return f"sum(max by (category) ({series(f'salesfx_target_{kpi}', month_ago('0'))}))"


def pace(kpi: str) -> str:
    """Give where a number should be by now: the share of its target that goes with the working time gone."""
    return f"{target(kpi)} * max({series('salesfx_working_time_ratio')})"


def forecast(kpi: str, quantile: float) -> str:
    """Give what a number will be at this month's end, with this probability of being less."""
    probability = f'quantile="{quantile}"'
    return f"max({series(f'salesfx_forecast_{kpi}', probability)})"


def by_month(metric: str, *labels: str, months_ago: str = "") -> str:
    """Sum up each month, by its name and further labels.

    Args:
        metric: Of the catalogue.
        labels: Of the metric.
        months_ago: Pattern of those that are wanted; all without it.

    """
    matchers = [f'months_ago=~"{months_ago}"'] if months_ago else []
    return f"sum by ({', '.join(('month', *labels))}) ({_named(numbers(metric, *matchers))})"


def _named(numbers_of_months: str) -> str:
    months = f"max by (months_ago, month) ({series('salesfx_month_info')})"
    return f"{numbers_of_months} * on (months_ago) group_left (month) {months}"


def ratio_by_month(rule: str) -> str:
    """Give a recorded ratio of each month, by its name."""
    return f"sum by (month) ({_named(recorded(rule))})"


def recorded(rule: str, *matchers: str) -> str:
    """Select what a recording rule has made."""
    return f"{rule}{{{', '.join((JOB, *matchers))}}}"


def sales_by_month(planned: str) -> str:
    """Sum up each month's booked sales by category, and what is planned for this one and those to come.

    Args:
        planned: What the planned ones are called, as if they were a category.

    """
    ahead = by_month("planned_sales_value", months_ago="0|-.*")
    booked = by_month("booked_sales_value", "category")
    return f'{booked} or label_replace({ahead}, "category", "{planned}", "", "")'


def of_salespeople(metric: str, months_ago: str = "$months_ago") -> str:
    """Sum up a month by salesperson; the month is a variable of the dashboard."""
    return f"sum by (salesperson) ({numbers(metric, month_ago(months_ago), by_salesperson=True)})"


def leads_by_month_and_source(rest: str) -> str:
    """Sum up each month's leads by the sources that have most of them, and all others as one.

    Args:
        rest: What the others are called together.

    """
    named = _named(numbers("leads"))
    top = f"topk({_TOP_SOURCES}, sum by (source) ({numbers('leads')}))"
    shown = f"sum by (month, source) ({named} and on (source) {top})"
    others = f"sum by (month) ({named} unless on (source) {top})"
    # Sorted, so that the order of the parts does not change with every answer.
    return f'sort_desc({shown} or label_replace({others}, "source", "{rest}", "", ""))'
