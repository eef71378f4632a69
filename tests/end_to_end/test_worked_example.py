"""The worked example of docs/kpis.md on the whole of it, from the command line's `publish` to its `kpi`."""

import asyncio
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from salesfx.cli import main
from salesfx.reading import Month
from tests.stack_process import StackProcess, running, salesfx
from tests.worked_example import FILE
from tests.worker_process import Site

pytestmark = pytest.mark.slow

LINES = FILE.read_text(encoding="utf-8").splitlines()
MONTHS = [f"{year}-{month:02}" for year in (2026, 2027, 2028) for month in range(1, 13)][5:27]
"""2026-06 to 2028-03."""

NOTHING = {"count": 0, "value": "0.00"}
NO_SALES = {"new_account": NOTHING, "expansion": NOTHING, "returning": NOTHING}


def without_leads(month: str, booked: Mapping[str, Any], new_customers: int = 0) -> dict[str, Any]:
    """Write a month in which nothing happened but these sales, of nobody and from no lead."""
    parts = {"new_customers": new_customers, "qualified_leads": 0, "cohort_customers": 0}
    return {
        "month": month,
        "currency": "EUR",
        "lead_flow": {"total": 0, "by_source": {}, "by_salesperson": {}},
        "qualified_leads": {"count": 0, "value": "0.00", "by_source": {}, "by_salesperson": {}},
        "conversion": {
            "new_customers": new_customers,
            "qualified_leads": 0,
            "ratio": None,
            "cohort": {"qualified_leads": 0, "customers": 0, "ratio": None},
            "by_source": {"unattributed": parts} if new_customers else {},
            "by_salesperson": {"unassigned": parts} if new_customers else {},
        },
        "sales": {
            "planned": NO_SALES,
            "booked": {**NO_SALES, **booked},
            "by_salesperson": {"unassigned": {"planned": {}, "booked": booked}} if booked else {},
        },
    }


EXPECTED: dict[str, dict[str, Any]] = {
    **{month: without_leads(month, {}) for month in MONTHS},
    # Q2, which was planned for December, is closed by D1: December has nothing.
    "2026-06": without_leads("2026-06", {"new_account": {"count": 1, "value": "300.00"}}, new_customers=1),
    "2026-10": {
        "month": "2026-10",
        "currency": "EUR",
        "lead_flow": {"total": 1, "by_source": {"web": 1}, "by_salesperson": {"unassigned": 1}},
        "qualified_leads": {
            "count": 1,
            "value": "1200.00",
            "by_source": {"web": {"count": 1, "value": "1200.00"}},
            "by_salesperson": {"unassigned": {"count": 1, "value": "1200.00"}},
        },
        "conversion": {
            "new_customers": 0,
            "qualified_leads": 1,
            "ratio": 0.0,
            "cohort": {"qualified_leads": 1, "customers": 1, "ratio": 1.0},
            "by_source": {"web": {"new_customers": 0, "qualified_leads": 1, "cohort_customers": 1}},
            "by_salesperson": {"unassigned": {"new_customers": 0, "qualified_leads": 1, "cohort_customers": 1}},
        },
        "sales": {"planned": NO_SALES, "booked": NO_SALES, "by_salesperson": {}},
    },
    "2026-11": without_leads("2026-11", {"expansion": {"count": 1, "value": "1150.00"}}),
    "2027-01": without_leads("2027-01", {"expansion": {"count": 1, "value": "500.00"}}),
    "2028-03": without_leads("2028-03", {"returning": {"count": 1, "value": "700.00"}}),
}


def shuffled(seed: int) -> list[str]:
    """Give the lines in an order of their own."""
    return random.Random(seed).sample(LINES, len(LINES))


def kpi_of_all_months(environ: Mapping[str, str]) -> dict[str, Any]:
    """Run `salesfx kpi --json` for every month, in this process: starting 22 takes long."""
    months = {}
    for month in MONTHS:
        done = CliRunner().invoke(main, ["kpi", "--month", month, "--json"], env=dict(environ), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        months[month] = json.loads(done.stdout)
    return months


def test_the_months_are_those_of_the_example() -> None:
    """The first and the last month are those of the earliest and the latest event."""
    assert (MONTHS[0], MONTHS[-1], len(MONTHS)) == ("2026-06", "2028-03", 22)
    assert all(str(Month.parse(month)) == month for month in MONTHS)


@pytest.mark.parametrize("seed", [1, 2])
def test_one_file_into_a_fresh_folder(tmp_path: Path, seed: int) -> None:
    """A file in any order of its lines gives the numbers of docs/kpis.md, on the command line and over HTTP."""
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(shuffled(seed)) + "\n", encoding="utf-8")
    with running("up", tmp_path / "data") as stack:
        stack.wait_ready()
        done = salesfx("publish", str(file), environ=stack.environ)
        assert (done.status, done.out.split(" in ")[0]) == (0, "8 events published"), done
        stack.wait_taken(len(LINES))
        assert {month: stack.month(month) for month in MONTHS} == EXPECTED
        assert kpi_of_all_months(stack.environ) == EXPECTED
        for month in ("2026-06", "2026-10", "2026-11", "2026-12"):  # as a user runs it
            done = salesfx("kpi", "--month", month, "--json", environ=stack.environ)
            assert json.loads(done.out) == EXPECTED[month], done
        assert stack.stop() == []


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """One that runs, for tests that have namespaces of their own on it."""
    with running("up", tmp_path_factory.mktemp("up") / "data") as shared:
        shared.wait_ready()
        yield shared


@pytest.mark.parametrize("seed", range(4))
async def test_one_event_after_the_other(stack: StackProcess, namespace: str, seed: int) -> None:
    """Also where each event is in the tables before the next one is published, their order changes no number."""
    site = Site(stack.kafka, stack.redis, namespace)
    with site.worker() as worker:
        await worker.says("created the topics")
        for line in shuffled(seed):
            done = salesfx("publish", "-", environ=site.environ, stdin=line.encode())
            assert done.status == 0, done
            await site.caught_up(worker)
    done_with = await site.counters()
    assert sum(number for name, number in done_with.items() if name.startswith("processed|")) == len(LINES)
    assert await asyncio.to_thread(kpi_of_all_months, site.environ) == EXPECTED
