"""`salesfx demo` as a newcomer has it: comes up with two years of history, goes on live, and goes on after a stop."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client import Metric

from salesfx.kpi import CATALOGUE
from tests.stack_process import StackProcess, eventually, running

pytestmark = pytest.mark.slow

SMALL = ("--leads-per-month", "100")


def published(stack: StackProcess) -> int:
    """Wait for the history, and tell how many events were published of it."""
    stack.wait_said("live ones follow")
    match = re.search(r"^published (\d+) events", stack.out, re.MULTILINE)
    assert match, stack.out
    return int(match[1])


def samples(family: Metric) -> dict[tuple[str, ...], float]:
    """Give the values of a family by their labels."""
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def headlines(stack: StackProcess) -> dict[str, dict[str, object]]:
    """Tell the headline numbers of every month."""
    return {month["month"]: month for month in json.loads(stack.get("/api/months"))["months"]}


def test_a_demo_shows_every_kpi_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    """Two years are there at once, in every family of /metrics; a second start does not publish them again."""
    data = tmp_path / "data"
    with running("demo", data, *SMALL) as stack:
        print(f"ready after {stack.wait_ready():.1f} s")  # noqa: T201
        count = published(stack)
        assert count > 2000
        eventually("the history is taken", lambda: stack.taken() >= count)
        assert json.loads(stack.get("/api/lead-flow"))["state"] in {"ok", "too_little_evidence"}, (
            "it opens with no alarm"
        )
        check_families(stack.metrics())
        before, taken = headlines(stack), stack.taken()
        assert len(before) >= 24
        assert stack.stop() == []
        assert "the demo's events stopped" not in stack.err

    with running("demo", data, *SMALL) as stack:
        print(f"at the second start ready after {stack.wait_ready():.1f} s")  # noqa: T201
        count = published(stack)
        assert count < 20  # the last one again, and what was published in the last moment of the first run
        eventually("they are taken", lambda: stack.taken() >= taken + count)
        after, new = headlines(stack), stack.taken() - taken
        assert new < 50
        # A live event changes its own month, and may restate that of its lead's first quote and of a planned sale.
        assert len([month for month in after if before.get(month) != after[month]]) <= 3 * new
        assert 0 <= total_leads(after) - total_leads(before) <= new
        assert stack.stop() == []


def total_leads(months: dict[str, dict[str, object]]) -> int:
    """Add up the new leads."""
    return sum(int(str(month["leads"])) for month in months.values())


def check_families(families: dict[str, Metric]) -> None:
    """Look for every KPI in the families of a scrape."""
    for metric in CATALOGUE:
        for name in (f"salesfx_{metric.name}", f"salesfx_{metric.name}_by_salesperson"):
            whole, to_date = families[name], families[f"{name}_to_date"]
            shown = {str(ago) for ago in range(-metric.months_ahead, 13)}
            assert {sample.labels["months_ago"] for sample in whole.samples} == shown, name
            assert {sample.labels["months_ago"] for sample in to_date.samples} == {"0", "1"}, name
            assert sum(samples(whole).values()) > 0, name
            assert all(value <= samples(whole)[labels] for labels, value in samples(to_date).items()), name


def test_ctrl_c_in_the_midst_of_the_history(tmp_path: Path) -> None:
    """A demo that is stopped while it publishes the past ends well; what it began it completes at the next start."""
    data = tmp_path / "data"
    options = ("--leads-per-month", "1000", "--seed", "7")
    with running("demo", data, *options) as stack:
        stack.wait_ready()
        eventually("the history has begun", lambda: stack.taken() > 0)
        assert "live ones follow" not in stack.out
        assert stack.stop() == []
        assert "Traceback" not in stack.err
        begun = json.loads((data / "demo.json").read_text(encoding="utf-8"))
        assert begun["published_until"] == begun["origin"]
    with running("demo", data, *options) as stack:
        stack.wait_ready()
        count = published(stack)
        eventually("the history is taken", lambda: stack.taken() > count)
        continued = json.loads((data / "demo.json").read_text(encoding="utf-8"))
        assert continued["origin"] == begun["origin"]
        assert continued["published_until"] > begun["published_until"]
        assert stack.stop() == []


def test_a_folder_with_other_events_is_left_alone(tmp_path: Path) -> None:
    """Simulated events are not mixed with a user's own, nor the stories of two teams with each other."""
    mine, demo = tmp_path / "mine", tmp_path / "demo"
    with running("up", mine) as stack:
        stack.wait_ready()
        stack.stop()
    with running("demo", mine, *SMALL) as stack:
        assert stack.wait_ended() == 2
        assert stack.sentence.startswith(f"{mine} holds events that are not a demo's")
        assert not (mine / "demo.json").exists()
    demo.mkdir()
    (demo / "demo.json").write_text(
        json.dumps(
            {
                "seed": 1,
                "leads_per_month": 100,
                "origin": "2024-01-01T00:00:00Z",
                "published_until": "2026-01-01T00:00:00Z",
            }
        )
    )
    with running("demo", demo, *SMALL, "--seed", "2") as stack:
        assert stack.wait_ended() == 2
        assert stack.sentence.startswith(f"{demo} holds the story of seed 1 with 100 leads a month")
        assert not (demo / "kafka").exists()
