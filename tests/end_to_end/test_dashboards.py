"""Every query of every panel, asked of a real Prometheus that scrapes a running demo."""

import json
import math
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
import yaml

from salesfx import DealClosed, LeadCreated, Publisher, QuoteSent
from salesfx.dashboards import documents
from salesfx.local.ports import kept_ports
from salesfx.reading import Month
from salesfx.settings import load_settings
from tests.stack_process import StackProcess, eventually, running

pytestmark = pytest.mark.slow

RULES = Path(__file__).parents[2] / "prometheus"
VARIABLES = {"$job": "salesfx", "$months_ago": "0", "$__rate_interval": "20s"}
DASHBOARDS: dict[str, dict[str, Any]] = {name: json.loads(text) for name, text in documents().items()}
WALL = DASHBOARDS["salesfx-wall.json"]
ZONE = ZoneInfo("Europe/Sofia")
TARGETS = """
[[targets]]
since = "2020-01"
leads = 120
qualified_leads = 40
conversion = 0.25

[[targets]]
since = "2020-01"
category = "new_account"
booked_sales_value = 30000

[[targets]]
since = "2020-01"
category = "expansion"
booked_sales_value = 10000
"""


class Prometheus:
    """A Prometheus of our own, and when it began."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"
        self.began = time.time()

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self._address}/-/ready", timeout=5) as answer:  # noqa: S310 - our own
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        """Ask its API; an error fails the test with its words."""
        url = f"{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{parameters}: {error.read().decode()}")

    def now(self, expression: str) -> list[Any]:
        """Ask for what is now."""
        found: list[Any] = self.ask("query", query=expression)["result"]
        return found

    def target(self, target: dict[str, Any]) -> list[Any]:
        """Ask what Grafana would ask for a panel's query."""
        expression = filled(target["expr"])
        if target["instant"]:
            return self.now(expression)
        end = time.time()
        found: list[Any] = self.ask("query_range", query=expression, start=f"{self.began}", end=f"{end}", step="1")[
            "result"
        ]
        return found


class Demo(NamedTuple):
    """What runs for all tests of this file."""

    stack: StackProcess
    prometheus: Prometheus


def filled(expression: str) -> str:
    """Put values for the dashboard's variables; none may be left."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def finite(result: list[Any]) -> bool:
    """Tell whether there is a number at all."""
    samples = [sample for series in result for sample in (series.get("values") or [series["value"]])]
    return any(math.isfinite(float(value)) for _, value in samples)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Run a demo, a month whose numbers are known to be there, and Prometheus."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("there is no prometheus on the PATH (Debian's package of this name)")
    folder = tmp_path_factory.mktemp("dashboards")
    config = folder / "salesfx.toml"
    config.write_text(TARGETS, encoding="utf-8")
    with running(
        "demo",
        folder / "data",
        "--leads-per-month",
        "100",
        before=("--config", str(config)),
        environ={"SALESFX_HEARTBEAT_SECONDS": "1"},
    ) as stack:
        stack.wait_ready()
        stack.wait_said("live ones follow")
        publish_sales(stack)
        configure(folder, stack)
        port = kept_ports(folder / "ports.json", ("prometheus",), moved=pytest.fail)["prometheus"]
        command = [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            prometheus = Prometheus(port)
            eventually("Prometheus answers", prometheus.ready)
            eventually("it has scraped", lambda: prometheus.now('salesfx_up{job="salesfx"} == 1'))
            stack.publish_rubbish()
            yield Demo(stack, prometheus)
        except BaseException:
            print((folder / "prometheus.log").read_text(encoding="utf-8")[-6000:])  # noqa: T201
            raise
        finally:
            process.kill()
            process.wait()


def configure(folder: Path, stack: StackProcess) -> None:
    """Write the shipped rules beside a configuration that scrapes this stack, and both every second."""
    rules = yaml.safe_load((RULES / "recording.rules.yml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        group.pop("interval", None)
    (folder / "rules.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    address = stack.url.removeprefix("http://").rstrip("/")
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "salesfx", "static_configs": [{"targets": [address]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")


def publish_sales(stack: StackProcess) -> None:
    """Let something be sold today and on the first of last month, whatever the demo's chance says."""
    now = datetime.now(UTC)
    first = (now.astimezone(ZONE).replace(day=1) - timedelta(days=1)).replace(day=1, hour=12)
    with Publisher(load_settings(environ=stack.environ)) as publisher:
        for name, moment in (("now", now), ("then", first)):
            common: dict[str, Any] = {"occurred_at": moment, "salesperson": "Maria", "lead_id": name}
            money: dict[str, Any] = {"amount": Decimal(1000), "currency": "EUR"}
            quote = {"quote_id": f"{name}-q", "need": "a CRM", **money}
            publisher.send(LeadCreated(event_id=f"{name}-1", source="fair", **common))
            publisher.send(QuoteSent(event_id=f"{name}-2", **quote, **common))
            publisher.send(DealClosed(event_id=f"{name}-3", deal_id=f"{name}-d", outcome="won", **money, **common))


