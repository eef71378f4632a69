"""Heartbeats on their whole way: from the worker and from publishers, through a real Kafka, into a real Redis."""

import asyncio
import signal
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from salesfx import InvalidEventError, Publisher
from salesfx.events import TOPICS
from salesfx.feed import heard_feeds, troubles
from salesfx.heartbeat import HEADER, WORKER, message
from salesfx.pulse import FeedNameError, Pulse
from salesfx.tables.feed_marks import heartbeats_in
from tests.integration.test_audit import audited
from tests.worker_process import Message, Site, eventually, expected, simulated


async def heard(site: Site) -> set[tuple[str, str]]:
    """Give topic and feed of every heartbeat that got through."""
    snapshot = await site.snapshot()
    return set() if snapshot is None else set(heartbeats_in(snapshot.marks))


async def test_a_workers_heartbeats_get_through_and_change_nothing(site: Site) -> None:
    """Tables and counters are those of the events; both audits agree; once the worker is gone, that is noticed."""
    events = simulated(7, 500)
    with site.worker(SALESFX_HEARTBEAT_SECONDS="1") as worker:
        await site.publish(events[:250])
        await eventually("every topic has its heartbeat", lambda: is_heard(site, WORKER))
        await site.publish(events[250:])
        first = heartbeats_in((await site.snapshot()).marks)  # type: ignore[union-attr]

        async def all_is_in() -> bool:
            counters = await site.counters()
            return sum(counters.get(f"processed|{topic}", 0) for topic in TOPICS) >= len(events)

        async def newer() -> bool:
            snapshot = await site.snapshot()
            return snapshot is not None and all(heartbeats_in(snapshot.marks)[at] > first[at] for at in first)

        await eventually("the events are in", all_is_in)
        await eventually("newer heartbeats have come", newer)
        assert worker.status is None
    assert await site.cells() == expected(events)
    counters = await site.counters()
    assert sum(counters[f"processed|{topic}"] for topic in TOPICS) == len(events)
    assert sum((await site.ends()).values()) > len(events), "the heartbeats lie in the log"
    assert await site.dead_letters() == []
    report = await audited(site)
    assert report.agrees, report
    assert sum(each.events for each in (report.log or {}).values()) == len(events)
    snapshot = await site.snapshot()
    assert snapshot is not None
    assert troubles(snapshot, datetime.now(UTC)) == []
    assert len(troubles(snapshot, datetime.now(UTC) + timedelta(minutes=6))) == len(TOPICS)


async def is_heard(site: Site, feed: str) -> bool:
    """Tell whether a feed was heard in every topic."""
    return {(topic, feed) for topic in TOPICS} <= await heard(site)


async def test_no_heartbeat_is_sent_where_none_is_wanted(site: Site) -> None:
    """With heartbeat_seconds at 0 the log holds the events only, and nothing is called broken."""
    events = simulated(8, 20)
    await site.publish(events)
    with site.worker() as worker:
        await site.caught_up(worker)
    assert sum((await site.ends()).values()) == len(events)
    snapshot = await site.snapshot()
    assert snapshot is not None
    assert troubles(snapshot, datetime.now(UTC) + timedelta(days=1)) == []


async def test_a_malformed_heartbeat_is_a_dead_letter_and_both_count_it(site: Site) -> None:
    """The second implementation refuses the same one, so that the audit finds nothing wrong."""
    _, good, headers = message("crm", datetime.now(UTC))
    lead = b'{"event_id":"e","lead_id":"L","occurred_at":"2026-10-05T09:00:00Z"}'
    sent = [
        Message("lead_created", good, headers=headers),
        Message("lead_created", b"{}", headers=headers),
        Message("lead_created", lead, headers=headers),
        Message("lead_created", lead),
    ]
    await site.publish(sent)
    with site.worker() as worker:
        await site.caught_up(worker)
    counters = await site.counters()
    assert (counters["processed|lead_created"], counters["rejected|lead_created|missing_field"]) == (1, 2)
    assert len(await site.dead_letters()) == 2
    report = await audited(site)
    assert report.agrees, report


