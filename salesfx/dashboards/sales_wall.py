"""The sales wall: four KPIs side by side, to be read from across the room.

Each is a column: the month so far beside the same days of last month, its target, pace and forecast, what belongs to it,
and thirteen months.
"""

from salesfx.dashboards import grafana, queries
from salesfx.dashboards.grafana import Box, Json, Look, Query, Words
from salesfx.dashboards.words import WallWords
from salesfx.lead_flow.live import FlowState
from salesfx.targets.forecast import HIGH, LOW

_TOP, _GOAL, _MIDDLE, _BELOW = 7, 5, 4, 9
_WIDTH = 6
_LEADS, _QUALIFIED, _CONVERSION, _SALES = (
    Look(grafana.COUNT, 0, "blue"),
    Look(grafana.COUNT, 0, "purple"),
    Look(grafana.RATIO, 0, "orange"),
    Look(grafana.MONEY, 0, "green"),
)
_CATEGORY_COLORS = {"new_account": "green", "expansion": "light-blue", "returning": "yellow"}
_STATE_COLORS = {
    FlowState.OK: "green",
    FlowState.LOW: "orange",
    FlowState.SILENT: "red",
    FlowState.TOO_LITTLE_EVIDENCE: "text",
    FlowState.FEED_BROKEN: "purple",
}


def sales_wall(words: WallWords) -> Json:
    """Make the dashboard in one language."""
    currency = f"label_values({queries.series('salesfx_reporting_currency_info')}, currency)"
    variables = [
        grafana.datasource_variable(words.datasource),
        grafana.label_variable("job", words.job, "label_values(salesfx_up, job)"),
        grafana.label_variable("currency", "", currency, hidden=True),
    ]
    panels = [*_this_month(words), *_goals(words), *_beside(words), *_thirteen_months(words)]
    return grafana.dashboard(
        words.uid, Words(words.title, words.description), variables, panels, hours=6, others=words.others
    )


def _this_month(words: WallWords) -> list[Json]:
    return [
        _so_far(words, words.leads, 0, "leads", _LEADS),
        _so_far(words, words.qualified, 1, "qualified_leads", _QUALIFIED),
        grafana.stat(
            Words(words.conversion, words.conversion_definition),
            _column(2, 0, _TOP),
            Query(queries.ratio_to_date("new_customers", "0")),
            _CONVERSION,
        ),
        _so_far(words, words.booked, 3, "booked_sales_value", _SALES),
    ]


def _so_far(words: WallWords, title: str, column: int, metric: str, look: Look, y: int = 0, height: int = _TOP) -> Json:
    text = Words(title, f"{words.definitions[metric]} {words.against}")
    query = Query(queries.to_date(metric), as_table=True)
    return grafana.stat(text, _column(column, y, height), query, look, changes="months_ago")


def _column(column: int, y: int, height: int) -> Box:
    return Box(column * _WIDTH, y, _WIDTH, height)


def _goals(words: WallWords) -> list[Json]:
    return [
        _goal(words, words.leads_goal, 0, "leads", _LEADS),
        _goal(words, words.qualified_goal, 1, "qualified_leads", _QUALIFIED),
        # The pace of a ratio is its target.
        _goal(words, words.conversion_goal, 2, "conversion_ratio", _CONVERSION, paced=False),
        _goal(words, words.booked_goal, 3, "booked_sales_value", _SALES),
    ]


def _goal(words: WallWords, title: str, column: int, kpi: str, look: Look, *, paced: bool = True) -> Json:
    named = {
        "target": queries.target(kpi),
        **({"pace": queries.pace(kpi)} if paced else {}),
        "low": queries.forecast(kpi, LOW),
        "high": queries.forecast(kpi, HIGH),
    }
    shown = [Query(expression, legend=words.goal_names[name]) for name, expression in named.items()]
    return grafana.ranking(Words(title, words.goal_definition), _column(column, _TOP, _GOAL), shown, look)


