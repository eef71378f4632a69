"""`salesfx explain` and `show` on what a worker has made of events in a real Kafka."""

import asyncio
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from salesfx.cli import main
from salesfx.importer import Importer, load_map, read_rows
from salesfx.reading import Month, Reader
from salesfx.reading.explanation import NAMES, Explanation, Question, explain
from salesfx.reading.report import CATEGORIES
from tests.worked_example import EVENTS
from tests.worker_process import Message, Place, Site

MONTHS = ("2026-06", "2026-10", "2026-11", "2026-12", "2027-01", "2028-03")
EXAMPLES = Path(__file__).parents[2] / "examples"


def command(environ: Mapping[str, str], *arguments: str) -> Any:
    """Run a command that prints JSON, in this process."""
    done = CliRunner().invoke(main, [*arguments, "--json"], env=dict(environ), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def shown_numbers(report: Any) -> dict[str | tuple[str, str], Any]:
    """Take the number of each metric out of `salesfx kpi --json`."""
    conversion, sales = report["conversion"], report["sales"]
    numbers: dict[str | tuple[str, str], Any] = {
        "leads": report["lead_flow"]["total"],
        "qualified_leads": report["qualified_leads"]["count"],
        "qualified_leads_value": report["qualified_leads"]["value"],
        "new_customers": conversion["new_customers"],
        "cohort_customers": conversion["cohort"]["customers"],
    }
    for kind in ("booked", "planned"):
        for category in CATEGORIES:
            numbers[f"{kind}_sales", category] = sales[kind][category]["count"]
            numbers[f"{kind}_sales_value", category] = sales[kind][category]["value"]
    return numbers


def asked(metric: str | tuple[str, str]) -> tuple[str, ...]:
    """Give the arguments that ask for a number."""
    return (metric,) if isinstance(metric, str) else (metric[0], "--category", metric[1])


async def test_every_number_of_the_worked_example(kafka: str, redis_url: str, namespace: str) -> None:
    """Each is the sum of its contributions, and each winning event lies where Kafka put it."""
    site = Site(kafka, redis_url, namespace)
    with site.worker() as worker:
        await worker.says("created the topics")
        places = await site.publish([Message(topic, value) for topic, value in EVENTS])
        await site.caught_up(worker)
    at = dict(zip((entity_of(value) for _, value in EVENTS), places, strict=True))
    for month in MONTHS:
        report = await asyncio.to_thread(command, site.environ, "kpi", "--month", month)
        for metric, number in shown_numbers(report).items():
            answer = await asyncio.to_thread(command, site.environ, "explain", month, *asked(metric))
            assert (answer["number"], answer["sum"], answer["exact"]) == (number, number, True), (month, metric)
            assert answer["count"] == len(answer["contributions"])
            for contribution in answer["contributions"]:
                for event in contribution["events"]:
                    place = Place(event["topic"], event["partition"], event["offset"])
                    assert place == at[event["kind"], event["id"]], (month, metric, event)
        conversion = await asyncio.to_thread(command, site.environ, "explain", month, "conversion")
        assert conversion["ratio"] == report["conversion"]["ratio"]
    november = await asyncio.to_thread(command, site.environ, "explain", "2026-11", "booked_sales")
    assert november["contributions"][0]["why"][1]["says"] == "expansion: covered until 2027-06-01 by D0"
    deal = await asyncio.to_thread(command, site.environ, "show", "deal", "D1")
    assert Place(*(deal["entity"]["version"][name] for name in ("topic", "partition", "offset"))) == at["deal", "D1"]


def entity_of(value: bytes) -> tuple[str, str]:
    """Tell which entity an event is of."""
    fields = json.loads(value)
    for kind in ("quote", "deal", "lead"):
        if fields["topic"].startswith(kind):
            return kind, fields[f"{kind}_id"]
    raise AssertionError(fields)


@pytest.mark.slow
@pytest.mark.external_data
async def test_every_number_of_the_maven_crm(kafka: str, redis_url: str, namespace: str) -> None:
    """Real data, imported and taken by a worker: every metric of every month sums exactly to the number shown."""
    site = Site(kafka, redis_url, namespace, SALESFX_CURRENCY="USD")
    with site.worker() as worker:
        await worker.says("created the topics")
        await site.publish(maven_crm())
        await site.caught_up(worker)
    reader = Reader.connected(site.settings)
    months = [line.month for line in (await reader.months()).months]
    assert len(months) > 10
    explained = 0
    for month in months:
        report = json.loads(msgspec.json.encode(await reader.month(Month.parse(month))))
        for metric, number in shown_numbers(report).items():
            name, category = (metric, None) if isinstance(metric, str) else metric
            question = Question(month=Month.parse(month), metric=name, category=category)
            answer = await explain(reader, site.settings, question)
            assert isinstance(answer, Explanation)
            assert (answer.number, answer.sum, answer.exact) == (number, number, True), (month, metric)
            assert answer.count == len(answer.contributions)
            assert all(shown.why and shown.events for shown in answer.contributions)
            explained += answer.count
        assert (await explain(reader, site.settings, Question(month=Month.parse(month), metric=NAMES[-1]))).exact
    await reader.close()
    print(f"{len(months)} months, {explained} contributions")  # noqa: T201
    assert explained > 4238 * 2, "each won deal is in the number and in the value"


def maven_crm() -> list[Message]:
    """Import the data as `salesfx import` does."""
    mapping = load_map(EXAMPLES / "maven_crm.toml")
    file = Path(os.environ["SALESFX_TEST_DATA"]) / "maven_crm" / "iso_sales_pipeline.csv"
    with file.open("rb") as binary:
        rows = read_rows(binary, mapping.file)
        importer = Importer(mapping, next(rows)[1], datetime(2018, 1, 1, tzinfo=UTC), "Europe/Sofia")
        made = [event for number, cells in rows for event in importer.events(number, cells)]
    return [Message(event.topic, event.value, event.key.encode()) for event in made]
