"""Alert rules and Alertmanager's configuration: tried by Prometheus's own tools, and held against what salesfx exports."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from salesfx.exporter import SalesCollector
from salesfx.lead_flow.live import LeadFlowJudge
from salesfx.reading.lag import LogEndsView
from salesfx.reading.lead_flow import judged
from salesfx.settings import Settings
from tests.unit.test_exporter import TODAY, full_snapshot

ROOT = Path(__file__).parents[2]
RULES = ROOT / "prometheus"
TESTS = ROOT / "tests/prometheus"
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((RULES / "alerts.rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
EXPECTED = {
    "SalesfxEventsRejected",
    "SalesfxExporterAbsent",
    "SalesfxFeedStale",
    "SalesfxLeadFlowLow",
    "SalesfxLeadSourceSilent",
    "SalesfxProjectionLagging",
    "SalesfxStoreDown",
}
SCRAPE = 30
"""Seconds between scrapes, as the rules say."""


def tool(name: str) -> str:
    """Find a tool of Debian's packages."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: prometheus, prometheus-alertmanager)")
    return path


def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a tool."""
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def tried(folder: Path, rules: str) -> "subprocess.CompletedProcess[str]":
    """Run promtool's tests in a folder, with these alert rules."""
    for file in (*TESTS.glob("*.test.yml"), RULES / "recording.rules.yml"):
        shutil.copy(file, folder)
    (folder / "alerts.rules.yml").write_text(rules, encoding="utf-8")
    return run(tool("promtool"), "test", "rules", *sorted(folder.glob("*.test.yml")))


