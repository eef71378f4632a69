"""The families of targets, working time and forecasts; docs/targets.md tells what they mean."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family

from salesfx.reading.month import Month
from salesfx.reading.progress import MonthProgress, Progress
from salesfx.reading.report import CATEGORIES
from salesfx.targets.forecast import HIGH, LOW, MIDDLE
from salesfx.targets.lines import BY_CATEGORY, CONVERSION, KPIS, MONEY, Number, Targets

_MONTHS_AGO, _SALESPERSON, _CATEGORY, _QUANTILE = "months_ago", "salesperson", "category", "quantile"
_NAMES = {kpi: "conversion_ratio" if kpi == CONVERSION else kpi for kpi in KPIS}


_Names = tuple[str, ...]


def target_families(targets: Targets, months: Mapping[int, Month], progress: MonthProgress) -> Iterator[Family]:
    """Build them.

    Args:
        targets: Those of the settings.
        months: The shown months by how many months ago they are; what is to come is left out.
        progress: Of the current one.

    """
    yield GaugeMetricFamily(
        "salesfx_working_time_ratio",
        "Share of this month's working time that is gone: of the office hours of its working days, from 0 to 1.",
        progress.working_time_gone,
    )
    gone = {ago: str(month) for ago, month in months.items() if ago >= 0}
    for kpi in KPIS:
        yield _targets(targets, kpi, gone)
        yield _targets_by_salesperson(targets, kpi, gone)
    for kpi in KPIS:
        yield _forecasts(kpi, "", "", {(): progress.kpis[kpi]}, [])
        people: dict[_Names, Progress] = {
            (name,): each[kpi] for name, each in progress.by_salesperson.items() if kpi in each
        }
        yield _forecasts(kpi, "_by_salesperson", ", by salesperson with such a target", people, [_SALESPERSON])
    categories: dict[_Names, Progress] = {
        (name,): each for name, each in progress.booked_sales_value_by_category.items()
    }
    yield _forecasts("booked_sales_value", "_by_category", ", by category", categories, [_CATEGORY])


def _targets(targets: Targets, kpi: str, months: Mapping[int, str]) -> Family:
    by_category = kpi in BY_CATEGORY
    family = GaugeMetricFamily(
        f"salesfx_target_{_NAMES[kpi]}",
        f"The month's target of {kpi}{_unit(kpi)}{', by category where it is set so' if by_category else ''}.",
        labels=[_MONTHS_AGO, *([_CATEGORY] if by_category else [])],
    )
    for ago, month in months.items():
        parts = {name: targets.target(month, kpi, category=name) for name in CATEGORIES} if by_category else {}
        known = {name: number for name, number in parts.items() if number is not None}
        if known:
            for name, number in known.items():
                family.add_metric([str(ago), name], _sample(kpi, number))
        elif (in_all := targets.target(month, kpi)) is not None:
            family.add_metric([str(ago), *([""] if by_category else [])], _sample(kpi, in_all))
    return family


def _targets_by_salesperson(targets: Targets, kpi: str, months: Mapping[int, str]) -> Family:
    family = GaugeMetricFamily(
        f"salesfx_target_{_NAMES[kpi]}_by_salesperson",
        f"The month's target of {kpi}{_unit(kpi)}, by salesperson who has one.",
        labels=[_MONTHS_AGO, _SALESPERSON],
    )
    for ago, month in months.items():
        for name in targets.salespeople(month):
            number = targets.target(month, kpi, name)
            if number is not None:
                family.add_metric([str(ago), name], _sample(kpi, number))
    return family


def _forecasts(kpi: str, suffix: str, also: str, parts: Mapping[_Names, Progress], labels: list[str]) -> Family:
    family = GaugeMetricFamily(
        f"salesfx_forecast_{_NAMES[kpi]}{suffix}",
        f"What {kpi}{_unit(kpi)} will be at this month's end, by the probability of being less{also}.",
        labels=[*labels, _QUANTILE],
    )
    for names, progress in parts.items():
        if progress.forecast is not None:
            figures = (progress.forecast.low, progress.forecast.middle, progress.forecast.high)
            for quantile, figure in zip((LOW, MIDDLE, HIGH), figures, strict=True):
                family.add_metric([*names, str(quantile)], float(figure))
    return family


def _unit(kpi: str) -> str:
    return " (in units, not in hundredths)" if kpi in MONEY else ""


def _sample(kpi: str, number: Number) -> float:
    return number / 100 if kpi in MONEY else float(number)
