"""The salespeople side by side, in a month that can be chosen."""

from salesfx.dashboards import grafana, queries
from salesfx.dashboards.grafana import Box, Json, Look, Query, Words

_MONTHS_BACK = 12
_SHOWN = 10
_MONTH = "${months_ago:text}"
_COLUMNS = (
    ("leads", "Leads", grafana.COUNT),
    ("qualified_leads", "Qualified leads", grafana.COUNT),
    ("qualified_leads_value", "Value of these, ${currency}", grafana.MONEY),
    ("new_customers", "New customers", grafana.COUNT),
    ("booked_sales", "Deals won", grafana.COUNT),
    ("booked_sales_value", "Booked, ${currency}", grafana.MONEY),
    ("planned_sales_value", "Planned, ${currency}", grafana.MONEY),
)


def salespeople() -> Json:
    """Make the dashboard."""
    currency = f"label_values({queries.series('salesfx_reporting_currency_info')}, currency)"
    months = {str(ago): f"{ago} months ago" for ago in range(_MONTHS_BACK + 1)}
    months |= {"0": "This month so far", "1": "Last month"}
    variables = [
        grafana.datasource_variable("Data source"),
        grafana.label_variable("job", "Job", "label_values(salesfx_up, job)"),
        grafana.choice_variable("months_ago", "Month", months),
        grafana.label_variable("currency", "", currency, hidden=True),
    ]
    panels = [_everybody(), *_rankings()]
    words = Words("Salespeople", "The KPIs by who acted at the time, month by month.")
    return grafana.dashboard("salesfx-salespeople", words, variables, panels, hours=6, others="Other dashboards")


def _everybody() -> Json:
    columns: dict[str, Json] = {"salesperson": {"displayName": "Salesperson"}}
    for letter, (_, shown, unit) in zip("ABCDEFG", _COLUMNS, strict=True):
        columns[f"Value #{letter}"] = {"displayName": shown, "unit": unit}
    definitions = " ".join(f"{shown.partition(',')[0]}: {_definition(metric)}" for metric, shown, _ in _COLUMNS)
    return grafana.table(
        Words(f"{_MONTH}, by salesperson", definitions),
        Box(0, 0, grafana.COLUMNS, 12),
        [Query(queries.of_salespeople(metric), as_table=True) for metric, _, _ in _COLUMNS],
        Look(grafana.COUNT, 0),
        columns,
        sorted_by="Value #F",
        descending=True,
    )


def _rankings() -> list[Json]:
    shown = (
        ("booked_sales_value", "booked sales, ${currency}", grafana.MONEY, "green"),
        ("qualified_leads_value", "value of qualified leads, ${currency}", grafana.MONEY, "purple"),
        ("leads", "leads", grafana.COUNT, "blue"),
    )
    return [
        grafana.ranking(
            Words(f"{_MONTH}: {title}", f"{_definition(metric)} The {_SHOWN} salespeople with most."),
            Box(8 * place, 12, 8, 10),
            [Query(f"topk({_SHOWN}, {queries.of_salespeople(metric)})", legend="{{salesperson}}")],
            Look(unit, 0, color),
        )
        for place, (metric, title, unit, color) in enumerate(shown)
    ]


def _definition(metric: str) -> str:
    return f"{queries.METRICS[metric].help}."
