"""The parts of the measurements that measure nothing: what figures are made of, and the loads."""

import json
from bisect import bisect_left
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import load, report, results
from bench.latency.notes import Arrivals, Scrape, Sent, achieved, latencies, shown_by, summary
from bench.latency.stage import counted
from bench.recovery import Look, recovery
from bench.results import quantile, spread, table
from bench.workers import CONFLICT, READING, per_event
from salesfx.decoder import decode

ROOT = Path(__file__).parent.parent.parent
TODAY = date(2026, 3, 20)


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.51, 3.0), (0.99, 4.0), (1.0, 4.0), (0.0, 1.0)])
def test_a_quantile_is_a_value_that_was_seen(share: float, value: float) -> None:
    """The nearest rank: of four values the median is the second."""
    assert quantile([1.0, 2.0, 3.0, 4.0], share) == value


def test_a_spread_keeps_every_run() -> None:
    """Median, least, greatest, and the runs in their order."""
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "least": 1.0, "greatest": 3.0, "runs": [3.0, 1.0, 2.0]}


def test_a_table_is_markdown() -> None:
    """The first column is to the left, numbers are to the right."""
    assert table(("", "n"), [("a", "1"), ("b", "22")]) == "|  | n |\n| --- | --: |\n| a | 1 |\n| b | 22 |"


# Loads.


@pytest.fixture
def _small_company(monkeypatch: pytest.MonkeyPatch) -> None:
    """A company that is simulated quickly."""
    monkeypatch.setattr(load, "LEADS_PER_MONTH", 100)


@pytest.mark.usefixtures("_small_company")
def test_a_disordered_load_has_the_same_events() -> None:
    """Late ones are moved, not lost; what comes twice is one of the same events."""
    ordered = list(load.in_order(2000))
    late = list(load.disordered(2000, 0.5, 0.0))
    twice = Counter(load.disordered(2000, 0.5, 0.1))
    assert Counter(late) == Counter(ordered)
    assert late != ordered
    assert not Counter(ordered) - twice
    assert 100 < (twice - Counter(ordered)).total() < 300
    assert set(twice) == set(ordered)


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.usefixtures("_small_company")
def test_a_disordered_load_is_late_by_its_share(share: float) -> None:
    """Those that are not late are still in their order: the longest ascending row is at least as long as they are."""
    ordered = list(dict.fromkeys(load.in_order(2000)))
    place = {event: at for at, event in enumerate(ordered)}
    row: list[int] = []
    for event in dict.fromkeys(load.disordered(2000, share, 0.0)):
        at = bisect_left(row, place[event])
        row[at : at + 1] = [place[event]]
    assert 1 - share - 0.05 < len(row) / len(ordered) < 1 - share / 4


@pytest.mark.usefixtures("_small_company")
def test_a_load_without_disorder_is_in_order() -> None:
    """Nothing is moved by itself."""
    assert list(load.disordered(1000, 0.0, 0.0)) == list(load.in_order(1000))


@pytest.mark.usefixtures("_small_company")
def test_a_disordered_load_is_seeded() -> None:
    """A second run has the same messages in the same order."""
    assert list(load.disordered(1000, 0.1, 0.1)) == list(load.disordered(1000, 0.1, 0.1))


def test_the_mixed_load_has_exactly_its_shares() -> None:
    """Of a thousand leads a hundred have a quote, and forty a won deal; the worker would take all of it."""
    messages = list(load.mixed(1000, TODAY))
    assert Counter(topic for topic, _, _ in messages) == {load.LEAD: 1000, load.QUOTE: 100, load.DEAL: 40}
    events = [decode(topic, value) for topic, _, value in messages]
    assert len({event.ref for event in events}) == len(messages)
    assert all(len(event.key) == 18 for event in events)
    assert [event.message_key.encode() for event in events] == [key for _, key, _ in messages]
    leads = [json.loads(value) for topic, _, value in messages if topic == load.LEAD]
    assert len({lead["source"] for lead in leads}) == 20
    assert len({lead["salesperson"] for lead in leads}) == 50
    assert len({lead["occurred_at"][:7] for lead in leads}) == 13