def _half(column: int, half: int) -> Box:
    return Box(column * _WIDTH + half * _WIDTH // 2, _TOP + _GOAL, _WIDTH // 2, _MIDDLE)


def _beside(words: WallWords) -> list[Json]:
    texts = {state.value: (words.states[state.value], color) for state, color in _STATE_COLORS.items()}
    state = f"max by (state) ({queries.series('salesfx_lead_flow_state')}) == 1"
    last = f"time() - max({queries.series('salesfx_last_event_timestamp_seconds')})"
    planned = f"sum by (category) ({queries.numbers('planned_sales_value', queries.month_ago('0'))})"
    return [
        grafana.stat(
            Words(words.flow, words.flow_definition),
            _half(0, 0),
            Query(state, as_table=True),
            Look("string", mappings=[grafana.text_for(texts)]),
            field="state",
        ),
        grafana.stat(
            Words(words.last_event, words.last_event_definition),
            _half(0, 1),
            Query(last),
            Look(grafana.SECONDS, 0, "blue"),
        ),
        _so_far(
            words, words.value, 1, "qualified_leads_value", Look(grafana.MONEY, 0, "purple"), _TOP + _GOAL, _MIDDLE
        ),
        grafana.stat(
            Words(words.conversion_of_last, words.conversion_definition),
            _half(2, 0),
            Query(queries.ratio_to_date("new_customers", "1")),
            _CONVERSION,
        ),
        grafana.stat(
            Words(words.cohort, words.cohort_definition),
            _half(2, 1),
            Query(queries.ratio_to_date("cohort_customers", "0")),
            _CONVERSION,
        ),
        grafana.ranking(
            Words(words.planned, f"{words.definitions['planned_sales_value']} {words.planned_definition}"),
            _column(3, _TOP + _GOAL, _MIDDLE),
            [Query(planned, legend="{{category}}")],
            _SALES,
            words.categories,
        ),
    ]


def _thirteen_months(words: WallWords) -> list[Json]:
    y = _TOP + _GOAL + _MIDDLE
    categories = {
        category: {"displayName": words.categories[category], "color": grafana.fixed(color)}
        for category, color in _CATEGORY_COLORS.items()
    }
    categories[words.planned_name] = {"color": grafana.fixed("gray")}
    return [
        grafana.stacked_bars_by_month(
            Words(words.leads_by_month, words.definitions["leads"]),
            _column(0, y, _BELOW),
            Query(queries.leads_by_month_and_source(words.rest), as_table=True),
            Look(grafana.COUNT, 0),
            "source",
            {},
        ),
        grafana.bars_by_month(
            Words(words.qualified_by_month, words.definitions["qualified_leads"]),
            _column(1, y, _BELOW),
            [Query(queries.by_month("qualified_leads"), as_table=True)],
            _QUALIFIED,
            {"Value": {"displayName": words.qualified_by_month}},
        ),
        grafana.bars_by_month(
            Words(words.conversion_by_month, f"{words.conversion_name}. {words.cohort_name}."),
            _column(2, y, _BELOW),
            [
                Query(queries.ratio_by_month(f"months_ago:salesfx_{part}_per_qualified_lead:ratio"), as_table=True)
                for part in ("new_customers", "cohort_customers")
            ],
            Look(grafana.RATIO, 0, least=0),
            {
                "Value #A": {"displayName": words.conversion_name, "color": grafana.fixed("orange")},
                "Value #B": {"displayName": words.cohort_name, "color": grafana.fixed("light-orange")},
            },
        ),
        grafana.stacked_bars_by_month(
            Words(words.sales_by_month, f"{words.definitions['booked_sales_value']} {words.sales_definition}"),
            _column(3, y, _BELOW),
            Query(queries.sales_by_month(words.planned_name), as_table=True),
            Look(grafana.MONEY, 0),
            "category",
            categories,
        ),
    ]
