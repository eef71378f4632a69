"""`salesfx kpi --known-at` and `salesfx restated` over a real Kafka, and tables that a real worker made."""

import asyncio
import json
import random
import re
import sys
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType

from salesfx import heartbeat
from salesfx.tables import connect
from salesfx.tables.layout import MONTH
from tests.worked_example import EVENTS
from tests.worker_process import Message, Site, simulated

EXAMPLE = [Message(topic, value) for topic, value in EVENTS]


async def command(site: Site, *arguments: str) -> tuple[int, str, str]:
    """Run salesfx; give its exit status, and what it wrote to standard output and error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "salesfx", *arguments),
        env=site.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), error.decode()


async def output(site: Site, *arguments: str) -> str:
    """Run salesfx, which must succeed; give what it wrote to standard output."""
    status, out, error = await command(site, *arguments)
    assert status == 0, error
    return out


async def make_tables(site: Site, messages: list[Message], **environ: str) -> None:
    """Have a worker take messages to the tables."""
    await site.publish(messages)
    with site.worker(**environ) as worker:
        await site.caught_up(worker)


async def months(site: Site) -> list[str]:
    """Name the months that have a table."""
    snapshot = await site.snapshot()
    assert snapshot is not None
    return list(snapshot.months)


async def cells(site: Site, month: str) -> Counter[str]:
    """Read the table of a month."""
    snapshot = await site.snapshot([MONTH + month])
    assert snapshot is not None
    return Counter(dict(snapshot.tables[MONTH + month]))


async def moment() -> str:
    """Give a moment that lies between what was published before and what is published after."""
    await asyncio.sleep(0.05)
    now = datetime.now(UTC).isoformat()
    await asyncio.sleep(0.05)
    return now


def late_and_changed(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """Part messages into those that come first, and late ones with corrections and retractions of the first."""
    chance = random.Random(8)
    first: list[Message] = []
    later: list[Message] = []
    for message in messages:
        (later if chance.random() < 0.2 else first).append(message)
    for message in chance.sample(first, 200):
        content = json.loads(message.value or b"{}")
        content |= {"revision": 9, "event_id": content["event_id"] + "-again"}
        if chance.random() < 0.3:
            content["retracted"] = True
        elif "amount" in content:
            content["amount"] = "77.77"
        else:
            content["source"] = "another"
        later.append(message._replace(value=json.dumps(content).encode()))
    later.append(Message("deal_closed", b"this cannot be used"))
    beat = heartbeat.message("crm", datetime.now(UTC))
    for messages_of in (first, later):
        messages_of.append(Message("lead_created", beat.value, beat.key, beat.headers))
    chance.shuffle(later)
    return first, later


def hundredths(fields: dict[str, Any]) -> Counter[str]:
    """Read a machine's numbers back as those of cells."""
    return Counter({f: n if isinstance(n, int) else int(Decimal(n) * 100) for f, n in fields.items()})


async def test_what_was_known_is_the_snapshot_of_then(site: Site) -> None:
    """For every month, to the letter, after late, corrected and withdrawn events; and what is listed is the difference."""
    first, later = late_and_changed(simulated(3, 3000))
    await make_tables(site, first)
    known = {month: await output(site, "kpi", "--month", month, "--json") for month in await months(site)}
    tables = {month: await cells(site, month) for month in known}
    then = await moment()
    await make_tables(site, later)

    all_months = sorted({*known, *await months(site)})
    changed = 0
    for month in random.Random(1).sample(all_months, 4) + all_months[:1]:
        looked_back = await output(site, "kpi", "--month", month, "--json", "--known-at", then)
        if month in known:
            assert looked_back == known[month]
        now = await output(site, "kpi", "--month", month, "--json")
        changed += looked_back != now
        assert now == await output(site, "kpi", "--month", month, "--json", "--known-at", await moment())

        answer = json.loads(await output(site, "restated", month, "--since", then, "--json"))
        assert (answer["then"], answer["now"]) == (json.loads(looked_back), json.loads(now))
        difference = await cells(site, month)
        difference.subtract(tables.get(month, Counter()))
        listed: Counter[str] = Counter()
        for event in answer["events"]:
            listed.update(hundredths(event["changes"]))
        assert {f: n for f, n in listed.items() if n} == {f: n for f, n in difference.items() if n}
        order = [(e["arrived_at"], e["topic"], e["partition"], e["offset"]) for e in answer["events"]]
        assert order == sorted(order)
        assert answer["refused"] == 1
    assert changed >= 4, "nothing was restated"