def test_recent_events_reach_up_to_today() -> None:
    """They lie in the months that are shown."""
    moments = sorted(json.loads(value)["occurred_at"][:7] for _, _, value in load.recent(3000, TODAY))
    assert len(moments) == 3000
    assert moments[len(moments) // 10] > "2025-02"
    assert "2026-01" < moments[-1] < "2026-07"


# Latency.


def _sent() -> Sent:
    return Sent(
        begin=10.0,
        rate=2.0,
        handed=[10.0, 10.5, 11.0],
        acknowledged=[0.0] * 3,
        places=[("a:0", 5), ("a:0", 6), ("b:1", 0)],
    )


def test_a_latency_counts_from_when_the_event_was_due() -> None:
    """Two events that are seen at once have waited for different times."""
    seen = [(9.0, "a:0", 5), (11.0, "a:0", 7), (11.25, "b:1", 1)]
    assert latencies(_sent(), seen, 0) == [0.25, 0.5, 1.0]
    assert latencies(_sent(), seen, 2) == [0.25]
    assert achieved(_sent(), seen) == 2.0


def test_an_event_is_there_from_the_first_offset_beyond_it() -> None:
    """An offset is that of the next event; one that goes back tells nothing new."""
    arrivals = Arrivals([(1.0, "a:0", 1), (2.0, "a:0", 3), (3.0, "a:0", 2), (4.0, "a:0", 4)])
    assert [arrivals.of("a:0", offset) for offset in range(4)] == [1.0, 2.0, 2.0, 4.0]
    with pytest.raises(LookupError):
        arrivals.of("a:0", 4)
    with pytest.raises(LookupError):
        arrivals.of("b:0", 0)


def test_a_scrape_shows_the_commits_that_it_counts() -> None:
    """A topic's counter is the sum of its offsets; between two states that were seen, the earlier one is sure."""
    offsets = [(1.0, "a:0", 2), (1.0, "a:1", 1), (2.0, "a:0", 5), (3.0, "a:1", 4)]
    scrapes = [Scrape(1.5, 1.7, {"a": 3}), Scrape(2.1, 2.2, {"a": 7}), Scrape(3.1, 3.3, {"a": 9})]
    assert shown_by(scrapes, offsets) == [
        (1.7, "a:0", 2),
        (1.7, "a:1", 1),
        (2.2, "a:0", 5),
        (2.2, "a:1", 1),
        (3.3, "a:0", 5),
        (3.3, "a:1", 4),
    ]


def test_the_counters_of_a_scrape_are_added_up_by_topic() -> None:
    """Rejected events are past as well; when a counter was created is no event."""
    said = """\
salesfx_events_processed_total{topic="lead_created"} 7.0
salesfx_events_processed_created{topic="lead_created"} 1.7e+09
salesfx_events_rejected_total{reason="no_rate",topic="lead_created"} 1.0
salesfx_events_processed_total{topic="deal_closed"} 2.0"""
    assert counted(said) == {"lead_created": 8, "deal_closed": 2}


def test_a_summary_is_in_milliseconds() -> None:
    """Every event counts."""
    assert summary([0.001, 0.002, 0.003, 0.004]) == {"p50": 2, "p99": 4, "p99.9": 4, "greatest": 4, "events": 4}


# Recovery, two workers.


def _looks() -> list[Look]:
    """Ten events a second come to each of two partitions; nothing of the second is committed from 5 to 8 s."""
    stored = [0, 10, 20, 30, 40, 40, 40, 40, 60, 90, 100]
    return [Look(float(t), {"a": 10 * t, "b": 10 * t}, {"a": 10 * t, "b": stored[t]}) for t in range(11)]


def test_a_worker_has_recovered_when_nothing_lags_any_more() -> None:
    """At 8 s the partition is committed to again, at 9 s it has caught up."""
    assert recovery(_looks(), 4.5, 20.0) == {"taken_over": 3.5, "caught_up": 4.5, "greatest_lag": 1.5}


def test_what_was_used_is_told_for_one_event() -> None:
    """In microseconds."""
    assert per_event({"redis": 1.0}, {"redis": 1.5}, 100_000) == {"redis": 5.0}


def test_the_worker_says_what_is_counted() -> None:
    """Conflicts and assignments are told by lines of its log."""
    assert CONFLICT in (ROOT / "streams/processor.py").read_text(encoding="utf-8")
    assert f'"{READING.removeprefix(": ")}' in (ROOT / "streams/steering.py").read_text(encoding="utf-8")


# The report.


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with all markers."""
    place = tmp_path / "docs" / "performance.md"
    place.parent.mkdir()
    place.write_text("# A page\n\n" + "\n\n".join(f"<!-- {n} -->\nold\n<!-- /{n} -->" for n in report.NAMES) + "\n")
    return place


def _keep(folder: Path, rate: float) -> None:
    rates = {"median": rate, "least": rate, "greatest": rate, "runs": [rate]}
    figures: dict[str, Any] = {"day": "2026-03-20", "machine": {"processor": "2 cores"}}
    figures |= {"events": 10, "mixes": {"in order": {"rate": rates, "messages": 10}}}
    folder.mkdir(exist_ok=True)
    (folder / "disorder.json").write_text(json.dumps(figures))


def test_the_report_writes_the_tables_and_notices_a_change(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--check` fails before, passes after, and fails again where page or figures are changed."""
    monkeypatch.setattr(report, "_draw", lambda *_: None)
    folder = tmp_path / "results"
    _keep(folder, 1234.0)

    def run(*options: str) -> int:
        done = CliRunner().invoke(report.command, [*options, "--page", str(page), "--results", str(folder)])
        return done.exit_code

    assert run("--check") == 1
    assert run() == 0
    assert "| in order | 10 | 1,234 |" in page.read_text()
    assert run("--check") == 0
    _keep(folder, 1235.0)
    assert run("--check") == 1
    assert run() == 0
    page.write_text(page.read_text().replace("1,235", "9,999"))
    assert run("--check") == 1


def test_the_page_says_what_the_kept_figures_say() -> None:
    """docs/performance.md and docs/lead-flow.md are as `python -m bench report` makes them."""
    for page in (report.PAGE, report.LEAD_FLOW_PAGE):
        text = page.read_text(encoding="utf-8")
        for name in report.names_on(page):
            assert report.marked(text, name) == report.generated(name, results.FOLDER), name


def test_a_page_without_a_marker_is_refused() -> None:
    """Nothing is put at the wrong place."""
    with pytest.raises(Exception, match="no markers"):
        report.replaced("nothing here", "latency", "text")
