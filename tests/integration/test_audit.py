"""`salesfx audit` over a real Kafka, a real Redis and workers that go on."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaProducer

from salesfx.audit.audit import Options, audit
from salesfx.audit.findings import Report
from salesfx.event_log import KafkaSource, LogIncompleteError
from salesfx.fold import decode_lead
from salesfx.kafka_log import OtherLogError
from salesfx.tables import RedisTables, connect
from salesfx.tables.layout import VERSION_BYTES, Layout
from tests.worked_example import EVENTS
from tests.worker_process import Message, Place, Site, simulated

TODAY = date(2026, 11, 23)
EXAMPLE = [Message(topic, value) for topic, value in EVENTS]


async def audited(site: Site, *, from_log: bool = True) -> Report:
    """Audit the site's tables in this process."""
    tables = RedisTables(connect(site.settings.redis), site.settings.namespace)
    try:
        source = KafkaSource(site.settings, tables) if from_log else None
        return await audit(tables, site.settings, Options(TODAY), lambda *_: None, source)
    finally:
        await tables.close()


async def command(site: Site, *options: str) -> tuple[int, str, str]:
    """Run `salesfx audit`; give its exit status, and what it wrote to standard output and error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "salesfx",
        "audit",
        *options,
        env=site.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), error.decode()


async def make_tables(site: Site, messages: list[Message], *options: str) -> list[Place]:
    """Have a worker make the tables of messages."""
    places = await site.publish(messages)
    with site.worker(*options) as worker:
        await site.caught_up(worker)
    return places


@asynccontextmanager
async def redis_of(site: Site) -> AsyncIterator[tuple[Any, Layout]]:
    """Give a plain client of the site's Redis, to do damage with."""
    client = connect(site.settings.redis)
    try:
        yield client, Layout(site.settings.namespace, "1")
    finally:
        await client.aclose()


async def test_tables_that_workers_are_adding_to_audit_clean(site: Site) -> None:
    """While a worker commits 20,000 events, every audit is exact as of one instant; at the end too."""
    messages = simulated(3, 20_000)

    async def publish() -> None:
        for start in range(400, len(messages), 400):
            await site.publish(messages[start : start + 400])
            await asyncio.sleep(0.1)

    seen = []
    with site.worker() as worker:
        await site.publish(messages[:400])
        await site.caught_up(worker)
        publishing = asyncio.create_task(publish())
        try:
            while not publishing.done():
                report = await audited(site)
                assert report.agrees, report
                seen.append(sum(report.offsets.values()))
            await publishing
        finally:
            publishing.cancel()
            with suppress(asyncio.CancelledError):
                await publishing
        await site.caught_up(worker)
    report = await audited(site)
    assert report.agrees, report
    assert sum(report.offsets.values()) == 20_000
    assert sum(each.events for each in (report.log or {}).values()) == 20_000
    assert report.checked["lead"] > 14_000
    assert len(set(seen)) >= 2, "no audit was made while the tables grew"


async def test_the_command(site: Site) -> None:
    """Exit status 0 and a word where all is well; 1 with the cell and who is behind it where not; JSON for machines."""
    await make_tables(site, EXAMPLE)
    status, out, error = await command(site, "--from-log")
    assert (status, error) == (0, "")
    assert "everything agrees" in out
    assert "8 events of Kafka's log" in out
    async with redis_of(site) as (client, layout):
        await client.hincrby(layout.table("days:2026-10"), "05|qualified_leads|source=web", 4)
    status, out, _ = await command(site)
    assert status == 1
    assert "days:2026-10 05|qualified_leads|source=web: 5 in the tables, 1 from the records" in out
    assert "lead:L1" in out
    status, out, _ = await command(site, "--json", "--from-log", "--month", "2026-10")
    assert status == 1
    report = json.loads(out)
    assert report["agrees"] is False
    assert [each["computed_from"] for each in report["differences"]["listed"]] == ["records", "log"]
    assert (await command(site, "--month", "2026-11"))[0] == 0


async def test_warnings_leave_the_exit_status_alone(site: Site) -> None:
    """A planned sale of long ago is told, and is no difference."""
    event = {"event_id": "e", "occurred_at": "2020-01-01T12:00:00Z", "quote_id": "Q", "amount": "5", "currency": "EUR"}
    await make_tables(site, [Message("quote_sent", json.dumps({**event, "need": "crm"}).encode())])
    status, out, _ = await command(site)
    assert status == 0
    assert "warning  long_overdue: quote:Q" in out


async def test_stray_tables_and_months_are_found(site: Site) -> None:
    """What a list of the months hides from readers, and what nobody lists, is found in a real Redis."""
    await make_tables(site, EXAMPLE)
    async with redis_of(site) as (client, layout):
        await client.hset(layout.table("month:2031-01"), "leads|source=web", 7)
        await client.srem(layout.months, "2026-11")
        await client.sadd(layout.months, "2027-05")
    report = await audited(site, from_log=False)
    assert [(each.table, each.in_tables, each.computed) for each in report.differences.listed] == [
        ("month:2031-01", 7, 0)
    ]
    assert {finding.sentence for finding in report.inconsistencies["months"].listed} == {
        "2026-11 has a table, but is not in the list of the months",
        "2031-01 has a table, but is not in the list of the months",
        "2027-05 is in the list of the months, but has no table",
    }


