"""The Prometheus families of the lead flow, of what was judged by the scrape's own snapshot."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family

from salesfx.lead_flow.judgement import Window
from salesfx.lead_flow.live import WINDOW_NAMES, Flow, FlowState, LeadFlows

_Value = Callable[[Window], float | None]
_COMMON: tuple[tuple[str, str, _Value], ...] = (
    ("observed_leads", "Leads that came in the window", lambda window: window.observed),
    ("expected_leads", "Leads that are usual in the window", lambda window: window.expected),
    (
        "least_leads",
        "With so many leads in the window, or fewer, it is an alarm; -1: never",
        lambda window: window.least,
    ),
)
_OF_THE_TOTAL: tuple[tuple[str, str, _Value], ...] = (
    *_COMMON,
    (
        "tail_probability",
        "Probability that so few leads come in the window by chance",
        lambda window: window.probability,
    ),
    (
        "smallest_detectable_drop_ratio",
        "Share of the window's leads that would have to be missing to be seen four times of five",
        lambda window: window.smallest_drop,
    ),
)


def lead_flow_families(flows: LeadFlows) -> Iterator[Family]:
    """Build the families; a window that cannot be judged has no samples, since 0 would be a number."""
    yield _states("salesfx_lead_flow_state", "What is said of all leads: 1 for the state that holds", {"": flows.total})
    for name, text, value in _OF_THE_TOTAL:
        yield _numbers(f"salesfx_lead_flow_{name}", text, value, {"": flows.total})
    yield _states(
        "salesfx_lead_flow_by_source_state",
        "What is said of a source's leads: 1 for the state that holds",
        flows.by_source,
        "source",
    )
    for name, text, value in _COMMON:
        yield _numbers(f"salesfx_lead_flow_by_source_{name}", f"{text}, by source", value, flows.by_source, "source")


def _states(name: str, text: str, flows: Mapping[str, Flow], *label: str) -> Family:
    family = GaugeMetricFamily(name, f"{text}, 0 for the others.", labels=[*label, "state"])
    for source, flow in flows.items():
        for state in FlowState:
            family.add_metric([*([source] if label else []), state.value], float(state is flow.state))
    return family


def _numbers(name: str, text: str, value: _Value, flows: Mapping[str, Flow], *label: str) -> Family:
    family = GaugeMetricFamily(name, f"{text}.", labels=[*label, "window"])
    for source, flow in flows.items():
        for window in WINDOW_NAMES:
            number = value(flow.windows[window]) if window in flow.windows else None
            if number is not None:
                family.add_metric([*([source] if label else []), window], float(number))
    return family