def targets() -> Iterator[Any]:
    """Give every query of every panel."""
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield pytest.param(target, id=f"{name}-{panel['title']}-{target['refId']}")


@pytest.mark.parametrize("target", list(targets()))
def test_a_query_gives_data(target: dict[str, Any], demo: Demo) -> None:
    """No panel stays empty: each query gives at least one number."""
    eventually(f"data for {target['expr']}", lambda: finite(demo.prometheus.target(target)), 60)


def test_a_query_of_something_else_gives_none(demo: Demo) -> None:
    """What the test above looks for is not there by itself."""
    assert not finite(demo.prometheus.target({"expr": 'salesfx_lead{job=~"$job"}', "instant": True}))
    assert not finite(demo.prometheus.target({"expr": "vector(0) / 0", "instant": True}))


def test_what_can_be_chosen_is_there(demo: Demo) -> None:
    """Every variable that Prometheus is asked for has a value."""
    for dashboard in DASHBOARDS.values():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
                assert found
                values = demo.prometheus.ask(f"label/{found[2]}/values", **{"match[]": filled(found[1])})
                assert len(values) == 1, variable["definition"]


def test_the_wall_shows_what_the_api_says(demo: Demo) -> None:
    """Thirteen months at once, with the same numbers, though Prometheus has only just begun to scrape."""
    panels = {panel["title"]: panel for panel in WALL["panels"]}
    leads, sales = (
        panels[f"{what} by month{rest}"]
        for what, rest in (("Leads", " and source"), ("Booked and planned sales", ", ${currency}"))
    )

    def agree() -> bool:
        by_month: dict[str, Decimal] = {}
        for series in demo.prometheus.target(leads["targets"][0]):
            month = series["metric"]["month"]
            by_month[month] = by_month.get(month, Decimal(0)) + Decimal(series["value"][1])
        categories = {series["metric"]["category"] for series in demo.prometheus.target(sales["targets"][0])}
        assert len(by_month) == 13
        assert categories == {"new_account", "expansion", "returning", "Planned"}
        return by_month == {month: demo.stack.month(month)["lead_flow"]["total"] for month in by_month}

    eventually("the months agree", agree, 60)


def test_a_second_server_does_not_count_twice(demo: Demo) -> None:
    """The same tables shown by two servers are the same numbers."""
    (months_ago,) = [panel for panel in WALL["panels"] if panel["title"] == "Lead flow this month"]
    expression = filled(months_ago["targets"][0]["expr"])
    (inner,) = set(re.findall(r"salesfx_leads_to_date\{[^}]*\}", expression))
    doubled = expression.replace(inner, f'({inner} or label_replace({inner}, "instance", "another", "", ""))')
    assert doubled != expression

    def agree() -> bool:
        once, twice = ({str(s["metric"]): s["value"][1] for s in demo.prometheus.now(e)} for e in (expression, doubled))
        return once == twice and len(once) == 2

    eventually("the sums agree", agree, 30)


@pytest.mark.parametrize(
    ("title", "kpi"),
    [
        ("Target and forecast of leads", "leads"),
        ("Target and forecast of conversion", "conversion"),
        ("Target and forecast of booked sales, ${currency}", "booked_sales_value"),
    ],
)
def test_targets_and_forecasts_are_those_of_the_api(title: str, kpi: str, demo: Demo) -> None:
    """Those of categories are added up; the pace is the target's share of the working time gone."""
    (panel,) = [panel for panel in WALL["panels"] if panel["title"] == title]
    month = str(Month.of(datetime.now(ZONE).date()))

    def agree() -> bool:
        progress = json.loads(demo.stack.get(f"/api/months/{month}/progress"))["kpis"][kpi]
        expected = {
            "Target": progress["target"],
            **({} if kpi == "conversion" else {"Pace": progress["expected_by_now"]}),
            "Forecast, low": progress["forecast"]["low"],
            "Forecast, high": progress["forecast"]["high"],
        }
        shown = {each["legendFormat"]: demo.prometheus.target(each)[0]["value"][1] for each in panel["targets"]}
        assert shown.keys() == expected.keys()
        # Time goes by between the two.
        return all(float(shown[name]) == pytest.approx(float(expected[name]), rel=0.001) for name in expected)

    eventually("the numbers agree", agree, 60)


def test_the_month_names_are_those_of_the_calendar(demo: Demo) -> None:
    """The last bar of the curve is the current month in the business time zone."""
    (panel,) = [panel for panel in WALL["panels"] if panel["title"] == "Qualified leads by month"]
    months = sorted(series["metric"]["month"] for series in demo.prometheus.target(panel["targets"][0]))
    current = Month.of(datetime.now(ZONE).date())
    assert months == [str(current.back(ago)) for ago in range(12, -1, -1)]