async def test_what_people_are_told(site: Site) -> None:
    """The worked example, whose last event makes an earlier deal an expansion; and a month that nothing changed."""
    await make_tables(site, EXAMPLE[:-1])
    then = await moment()
    await make_tables(site, EXAMPLE[-1:])
    out = await output(site, "restated", "2026-11", "--since", then)
    assert "1 of 1 events that came since changed it: late 1" in out
    assert "late: deal:D0" in out
    assert "through what it made of deal:D1" in out
    assert " new customers" in out
    assert "nothing that came since has changed it (1 events)" in await output(
        site, "restated", "2028-03", "--since", then
    )
    status, out, error = await command(site, "kpi", "--month", "2026-11", "--known-at", then)
    assert (status, "new customers 1" in out) == (0, True)
    assert "from 7 events that Kafka had got by" in error


async def test_the_monthly_report_tells_what_was_restated(site: Site) -> None:
    """Of a month that ended long before its events came: at its end there was nothing, and all of it is late."""
    events = [Message(topic, (value or b"").replace(b"2026-", b"2025-")) for topic, value, *_ in EXAMPLE]
    await make_tables(site, events)
    out = await output(site, "report", "--month", "2025-11", "--restated")
    assert "Restated since the month ended" in out
    assert "When it ended" in out
    assert re.search(r"^Events that came after the month ended and changed it: (\d) \(late \1\)\.$", out, re.MULTILINE)
    assert "Restated" not in await output(site, "report", "--month", "2025-11")


async def test_before_the_log_began_nothing_was_known(site: Site) -> None:
    """Zeros, and a sentence that says why; `restated` says that all of the month came after."""
    await make_tables(site, EXAMPLE)
    status, out, error = await command(site, "kpi", "--month", "2026-10", "--known-at", "2020-01-01", "--json")
    assert (status, json.loads(out)["lead_flow"]["total"]) == (0, 0)
    assert "Kafka got its first event after 2020-01-01T22:00:00+00:00: nothing was known then" in error
    assert "all of the month came after" in await output(site, "restated", "2026-11", "--since", "2020-01-01")


async def test_a_log_that_is_not_complete_is_refused(site: Site) -> None:
    """What is gone cannot be counted again."""
    places = await site.publish([message._replace(partition=0) for message in EXAMPLE])
    with site.worker() as worker:
        await site.caught_up(worker)
    await site.cut(next(place for place in places if place.offset == 1))
    for arguments in (["kpi", "--month", "2026-10", "--known-at", "2026-01-01"], ["restated", "2026-10"]):
        status, out, error = await command(site, *arguments)
        assert (status, out) == (2, "")
        assert "events that they count are gone" in error


async def test_times_that_senders_claim_are_refused_until_the_topic_is_put_right(site: Site) -> None:
    """A topic with CreateTime has the senders' clocks in it, which do not tell what Kafka knew; it is dated from then on."""
    _timestamps(site, "CreateTime")
    messages = [message._replace(partition=0) for message in EXAMPLE]
    await make_tables(site, messages, SALESFX_ALLOW_RETENTION="true")
    for arguments in (["kpi", "--month", "2026-10", "--known-at", "2026-01-01"], ["restated", "2026-10"]):
        status, out, error = await command(site, *arguments)
        assert (status, out) == (2, "")
        assert "(CreateTime), not the time at which Kafka got it" in error
    _timestamps(site, "LogAppendTime")
    before = await moment()
    await make_tables(site, [next(each for each in messages if each.topic == "deal_closed")])  # it came already
    after, live = await moment(), await output(site, "kpi", "--month", "2026-10", "--json")
    assert await output(site, "kpi", "--month", "2026-10", "--json", "--known-at", after) == live
    status, out, error = await command(site, "kpi", "--month", "2026-10", "--known-at", before)
    assert (status, out) == (2, "")
    assert "Ask for a moment after that" in error


def _timestamps(site: Site, kind: str) -> None:
    with site.admin() as admin:
        config = {"message.timestamp.type": kind}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, site.topic("deal_closed"), config)])


async def test_tables_that_differ_from_the_log_are_told_of(site: Site) -> None:
    """What is listed no longer adds up to what the tables show: exit status 1, and where to look."""
    await make_tables(site, EXAMPLE)
    snapshot = await site.snapshot()
    assert snapshot is not None
    client = connect(site.settings.redis)
    try:
        key = f"{{{site.settings.namespace}}}:{snapshot.generation}:{MONTH}2026-10"
        await client.hincrby(key, "leads|source=web", 1)
    finally:
        await client.aclose()
    status, out, error = await command(site, "restated", "2026-10", "--json")
    assert (status, json.loads(out)["agrees"]) == (1, False)
    assert "salesfx audit --from-log --month 2026-10" in error