def test_the_rules_do_what_their_tests_say(tmp_path: Path) -> None:
    """Each alert fires, does not fire without its cause, and is held back by the one that has the same cause."""
    done = tried(tmp_path, (RULES / "alerts.rules.yml").read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == len(list(TESTS.glob("*.test.yml")))


@pytest.mark.parametrize(
    ("found", "put"),
    [
        ('absent(up{job="salesfx"} == 1)', 'up{job="salesfx"} == 0'),
        ('absent(up{job="salesfx"} == 1)', 'absent(up{job="salesfx"} == 0)'),
        ("max without (instance) (salesfx_up) == 0\n        for: 2m", "max without (instance) (salesfx_up) == 0"),
        ("(salesfx_feed_up) == 0\n        for", "(salesfx_feed_up) == 1\n        for"),
        ("          unless on () (max without (instance, job) (salesfx_feed_up) == 0)\n", ""),
        ("keep_firing_for: 1h", "keep_firing_for: 5m"),
        ("for: 15m\n        keep_firing_for: 1h", "for: 5m\n        keep_firing_for: 1h"),
        ('max without (instance, state) (salesfx_lead_flow_state{state=~"low', 'max without (instance) (salesfx_lead_flow_state{state=~"low'),
        ('salesfx_lead_flow_state{state=~"low|silent"}', 'salesfx_lead_flow_state{state=~"low"}'),
        ('          unless on () (max without (instance, job, state) (salesfx_lead_flow_state{state=~"low|silent"}) == 1)\n', ""),
        (" < 300", " < 3e9"),
        ("[15m])) > 1000", "[15m])) > 1e9"),
        ("salesfx_events_rejected_total[15m])) > 0", "salesfx_events_rejected_total[15m])) > 100"),
        ("increase(salesfx_events_rejected_total[15m])", "salesfx_events_rejected_total"),
    ],
)  # fmt: skip
def test_the_tests_notice_a_rule_that_is_wrong(tmp_path: Path, found: str, put: str) -> None:
    """With one thing of the rules broken, promtool's tests fail: else they would show nothing."""
    rules = (RULES / "alerts.rules.yml").read_text(encoding="utf-8")
    assert found in rules
    assert tried(tmp_path, rules.replace(found, put)).returncode != 0


def expressions() -> Iterator[str]:
    """Give every expression of the rules, those in annotations among them."""
    for file in RULES.glob("*.rules.yml"):
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                yield rule["expr"]
                yield from re.findall(r'query "([^"]*)"', str(rule.get("annotations", "")))


async def exported() -> set[str]:
    """Give the names of all families and samples of a full scrape."""
    snapshot = await full_snapshot()
    flows = judged(LeadFlowJudge(Settings()), snapshot, datetime(2026, 11, 20, 12, tzinfo=UTC), "Europe/Sofia")
    collector = SalesCollector(snapshot, TODAY, LogEndsView(True, {"lead_created:0": 45}), (), flows)
    shown = list(collector.collect())
    return {family.name for family in shown} | {sample.name for family in shown for sample in family.samples}


async def test_the_rules_name_only_what_is_exported() -> None:
    """A metric that nobody exports makes a rule that never fires."""
    recorded = {
        rule["record"]
        for group in yaml.safe_load((RULES / "recording.rules.yml").read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    }
    names = {name for each in expressions() for name in re.findall(r"(?<![:\w])(?:\w+:)?salesfx_\w+(?::\w+)?", each)}
    assert len(names) > 20
    assert names - recorded - await exported() == set()


def test_there_is_an_alert_for_each_thing_that_goes_wrong() -> None:
    """Each with whom it is for, how bad it is, what it means, and a page that says what to do."""
    assert set(ALERTS) == EXPECTED
    for name, rule in ALERTS.items():
        assert set(rule["labels"]) == {"severity", "audience"}
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["labels"]["audience"] in {"sales", "ops"}
        assert "{{" not in rule["annotations"]["summary"], "a summary is one sentence for all"
        assert {"summary", "description", "runbook_url"} <= set(rule["annotations"])
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        assert rule["keep_firing_for"]
        if "absent(" in rule["expr"]:
            assert int(rule["for"].removesuffix("m")) * 60 >= 2 * SCRAPE


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_alert_has_its_runbook(name: str) -> None:
    """What it means, what to look at, what to do; with a command at least, and a row in docs/alerts.md."""
    page = (ROOT / f"docs/runbooks/{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}\n")
    for heading in ("## What it means", "## What to look at", "## What to do"):
        assert heading in page
    assert "```" in page
    assert f"[{name}](runbooks/{name}.md)" in (ROOT / "docs/alerts.md").read_text(encoding="utf-8")


def test_every_rule_has_a_comment_on_why() -> None:
    """The line before each alert is a comment."""
    lines = (RULES / "alerts.rules.yml").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        assert "- alert:" not in line or lines[number - 1].lstrip().startswith("# "), line


# Alertmanager.

CONFIG = RULES / "alertmanager.yml"


def test_amtool_accepts_the_configuration() -> None:
    """Alertmanager's own tool reads it, and refuses it with a receiver that is not there."""
    done = run(tool("amtool"), "check-config", CONFIG)
    assert done.returncode == 0, done.stdout + done.stderr


def test_amtool_refuses_a_receiver_that_is_not_there(tmp_path: Path) -> None:
    """So that its accepting means something."""
    wrong = tmp_path / "alertmanager.yml"
    wrong.write_text(
        CONFIG.read_text(encoding="utf-8").replace("receiver: sales", "receiver: marketing"), encoding="utf-8"
    )
    assert run(tool("amtool"), "check-config", wrong).returncode != 0


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        *((f"alertname={name} severity={r['labels']['severity']} audience={r['labels']['audience']}", "") for name, r in ALERTS.items()),
        ("alertname=Other", "ops"),
        ("alertname=Other audience=sales severity=critical", "sales"),
        ("alertname=Other audience=ops severity=info", "ops"),
    ],
)  # fmt: skip
def test_each_alert_goes_to_its_audience(labels: str, receiver: str) -> None:
    """Sales' alerts to sales, critical ones of ops to whoever is on call, the others to ops."""
    told = dict(label.split("=") for label in labels.split())
    if not receiver:
        critical = (told["audience"], told["severity"]) == ("ops", "critical")
        receiver = "ops-critical" if critical else told["audience"]
    done = run(
        tool("amtool"),
        "config",
        "routes",
        "test",
        f"--config.file={CONFIG}",
        f"--verify.receivers={receiver}",
        *labels.split(),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def config() -> dict[str, Any]:
    """Read Alertmanager's configuration."""
    found: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    return found


def test_sales_are_told_in_office_hours_and_whoever_is_on_call_at_any() -> None:
    """In local time: Prometheus and Alertmanager would otherwise take UTC."""
    intervals = {each["name"]: each["time_intervals"] for each in config()["time_intervals"]}
    assert all(part["location"] == "Europe/Sofia" for parts in intervals.values() for part in parts)
    routes = {route["receiver"]: route for route in config()["route"]["routes"]}
    assert routes["sales"]["active_time_intervals"] == ["office-hours"]
    assert "active_time_intervals" not in routes["ops-critical"]
    assert "office-hours" in intervals


def test_inhibition_names_alerts_that_there_are() -> None:
    """A cause holds back what follows from it, and never itself."""
    for rule in config()["inhibit_rules"]:
        named = set(re.findall(r"Salesfx[A-Z]\w+", str(rule)))
        assert named <= EXPECTED
    assert [rule["source_matchers"] for rule in config()["inhibit_rules"]].count(['alertname="SalesfxFeedStale"']) == 2


def test_no_secret_stands_in_the_configuration() -> None:
    """Passwords, keys and addresses that are secret are read from files."""
    settings = re.findall(
        r"^\s*(?:- )?(\w*(?:password|secret|token|_key|api_url)\w*):", CONFIG.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert settings
    assert all(name.endswith("_file") for name in settings)