async def test_holes_in_the_log_are_no_difference(site: Site) -> None:
    """Aborted events do not count, and the markers of transactions at the end are read over."""
    await site.publish(EXAMPLE)
    producer = AIOKafkaProducer(bootstrap_servers=site.settings.kafka, transactional_id=site.settings.group)
    await producer.start()
    try:
        for commit in (True, False):
            await producer.begin_transaction()
            for number in range(3):
                lead = {"event_id": "e", "occurred_at": "2026-10-05T12:00:00Z", "lead_id": f"T{commit}{number}"}
                await producer.send(site.topic("lead_created"), json.dumps(lead).encode(), partition=number)
            await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()
    await make_tables(site, [])
    report = await audited(site)
    assert report.agrees, report
    assert report.log is not None
    assert report.log["lead_created"].events == 4
    assert sum(end for at, end in report.offsets.items() if at.startswith("lead_created")) == 13


async def test_a_header_name_that_is_not_utf8_does_not_end_it(site: Site) -> None:
    """Kafka takes any bytes for a header's name; what comes before and after such an event is read, once."""

    class NotText(str):
        __slots__ = ()

        def encode(self, *_: object) -> bytes:
            return b"\xff\xfe"

    def publish() -> None:
        producer = KafkaProducer(bootstrap_servers=site.settings.kafka)
        producer.send(site.topic("lead_created"), json.dumps(lead).encode(), headers=[(NotText("h"), b"1")])
        producer.flush()
        producer.close()

    lead = {"event_id": "e", "occurred_at": "2026-10-05T12:00:00Z", "lead_id": "H"}
    await site.publish(EXAMPLE)
    await asyncio.to_thread(publish)
    await make_tables(site, EXAMPLE)
    report = await audited(site)
    assert report.agrees, report
    assert sum(each.events for each in (report.log or {}).values()) == 17


async def test_another_log_is_refused(site: Site) -> None:
    """A topic that was made again is not what the tables were made from."""
    await make_tables(site, EXAMPLE)
    await site.remake_topic("quote_sent")
    with pytest.raises(OtherLogError, match="made again"):
        await audited(site)
    assert (await audited(site, from_log=False)).agrees


async def test_a_log_that_lost_its_beginning_is_refused(site: Site) -> None:
    """Tables cannot be computed from events that are gone."""
    places = await make_tables(site, EXAMPLE)
    await site.cut(Place(places[1].topic, places[1].partition, places[1].offset + 1))
    with pytest.raises(LogIncompleteError, match="begins at 1 now, but the tables were made from 0 on"):
        await audited(site)
    status, _, error = await command(site, "--from-log")
    assert status == 2
    assert "cannot be computed from the log again" in error


async def test_tables_that_were_told_to_begin_later_audit_clean(site: Site) -> None:
    """Where a worker was told to begin at the log's start, the audit begins there too."""
    (place,) = await site.publish([Message("lead_created", b"{", partition=1)])
    await site.cut(Place(place.topic, place.partition, place.offset + 1))
    await make_tables(site, EXAMPLE, "--from-log-start")
    report = await audited(site)
    assert report.agrees, report
    assert sum(each.events for each in (report.log or {}).values()) == 8


def names_in(folder: Path) -> list[str]:
    """Name what lies in a folder."""
    return [file.name for file in folder.iterdir()]


def has_open(pid: int, folder: Path) -> bool:
    """Tell whether a process has a file of a folder open; where that cannot be told, say so too."""
    files = Path(f"/proc/{pid}/fd")
    return not files.exists() or any(str(file.readlink()).startswith(f"{folder}/") for file in files.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
async def test_nothing_is_left_of_an_audit_that_is_ended(site: Site, tmp_path: Path, number: signal.Signals) -> None:
    """The events that it keeps lie in a file that has no name, so that no disk fills with them."""
    await make_tables(site, EXAMPLE)
    program = (
        "import signal, time\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # whoever runs the tests may ignore it, as nohup does
        "from salesfx.audit.winners import Winners\n"
        "from salesfx.cli import main\n"
        "Winners.group = lambda _: (print('has read the log', flush=True), time.sleep(60))\n"
        "main()"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, "audit", "--from-log"),
        env={**site.environ, "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"has read the log\n"
    assert has_open(process.pid, tmp_path), "TMPDIR is not used"
    process.send_signal(number)
    assert await process.wait() == -number
    assert names_in(tmp_path) == []


async def test_damaged_content_is_found_before_it_counts(site: Site) -> None:
    """A wrong amount in a quote that a later one covers is in no cell until that one is retracted."""
    event = {"lead_id": "L9", "amount": "100", "currency": "EUR", "need": "crm"}
    quotes = [
        {**event, "event_id": f"Q{day}", "quote_id": f"Q{day}", "occurred_at": f"2026-10-0{day}T12:00:00Z"}
        for day in (8, 9)
    ]
    await make_tables(site, [*EXAMPLE, *(Message("quote_sent", json.dumps(each).encode()) for each in quotes)])
    assert (await audited(site)).agrees
    async with redis_of(site) as (client, layout):
        stored = await client.get(layout.record("lead:L9"))
        lead = decode_lead(stored[VERSION_BYTES:])
        lead.quotes["Q8"].amount, lead.quotes["Q8"].hundredths = "99999", 9999900
        await client.set(layout.record("lead:L9"), stored[:VERSION_BYTES] + msgspec.msgpack.encode(lead))
    assert (await audited(site, from_log=False)).agrees
    report = await audited(site)
    assert [each.entities for each in report.inconsistencies["another_content"].listed] == [["quote:Q8"]]


async def test_without_tables_there_is_a_sentence(site: Site) -> None:
    """Nothing to audit is said, not a clean audit."""
    status, out, error = await command(site)
    assert (status, out) == (1, "")
    assert "there are no tables yet" in error