async def test_a_publisher_with_a_feed_is_heard_until_it_is_closed(site: Site) -> None:
    """At once, in every topic, beside its events; its heartbeats end with it."""
    with site.worker() as worker:
        with await asyncio.to_thread(Publisher, site.settings, feed=" salesforce ") as publisher:
            publisher.send_json("lead_created", b'{"event_id":"e","lead_id":"L","occurred_at":"2026-10-05T09:00:00Z"}')
            await eventually("the feed is heard", lambda: is_heard(site, "salesforce"))
        ends = await site.ends()
        assert sum(ends.values()) == 1 + len(TOPICS)
        await site.caught_up(worker)
    assert (await site.counters())["processed|lead_created"] == 1


async def test_a_pulse_beats_until_it_is_stopped(site: Site) -> None:
    """Again and again; afterwards nothing comes any more."""
    pulse = Pulse(site.settings, "crm", seconds=0.1)
    pulse.start()

    async def some() -> bool:
        return [end >= 3 for end in (await site.ends()).values()].count(True) == len(TOPICS)

    await eventually("three heartbeats of each topic", some)
    await asyncio.to_thread(pulse.stop)
    ends = await site.ends()
    await asyncio.sleep(0.5)
    assert await site.ends() == ends
    assert len([end for end in ends.values() if end]) == len(TOPICS), "a feed keeps to one partition of each topic"


async def test_standing_input_has_a_feed(site: Site) -> None:
    """`salesfx publish --feed NAME -` is heard while it waits for lines; a file that ends has no feed."""
    command = (sys.executable, "-m", "salesfx", "publish", "--feed", "erp")
    process = await asyncio.create_subprocess_exec(*command, "-", env=site.environ, stdin=asyncio.subprocess.PIPE)
    with site.worker():
        await eventually("the feed is heard", lambda: is_heard(site, "erp"))
    assert process.stdin is not None
    process.stdin.close()
    assert await process.wait() == 0
    refused = await asyncio.create_subprocess_exec(*command, __file__, env=site.environ, stderr=asyncio.subprocess.PIPE)
    _, said = await refused.communicate()
    assert refused.returncode == 2
    assert "--feed is for standard input" in said.decode()


@pytest.mark.parametrize("name", [" ", "x" * 101, "a\nb", WORKER])
async def test_a_feed_has_a_usable_name(site: Site, name: str) -> None:
    """Else the publisher says what is wrong, before it connects."""
    before = time.monotonic()
    with pytest.raises(FeedNameError):
        Publisher(site.settings, kafka="127.0.0.1:1", feed=name)
    assert time.monotonic() - before < 5


async def test_no_event_is_published_as_a_heartbeat(site: Site) -> None:
    """It would count nowhere: the header is refused."""
    with (
        await asyncio.to_thread(Publisher, site.settings) as publisher,
        pytest.raises(InvalidEventError, match="counts nowhere"),
    ):
        publisher.send_json("lead_created", b"{}", [(HEADER, b"crm")])


async def test_a_feed_that_was_heard_is_named(site: Site) -> None:
    """The doctor shows it, and finds nothing wrong."""
    with site.worker(SALESFX_HEARTBEAT_SECONDS="1") as worker:
        await eventually("every topic has its heartbeat", lambda: is_heard(site, WORKER))
        doctor = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "salesfx", "doctor", env=site.environ, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await doctor.communicate()
        worker.signal(signal.SIGTERM)
        assert await worker.ended(10) == 0
        assert "Unclosed" not in worker.log, "an error that is none, for whoever stops a worker"
    assert "ok    feed: heartbeats: worker" in said.decode()
    snapshot = await site.snapshot()
    assert snapshot is not None
    assert set(heard_feeds(snapshot)) == {WORKER}
